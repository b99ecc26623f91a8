"""What the benchmarks share: networks to time, interleaved timing, and where results go."""

import argparse
import json
import platform
import random
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor

from solo_gedi import hosts
from solo_gedi.config import as_config, load_config
from solo_gedi.hosts import BaseMethod
from solo_gedi.memory import keep_freed_memory
from solo_gedi.methods import register
from solo_gedi.report.environment import commit, processor
from solo_gedi.training.job import parse

HERE = Path(__file__).parent

Row = dict[str, Any]


def options(description: str | None) -> argparse.ArgumentParser:
    """The options that every benchmark has, with defaults that a laptop can run."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--width", type=int, default=32, help="of the ResNet-8")
    parser.add_argument("--batch", type=int, default=64, help="images")
    parser.add_argument("--size", type=int, default=32, help="pixels a side")
    parser.add_argument("--steps", type=int, default=20, help="of SGLD")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--rounds", type=int, default=10, help="of interleaved runs")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    keep_freed_memory()  # as every command does
    return parser


def build(name: str, given: argparse.Namespace, *overrides: str) -> BaseMethod:
    """A method with its CIFAR-10 config, in training mode, whose steps log nothing.

    Args:
        name: of its config.
        given: `options`.
        overrides: changes to the config.
    """
    torch.set_num_threads(given.threads)
    sizes = [
        f"backbone.kwargs.width={given.width}",
        f"method_kwargs.proj_hidden_dim={2 * given.width}",
        f"optimizer.batch_size={given.batch}",
        *([f"method_kwargs.sgld.num_steps={given.steps}"] if name == "gedi" else []),
    ]
    register()
    cfg = as_config(load_config(f"cifar/{name}", [*sizes, *overrides]))
    cfg = parse(cfg, hosts.parse_pretrain)
    torch.manual_seed(0)
    model: Any = hosts.METHODS[cfg.method](cfg)
    model.log = model.log_dict = lambda *args, **kwargs: None
    return model.to(given.device, memory_format=torch.channels_last)


def two_views(given: argparse.Namespace) -> list[Any]:
    """A batch as solo-learn's loaders give it, of random pixels."""
    shape = (given.batch, 3, given.size, given.size)
    views = [torch.randn(shape, device=given.device) for _ in range(2)]
    return [
        torch.arange(given.batch),
        views,
        torch.randint(10, (given.batch,), device=given.device),
    ]


def by_pillow(multi_view: Callable[[Any], list[Tensor]], images: list[Any]) -> list[Tensor]:
    """A batch's views, made image by image."""
    return [torch.stack(view) for view in zip(*map(multi_view, images), strict=True)]


def interleaved(work: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median milliseconds of functions that take turns, after one call each to warm up.

    In another order every round: what a function leaves in caches and memory slows the next.
    """
    order = random.Random(0)  # noqa: S311
    milliseconds: dict[str, list[float]] = {name: [] for name in work}
    for done in range(rounds + 1):
        for name, function in order.sample(list(work.items()), len(work)):
            start = time.perf_counter()
            function()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if done:
                milliseconds[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in milliseconds.items()}


def machine() -> dict[str, str]:
    """What the numbers were measured on, and of which commit."""
    return {
        "cpu": processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": commit() or "unknown",
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


def result_of(title: str, rows: list[Row], given: argparse.Namespace, note: str) -> dict[str, Any]:
    """Rows with what they were measured on, and how."""
    about = {"title": title, "note": note, "machine": machine()}
    return {**about, "settings": vars(given), "rows": rows}


def report(name: str, title: str, rows: list[Row], given: argparse.Namespace, note: str) -> None:
    """Print a table, keep it as `results/<name>.json`, and renew `RESULTS.md` from all of them."""
    result = result_of(title, rows, given, note)
    folder = HERE / "results"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    print(_shown(name, result))
    (HERE / "RESULTS.md").write_text(page())


def page() -> str:
    """All that is stored, as `RESULTS.md` has it."""
    parts = ["# Results of the last runs\n\nWritten by `python -m benchmarks.NAME`.\n"]
    for path in sorted((HERE / "results").glob("*.json")):
        parts.append(_shown(path.stem, json.loads(path.read_text())))
    return "\n".join(parts)


def _shown(name: str, result: dict[str, Any]) -> str:
    settings = ", ".join(f"{key} {value}" for key, value in result["settings"].items())
    about = ", ".join(f"{key}: {value}" for key, value in result["machine"].items())
    table = tabulate(result["rows"], headers="keys", tablefmt="github", floatfmt=".4g")
    return f"## {name}: {result['title']}\n\n{table}\n\n{result['note']}\n\n{settings}. {about}.\n"


def step_of(module: torch.nn.Module, batch: list[Any]) -> Callable[[], None]:
    """A whole training step: loss, gradients, Adam.

    Args:
        module: a method, or one whose call gives its loss.
        batch: as solo-learn's loaders give it.
    """
    optimizer = torch.optim.Adam(module.parameters(), 1e-4)

    def step() -> None:
        optimizer.zero_grad()
        loss = module.training_step(batch, 0) if isinstance(module, BaseMethod) else module(batch)
        loss.backward()
        optimizer.step()

    return step


def forward_backward(model: BaseMethod, x: Tensor) -> None:
    """One forward and backward pass of backbone and head, with gradients of the parameters."""
    out = model.projector(model.backbone(x))
    torch.autograd.grad(out.logsumexp(-1).sum(), _trained(model))


def _trained(model: BaseMethod) -> list[Tensor]:
    return [*model.backbone.parameters(), *model.projector.parameters()]

"""All that a GPU is to be asked, in less than ten minutes: is it right, is it fast, does it fit?

`python -m benchmarks.gpu [--data FOLDER] [--parts right fast] [--tiny]`

Results are written to `benchmarks/results/gpu.json` after every part. A part that fails, or takes
longer than its limit, is a line of the table, and the others go on. `--tiny` tries it out, on a CPU
too.
"""

import argparse
import contextlib
import gc
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader
from torchvision.transforms.functional import to_pil_image

from benchmarks.measure import (
    HERE,
    Row,
    build,
    by_pillow,
    interleaved,
    options,
    report,
    result_of,
    step_of,
)
from benchmarks.measure import two_views as batch_of
from benchmarks.scaling import Step
from benchmarks.sgld import jem_style, pooling_after_convolutions
from solo_gedi import evaluate, hosts, load_config, pretrain
from solo_gedi.core import sampler
from solo_gedi.errors import reason
from solo_gedi.files import write_json

FP32 = "++method_kwargs.sgld.precision=fp32"
# Nothing is drawn: every chain moves, and without noise.
STILL = (
    *("++method_kwargs.input_noise_std=0", "++method_kwargs.sgld.noise_std=0"),
    "++method_kwargs.sgld.reinit_prob=0",
)
COMPILED = "++method_kwargs.sgld.compile=true"
RESNET18 = ("backbone.name=resnet18", "~backbone.kwargs.width")
VARIANTS = {
    "gedi": ("gedi",),
    "jem": ("jem",),
    "gedi, resnet18": ("gedi", *RESNET18),
    "gedi, gradient penalty": ("gedi", "++method_kwargs.grad_penalty=0.1"),
    "gedi, bounded": ("gedi", "++method_kwargs.max_spectral_norm=0.5"),
}
# Of float64; float32's kernels may put a unit on the other side of its kink: a CPU's are 3e-4 off.
RTOL, RTOL_FP32, COSINE, COSINE_BF16 = 1e-4, 1e-2, 0.99, 0.95

Part = Callable[[argparse.Namespace], Iterator[Row]]


@contextlib.contextmanager
def tf32(on: bool) -> Iterator[None]:
    """Multiply and convolve float32 in TF32, or exactly."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if on else "highest")
    torch.backends.cudnn.allow_tf32 = on
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def on(given: argparse.Namespace, **changes: Any) -> argparse.Namespace:
    """The options, changed."""
    return argparse.Namespace(**{**vars(given), **changes})


def still(given: argparse.Namespace, *variant: str) -> Any:
    """A method whose steps draw nothing, and move all its chains, which are as many as a batch."""
    chains = f"method_kwargs.sgld.buffer_size={given.batch}"
    model: Any = build(variant[0], given, FP32, *STILL, chains, *variant[1:])
    generator = torch.Generator().manual_seed(0)
    start = torch.rand((given.batch, 3, given.size, given.size), generator=generator) * 2 - 1
    model.draw_samples(start.to(given.device))  # makes its sampler
    model.replay_buffer.chains = start.to(given.device)
    return model


def doubled(model: Any) -> Any:
    """A method, and its chains, in double precision."""
    model.replay_buffer.chains = model.replay_buffer.chains.double()
    return model.double()


def in_float64(batch: list[Any]) -> list[Any]:
    """A batch with its views in double precision."""
    return [batch[0], [view.double() for view in batch[1]], batch[2]]


def gradients(model: Any, batch: list[Any]) -> Tensor:
    """Of a training step, as one vector, with the loss in front."""
    if model.spectral_bound is not None:
        model.spectral_bound.apply()
    model.zero_grad()
    loss = model.training_step(batch, 0)
    loss.backward()
    flat = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return torch.cat([loss.detach().view(1), *flat]).double().cpu()


def error(found: Tensor, exact: Tensor) -> float:
    """Of a vector, relative to its length."""
    return float((found - exact).norm() / exact.norm())


def checked(what: str, value: float, limit: float, *, least: bool = False) -> Row:
    """A row that says whether a value is as small, or as large, as it should be."""
    return {"what": what, "value": value, "ok": value >= limit if least else value <= limit}


def right(given: argparse.Namespace) -> Iterator[Row]:
    """Steps against the CPU's float64, and compiled or graphed draws against eager ones."""
    given = on(given, batch=min(given.batch, 16))
    cpu = on(given, device="cpu")
    batch = batch_of(cpu)
    there = [batch[0], [v.to(given.device) for v in batch[1]], batch[2].to(given.device)]
    for name, variant in VARIANTS.items():
        exact = gradients(doubled(still(cpu, *variant)), in_float64(batch))
        found = gradients(doubled(still(given, *variant)), in_float64(there))
        yield checked(f"{name}: float64 against the CPU's, relative", error(found, exact), RTOL)
        with tf32(False):
            found = gradients(still(given, *variant), there)
        yield checked(f"{name}: fp32 against float64, relative", error(found, exact), RTOL_FP32)
        in_bf16 = torch.autocast(given.device, torch.bfloat16)
        for how, reduced, least in (
            ("TF32", tf32(True), COSINE),
            ("bf16 but for the sampler", in_bf16, COSINE_BF16),
        ):
            with reduced:
                found = gradients(still(given, *variant), there)
            cosine = float(F.cosine_similarity(found, exact, dim=0))
            yield checked(f"{name}: {how}, cosine", cosine, least, least=True)
    yield from right_draws(given)
    yield from waits_for_nothing(given, there)


def eager_draw(model: Any, like: Tensor) -> Tensor:
    """A draw whose kernels are launched one by one, on a GPU too."""
    with mock.patch.object(sampler, "ON_GRAPHS", None):
        return model.draw_samples(like)


def right_draws(given: argparse.Namespace) -> Iterator[Row]:
    """Draws by a graph, of a compiled score too, against eager ones from the same state."""
    like = batch_of(given)[1][0]
    for name, compiled in (("graphed", ()), ("compiled", (COMPILED,))):
        eager: Any = build("gedi", given, FP32)
        other: Any = build("gedi", given, FP32, *compiled)
        with tf32(False):
            first = other.draw_samples(like)
            off = error(first.double(), eager_draw(eager, like).double())
            yield checked(f"a {name} draw against eager, relative", off, RTOL)
            with torch.no_grad():
                for parameter in (*eager.backbone.parameters(), *other.backbone.parameters()):
                    parameter.mul_(1.1)
            second = other.draw_samples(like)
            off = error(second.double(), eager_draw(eager, like).double())
        yield checked(f"a {name} draw after a change of the weights", off, RTOL)
        fresh = error(second.double(), first.double())
        yield checked(f"a {name} draw has fresh noise", fresh, 1e-3, least=True)


def waits_for_nothing(given: argparse.Namespace, batch: list[Any]) -> Iterator[Row]:
    """A step, once it has begun to repeat itself, under CUDA's own look for waits."""
    model = build("gedi", given, FP32)
    step = step_of(model, batch)
    step()
    if given.device == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        if given.device == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    yield {"what": "a step waits for nothing", "value": None, "ok": True}


def fast(given: argparse.Namespace) -> Iterator[Row]:
    """Whole steps; augmentation; draws by a loop in the style of JEM's code, eager, as graphs.

    Steps are in PyTorch's defaults, by which a GPU's convolutions take TF32.
    """
    batch = batch_of(given)
    names = ("gedi", "gedi_fast", "gedi_nogen", "swav")
    models: dict[str, Any] = {name: build(name, given) for name in names}
    models["swav"].sk = hosts.SinkhornKnopp(models["swav"].sk_iters, models["swav"].sk_epsilon)
    work = {name: step_of(model, batch) for name, model in models.items()}
    for name, value in interleaved(work, given.rounds).items():
        drawn = getattr(models[name], "sampler", None)
        by = f", sampler in {drawn.precision}" if drawn is not None else ""
        yield {"what": f"a step of {name}{by}, ms", "value": value}
    yield from fast_views(given)
    for size in given.batches:
        yield from fast_draws(on(given, batch=size))


def fast_views(given: argparse.Namespace) -> Iterator[Row]:
    """Two views of a batch: by Pillow in as many workers as threads, by kornia on the device."""
    (entry,) = load_config("cifar/swav").augmentations
    pipelines, copies = [hosts.build_transform("cifar10", entry)], [entry.num_crops]
    pixels = torch.randint(256, (given.batch, 3, given.size, given.size), dtype=torch.uint8)
    ready, measured = 2 * given.threads, 20 * given.rounds
    batches = iter(
        DataLoader(
            [to_pil_image(image) for image in pixels] * (ready + measured),
            given.batch,
            num_workers=given.threads,
            collate_fn=partial(by_pillow, hosts.multi_view(pipelines, copies)),
        )
    )
    for _ in range(ready):  # which the workers have made before they are asked
        next(batches)
    start = time.perf_counter()
    for _ in range(measured):
        next(batches)
    milliseconds = 1e3 * (time.perf_counter() - start) / measured
    yield {"what": f"two views by {given.threads} workers, ms", "value": milliseconds}
    try:
        from solo_gedi.data.batched import BatchedViews
    except ImportError as error:
        yield {"what": f"two views on the device: {reason(error)}", "value": None}
        return
    views = BatchedViews(pipelines, copies)
    work = {"two views on the device": lambda: views(pixels.to(given.device))}
    yield from timed(interleaved(work, given.rounds))


def fast_draws(given: argparse.Namespace) -> Iterator[Row]:
    """Of one size of batch, in three precisions."""
    like = batch_of(given)[1][0]
    for name, precision, quick in (
        *(("fp32", "fp32", False), ("TF32", "fp32", True)),
        ("bf16", "bf16", True),
    ):
        torch.compiler.reset()  # it would take the other size for one that varies
        only = f"++method_kwargs.sgld.precision={precision}"
        eager, graphed = build("gedi", given, only), build("gedi", given, only)
        compiled: Any = build("gedi", given, only, COMPILED)
        theirs = pooling_after_convolutions(eager)
        buffer = torch.rand((eager.sgld.buffer_size, *like.shape[1:])) * 2 - 1
        loop = {"JEM-style loop": partial(jem_style, theirs, buffer, given)}
        work = {
            **(loop if precision == "fp32" else {}),  # which has no autocast
            "eager": partial(eager_draw, eager, like),
            "graphed": partial(graphed.draw_samples, like),
            "compiled": partial(compiled.draw_samples, like),
        }
        with tf32(quick):
            yield from timed(interleaved(work, given.rounds), f"a draw of {given.batch}, {name}: ")


def timed(milliseconds: dict[str, float], before: str = "") -> Iterator[Row]:
    """Rows of medians."""
    for name, value in milliseconds.items():
        yield {"what": f"{before}{name}, ms", "value": value}


def memory(given: argparse.Namespace) -> Iterator[Row]:
    """The most that a step takes: small images, and large ones on a ResNet-50."""
    # Of CIFAR's images solo-learn's ResNets do not halve the size at first.
    large = ("backbone.name=resnet50", "~backbone.kwargs.width", "data.dataset=stl10")
    large += ("method_kwargs.sgld.buffer_size=1000",)
    cases = {"ResNet-8": (given, ()), "ResNet-50": (on(given, size=given.large), large)}
    for name, (sizes, overrides) in cases.items():
        forget(given)
        held = torch.cuda.memory_allocated()  # by what the parts before have compiled
        if given.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        step = step_of(build("gedi", sizes, FP32, *overrides), batch_of(sizes))
        for _ in range(2):  # Adam's moments are there from the second on
            step()
        del step
        taken = (torch.cuda.max_memory_allocated() - held) / 2**30  # 0 without a GPU
        yield {"what": f"{name} at {sizes.size} pixels, GiB", "value": taken}


def forget(given: argparse.Namespace) -> None:
    """Give back the memory of models that nobody needs; a sampler and its loop hold each other."""
    gc.collect()
    if given.device == "cuda":
        torch.cuda.empty_cache()


def processes(given: argparse.Namespace) -> Iterator[Row]:
    """What DDP costs with one process; in both, the prior's term gathers over the group."""
    batch = batch_of(given)
    with tempfile.TemporaryDirectory() as folder:
        backend = "nccl" if given.device == "cuda" else "gloo"
        store = f"file://{folder}/store"
        dist.init_process_group(backend, init_method=store, rank=0, world_size=1)
        try:
            alone: Any = build("gedi", given, FP32)
            ddp = DistributedDataParallel(Step(build("gedi", given, FP32)))
            work = {"a step": step_of(alone, batch), "by DDP": step_of(ddp, batch)}
            yield from timed(interleaved(work, given.rounds), f"{backend}, ")
            with profile(activities=[ProfilerActivity.CPU]) as seen:
                work["by DDP"]()
            calls = sum(e.count for e in seen.key_averages() if e.key.startswith("c10d::"))
            yield {"what": f"{backend}, collectives of a step by DDP", "value": calls}
        finally:
            dist.destroy_process_group()


def mixed(given: argparse.Namespace) -> Iterator[Row]:
    """Short trainings in Lightning's mixed precisions."""
    for precision in ("16-mixed", "bf16-mixed"):
        with tempfile.TemporaryDirectory() as folder:
            small = [f"checkpoint.dir={folder}", f"precision={precision}", "max_epochs=1"]
            small += ["+limit_train_batches=4", "+limit_val_batches=1", "data.num_workers=0"]
            small += ["enable_progress_bar=false", f"accelerator={_accelerator(given)}"]
            metrics = pretrain(load_config("digits/gedi", small)).metrics
        loss = torch.tensor(metrics["train_gedi_loss_epoch"])
        yield {"what": f"{precision}: loss", "value": float(loss), "ok": bool(loss.isfinite())}


def real(given: argparse.Namespace) -> Iterator[Row]:
    """Methods for equal minutes on a folder of images, then evaluated."""
    if given.data is None:
        yield {"what": "no --data was given", "value": None}
        return
    for name in ("gedi", "gedi_fast", "swav"):
        with tempfile.TemporaryDirectory() as folder:
            limit = time.strftime("%H:%M:%S", time.gmtime(given.seconds))
            settings = [f"checkpoint.dir={folder}", f"data.train_path={given.data}"]
            settings += [f"data.val_path={given.data}", f"+max_time=00:{limit}"]
            settings += [f"accelerator={_accelerator(given)}", "enable_progress_bar=false"]
            settings += [f"optimizer.batch_size={given.batch}"]
            run = pretrain(load_config("custom/" + name, settings))
            for row in evaluate(run, tasks=("clustering",), write=False).rows:
                if row["metric"] in ("nmi", "cluster_acc"):
                    what = f"{name}, {given.seconds} s: {row['metric']}, {row.get('source', '')}"
                    yield {"what": what, "value": row["value"]}


def _accelerator(given: argparse.Namespace) -> str:
    return "gpu" if given.device == "cuda" else "cpu"


# Part -> what it does, and its limit in seconds.
PARTS: dict[str, tuple[Part, int]] = {
    "right": (right, 150),
    "fast": (fast, 150),
    "memory": (memory, 40),
    "processes": (processes, 40),
    "mixed": (mixed, 60),
    "real": (real, 0),  # as long as it is given
}


@contextlib.contextmanager
def within(seconds: int) -> Iterator[None]:
    """End what takes longer by a TimeoutError, where the system has alarms."""

    def late(number: int, frame: object) -> None:
        raise TimeoutError(f"longer than its {seconds} s")

    if not hasattr(signal, "SIGALRM"):
        yield
        return
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def main(arguments: list[str] | None = None) -> None:
    """Run the parts, one after the other."""
    parser = options(__doc__)
    parser.set_defaults(width=128, rounds=5)
    parser.add_argument("--tiny", action="store_true", help="sizes that a CPU has done in a minute")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="of it")
    parser.add_argument("--data", help="folder of images, for the part real")
    parser.add_argument("--seconds", type=int, default=60, help="for each method of the part real")
    parser.add_argument("--out", type=Path, help="results; beside the others' if not given")
    given = parser.parse_args(arguments)
    stored = given.out is None and not given.tiny
    folder = HERE / "results" if stored else Path(tempfile.gettempdir())
    given.out = given.out or folder / "gpu.json"
    given.batches, given.large = (64, 256), 224
    if given.tiny:
        given.width, given.batch, given.size, given.steps, given.rounds = 4, 4, 8, 2, 1
        given.batches, given.large = (4,), 32
    rows: list[Row] = []
    title, settings = "correctness, speed and memory", on(given, out=given.out.name)
    note = (
        "`ok` says whether a value is within its bound: for gradients in float64 1e-4, in fp32 "
        "1e-2, since a CPU's fp32 is itself up to 3e-4 off."
    )
    for name in given.parts:
        part, limit = PARTS[name]
        limit = 3 * given.seconds + 240 if name == "real" else limit
        start = time.perf_counter()
        try:
            with within(limit):
                for row in part(given):
                    rows.append({"part": name, **row})
        except Exception as error:  # noqa: BLE001 - the other parts go on
            what = f"{type(error).__name__}: {reason(error)}"
            rows.append({"part": name, "what": what, "value": None, "ok": False})
        rows.append({"part": name, "what": "seconds", "value": time.perf_counter() - start})
        forget(given)  # NCCL takes its own
        write_json(given.out, result_of(title, rows, settings, note))
    if stored:
        report("gpu", title, rows, settings, note)
    print(given.out)


if __name__ == "__main__":
    main()

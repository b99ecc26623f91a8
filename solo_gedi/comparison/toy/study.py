"""`solo-gedi toy`: a method on moons or circles, every seed of it at once."""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from solo_gedi import hosts
from solo_gedi.comparison.toy.training import ToyTraining
from solo_gedi.config import compose as config
from solo_gedi.errors import ConfigError
from solo_gedi.evaluation import evaluate
from solo_gedi.files import check_folder, write_atomically, write_json
from solo_gedi.training import run as runs

TASKS = "clustering,triad,samples"


def main(arguments: list[str]) -> None:
    """Run the command."""
    parser = config.Parser("solo-gedi toy", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the results go: <folder>/seed=K")
    config.add_arguments(parser)
    parser.add_argument("--seeds", type=config.numbers, default="0,1,2,3,4", help="comma-separated")
    evaluate.add_options(parser)
    parser.set_defaults(tasks=TASKS)
    given = parser.parse_intermixed_args(arguments)
    torch.set_num_threads(1)  # networks of this size are slower on more

    cfg = config.load(Path(given.config_path), given.config_name, given.overrides)
    how = argparse.Namespace(**{**vars(given), "overrides": []})
    evaluate.check_options(how)
    check_folder(given.folder, "folder")
    config.prepare(cfg, required=(*config.PRETRAIN, "limit_train_batches"))
    if not isinstance(cfg.limit_train_batches, int):
        raise ConfigError(
            f"limit_train_batches must be a whole number, got {cfg.limit_train_batches}"
        )
    cfg = runs.parse(cfg, hosts.parse_pretrain)
    config.build_method(cfg)
    print(f"{cfg.name}, seeds {given.seeds}, with {hosts.describe()}", flush=True)

    start = time.perf_counter()
    training = ToyTraining(cfg, given.seeds)
    training.run(lambda done: print(f"iteration {done}, {_since(start)} s", flush=True))
    seconds = {"pretrain": _since(start), **_rounded(training.seconds)}
    for k, seed in enumerate(given.seeds):
        folder = given.folder / f"seed={seed}"
        _save(training, k, folder)
        if seed in training.diverged:
            metrics = {
                "status": "failed",
                "method": cfg.method,
                "dataset": cfg.data.dataset,
                "seed": seed,
                "reason": training.diverged[seed],
            }
        else:
            begin = time.perf_counter()
            metrics = evaluate.evaluate(folder, how)
            metrics["seconds"] = {**seconds, "evaluate": _since(begin)}
            # Pictures of one seed will do.
            others = [task for task in how.tasks.split(",") if task != "samples"]
            how.tasks = ",".join(others) or how.tasks
        write_json(folder / "metrics.json", metrics)


def _save(training: ToyTraining, k: int, folder: Path) -> None:
    """A network as a checkpoint in solo-learn's layout, which every other command reads."""
    cfg = training.cfg.copy()
    cfg.seed = training.seeds[k]
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "args.json", OmegaConf.to_container(cfg))
    chains = training.chains
    checkpoint: dict[str, Any] = {
        "state_dict": training.models[k].state_dict(),
        "epoch": cfg.max_epochs - 1,
        "replay_buffers": [] if chains is None else [{"chains": chains[:, k].clone()}],
    }
    path = folder / f"{cfg.name}-ep={cfg.max_epochs - 1}.ckpt"
    write_atomically(path, lambda partial: torch.save(checkpoint, partial))


def _since(start: float) -> float:
    return round(time.perf_counter() - start, 1)


def _rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {part: round(value, 1) for part, value in seconds.items()}

"""The toy study: a method on moons or circles, every seed of it at once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from solo_gedi.comparison.toy.training import ToyTraining
from solo_gedi.core.processes import get_logger
from solo_gedi.data import spec_of
from solo_gedi.errors import ConfigError
from solo_gedi.evaluation.options import Options, names
from solo_gedi.files import check_folder, given_path, write_atomically, write_json

logger = get_logger(__name__)

_READ = {
    *("name", "method", "method_kwargs.*", "backbone.name", "backbone.kwargs.*", "data.dataset"),
    *("optimizer.name", "optimizer.batch_size", "optimizer.lr", "optimizer.weight_decay"),
    *("scheduler.name", "scheduler.warmup_epochs", "scheduler.min_lr", "devices", "num_nodes"),
    *("max_epochs", "limit_train_batches", "divergence.policy", "divergence.limit"),
}


def toy(
    folder: str | Path,
    config: str | Path,
    *,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    tasks: str | Sequence[str] = ("clustering", "triad", "samples"),
    overrides: Sequence[str] = (),
    **options: Any,
) -> list[dict[str, Any]]:
    """Train a method on points, all seeds as one stacked network, and evaluate every seed.

    Args:
        folder: where the results go: `<folder>/seed=K`, which every other command reads.
        config: a shipped one's name, as "toy/gedi", or a path.
        seeds: one network each.
        tasks: of the evaluation; pictures of samples are made for one seed.
        overrides: `key=value` of the config.
        options: of the evaluation, see `solo_gedi.report.evaluate`.

    Returns:
        What each seed's `metrics.json` holds. One whose training diverged has the status "failed"
        and the reason.

    Raises:
        GEDIError: before training starts, if an argument or the config cannot work; and what the
            evaluation raises.

    Example:
        toy("runs/moons", "toy/gedi", seeds=(0, 1), overrides=["max_epochs=4"])
    """
    from solo_gedi import hosts
    from solo_gedi.report import evaluate

    folder, tasks = given_path(folder), names(tasks)
    Options(tasks=tasks, **options).check()
    check_folder(folder, "folder")
    cfg = configured(config, overrides)
    logger.info("%s, seeds %s, with %s", cfg.name, ", ".join(map(str, seeds)), hosts.describe())

    start = perf_counter()
    found = []
    with _one_thread():
        training = ToyTraining(cfg, seeds)
        training.run(lambda done: logger.info("iteration %d, %s s", done, _since(start)))
        parts = {part: round(value, 1) for part, value in training.seconds.items()}
        seconds = {"pretrain": _since(start), **parts}
        for k, seed in enumerate(seeds):
            place = folder / f"seed={seed}"
            _save(training, k, place)
            if seed in training.diverged:
                about = {"method": cfg.method, "dataset": cfg.data.dataset, "seed": seed}
                metrics = {"status": "failed", **about, "reason": training.diverged[seed]}
            else:
                begin = perf_counter()
                metrics = evaluate(place, tasks, **options).metrics
                metrics = {**metrics, "seconds": {**seconds, "evaluate": _since(begin)}}
                # Pictures of one seed will do.
                tasks = tuple(task for task in tasks if task != "samples") or tasks
            write_json(place / "metrics.json", metrics)
            found.append(metrics)
    return found


def configured(config: str | Path, overrides: Sequence[str] = ()) -> DictConfig:
    """The parsed config of a toy study, whose settings can work.

    Args:
        config: a shipped one's name, or a path.
        overrides: `key=value` of it.

    Raises:
        ConfigError: naming what cannot work, or what the study does not read.
    """
    from solo_gedi import hosts
    from solo_gedi.config import PRETRAIN, load_config, prepare
    from solo_gedi.methods import register
    from solo_gedi.training.job import parse
    from solo_gedi.training.pretrain import build_method

    cfg = load_config(config, overrides)
    register()
    prepare(cfg, (*PRETRAIN, "limit_train_batches"))
    if spec_of(cfg.data.dataset).points:  # others are refused as such
        check_read(cfg)
    if not isinstance(cfg.limit_train_batches, int):
        raise ConfigError(
            f"limit_train_batches must be a whole number, got {cfg.limit_train_batches}"
        )
    cfg = parse(cfg, hosts.parse_pretrain)
    build_method(cfg)  # refuses settings with a message
    return cfg


def check_read(cfg: DictConfig) -> None:
    """Refuse settings of a pretraining that the toy study would read past.

    Args:
        cfg: before it is parsed; what the study does not read must be as in the shipped configs.

    Raises:
        ConfigError: naming the key.
    """
    from solo_gedi.config import load_config
    from solo_gedi.config.keys import is_known, leaves

    shipped = dict(leaves(load_config("toy/gedi")))
    for key, value in leaves(cfg):
        same = value == shipped.get(key) or not value and not shipped.get(key)
        if not (same or is_known(key, _READ)):
            raise ConfigError(f"{key}={value}: the toy study does not read it; pretrain does")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Networks of this size are slower on more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _save(training: ToyTraining, k: int, folder: Path) -> None:
    """A network as a checkpoint in solo-learn's layout, in the place of an earlier one."""
    cfg = training.cfg.copy()
    cfg.seed = training.seeds[k]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").unlink(missing_ok=True)
    write_json(folder / "args.json", OmegaConf.to_container(cfg))
    chains = training.chains
    checkpoint: dict[str, Any] = {
        "state_dict": training.models[k].state_dict(),
        "epoch": cfg.max_epochs - 1,
        "replay_buffers": [] if chains is None else [{"chains": chains[:, k].clone()}],
    }
    path = folder / f"{cfg.name}-ep={cfg.max_epochs - 1}.ckpt"
    write_atomically(path, lambda partial: torch.save(checkpoint, partial))
    for other in folder.glob("*.ckpt"):  # which would be taken for this one
        if other != path:
            other.unlink()


def _since(start: float) -> float:
    return round(perf_counter() - start, 1)

"""Which earlier run a run goes on with, and whether it can.

What a config says may differ from the checkpoint's in three ways: it is of no account for what is
learned (`MACHINE`), it is followed from there on (`FOLLOWED`), or it is refused, as everything
else is. So `args.json` is true of a resumed run.
"""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule
from omegaconf import DictConfig, OmegaConf

from solo_gedi.core import checkpoints
from solo_gedi.core.processes import get_logger
from solo_gedi.errors import CheckpointError, ConfigError
from solo_gedi.training.callbacks.late_state import LATE

logger = get_logger(__name__)

# Where and how a run is computed, logged and kept. `auto_resume` looks past these.
MACHINE = (
    *("accelerator", "auto_resume", "checkpoint", "data.num_workers", "debug_augmentations"),
    *("devices", "enable_model_summary", "enable_progress_bar", "log_every_n_steps", "max_time"),
    *("num_nodes", "profiler", "resume_from_checkpoint", "strategy", "wandb", "wandb_run_id"),
)
# How long it trains, on which copy of the data, how exactly it computes and what it validates.
FOLLOWED = (
    *("check_val_every_n_epoch", "data.test_path", "data.train_path", "data.val_path"),
    *("deterministic", "divergence", "knn_eval", "limit_val_batches", "max_epochs", "max_steps"),
    *("method_kwargs.sgld.compile", "method_kwargs.sgld.precision", "min_epochs", "min_steps"),
    *("name", "num_sanity_val_steps", "performance", "precision", "sync_batchnorm"),
    "val_check_interval",
)
_LENGTH = ("max_epochs", "max_steps")
_RATES = ("optimizer.lr", "optimizer.classifier_lr")  # which solo-learn multiplies
_FIRST = ("method", "pretrain_method", "backbone", "data.dataset", "optimizer", "scheduler")


def find_unfinished(cfg: DictConfig, folder: Path) -> list[Path]:
    """The last checkpoints of unfinished runs with the same config, the newest first.

    solo-learn's own search compares a part of the config and not `method_kwargs`, so that two
    variants of a method would go on with each other's weights.

    Args:
        cfg: the parsed config; `auto_resume.max_hours` bounds the checkpoint's age.
        folder: where the runs of the method lie.
    """
    oldest = time.time() - 3600 * cfg.auto_resume.max_hours
    found = []
    for args in folder.glob("*/args.json"):
        # What lies about and cannot be read is not this run, and keeps it from nothing.
        with suppress(CheckpointError, OSError):
            newest = checkpoints.last(args.parent)
            if newest is None or (written := newest.stat().st_mtime) < oldest:
                continue
            saved = checkpoints.saved_config(newest) or {}
            other = others(saved, cfg)
            if other and other <= set(_LENGTH):
                logger.info(
                    "%s differs from this run only in %s: continue it with resume_from_checkpoint",
                    *(newest, " and ".join(f"{key}={saved.get(key)}" for key in sorted(other))),
                )
            if not other and not is_finished(newest, cfg):
                found.append((written, newest))
    return [path for _, path in sorted(found, reverse=True)]


def is_finished(path: Path, cfg: Mapping[str, Any] | DictConfig) -> bool:
    """Whether a checkpoint has all the training that a config asks for.

    Args:
        path: of the checkpoint.
        cfg: with `max_epochs` and perhaps `max_steps`.

    Raises:
        CheckpointError: if it cannot be read, where the number of steps counts.
    """
    max_steps = cfg.get("max_steps")
    if checkpoints.progress(path)[0] >= cfg["max_epochs"]:
        return True
    if max_steps is None or max_steps < 0:
        return False
    return checkpoints.read(path).get("global_step", 0) >= max_steps


def check_resume(cfg: DictConfig, path: Path, model: LightningModule) -> float:
    """Check, before anything runs, that a run can go on with a checkpoint; say what it changes.

    Args:
        cfg: the run's parsed config.
        path: the checkpoint.
        model: the run's.

    Returns:
        The run's learning rate over that of the checkpoint: 1, unless it has more devices.

    Raises:
        CheckpointError: if it cannot be read, is of a run with a setting that cannot change, of
            another network, or holds weights alone.
        ConfigError: if there is nothing left to train.
    """
    checkpoint = checkpoints.read(path)
    saved = checkpoint.get("config")
    beside = checkpoints.saved_config(path) or {} if saved is None else {}
    # Versions that kept the config beside the checkpoint alone knew fewer settings.
    found = differences(saved or beside, cfg)
    found = found if saved else [difference for difference in found if difference[1] is not None]
    saved = saved or beside
    kept = (*MACHINE, *FOLLOWED)
    if refused := [difference for difference in found if not among(difference[0], kept)]:
        key, before, now = refused[0]
        more = ", ".join(key for key, _, _ in refused[1:6]) + ", ..." * (len(refused) > 6)
        raise CheckpointError(
            f"resume_from_checkpoint={path} is of a run with {key}={before}, which one with "
            f"{key}={now} cannot continue{f' (nor with its {more})' if more else ''}: set "
            f"{key}={before}, or start a new run with resume_from_checkpoint=null"
        )
    own = model.state_dict()
    state = {k: v for k, v in checkpoint["state_dict"].items() if k in own or k not in LATE}
    checkpoints.check_state(state, own, path)
    if "optimizer_states" not in checkpoint or "loops" not in checkpoint:
        raise CheckpointError(
            f"resume_from_checkpoint={path} holds only weights, without the "
            "state that a training needs to continue"
        )
    epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    steps, limit = checkpoint.get("global_step", 0), cfg.get("max_steps") or -1
    if epochs >= cfg.max_epochs or steps >= limit >= 0:
        key, has = ("max_epochs", epochs) if epochs >= cfg.max_epochs else ("max_steps", steps)
        raise ConfigError(
            f"{key}={cfg[key]}: resume_from_checkpoint={path} already has {has}; set a larger value"
        )
    changed = [f"{k}={now} (was {old})" for k, old, now in found if among(k, FOLLOWED)]
    with_them = f", from there on with {', '.join(changed)}" if changed else ""
    logger.info("Resuming from %s%s", path, with_them)
    return cfg.optimizer.lr / saved["optimizer"]["lr"] if saved else 1.0


def differences(
    saved: Mapping[str, Any], cfg: Mapping[str, Any] | DictConfig
) -> list[tuple[str, Any, Any]]:
    """The keys in which two parsed configs differ, with both values as a user gives them.

    A key that is missing or false is one that is null. Learning rates are compared without the
    devices that solo-learn multiplies them by.

    Args:
        saved: of the checkpoint.
        cfg: of the run.
    """
    now: Any = OmegaConf.to_container(cfg) if isinstance(cfg, DictConfig) else cfg
    sides = [{**dict(_flat(config)), **_rates(config)} for config in (saved, now)]
    keys = sorted(
        {*sides[0], *sides[1]},
        key=lambda key: (not among(key, _FIRST), not key.endswith(".name"), key),
    )
    pairs = ((key, sides[0].get(key), sides[1].get(key)) for key in keys)
    return [(key, a, b) for key, a, b in pairs if not _alike(a, b)]


def others(saved: Mapping[str, Any], cfg: Mapping[str, Any] | DictConfig) -> set[str]:
    """The keys that make one config another run's: those that differ, but for `MACHINE`.

    Args:
        saved: of an earlier run.
        cfg: of a run.
    """
    return {key for key, _, _ in differences(saved, cfg) if not among(key, MACHINE)}


def _flat(tree: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of every leaf."""
    if isinstance(tree, Mapping):
        for name, branch in tree.items():
            yield from _flat(branch, f"{key}.{name}" if key else str(name))
    elif isinstance(tree, list) and any(isinstance(item, Mapping) for item in tree):
        yield from _flat(dict(enumerate(tree)), key)
    else:
        yield key, tree


def _rates(config: Mapping[str, Any]) -> dict[str, float]:
    """The learning rates as they were given, before solo-learn multiplied them."""
    given, optimizer = {}, config.get("optimizer", {})
    devices = config.get("devices")
    count = str(len(devices) if isinstance(devices, list) else devices)
    number = int(count) if count.isdecimal() else 1
    scale = optimizer.get("batch_size", 256) * number * (config.get("num_nodes") or 1) / 256
    validated = config.get("data", {}).get("val_path") is not None
    for key in _RATES:
        rate = optimizer.get(key.partition(".")[2])
        if isinstance(rate, int | float):
            given[key] = rate / scale if key == "optimizer.lr" or validated else rate
            given[key] = float(f"{given[key]:.12g}")
    return given


def among(key: str, names: tuple[str, ...]) -> bool:
    """Whether a key of a config is one of some, or within a section among them.

    Args:
        key: dotted.
        names: of keys and sections.

    >>> among("data.num_workers", MACHINE), among("wandb.project", MACHINE), among("seed", MACHINE)
    (True, True, False)
    """
    return any(key == name or key.startswith(f"{name}.") for name in names)


def _alike(a: Any, b: Any) -> bool:
    if _is_off(a) or _is_off(b):
        return _is_off(a) and _is_off(b)
    if isinstance(a, float) or isinstance(b, float):
        with suppress(TypeError):
            return math.isclose(a, b, rel_tol=1e-9)
    return a == b


def _is_off(value: Any) -> bool:
    """Whether a setting is one that is missing: null, false, or -1 for no limit."""
    return value is None or value is False or value == -1 or value == []

"""Which earlier run a run goes on with, and whether it can."""

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule
from omegaconf import DictConfig, OmegaConf

from solo_gedi.core import checkpoints
from solo_gedi.errors import CheckpointError

# What may differ between a run and the one that goes on with it.
_VOLATILE = (
    "auto_resume",
    "checkpoint",
    "resume_from_checkpoint",
    "wandb",
    "wandb_run_id",
    "accelerator",
    "enable_progress_bar",
    "log_every_n_steps",
)


def find_unfinished(cfg: DictConfig, folder: Path) -> Path | None:
    """The newest checkpoint of an unfinished run with the same config.

    solo-learn's own search compares a part of the config and not `method_kwargs`, so that two
    variants of a method would go on with each other's weights.

    Args:
        cfg: the parsed config; `auto_resume.max_hours` bounds the checkpoint's age.
        folder: where the runs of the method lie.
    """
    wanted = _identity(OmegaConf.to_container(cfg))
    oldest = time.time() - 3600 * cfg.auto_resume.max_hours
    found = []
    for args in folder.glob("*/args.json"):
        newest = checkpoints.last(args.parent)
        if newest is None or checkpoints.epoch_of(newest) + 1 >= cfg.max_epochs:
            continue
        if newest.stat().st_mtime < oldest:
            continue
        # What lies about and cannot be read is not this run, and keeps it from nothing.
        with suppress(CheckpointError):
            if _identity(checkpoints.saved_config(newest)) == wanted:
                found.append(newest)
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def _identity(config: Any) -> str:
    kept = {key: value for key, value in config.items() if key not in _VOLATILE}
    return json.dumps(kept, sort_keys=True)


def check_resume(cfg: DictConfig, path: Path, model: LightningModule) -> None:
    """Check, before anything runs, that a run can go on with a checkpoint.

    Args:
        cfg: the run's parsed config.
        path: the checkpoint.
        model: the run's.

    Raises:
        CheckpointError: if it cannot be read, is of another method, network, optimizer or image
            size, or holds weights alone.
    """
    checkpoint = checkpoints.read(path)
    saved = OmegaConf.create(checkpoints.saved_config(path) or {})
    keys = ["method", "optimizer.name", "scheduler.name"]
    if checkpoint.get("replay_buffers"):  # whose chains have the images' size
        keys.append("augmentations[0].crop_size")
    for key in keys:
        before, now = OmegaConf.select(saved, key), OmegaConf.select(cfg, key)
        if before not in (None, now):
            raise CheckpointError(
                f"resume_from_checkpoint={path} is of a run with {key}={before}, "
                f"which one with {key}={now} cannot go on with"
            )
    checkpoints.check_state(checkpoint["state_dict"], model.state_dict(), path)
    if "optimizer_states" not in checkpoint or "loops" not in checkpoint:
        raise CheckpointError(
            f"resume_from_checkpoint={path} holds weights alone, without the "
            "state of a training that could go on"
        )

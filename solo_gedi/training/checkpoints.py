"""Finding and reading checkpoints."""

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from solo_gedi.errors import ConfigError, reason

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


def load(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of Lightning's, tensors and builtins only.

    Raises:
        ConfigError: if there is no such file, or it is truncated or something else.
    """
    if not Path(path).is_file():
        raise ConfigError(f"checkpoint {path} does not exist (from {Path.cwd()})")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a different class for every way to be broken
        broken = "it is cut short, or holds other things than tensors and plain values"
        why = reason(error) if isinstance(error, PermissionError) else broken
        raise ConfigError(f"checkpoint {path} cannot be read: {why}") from error
    state = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ConfigError(f"checkpoint {path} has no state_dict: it is not one of Lightning's")
    return checkpoint


def saved_config(path: Path) -> DictConfig | None:
    """The config that solo-learn keeps beside a checkpoint, if it is there.

    Raises:
        ConfigError: if it is not JSON of a config.
    """
    args = path.parent / "args.json"
    if not args.is_file():
        return None
    try:
        cfg = OmegaConf.create(json.loads(args.read_text()))
    except ValueError as error:
        raise ConfigError(f"{args} is not the JSON of a config: {reason(error)}") from error
    if not isinstance(cfg, DictConfig):
        raise ConfigError(f"{args} is not the JSON of a config: it holds no keys")
    return cfg


def check_state(state: dict[str, Tensor], own: dict[str, Tensor], path: str | Path) -> None:
    """Check that saved weights are finite and fit a network, key by key and shape by shape.

    Raises:
        ConfigError: naming the first weight that is not, or does not.
    """
    if broken := next((key for key, value in state.items() if not value.isfinite().all()), None):
        raise ConfigError(f"{broken} in checkpoint {path} is not finite: the run diverged")
    for key, value in own.items():
        if key not in state:
            raise ConfigError(f"checkpoint {path} lacks {key}: it is of another network")
        if state[key].shape != value.shape:
            raise ConfigError(
                f"checkpoint {path} has {key} of shape {tuple(state[key].shape)}, "
                f"the config asks for {tuple(value.shape)}"
            )
    if extra := sorted(set(state) - set(own)):
        raise ConfigError(f"checkpoint {path} has {extra[0]}, which the config's network lacks")


def backbone_state(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """The backbone's weights in a checkpoint, by the backbone's own keys.

    Early versions of solo-learn called it `encoder`.
    """
    state = checkpoint["state_dict"]
    for prefix in ("backbone.", "encoder."):
        if found := {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}:
            return found
    return {}


def _identity(cfg: Any) -> str:
    kept = {key: value for key, value in cfg.items() if key not in _VOLATILE}
    return json.dumps(kept, sort_keys=True)


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
        newest = last(args.parent)
        if newest is None or epoch_of(newest) + 1 >= cfg.max_epochs:
            continue
        if newest.stat().st_mtime < oldest:
            continue
        # What lies about and cannot be read is not this run, and keeps it from nothing.
        with suppress(ConfigError):
            if _identity(OmegaConf.to_container(saved_config(newest))) == wanted:
                found.append(newest)
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def of_run(path: Path) -> Path:
    """The checkpoint that is meant by a file, a run's folder, or that of a benchmark's cell.

    Raises:
        ConfigError: if a folder holds none.
    """
    if not path.is_dir():
        return path
    in_cell = [found for run in path.glob("*/*/") if (found := last(run))]
    found = last(path) or (in_cell[0] if len(in_cell) == 1 else None)
    if found is None:
        raise ConfigError(f"{path} holds no checkpoint (*-ep=N.ckpt) of a pretraining run")
    return found


def last(folder: Path) -> Path | None:
    """The checkpoint of the last epoch in a run's folder, if it has any."""
    numbered = (path for path in folder.glob("*-ep=*.ckpt") if _epoch(path).isdecimal())
    return max(numbered, key=epoch_of, default=None)


def epoch_of(path: Path) -> int:
    """The epoch in a checkpoint's name, from 0."""
    return int(_epoch(path))


def _epoch(path: Path) -> str:
    return path.stem.rpartition("=")[2]

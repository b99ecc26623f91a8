"""Finding and reading checkpoints; only tensors and plain values are loaded."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

from solo_gedi.errors import CheckpointError, reason

_LABEL = re.compile(r"-ep=(\d+)(?:-batch=(\d+))?\.ckpt$")
_WRAPPERS = ("module.", "_orig_mod.", "model.")  # of DDP, torch.compile and others' modules


def read(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of Lightning's onto the CPU.

    Args:
        path: of the file.

    Returns:
        Its content, with the weights as `state_dict`, by the names that they have without what
        DDP, `torch.compile` and others' programs wrap a network in.

    Raises:
        CheckpointError: if there is no such file, or it is truncated or something else.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "gedi-ep=0.ckpt"
        ...     torch.save({"state_dict": {"weight": torch.ones(2)}, "epoch": 0}, path)
        ...     read(path)["epoch"]
        0
    """
    if not os.path.isfile(path):  # False too where nothing may be looked at
        raise CheckpointError(f"checkpoint {path} does not exist (from {Path.cwd()})")
    if Path(path).suffix == ".safetensors":
        raise CheckpointError(
            f"{path} is of an exported model: here the checkpoint of a run (.ckpt) is needed"
        )
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a different class for every way to be broken
        raise CheckpointError(f"checkpoint {path} cannot be read: {_why(error)}") from error
    state = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not _are_weights(state):
        raise CheckpointError(f"checkpoint {path} has no state_dict: {_instead(checkpoint)}")
    return {**checkpoint, "state_dict": _unwrapped(state)}


def _why(error: Exception) -> str:
    """Why torch could not read a file as tensors and plain values."""
    if isinstance(error, PermissionError):
        return reason(error)
    # What a file may name is code that reading it would run.
    if named := re.search(r"(?:GLOBAL|class) ([\w.]+\.\w+) (?:was )?not", str(error)):
        return (
            f"beside tensors and plain values it holds {named[1]}. If you trust it, save its "
            'weights alone: c = torch.load(OLD, weights_only=False); torch.save({"state_dict": '
            'c["state_dict"]}, NEW), and its args.json beside them'
        )
    return "it is cut short, or holds other things than tensors and plain values"


def _are_weights(state: Any) -> TypeGuard[dict[str, Tensor]]:
    return isinstance(state, dict) and all(isinstance(v, Tensor) for v in state.values())


def _instead(content: Any) -> str:
    """What a file holds that is no checkpoint of Lightning's."""
    if isinstance(content, dict) and content and _are_weights(content):
        return 'it is one itself; save it as {"state_dict": ...}'
    if isinstance(content, dict) and "state_dict" not in content:
        keys = [str(key) for key in content]
        weights = [str(key) for key, value in content.items() if _are_weights(value) and value]
        rename = f"; save {weights[0]} as state_dict" if len(weights) == 1 else ""
        return f"it is not one of Lightning's, its keys are {keys[:8]}{rename}"
    return "it is not one of Lightning's"


def _unwrapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights by their own names, where all of them are those of one wrapped network."""
    compiled = {key.replace("._orig_mod.", "."): value for key, value in state.items()}
    state = compiled if len(compiled) == len(state) else state
    for prefix in _WRAPPERS:
        if state and all(key.startswith(prefix) for key in state):
            return _unwrapped(part_of(state, prefix[:-1]))
    return state


def saved_config(path: Path) -> dict[str, Any] | None:
    """The config that solo-learn keeps as `args.json` beside a checkpoint.

    Args:
        path: of the checkpoint.

    Returns:
        The config; None if there is no such file.

    Raises:
        CheckpointError: if it is not JSON of a config.

    Example:
        >>> saved_config(Path("nowhere/gedi-ep=0.ckpt")) is None
        True
    """
    args = path.parent / "args.json"
    if not args.is_file():
        return None
    try:
        config = json.loads(args.read_text())
    except ValueError as error:
        raise CheckpointError(f"{args} is not the JSON of a config: {reason(error)}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{args} is not the JSON of a config: it holds no keys")
    return config


def check_state(state: dict[str, Tensor], own: dict[str, Tensor], path: str | Path) -> None:
    """Check that saved weights are finite and fit a network, key by key and shape by shape.

    Args:
        state: what was saved.
        own: the network's `state_dict`.
        path: of the checkpoint, for the message.

    Raises:
        CheckpointError: naming the first weight that is not finite or does not fit.

    Example:
        >>> network = torch.nn.Linear(3, 2)
        >>> check_state({"weight": torch.ones(2, 3)}, network.state_dict(), "gedi-ep=0.ckpt")
        Traceback (most recent call last):
        ...
        solo_gedi.errors.CheckpointError: checkpoint gedi-ep=0.ckpt lacks bias: it belongs to \
another network
    """
    if broken := next((key for key, value in state.items() if not value.isfinite().all()), None):
        raise CheckpointError(f"{broken} in checkpoint {path} is not finite: the run diverged")
    for key, value in own.items():
        if key not in state:
            alike = next((name for name in state if name.endswith(f".{key}")), None)
            has = f", but has {alike}" if alike else ""
            raise CheckpointError(
                f"checkpoint {path} lacks {key}{has}: it belongs to another network"
            )
        if state[key].shape != value.shape:
            raise CheckpointError(
                f"checkpoint {path} has {key} of shape {tuple(state[key].shape)}, "
                f"the config asks for {tuple(value.shape)}"
            )
    if extra := sorted(set(state) - set(own)):
        raise CheckpointError(f"checkpoint {path} has {extra[0]}, which the config's network lacks")


def part_of(state: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    """The weights of a network's part, by the part's own keys.

    Args:
        state: of the whole network.
        names: of the part; the first that is there counts.

    Returns:
        Key -> weight; empty if there is no such part.

    Example:
        >>> part_of({"head.weight": torch.ones(2), "body.bias": torch.ones(3)}, "head").keys()
        dict_keys(['weight'])
    """
    for name in names:
        prefix = f"{name}."
        if found := {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}:
            return found
    return {}


def backbone_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The backbone's weights; early versions of solo-learn called it `encoder`.

    Args:
        state: of the whole network.

    Returns:
        Key -> weight, by the backbone's own keys.

    Example:
        >>> backbone_state({"encoder.conv1.weight": torch.ones(1)}).keys()
        dict_keys(['conv1.weight'])
    """
    return part_of(state, "backbone", "encoder")


def of_run(path: str | Path) -> Path:
    """The checkpoint that a path stands for.

    Args:
        path: of the checkpoint, its run's folder, or a folder around it, as of a benchmark's cell.

    Returns:
        The file, which need not exist if `path` is no folder.

    Raises:
        CheckpointError: if a folder holds none, or several runs.

    Example:
        >>> of_run("runs/gedi-ep=7.ckpt").name
        'gedi-ep=7.ckpt'
    """
    path = Path(path)
    if not os.path.isdir(path):
        return path
    if own := last(path):
        return own
    within = [found for depth in ("*/", "*/*/") for run in path.glob(depth) if (found := last(run))]
    if len(within) > 1:
        raise CheckpointError(
            f"{path} holds {len(within)} runs: choose one, such as {within[0].parent}"
        )
    if not within:
        raise CheckpointError(f"{path} holds no checkpoint (*-ep=N.ckpt) of a pretraining run")
    return within[0]


def last(folder: Path) -> Path | None:
    """The checkpoint in a run's folder that is furthest.

    Args:
        folder: of the run.

    Returns:
        The file; None if there is none.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for label in ("ep=2", "ep=10", "ep=10-batch=7"):
        ...         Path(folder, f"gedi-{label}.ckpt").touch()
        ...     last(Path(folder)).name
        'gedi-ep=10.ckpt'
    """
    named = (path for path in folder.glob("*-ep=*.ckpt") if _LABEL.search(path.name))
    return max(named, key=progress, default=None)


def progress(path: Path) -> tuple[int, int]:
    """How far a checkpoint is, by its name.

    Args:
        path: of a checkpoint, as `last` finds it.

    Returns:
        The epochs that are done, and the batches of the next one.

    Raises:
        CheckpointError: if the name does not say it.

    Example:
        >>> progress(Path("gedi-digits-20260102-ep=7.ckpt"))
        (8, 0)
        >>> progress(Path("gedi-digits-20260102-ep=7-batch=30.ckpt"))
        (7, 30)
    """
    found = _LABEL.search(path.name)
    if found is None:
        raise CheckpointError(f"{path} is not called *-ep=N.ckpt, as a run's checkpoints are")
    epoch, batches = int(found[1]), int(found[2] or 0)
    return (epoch, batches) if batches else (epoch + 1, 0)


def epochs_of(checkpoint: Mapping[str, Any]) -> float:
    """How many epochs a checkpoint has been trained for, by its content.

    Args:
        checkpoint: as `read` gives it.

    Returns:
        A whole number; with hundredths where the run was stopped within an epoch.

    Example:
        >>> epochs_of({"epoch": 7})
        8
    """
    epoch: int = checkpoint.get("epoch", -1)
    loops = checkpoint.get("loops", {}).get("fit_loop", {})
    current = loops.get("epoch_progress", {}).get("current", {})
    length: int | None = checkpoint.get("batches_per_epoch")
    if length and current.get("ready", 0) > current.get("processed", 0):
        done: int = loops["epoch_loop.batch_progress"]["current"]["completed"]
        return round(epoch + done / length, 2)
    return epoch + 1

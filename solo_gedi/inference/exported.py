"""A model as safetensors and JSON, in Hugging Face's layout: the format, and the shipped models.

`config.json` holds the run's config and what else a checkpoint knows; `model.safetensors` holds the
weights by the names that they have in a checkpoint. Nothing in them is executed.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from solo_gedi.errors import CheckpointError, ConfigError, reason
from solo_gedi.inference.heads import Prototypes
from solo_gedi.inference.model import Model

LIBRARY = "solo-gedi"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
SHIPPED = Path(__file__).parents[1] / "models"
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16}

# Of a run's config: what is its machine's business alone.
_PRIVATE = ("checkpoint", "wandb", "auto_resume", "resume_from_checkpoint")
# Arguments of timm's and torchvision's networks that fetch or unpickle weights.
_FETCHING = ("checkpoint_path", "cache_dir", "pretrained", "weights")


def list_models() -> list[str]:
    """The names of the trained models that the package ships, for `load`.

    Example:
        >>> list_models()
        ['gedi-digits']
    """
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{CONFIG}"))


def shipped_model(name: str) -> Path | None:
    """The folder of a shipped model; None if there is none of this name, or a path that has it."""
    return SHIPPED / name if name in list_models() and not Path(name).exists() else None


def is_exported(path: Path) -> bool:
    """Whether a path is a folder of this format; that its files are whole is not said."""
    return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()


def write_exported(model: Model, folder: Path, precision: str = "fp32") -> None:
    """Write `config.json` and `model.safetensors`, and the reference where there is one.

    Args:
        model: to be written.
        folder: which exists.
        precision: of the weights, a key of `PRECISIONS`.
    """
    write_weights(folder / WEIGHTS, checkpoint_state(model), precision)
    config = {
        "library_name": LIBRARY,
        "format": 1,
        "epochs": model.epochs,
        "divergence": model.events,
        "sgld": asdict(model.sgld),
        "num_clusters": model.num_clusters,
        "input_shape": model.input_shape,
        "run": _public(model.config),
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    if model.reference is not None:
        model.reference.write(folder, WEIGHTS, model.epochs)


def read_exported(folder: Path) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """The weights' path, the run's config, and what a checkpoint would hold.

    Args:
        folder: for which `is_exported`.

    Raises:
        CheckpointError: if a file is broken, or of another library.
    """
    path, config = folder / WEIGHTS, folder / CONFIG
    try:
        about = json.loads(config.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{config} cannot be read: {reason(error)}") from error
    if not isinstance(about, dict) or about.get("library_name") != LIBRARY:
        raise CheckpointError(
            f"{config} is not of a model that solo-gedi exported as a whole "
            "(--part model --format huggingface), which alone can be loaded"
        )
    run = about.get("run")
    if about.get("format") != 1 or not isinstance(run, dict):
        raise CheckpointError(f"{config} is of a later version of solo-gedi, or broken")
    if isinstance(backbone := run.get("backbone"), dict):
        kwargs = (backbone.get("kwargs") or {}).items()
        own = {key: value for key, value in kwargs if not key.startswith(_FETCHING)}
        run = {**run, "backbone": {**backbone, "kwargs": own}}
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} cannot be read: it is cut short, or no safetensors ({reason(error)})"
        ) from error
    checkpoint = {
        "state_dict": {k: v.float() if v.is_floating_point() else v for k, v in state.items()},
        "epoch": about.get("epochs", 0) - 1,
        "callbacks": {"DivergenceGuard": {"events": about.get("divergence", [])}},
        "sgld": about.get("sgld", {}),
    }
    return path, run, checkpoint


def write_weights(path: Path, state: Mapping[str, Tensor], precision: str = "fp32") -> None:
    """Write weights as safetensors, which wants each in memory of its own.

    Args:
        path: of the file.
        state: the weights.
        precision: of those with a fraction, a key of `PRECISIONS`.
    """
    dtype = PRECISIONS[precision]
    whole = {
        key: value.detach()
        .to("cpu", dtype if value.is_floating_point() else None, copy=True)
        .contiguous()
        for key, value in state.items()
    }
    for key, value in whole.items():
        if not value.isfinite().all() and state[key].isfinite().all():
            raise ConfigError(
                f"precision={precision} ends at {torch.finfo(dtype).max:g}, and {key} has "
                f"{float(state[key].abs().max()):g}: take fp32"
            )
    path.write_bytes(save(whole, metadata={"format": "pt"}))


def checkpoint_state(model: Model) -> dict[str, Tensor]:
    """A model's weights by the names that they have in a checkpoint."""
    head = model.head
    parts = {"backbone": model.backbone, "projector": head}
    state: dict[str, Tensor] = {}
    if isinstance(head, Prototypes):
        parts["projector"] = head.projector
        state["prototypes.weight"] = head.prototypes
    for name, part in parts.items():
        state |= {f"{name}.{key}": value for key, value in part.state_dict().items()}
    return state


def _public(config: dict[str, Any]) -> dict[str, Any]:
    """A run's config without what only its machine knows: loggers, and where its files are."""
    data = {
        key: None if isinstance(value, str) and Path(value).is_absolute() else value
        for key, value in config["data"].items()
    }
    return {k: v for k, v in config.items() if k not in _PRIVATE} | {"data": data}

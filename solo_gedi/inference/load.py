"""Reading a trained method back, without solo-learn, Lightning or Hydra."""

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Protocol

import torch

from solo_gedi.backbones import FACTORIES, BackboneFactory, build_backbone, features_dim
from solo_gedi.core import checkpoints
from solo_gedi.core.devices import best_device
from solo_gedi.core.reference import read_reference
from solo_gedi.core.sampler import SGLDSettings, saved_sampler
from solo_gedi.data import SampleSpace, spec_of
from solo_gedi.errors import CheckpointError
from solo_gedi.files import given_path
from solo_gedi.inference.exported import (
    WEIGHTS,
    is_exported,
    list_models,
    read_exported,
    shipped_model,
)
from solo_gedi.inference.heads import build_head, size_of
from solo_gedi.inference.model import Model


class HasCheckpoint(Protocol):
    """A `Run`, or whatever else knows its checkpoint."""

    @property
    def checkpoint(self) -> Path | None:
        """The file."""


def load(
    source: str | Path | HasCheckpoint,
    *,
    backbones: Mapping[str, BackboneFactory] | None = None,
    device: str | torch.device | None = None,
) -> Model:
    """A trained method, ready to be used.

    Args:
        source: a `Run`, a checkpoint, the folder of a run, of a benchmark's cell or of an export,
            or the name of a shipped model, see `list_models`.
        backbones: name -> factory(method, **kwargs) of networks that this package does not know.
        device: where to put it; a GPU if there is one when None.

    Raises:
        CheckpointError: if there is none, it does not fit the config beside it, or its weights
            are not finite.

    Example:
        model = load("trained_models/gedi/20260102-030405")
    """
    shipped = shipped_model(str(source)) if isinstance(source, str | Path) else None
    path, config, checkpoint = read_run(shipped or source)
    data, kwargs = config["data"], config.get("method_kwargs") or {}
    backbone_cfg, augmentation = config["backbone"], config["augmentations"][0]
    known = {**FACTORIES, **(backbones or {})}
    if backbone_cfg["name"] not in known:
        raise CheckpointError(
            f"backbone.name={backbone_cfg['name']!r} of {path} is known to solo-learn alone: give "
            f"its factory with load(..., backbones={{...}}); known are {sorted(known)}"
        )
    backbone = build_backbone(
        backbone_cfg["name"],
        backbone_cfg.get("kwargs"),
        method=config["method"],
        dataset=data["dataset"],
        factories=known,
    )
    state = checkpoint["state_dict"]
    own = checkpoints.backbone_state(state)
    # By the names that they have in the checkpoint, which a message is to give.
    saved, needed = (
        {f"backbone.{key}": value for key, value in part.items()}
        for part in (own, backbone.state_dict())
    )
    checkpoints.check_state(saved, needed, path)
    backbone.load_state_dict(own)
    head, output = build_head(state, kwargs, path)

    spec, size = spec_of(data["dataset"]), augmentation["crop_size"]
    normalization: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    input_shape: tuple[int, ...] = (2,)
    if spec.points:
        space = SampleSpace()
    else:
        normalization = spec.normalization(augmentation)
        input_shape = (len(normalization[0]), size, size)
        space = SampleSpace.of_images(*normalization)
    events = checkpoint.get("callbacks", {}).get("DivergenceGuard", {}).get("events", [])
    buffers = [buffer["chains"] for buffer in checkpoint.get("replay_buffers", [])]
    epochs = checkpoints.epochs_of(checkpoint)
    model = Model(
        backbone,
        head,
        output=output,
        num_clusters=size_of(head, features_dim(backbone)),
        space=space,
        normalization=normalization,
        input_shape=input_shape,
        config=config,
        sgld=_settings(kwargs.get("sgld"), checkpoint, points=spec.points is not None),
        # Nobody's files are to be written where the package is installed.
        checkpoint=None if shipped else path,
        epochs=epochs,
        events=list(events),
        chains=torch.cat(buffers).float() if buffers else None,  # of "64-true", doubles
        has_energy=output == "cluster head",
        reference=read_reference(path, epochs),
    )
    return model.to(device or best_device())


def read_run(source: str | Path | HasCheckpoint) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """The path, config and content of a run's last checkpoint.

    Args:
        source: as that of `load`.

    Raises:
        CheckpointError: if there is none, or it is not of a pretraining run.
    """
    if not isinstance(source, str | Path):
        if source.checkpoint is None:
            raise CheckpointError("this run has no checkpoint: checkpoint.enabled was false")
        source = source.checkpoint
    given = given_path(source)
    given = given.parent if given.name == WEIGHTS else given
    config: dict[str, Any] | None
    if is_exported(given):
        path, config, checkpoint = read_exported(given)
        args = path.parent / "config.json"
    else:
        _check_there(given)
        path = checkpoints.of_run(given)
        checkpoint = checkpoints.read(path)
        config, args = checkpoints.saved_config(path), path.parent / "args.json"
    if config is None:
        raise CheckpointError(f"{path.parent} has no args.json, in which a run keeps its config")
    if "method" not in config:
        raise CheckpointError(f"{path} is not of a pretraining run: its args.json names no method")
    for section in ("backbone", "data"):
        if not isinstance(config.get(section), dict):
            raise CheckpointError(
                f"{section} must be a section with keys of its own in {args}, "
                f"got {config.get(section)!r}"
            )
    needed = {
        "backbone.name": config["backbone"].get("name"),
        "data.dataset": config["data"].get("dataset"),
        "augmentations": config.get("augmentations"),
    }
    if missing := [key for key, value in needed.items() if not value]:
        raise CheckpointError(f"{missing[0]} is missing from {args}")
    return path, config, checkpoint


def _check_there(source: str | Path) -> None:
    """Check that a path exists; what is no path may have been meant as a shipped model's name.

    Raises:
        CheckpointError: naming the shipped models that are near it, or all.
    """
    if Path(source).exists():
        return
    shipped = get_close_matches(str(source), list_models()) or list_models()
    raise CheckpointError(
        f"checkpoint {source} does not exist (from {Path.cwd()}), nor does a shipped model of this "
        f"name: there is {', '.join(shipped)}"
    )


def _settings(
    given: Mapping[str, Any] | None, checkpoint: dict[str, Any], *, points: bool
) -> SGLDSettings:
    """The sampler's settings as the run ended, or those of Tables 3 and 5."""
    if "sgld" in checkpoint:  # of an export, as the run ended
        return SGLDSettings(**checkpoint["sgld"])
    known = {field.name for field in fields(SGLDSettings)}
    own = {key: value for key, value in (given or {}).items() if key in known}
    settings = SGLDSettings(**{**({"step_size": 5e-5} if points else {}), **own})
    settings.step_size *= saved_sampler(checkpoint).get("step_factor", 1.0)
    return settings

"""A trained model, or its backbone, in the files of other libraries."""

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from solo_gedi.backbones import features_dim
from solo_gedi.core import log_density
from solo_gedi.core.processes import get_logger
from solo_gedi.core.reference import NAME as REFERENCE
from solo_gedi.errors import ConfigError, MissingPackageError, reason
from solo_gedi.files import check_output, given_path, written_folder
from solo_gedi.inference.card import model_card
from solo_gedi.inference.exported import (
    CONFIG,
    PRECISIONS,
    WEIGHTS,
    write_exported,
    write_weights,
)
from solo_gedi.inference.load import HasCheckpoint, load
from solo_gedi.inference.model import Model

logger = get_logger(__name__)

# What an earlier export and its evaluation have left would be taken for this model's.
_OF_A_MODEL = (
    *(REFERENCE, WEIGHTS, "model.onnx", "README.md"),
    *("metrics.json", "report.json", "report.html", "faults.txt"),
)

FORMATS = {
    "model": ("huggingface", "onnx"),
    "backbone": ("timm", "torchvision", "state_dict", "onnx"),
}


def export(
    model: Model | str | Path | HasCheckpoint,
    out: str | Path,
    *,
    part: str = "model",
    format: str = "huggingface",
    precision: str = "fp32",
    overwrite: bool = False,
) -> Path:
    """Write a trained model, or its backbone, into a folder.

    `huggingface`, of the whole model: `model.safetensors`, `config.json` and a model card
    (`README.md`), which `load` reads where neither solo-learn nor Lightning nor Hydra is installed.

    `timm` and `torchvision`, of the backbone: weights that load strictly into their network of the
    same name without its classifier; `config.json` says how. `state_dict`: the backbone's weights
    by its own keys. `onnx`: `model.onnx` for batches of any size, whose numbers are compared with
    the model's in onnxruntime.

    Args:
        model: what `load` gives, or takes.
        out: the folder.
        part: "model" or "backbone".
        format: of the model "huggingface" or "onnx"; of the backbone "timm", "torchvision",
            "state_dict" or "onnx".
        precision: of the weights, "fp32" or "fp16", which is half as large; ONNX is fp32.
        overwrite: whether `out` may have files already, which are replaced.

    Returns:
        The folder.

    Raises:
        ConfigError: if the part has no such format, the backbone is not that library's network, or
            the folder has files.
        MissingPackageError: for ONNX without its packages.

    Example:
        export("trained_models/gedi/20260102-030405", "digits-gedi")
        export("trained_models/gedi/20260102-030405", "resnet", part="backbone", format="timm")
    """
    folder = given_path(out)
    if part not in FORMATS:
        raise ConfigError(f"part={part!r}: choose from {', '.join(FORMATS)}")
    if format not in FORMATS[part]:
        raise ConfigError(
            f"a {part} has no format={format!r}: choose from {', '.join(FORMATS[part])}"
        )
    if precision not in PRECISIONS or (precision != "fp32" and format == "onnx"):
        raise ConfigError(
            f"precision={precision!r} of {format}: choose from fp32, fp16; onnx is fp32"
        )
    check_output(folder, "out", overwrite, folder=True)
    if (folder / "args.json").exists() or any(folder.glob("*.ckpt")):
        raise ConfigError(f"out={folder} is the folder of a run: give another name")
    if format == "onnx":
        _onnx_packages()
    model = model if isinstance(model, Model) else load(model)
    weights = (folder / WEIGHTS, folder / "model.onnx")
    earlier = (folder / CONFIG).is_file() and any(map(Path.is_file, weights))
    with written_folder(folder) as new:
        if format == "huggingface":
            write_exported(model, new, precision)
            (new / "README.md").write_text(
                model_card(model, folder.name, precision), encoding="utf-8"
            )
        elif format == "onnx":
            _write_onnx(model, part, new)
        else:
            _write_backbone(model, format, precision, new)
        of_another = [folder / name for name in _OF_A_MODEL if not (new / name).exists()]
    own = model.folder is not None and model.folder.resolve() == folder.resolve()
    for path in of_another if earlier and not own else ():
        path.unlink(missing_ok=True)
    size = sum(path.stat().st_size for path in folder.iterdir())
    logger.info("%s as %s, %.0f kB: %s", part, format, size / 1000, folder)
    return folder


def _write_backbone(model: Model, format: str, precision: str, folder: Path) -> None:
    about = _about(model)
    if format == "timm":
        about |= _as_timm(model)
    elif format == "torchvision":
        about |= _as_torchvision(model)
    write_weights(folder / WEIGHTS, model.backbone.state_dict(), precision)
    (folder / CONFIG).write_text(json.dumps(about, indent=2) + "\n")


def _about(model: Model) -> dict[str, Any]:
    """What a user of the backbone's weights must know."""
    backbone, normalization = model.config["backbone"], model.normalization
    return {
        "backbone": backbone["name"],
        "kwargs": backbone.get("kwargs") or {},
        "num_features": features_dim(model.backbone),
        "input_shape": model.input_shape,
        "mean": normalization and normalization[0],
        "std": normalization and normalization[1],
        "method": model.config["method"],
        "dataset": model.config["data"]["dataset"],
        "epochs": model.epochs,
    }


def _as_timm(model: Model) -> dict[str, Any]:
    """Hugging Face's config of a timm model; the weights are timm's already."""
    import timm

    module = type(model.backbone).__module__
    name, kwargs = model.config["backbone"]["name"], model.config["backbone"].get("kwargs") or {}
    if module.startswith("timm."):  # which knows by what name it has built a network
        name = str(getattr(model.backbone, "pretrained_cfg", {}).get("architecture", ""))
    if not timm.is_model(name):
        raise _foreign(model, "timm")
    given = {key: value for key, value in kwargs.items() if not key.startswith("pretrained")}
    _check_same(model, lambda: timm.create_model(name, num_classes=0, **given), "timm")
    normalization = model.normalization or ((), ())
    return {
        "architecture": name,
        "num_classes": 0,
        "model_args": given,
        "pretrained_cfg": {
            "num_classes": 0,
            "input_size": model.input_shape,
            "mean": normalization[0],
            "std": normalization[1],
            "interpolation": "bicubic",
            "crop_pct": 1.0,
        },
        "how_to_load": f"timm.create_model('local-dir:FOLDER', pretrained=True), or the weights "
        f"into timm.create_model({name!r}, num_classes=0{_written(given)})",
    }


def _written(kwargs: Mapping[str, Any]) -> str:
    """Keyword arguments as they follow others in a call."""
    return "".join(f", {key}={value!r}" for key, value in kwargs.items())


def _as_torchvision(model: Model) -> dict[str, Any]:
    from torchvision import models

    name, kwargs = model.config["backbone"]["name"], model.config["backbone"].get("kwargs") or {}
    if not type(model.backbone).__module__.startswith("torchvision."):
        raise _foreign(model, "torchvision")

    def build() -> nn.Module:
        network: nn.Module = models.get_model(name, weights=None, **kwargs)
        network.fc = nn.Identity()
        return network

    _check_same(model, build, "torchvision")
    return {
        "how_to_load": f"network = torchvision.models.get_model({name!r}{_written(kwargs)}); "
        "network.fc = torch.nn.Identity(); network.load_state_dict(WEIGHTS)"
    }


def _check_same(model: Model, build: Callable[[], nn.Module], library: str) -> None:
    """Check that the library's own network takes the weights, and gives the same features.

    Raises:
        ConfigError: if it does not.
    """
    try:
        theirs = build().eval()
        theirs.load_state_dict({k: v.cpu() for k, v in model.backbone.state_dict().items()})
        x = torch.randn(2, *model.input_shape, generator=torch.Generator().manual_seed(0))
        own = copy.deepcopy(model.backbone).cpu()  # convolutions of GPUs round, by TF32
        with torch.inference_mode():
            torch.testing.assert_close(theirs(x), own(x), rtol=1e-3, atol=1e-4)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise _foreign(model, library) from error


def _foreign(model: Model, library: str) -> ConfigError:
    name, dataset = model.config["backbone"]["name"], model.config["data"]["dataset"]
    why = "is not a network of that library"
    if name.startswith("resnet"):
        why = f"is not its network of this name: its first layers differ, for {dataset}"
    return ConfigError(f"format={library}: {name} {why}; take format=state_dict or onnx")


class _Named(nn.Module):
    """A model for ONNX: the tensors of its output, in order."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        features, scores = self.model(x)
        return features, scores, log_density(scores)


def _write_onnx(model: Model, part: str, folder: Path) -> None:
    """Write `model.onnx`, and compare its numbers with the model's.

    Raises:
        ConfigError: if the network cannot be written as ONNX, or gives other numbers there.
    """
    _, onnxruntime = _onnx_packages()
    network: nn.Module = model.backbone if part == "backbone" else _Named(model)
    names = ["features", "scores", "log_density"][: 1 if part == "backbone" else 3]
    path = folder / "model.onnx"
    x = torch.randn(2, *model.input_shape, generator=torch.Generator().manual_seed(0))
    device, network = model.device, network.cpu()
    try:
        torch.onnx.export(
            network.eval(),
            (x,),
            path,
            dynamo=True,
            input_names=["x"],
            output_names=names,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            verbose=False,
        )
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for n in (1, 5):
            x = torch.randn(n, *model.input_shape, generator=torch.Generator().manual_seed(n))
            with torch.inference_mode():
                expected = network(x)
            expected = expected if isinstance(expected, tuple) else (expected,)
            found = session.run(names, {"x": x.numpy()})
            for name, theirs, own in zip(names, found, expected, strict=True):
                if not torch.allclose(torch.from_numpy(theirs), own, rtol=1e-3, atol=1e-4):
                    raise ValueError(f"{name} differs in onnxruntime")
    except Exception as error:  # the exporter raises a different class for every way to fail
        raise ConfigError(f"this model cannot be written as ONNX: {reason(error)}") from error
    finally:
        network.to(device)
    about = {**_about(model), "input": "x", "outputs": names}
    (folder / CONFIG).write_text(json.dumps(about, indent=2) + "\n")


def _onnx_packages() -> tuple[Any, Any]:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  # torch's exporter imports it
    except ImportError as error:
        raise MissingPackageError(
            "ONNX needs onnx, onnxscript and onnxruntime: pip install 'solo-gedi[export]'"
        ) from error
    return onnx, onnxruntime

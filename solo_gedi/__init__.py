"""GEDI for solo-learn: one network that clusters, generates and detects outliers.

    import solo_gedi as sg

    cfg = sg.load_config("digits/gedi", ["max_epochs=5"])  # a shipped config, or a path
    run = sg.pretrain(cfg)
    model = sg.load(run)
    result = sg.evaluate(model, tasks=("clustering", "ood"))

Importing this package costs nothing and changes nothing: what is used is imported then, and
`register()` adds the methods to the installed solo-learn. `solo_gedi.core` is plain PyTorch.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

__version__ = version("solo-gedi")

if TYPE_CHECKING:
    from solo_gedi.comparison.benchmark import benchmark as benchmark
    from solo_gedi.config import list_configs as list_configs
    from solo_gedi.config import load_config as load_config
    from solo_gedi.inference import Model as Model
    from solo_gedi.inference import export as export
    from solo_gedi.inference import iter_predictions as iter_predictions
    from solo_gedi.inference import list_models as list_models
    from solo_gedi.inference import load as load
    from solo_gedi.inference import predict as predict
    from solo_gedi.inference import sample as sample
    from solo_gedi.methods import register as register
    from solo_gedi.report import evaluate as evaluate
    from solo_gedi.report.explore import explore as explore
    from solo_gedi.training import Run as Run
    from solo_gedi.training.linear import linear as linear
    from solo_gedi.training.pretrain import pretrain as pretrain

_FRONT = {
    "Model": "inference",
    "Run": "training",
    "benchmark": "comparison",
    "evaluate": "report",
    "explore": "report",
    "export": "inference",
    "linear": "training",
    "list_configs": "config",
    "iter_predictions": "inference",
    "list_models": "inference",
    "load": "inference",
    "load_config": "config",
    "predict": "inference",
    "sample": "inference",
    "pretrain": "training",
    "register": "methods",
}

__all__ = sorted(_FRONT)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _FRONT:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FRONT[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_FRONT})

"""Trained methods, to be used where neither solo-learn nor Lightning is installed."""

from solo_gedi.inference.export import export
from solo_gedi.inference.exported import list_models
from solo_gedi.inference.load import load, read_run
from solo_gedi.inference.model import Model, Outputs
from solo_gedi.inference.predict import iter_predictions, predict
from solo_gedi.inference.sample import sample

__all__ = [
    "Model",
    "Outputs",
    "export",
    "iter_predictions",
    "list_models",
    "load",
    "predict",
    "read_run",
    "sample",
]

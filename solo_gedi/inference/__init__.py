"""Trained methods, to be used where neither solo-learn nor Lightning is installed."""

from solo_gedi.inference.load import load, read_run
from solo_gedi.inference.model import Model, Outputs
from solo_gedi.inference.predict import predict

__all__ = ["Model", "Outputs", "load", "predict", "read_run"]

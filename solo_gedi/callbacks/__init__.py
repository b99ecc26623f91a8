"""Lightning callbacks that serve any method of solo-learn's."""

from solo_gedi.callbacks.augmentation import Augmentation
from solo_gedi.callbacks.checkpointer import AtomicCheckpointIO, Checkpointer
from solo_gedi.callbacks.divergence_guard import DivergenceGuard
from solo_gedi.callbacks.graceful_stop import GracefulStop
from solo_gedi.callbacks.input_noise import InputNoise
from solo_gedi.callbacks.random_state import RandomState
from solo_gedi.callbacks.sample_grid import SampleGrid
from solo_gedi.callbacks.triad import Triad

__all__ = [
    "AtomicCheckpointIO",
    "Augmentation",
    "Checkpointer",
    "DivergenceGuard",
    "GracefulStop",
    "InputNoise",
    "RandomState",
    "SampleGrid",
    "Triad",
]

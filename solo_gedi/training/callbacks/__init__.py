"""Lightning callbacks that serve any method of solo-learn's."""

from solo_gedi.training.callbacks.augmentation import Augmentation
from solo_gedi.training.callbacks.checkpointer import AtomicCheckpointIO, Checkpointer
from solo_gedi.training.callbacks.divergence_guard import DivergenceGuard
from solo_gedi.training.callbacks.graceful_stop import GracefulStop
from solo_gedi.training.callbacks.input_noise import InputNoise
from solo_gedi.training.callbacks.late_state import LateState
from solo_gedi.training.callbacks.progress import Progress
from solo_gedi.training.callbacks.random_state import RandomState
from solo_gedi.training.callbacks.sample_grid import SampleGrid
from solo_gedi.training.callbacks.schedule import Schedule
from solo_gedi.training.callbacks.triad import Triad

__all__ = [
    "AtomicCheckpointIO",
    "Augmentation",
    "Checkpointer",
    "DivergenceGuard",
    "GracefulStop",
    "InputNoise",
    "LateState",
    "Progress",
    "RandomState",
    "SampleGrid",
    "Schedule",
    "Triad",
]

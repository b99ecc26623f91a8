"""GEDI in plain PyTorch: energy, sampler, replay buffer, loss terms and objective."""

from solo_gedi.core.batch_norm import kept_statistics, mixes_batch
from solo_gedi.core.energy import EnergyHead, input_gradient, input_score, log_density
from solo_gedi.core.failure_modes import cluster_entropy, clusters_used
from solo_gedi.core.losses import generative_loss, invariance_loss, prior_loss
from solo_gedi.core.objective import GEDIObjective
from solo_gedi.core.precision import DTYPES, choose_precision, gradient_cosine
from solo_gedi.core.replay_buffer import ReplayBuffer
from solo_gedi.core.sampler import Sampler, SGLDSettings, saved_sampler
from solo_gedi.core.sgld import (
    constant_weights,
    evaluation_mode,
    langevin_step,
    sample_sgld,
)
from solo_gedi.core.spectral_norm import SpectralBound

__all__ = [
    "DTYPES",
    "EnergyHead",
    "GEDIObjective",
    "ReplayBuffer",
    "SGLDSettings",
    "Sampler",
    "SpectralBound",
    "choose_precision",
    "cluster_entropy",
    "clusters_used",
    "constant_weights",
    "evaluation_mode",
    "generative_loss",
    "gradient_cosine",
    "input_gradient",
    "input_score",
    "invariance_loss",
    "kept_statistics",
    "langevin_step",
    "log_density",
    "mixes_batch",
    "prior_loss",
    "sample_sgld",
    "saved_sampler",
]

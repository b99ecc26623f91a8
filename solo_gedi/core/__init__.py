"""GEDI in plain PyTorch: energy, sampler, replay buffer, loss terms and objective."""

from solo_gedi.core.energy import EnergyHead, input_gradient, log_density
from solo_gedi.core.failure_modes import cluster_entropy, clusters_used
from solo_gedi.core.losses import generative_loss, invariance_loss, prior_loss
from solo_gedi.core.objective import GEDIObjective
from solo_gedi.core.precision import DTYPES, choose_precision, gradient_cosine
from solo_gedi.core.replay_buffer import ReplayBuffer
from solo_gedi.core.sgld import evaluation_mode, langevin_step, sample_sgld
from solo_gedi.core.spectral_norm import limit_spectral_norm, limit_spectral_norms

__all__ = [
    "DTYPES",
    "EnergyHead",
    "GEDIObjective",
    "ReplayBuffer",
    "choose_precision",
    "cluster_entropy",
    "clusters_used",
    "evaluation_mode",
    "generative_loss",
    "gradient_cosine",
    "input_gradient",
    "invariance_loss",
    "langevin_step",
    "limit_spectral_norm",
    "limit_spectral_norms",
    "log_density",
    "prior_loss",
    "sample_sgld",
]

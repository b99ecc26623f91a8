"""Measuring how likely a trained network finds its training images."""

from collections.abc import Callable
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from solo_gedi.core.reference import MAX_IMAGES, Reference
from solo_gedi.data import spec_of
from solo_gedi.training import loaders


def measure_reference(
    log_density: Callable[[Tensor], Tensor], cfg: DictConfig, device: Any
) -> Reference | None:
    """The quantiles of log p over training images as they are, 10,000 of them at most.

    Args:
        log_density: network inputs (n, ...) -> (n,), with the network in evaluation mode.
        cfg: parsed config of the run.
        device: the network's.

    Returns:
        None for points, which are drawn anew all the time.

    Raises:
        DataError: if the data cannot be read.
    """
    if spec_of(cfg.data.dataset).points:
        return None
    # A loader takes a seed for its workers from the global random state.
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        batches = loaders.training_images(cfg, MAX_IMAGES)
        return Reference.of([log_density(x.to(device)) for x in batches])

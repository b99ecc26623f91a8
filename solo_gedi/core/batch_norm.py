"""Batch norm, under which a point's density depends on the batch that it comes with."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def mixes_batch(network: nn.Module) -> bool:
    """Whether a point's output depends on the batch that it comes with, as under batch norm.

    Args:
        network: any; a layer of its own kind says so by an attribute `mixes_batch`.

    Example:
        >>> mixes_batch(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)))
        True
        >>> mixes_batch(nn.Linear(2, 3))
        False
    """
    return any(
        isinstance(layer, _BatchNorm) or getattr(layer, "mixes_batch", False)
        for layer in network.modules()
    )


@contextmanager
def kept_statistics(*networks: nn.Module) -> Iterator[None]:
    """Context in which batch norm leaves its running statistics as they are.

    In training mode it still normalises by each batch's own.

    Args:
        networks: whose layers say by `track_running_stats` that they have such statistics.

    Example:
        >>> import torch
        >>> layer = nn.BatchNorm1d(2)
        >>> with kept_statistics(layer):
        ...     _ = layer(5 + torch.rand(8, 2))
        >>> layer.running_mean
        tensor([0., 0.])
    """
    layers: list[Any] = [
        layer
        for network in networks
        for layer in network.modules()
        if getattr(layer, "track_running_stats", False)
    ]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True

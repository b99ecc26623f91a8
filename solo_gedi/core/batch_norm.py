"""Batch norm, under which a point's density depends on the batch that it comes with."""

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

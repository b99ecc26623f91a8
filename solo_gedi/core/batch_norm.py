"""Batch norm, under which a point's density depends on the batch that it comes with."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
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
def statistics_of_first(n: int, *networks: nn.Module) -> Iterator[None]:
    """Let batch norm take its mean and variance from the first n points, for the whole batch.

    Gradients run through them. Running statistics lag behind the weights, and a density by these
    is raised without end by features that outgrow them: the networks of a generative term explode.

    Args:
        n: at least 2; the batch may go on with other points.
        networks: in evaluation mode, so that their running statistics stay as they are.

    Example:
        >>> norm, x = nn.BatchNorm1d(1).eval(), torch.tensor([[1.0], [3.0], [5.0]])
        >>> with statistics_of_first(2, norm):
        ...     norm(x).flatten().round(decimals=3).tolist()
        [-1.0, 1.0, 3.0]
    """

    def normalised(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        assert isinstance(layer, _BatchNorm)
        x = inputs[0].float() if inputs[0].dtype in (torch.half, torch.bfloat16) else inputs[0]
        over = (0, *range(2, x.dim()))
        mean = x[:n].mean(over, keepdim=True)
        variance = x[:n].var(over, correction=0, keepdim=True)
        x = (x - mean) * (variance + layer.eps).rsqrt()
        if layer.affine:
            x = x * layer.weight.view(mean.shape) + layer.bias.view(mean.shape)
        return x.to(output.dtype)

    layers = [m for root in networks for m in root.modules() if isinstance(m, _BatchNorm)]
    hooks = [layer.register_forward_hook(normalised) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()

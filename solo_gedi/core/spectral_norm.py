"""A bound on how steep a network can be: the largest singular values of its weights."""

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd


@torch.no_grad()
def limit_spectral_norm(weight: Tensor, limit: float) -> None:
    """Scale matrices down, in place, to a largest singular value of at most `limit`.

    A projection after the optimizer's step, as in Gouk et al., "Regularisation of neural networks
    by enforcing Lipschitz continuity" (2021). Unlike a reparametrisation it leaves the names in a
    checkpoint as they are, by which solo-learn's probe finds the backbone.

    Args:
        weight: (..., rows, columns); changed.
        limit: above 0.
    """
    rows, columns = weight.shape[-2:]
    gram = weight @ weight.mT if rows <= columns else weight.mT @ weight
    largest = torch.linalg.eigvalsh(gram)[..., -1].sqrt()
    weight.mul_((limit / largest.clamp_min(limit))[..., None, None])


def limit_spectral_norms(module: nn.Module, limit: float) -> None:
    """Do so for every linear layer and convolution, whose kernel (out, in, ...) is one matrix."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            limit_spectral_norm(layer.weight, limit)
        elif isinstance(layer, _ConvNd):
            matrix = layer.weight.detach().flatten(1)
            limit_spectral_norm(matrix, limit)
            layer.weight.data.copy_(matrix.view_as(layer.weight))

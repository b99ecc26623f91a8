"""A bound on how steep a network can be: the largest singular values of its weights."""

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd


def limit_spectral_norm(weight: Tensor, limit: float) -> None:
    """Scale matrices down, in place, to a largest singular value of at most `limit`.

    A projection after the optimizer's step, as in Gouk et al., "Regularisation of neural networks
    by enforcing Lipschitz continuity" (2021). Unlike a reparametrisation it leaves the names in a
    checkpoint as they are, by which solo-learn's probe finds the backbone.

    Args:
        weight: (..., rows, columns); changed.
        limit: above 0.
    """
    with torch.no_grad():
        weight.mul_(_scale(weight, limit)[..., None, None])


def limit_spectral_norms(module: nn.Module, limit: float) -> None:
    """Do so for every linear layer and convolution, whose kernel (out, in, ...) is one matrix."""
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Linear | _ConvNd):
                layer.weight.mul_(_scale(layer.weight.flatten(1), limit))


def _scale(matrix: Tensor, limit: float) -> Tensor:
    """The factors, at most 1, of matrices (..., rows, columns)."""
    rows, columns = matrix.shape[-2:]
    gram = matrix @ matrix.mT if rows <= columns else matrix.mT @ matrix
    # Weights that are not finite stay so, for the divergence guard to see.
    gram = gram.nan_to_num(0.0, 0.0, 0.0)
    largest = torch.linalg.eigvalsh(gram)[..., -1].clamp_min(0).sqrt()
    return limit / largest.clamp_min(limit)

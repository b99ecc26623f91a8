"""A bound on how steep a network can be: the largest singular values of its weights."""

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd


def limit_spectral_norm(weight: Tensor, limit: float) -> None:
    """Scale matrices down, in place, to a largest singular value of at most `limit`.

    A projection after the optimizer's step, as in Gouk et al., "Regularisation of neural networks
    by enforcing Lipschitz continuity" (2021). Not in the paper.

    Args:
        weight: (..., rows, columns); changed. Matrices that are not finite stay as they are.
        limit: above 0.

    Example:
        >>> weight = torch.diag(torch.tensor([4.0, 1.0]))
        >>> limit_spectral_norm(weight, limit=2.0)
        >>> weight
        tensor([[2.0000, 0.0000],
                [0.0000, 0.5000]])
    """
    with torch.no_grad():
        weight.mul_(_scale(weight, limit)[..., None, None])


def limit_spectral_norms(module: nn.Module, limit: float) -> None:
    """Apply `limit_spectral_norm` to every linear layer and convolution of a network.

    A convolution's kernel (out, in, ...) counts as one matrix with `out` rows. Layers of other
    kinds take part if they have an attribute `is_matrix_stack` and a `weight` (k, rows, columns).
    Unlike a reparametrisation this leaves the names in a checkpoint as they are, by which
    solo-learn's probe finds the backbone.

    Args:
        module: the network; its weights change in place.
        limit: above 0.

    Example:
        >>> layer = nn.Linear(3, 5)
        >>> limit_spectral_norms(nn.Sequential(layer, nn.ReLU()), limit=0.1)
        >>> round(float(torch.linalg.matrix_norm(layer.weight.detach(), 2)), 4)
        0.1
    """
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Linear | _ConvNd):
                layer.weight.mul_(_scale(layer.weight.flatten(1), limit))
            elif getattr(layer, "is_matrix_stack", False):
                limit_spectral_norm(layer.weight, limit)  # type: ignore[arg-type]


def _scale(matrix: Tensor, limit: float) -> Tensor:
    """The factors (...), at most 1, of matrices (..., rows, columns)."""
    rows, columns = matrix.shape[-2:]
    gram = matrix @ matrix.mT if rows <= columns else matrix.mT @ matrix
    # Weights that are not finite stay so, for the divergence guard to see.
    gram = gram.nan_to_num(0.0, 0.0, 0.0)
    largest = torch.linalg.eigvalsh(gram)[..., -1].clamp_min(0).sqrt()
    return limit / largest.clamp_min(limit)

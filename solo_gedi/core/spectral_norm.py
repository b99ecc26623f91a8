"""A bound on how steep a network can be: the largest singular values of its weights."""

from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

FIRST_ITERATIONS = 100  # from a random vector; from the last step's vector one is enough


class SpectralBound:
    """Scales weights down after optimizer steps to a largest singular value of about `limit`.

    A projection, as in Gouk et al., "Regularisation of neural networks by enforcing Lipschitz
    continuity" (2021). Not in the paper. Every linear layer and convolution takes part, a kernel
    (out, in, ...) as one matrix with `out` rows; layers of other kinds do by an attribute
    `is_matrix_stack` and a `weight` (k, rows, columns). Unlike a reparametrisation this leaves the
    names in a checkpoint as they are, by which solo-learn's probe finds the backbone.

    Batch norm is left alone: it divides by the spread of what comes in, and so undoes the bound of
    the layers before it.

    The value comes from power iteration, which goes on at each step from the singular vector of
    the step before (Miyato et al., "Spectral normalization for generative adversarial networks",
    2018). That is never above the exact one, and a few percent below it while another direction
    takes the lead. Nothing in it waits for a GPU.

    Args:
        networks: whose weights change in place.
        limit: above 0.

    Example:
        >>> layer = nn.Linear(3, 5)
        >>> SpectralBound([nn.Sequential(layer, nn.ReLU())], limit=0.1).apply()
        >>> round(float(torch.linalg.matrix_norm(layer.weight.detach(), 2)), 4)
        0.1
    """

    def __init__(self, networks: Sequence[nn.Module], limit: float) -> None:
        self.networks, self.limit = networks, limit
        self._vectors: list[Tensor] = []  # right singular vectors (..., columns, 1)

    @torch.no_grad()
    def apply(self) -> None:
        """Scale the matrices whose value is above the limit; those not finite stay as they are."""
        layers = list(self._layers())
        iterations = 1 if self._vectors else FIRST_ITERATIONS
        self._vectors = self._vectors or _random_vectors(matrix for _, matrix in layers)
        for i, (weight, matrix) in enumerate(layers):
            vector = self._vectors[i].to(matrix)
            for _ in range(iterations):
                vector = _iterate(matrix, vector)
            self._vectors[i] = vector
            norm = torch.linalg.vector_norm(matrix @ vector, dim=(-2, -1))
            # Weights that are not finite stay so, for the divergence guard to see.
            scale = self.limit / norm.nan_to_num(0.0, 0.0).clamp_min(self.limit)
            weight.mul_(scale.view(*scale.shape, *[1] * (weight.dim() - scale.dim())))

    def _layers(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Weights, and the matrices (..., rows, columns) that they are."""
        for network in self.networks:
            for layer in network.modules():
                if isinstance(layer, nn.Linear | _ConvNd):
                    yield layer.weight, layer.weight.flatten(1)
                elif getattr(layer, "is_matrix_stack", False):
                    yield layer.weight, layer.weight  # type: ignore[misc]  # a tensor: see SpectralBound

    def state_dict(self) -> list[Tensor]:
        """The vectors, on the CPU; none before the first step."""
        return [vector.cpu() for vector in self._vectors]

    def load_state_dict(self, vectors: Iterable[Tensor]) -> None:
        """Go on from saved vectors.

        Args:
            vectors: of `state_dict`.
        """
        self._vectors = list(vectors)


def _random_vectors(matrices: Iterable[Tensor]) -> list[Tensor]:
    """The same ones in every process."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(*m.shape[:-2], m.shape[-1], 1) for m in matrices]
    return [F.normalize(torch.randn(shape, generator=generator), dim=-2) for shape in shapes]


def _iterate(matrix: Tensor, vector: Tensor) -> Tensor:
    """A step of power iteration; a vector that a matrix leads nowhere stays."""
    turned = matrix.mT @ (matrix @ vector)
    size = torch.linalg.vector_norm(turned, dim=-2, keepdim=True)
    return torch.where((size > 0) & (size < torch.inf), turned / size, vector)

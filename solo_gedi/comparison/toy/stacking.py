"""Runs several small networks of one shape as one, since each alone is mostly overhead."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class StackedLinear(nn.Module):
    """Linear layers of k networks, (k, n, in) -> (k, n, out).

    Args:
        layers: one of each network. Weight-normed ones, as SwAV's prototypes are, must have
            weights of norm 1.

    Attributes:
        weight: (k, in, out).
    """

    is_matrix_stack = True  # for `SpectralBound`

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.unit_norm = hasattr(layers[0], "weight_v")
        self.weight = nn.Parameter(torch.stack([_weight(layer).detach().T for layer in layers]))
        has_bias = layers[0].bias is not None
        biases = [layer.bias.detach()[None] for layer in layers] if has_bias else []
        self.bias = nn.Parameter(torch.stack(biases)) if has_bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Each network's layer on its own points."""
        weight = F.normalize(self.weight, dim=1) if self.unit_norm else self.weight
        return x @ weight if self.bias is None else torch.baddbmm(self.bias, x, weight)

    def unstack(self, layers: Sequence[nn.Linear]) -> None:
        """Write the weights back into the layers they came from."""
        for k, layer in enumerate(layers):
            _weight(layer).data.copy_(self.weight[k].T)
            if self.bias is not None:
                layer.bias.data.copy_(self.bias[k, 0])


def _weight(layer: nn.Linear) -> Tensor:
    """The trained weight; that of a weight-normed layer is a direction of any length."""
    return getattr(layer, "weight_v", layer.weight)


class StackedBatchNorm(nn.Module):
    """Batch norm of k networks, each over its own points, (k, n, d) -> (k, n, d).

    Args:
        layers: one of each network.
    """

    mixes_batch = True  # for `core.mixes_batch`
    track_running_stats = True  # for `core.kept_statistics`
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, layers: Sequence[nn.BatchNorm1d]) -> None:
        super().__init__()
        self.momentum, self.eps = layers[0].momentum or 0.1, layers[0].eps
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers]))
        for name in ("running_mean", "running_var"):
            values: list[Any] = [getattr(layer, name) for layer in layers]
            self.register_buffer(name, torch.stack(values))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise; torch's own batch norm takes all networks' features as features of one."""
        k, n, d = x.shape
        kept = self.training and not self.track_running_stats
        flat = F.batch_norm(
            x.transpose(0, 1).reshape(n, k * d),
            None if kept else self.running_mean.view(-1),
            None if kept else self.running_var.view(-1),
            self.weight.view(-1),
            self.bias.view(-1),
            self.training,
            self.momentum,
            self.eps,
        )
        return flat.view(n, k, d).transpose(0, 1)

    def unstack(self, layers: Sequence[nn.BatchNorm1d]) -> None:
        """Write weights and running statistics back into the layers they came from."""
        for k, layer in enumerate(layers):
            for name in ("weight", "bias", "running_mean", "running_var"):
                getattr(layer, name).data.copy_(getattr(self, name)[k])


def stack(networks: Sequence[nn.Module]) -> nn.Module:
    """One network that runs k of the same architecture, each on its own points.

    Linear layers and batch norm are stacked; every other module must treat all points alike.

    Args:
        networks: of one architecture; they keep their weights.

    Returns:
        A network (k, n, in) -> (k, n, out) with copies of their weights.
    """
    first = networks[0]
    if isinstance(first, nn.Linear):
        return StackedLinear(networks)  # type: ignore[arg-type]
    if isinstance(first, nn.BatchNorm1d):
        return StackedBatchNorm(networks)  # type: ignore[arg-type]
    stacked = copy.copy(first)
    stacked._modules = {
        name: stack([network.get_submodule(name) for network in networks])
        for name, _ in first.named_children()
    }
    return stacked


def unstack(stacked: nn.Module, networks: Sequence[nn.Module]) -> None:
    """Write a stacked network's weights back into the networks it was made of.

    Args:
        stacked: as `stack` returned it.
        networks: the k networks; their weights and running statistics change.
    """
    if isinstance(stacked, StackedLinear | StackedBatchNorm):
        stacked.unstack(networks)  # type: ignore[arg-type]
    for name, child in stacked.named_children():
        unstack(child, [network.get_submodule(name) for network in networks])

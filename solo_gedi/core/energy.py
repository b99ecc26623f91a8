"""A classifier read as an energy-based model: p(x) sums its exponentiated logits (Eq. 6)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

# (n, ...) -> (n,): log p of n points up to a constant; or (n, k, ...) -> (n, k) for k networks.
LogDensity = Callable[[Tensor], Tensor]

# The same points -> their log p, and its gradient in them, both without a graph.
InputGradient = Callable[[Tensor], tuple[Tensor, Tensor]]


class EnergyHead(nn.Module):
    """The discriminative head f of Eq. 6: one hidden layer, then one logit per cluster.

    Args:
        in_dim: size h of the encoder's features.
        hidden_dim: units of the hidden layer (the paper: 2h on images, 4 on the toy sets).
        num_clusters: number of clusters c, at least 2.
        temperature: tau > 0, by which the logits are divided.
        batch_norm: normalise the hidden layer over the batch, as the author's later code does.

    Raises:
        ValueError: for fewer than two clusters or a temperature that is not positive.

    Example:
        >>> head = EnergyHead(in_dim=128, hidden_dim=256, num_clusters=10)
        >>> head(torch.zeros(4, 128)).shape
        torch.Size([4, 10])
    """

    def __init__(
        self,
        in_dim: int,
        hidden_dim: int,
        num_clusters: int,
        temperature: float = 1.0,
        *,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        if num_clusters < 2:
            raise ValueError(f"num_clusters must be at least 2, got {num_clusters}")
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature = temperature
        # The paper leaves the activation open; a leaky one leaves no unit without a gradient.
        norm = [nn.BatchNorm1d(hidden_dim)] if batch_norm else []
        self.layers = nn.Sequential(
            nn.Linear(in_dim, hidden_dim),
            *norm,
            nn.LeakyReLU(0.2),
            nn.Linear(hidden_dim, num_clusters),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Logits of features.

        Args:
            features: (n, h).

        Returns:
            (n, c): f(features) / tau. The last layer is in the precision of its weights, also
            under autocast: the losses compare energies whose difference is small beside their size.
        """
        layers: list[Any] = list(self.layers)
        *first, last = layers
        for layer in first:
            features = layer(features)
        if features.dtype == last.weight.dtype:
            logits: Tensor = last(features)
        else:  # as autocast has made them
            with torch.autocast(features.device.type, enabled=False):
                logits = last(features.to(last.weight.dtype))
        return logits / self.temperature


def log_density(logits: Tensor) -> Tensor:
    """Log p(x) up to the constant log Gamma, Eq. 6.

    Args:
        logits: (n, c), already divided by the temperature.

    Returns:
        (n,): log sum_y exp(logits_y) in nats; the energy is its negative.

    Example:
        >>> log_density(torch.tensor([[0.0, 0.0], [2.0, -50.0]]))
        tensor([0.6931, 2.0000])
    """
    return torch.logsumexp(logits, dim=-1)


def input_gradient(log_density_fn: LogDensity, x: Tensor) -> tuple[Tensor, Tensor]:
    """The log-density and its gradient in the input (the score); no parameter gets a gradient.

    Works inside `torch.no_grad` and `torch.inference_mode` too.

    Args:
        log_density_fn: (n, ...) -> (n,), each value from its own point alone; or
            (n, k, ...) -> (n, k), see `sample_sgld`.
        x: (n, ...) or (n, k, ...).

    Returns:
        log p(x) (n,) and grad_x log p(x) (n, ...), both detached.

    Example:
        >>> x = torch.tensor([[3.0, 4.0]])
        >>> input_gradient(lambda x: -0.5 * x.square().sum(1), x)  # a standard Gaussian
        (tensor([-12.5000]), tensor([[-3., -4.]]))
    """
    # inference_mode(False), since enable_grad alone does not undo an enclosing inference_mode.
    with torch.inference_mode(False), torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        log_p = log_density_fn(x)
        (grad,) = torch.autograd.grad(log_p.sum(), x)
    return log_p.detach(), grad


def functional_gradient(log_density_fn: LogDensity) -> InputGradient:
    """What `input_gradient` computes, as a function that `torch.compile` turns into one graph.

    Its graph has no gradients of weights. Compiled from the density, those would be in it, to be
    computed at every step and thrown away.

    Args:
        log_density_fn: see `input_gradient`.

    Returns:
        A function of x, to be called without gradients: log p(x) and grad_x log p(x).

    Example:
        >>> gradient = functional_gradient(lambda x: -0.5 * x.square().sum(1))
        >>> gradient(torch.tensor([[3.0, 4.0]]))
        (tensor([-12.5000]), tensor([[-3., -4.]]))
    """

    def summed(x: Tensor) -> tuple[Tensor, Tensor]:
        log_p = log_density_fn(x)
        return log_p.sum(), log_p

    def gradient(x: Tensor) -> tuple[Tensor, Tensor]:
        grad, log_p = torch.func.grad(summed, has_aux=True)(x)
        return log_p, grad

    return gradient


def compiled_gradient(log_density_fn: LogDensity) -> InputGradient:
    """`input_gradient`, compiled by `torch.compile` at its first call.

    Args:
        log_density_fn: see `input_gradient`.
    """
    compiled, traced = torch.compile(functional_gradient(log_density_fn)), False

    def gradient(x: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal traced
        with torch.inference_mode(False), torch.no_grad():
            x = x.clone() if x.is_inference() else x
            if not traced:
                log_density_fn(x)  # makes constants that are made once, for the graph to find
                traced = True
            return compiled(x)

    return gradient


def input_score(log_p: Tensor, x: Tensor) -> Tensor:
    """The score grad_x log p(x) with its graph, so that a loss can be made of it.

    Args:
        log_p: (n,) or (k, n) log-densities, computed from x and each from its own point alone.
        x: (n, ...) or (k, n, ...), which requires a gradient.

    Returns:
        The gradients, of x's shape.

    Example:
        >>> x = torch.tensor([[3.0, 4.0]], requires_grad=True)
        >>> input_score(-0.5 * x.square().sum(1), x).detach()
        tensor([[-3., -4.]])
    """
    (score,) = torch.autograd.grad(log_p.sum(), x, create_graph=True)
    return score

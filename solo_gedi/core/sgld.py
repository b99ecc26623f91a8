"""Stochastic gradient Langevin dynamics: draws samples from the energy-based model."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn

from solo_gedi.core.energy import InputGradient, LogDensity, input_gradient
from solo_gedi.core.precision import network_precision

StepCallback = Callable[[dict[str, Any]], None]


def langevin_step(
    x: Tensor,
    grad: Tensor,
    step_size: float,
    noise_std: float,
    generator: Generator | None = None,
) -> Tensor:
    """One move: x + step_size * grad + noise_std * N(0, I).

    Step size and noise are independent numbers, as in the paper (Tables 3 and 5).

    Args:
        x: (n, ...) chains; not changed.
        grad: gradient of log p at x, same shape.
        step_size: factor of the gradient.
        noise_std: standard deviation of the noise; 0 gives plain gradient ascent.
        generator: source of the noise, on x's device.

    Returns:
        (n, ...) the moved chains.

    Example:
        >>> langevin_step(torch.tensor([1.0, 2.0]), torch.tensor([-1.0, -2.0]), 0.5, noise_std=0.0)
        tensor([0.5000, 1.0000])
    """
    noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    return x.add(grad, alpha=step_size).add_(noise, alpha=noise_std)


def sample_sgld(
    log_density_fn: LogDensity,
    x: Tensor,
    num_steps: int,
    step_size: float,
    noise_std: float,
    *,
    max_grad_norm: float | None = None,
    box: tuple[float, float] | None = None,
    dtype: torch.dtype = torch.float32,
    gradient_fn: InputGradient | None = None,
    generator: Generator | None = None,
    callback: StepCallback | None = None,
) -> Tensor:
    """Move chains `num_steps` Langevin steps towards high density ("Generate samples", Alg. 1).

    The network behind `log_density_fn` should be in evaluation mode: see `evaluation_mode`.

    Args:
        log_density_fn: (n, ...) -> (n,), log p up to a constant; or (n, k, ...) -> (n, k), where k
            networks have a chain each.
        x: (n, ...) or (n, k, ...) start of the chains; not changed.
        num_steps: number of moves, at least 0; 0 returns the start.
        step_size: factor of the gradient.
        noise_std: standard deviation of the noise of a move.
        max_grad_norm: a chain's longer gradients are shortened to this, above 0. Not in the paper.
        box: (low, high) that the chains are clipped to after every move. Not in the paper.
        dtype: the network's precision, see `network_precision`; the chains keep x's.
        gradient_fn: log p and its gradient, as by `compiled_gradient`; `input_gradient` of
            `log_density_fn` when None.
        generator: source of the noise; the same state gives the same chains.
        callback: called after each move with `step` (from 0), `x` (after the move), and
            `log_density` and `grad` (before it).

    Returns:
        The moved chains, of x's shape, detached.

    Example:
        >>> def log_p(x):  # a standard Gaussian
        ...     return -0.5 * x.square().sum(1)
        >>> sample_sgld(log_p, torch.full((1, 2), 8.0), num_steps=3, step_size=0.5, noise_std=0.0)
        tensor([[1., 1.]])
    """
    x = x.detach()
    gradient_fn = gradient_fn or partial(input_gradient, log_density_fn)
    with network_precision(x.device, dtype), torch.no_grad():
        for step in range(num_steps):
            log_p, grad = gradient_fn(x)
            if max_grad_norm is not None:
                grad = clip_norm(grad, max_grad_norm, log_p.dim())
            x = langevin_step(x, grad, step_size, noise_std, generator)
            if box is not None:
                x = x.clamp_(*box)
            if callback is not None:
                callback({"step": step, "x": x, "log_density": log_p, "grad": grad})
    return x


def chain_norms(grad: Tensor, chain_dims: int = 1) -> Tensor:
    """Euclidean norm of every chain's gradient.

    Args:
        grad: (n, ...); or (n, k, ...) with `chain_dims=2`.
        chain_dims: leading dimensions that count chains, as many as log p has.

    Returns:
        (n,), or (n, k).

    Example:
        >>> chain_norms(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
        tensor([5., 1.])
    """
    norms: Tensor = torch.linalg.vector_norm(grad.reshape(*grad.shape[:chain_dims], -1), dim=-1)
    return norms


def clip_norm(grad: Tensor, max_norm: float, chain_dims: int = 1) -> Tensor:
    """Gradients whose norm, chain by chain, is at most `max_norm`.

    Args:
        grad: (n, ...); or (n, k, ...) with `chain_dims=2`.
        max_norm: above 0; longer gradients are shortened to it.
        chain_dims: see `chain_norms`.

    Returns:
        Gradients of the same shape and directions.

    Example:
        >>> clip_norm(torch.tensor([[3.0, 4.0], [0.0, 1.0]]), max_norm=2.5)
        tensor([[1.5000, 2.0000],
                [0.0000, 1.0000]])
    """
    norm = chain_norms(grad, chain_dims)[(..., *[None] * (grad.dim() - chain_dims))]
    return grad * (max_norm / norm.clamp_min(max_norm))


@contextmanager
def evaluation_mode(*modules: nn.Module) -> Iterator[None]:
    """Run modules in evaluation mode and afterwards return every submodule to its own mode.

    Batch norm then uses its running statistics and does not update them, so that the density of
    a point does not depend on the batch it comes with.

    Args:
        modules: may be in training mode, in evaluation mode or mixed.

    Example:
        >>> network = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout())
        >>> with evaluation_mode(network):
        ...     print(network[0].training)
        False
        >>> network[0].training
        True
    """
    training = [module for root in modules for module in root.modules() if module.training]
    for root in modules:
        root.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def constant_weights(*modules: nn.Module) -> Iterator[None]:
    """Let layers compute once, for many passes, what depends on their weights alone.

    Inside, the weights must stay as they are. Only layers in evaluation mode make use of it, so
    that training's gradients stay whole. A layer takes part by a method `hold(bool)`.

    Args:
        modules: networks that are about to run in evaluation mode.

    Example:
        >>> with constant_weights(nn.Linear(2, 3)):  # has nothing to compute
        ...     pass
    """
    layers: list[Any] = [m for root in modules for m in root.modules() if hasattr(m, "hold")]
    try:
        for layer in layers:
            layer.hold(True)
        yield
    finally:
        for layer in layers:
            layer.hold(False)

"""Stochastic gradient Langevin dynamics: draws samples from the energy-based model."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Generator, Tensor, nn

from solo_gedi.core.energy import LogDensity, input_gradient
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
        x: (n, ...) current chains.
        grad: gradient of log p at x, same shape.
        step_size: factor of the gradient.
        noise_std: standard deviation of the noise; 0 gives plain gradient ascent.
        generator: source of the noise, on x's device.
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
    generator: Generator | None = None,
    callback: StepCallback | None = None,
) -> Tensor:
    """Move chains `num_steps` Langevin steps towards high density ("Generate samples", Alg. 1).

    The network behind `log_density_fn` should be in evaluation mode: see `evaluation_mode`.

    Args:
        log_density_fn: (n, ...) -> (n,), log p up to a constant.
        x: (n, ...) start of the chains; not changed.
        num_steps: number of moves; 0 returns the start.
        step_size: factor of the gradient.
        noise_std: standard deviation of the noise of a move.
        max_grad_norm: longer gradients of a chain are shortened to this. Not in the paper.
        box: (low, high) that the chains are clipped to after every move. Not in the paper.
        dtype: the network's precision, see `network_precision`; that of the chains is x's.
        generator: source of the noise; the same state gives the same chains.
        callback: called after each move with `step`, `x` (after the move), and `log_density` (n,)
            and `grad` (before it).

    Returns:
        (n, ...) the moved chains, detached.
    """
    x = x.detach()
    with network_precision(x.device, dtype), torch.no_grad():
        for step in range(num_steps):
            log_p, grad = input_gradient(log_density_fn, x)
            if max_grad_norm is not None:
                grad = clip_norm(grad, max_grad_norm)
            x = langevin_step(x, grad, step_size, noise_std, generator)
            if box is not None:
                x = x.clamp_(*box)
            if callback is not None:
                callback({"step": step, "x": x, "log_density": log_p, "grad": grad})
    return x


def clip_norm(grad: Tensor, max_norm: float) -> Tensor:
    """Gradients (n, ...), those longer than max_norm shortened to it."""
    norm = grad.flatten(1).norm(dim=1).view(-1, *[1] * (grad.dim() - 1))
    return grad * (max_norm / norm.clamp_min(max_norm))


@contextmanager
def evaluation_mode(*modules: nn.Module) -> Iterator[None]:
    """Put the modules in evaluation mode and, at the end, every submodule back where it was.

    Batch norm then uses its running statistics and does not update them, so that the density of
    a point does not depend on the batch it comes with.
    """
    training = [module for root in modules for module in root.modules() if module.training]
    for root in modules:
        root.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True

"""The precision that the sampler's network runs in, chosen by measurement."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from solo_gedi.core.energy import LogDensity, input_gradient

# Of `sgld.precision`. Not float16: input gradients are small enough to underflow in it.
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

MIN_SPEEDUP, MIN_COSINE = 1.2, 0.99


@contextmanager
def network_precision(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Run networks in bfloat16 by autocast, or in their inputs' own precision.

    An enclosing autocast makes no difference.

    Args:
        device: of the networks.
        dtype: torch.bfloat16, or torch.float32 for no autocast.

    Example:
        >>> layer, x = torch.nn.Linear(3, 2), torch.zeros(1, 3)
        >>> with network_precision(x.device, torch.bfloat16):
        ...     print(layer(x).dtype)
        torch.bfloat16
    """
    # Autocast caches a cast weight without noting the precision it was cast to.
    torch.clear_autocast_cache()
    try:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            yield
    finally:
        torch.clear_autocast_cache()


def gradient_cosine(
    log_density_fn: LogDensity, x: Tensor, dtype: torch.dtype = torch.bfloat16
) -> float:
    """Mean cosine between the input gradients in float32 and in another precision.

    Args:
        log_density_fn: (n, ...) -> (n,), or (n, k, ...) -> (n, k), see `input_gradient`.
        x: (n, ...) or (n, k, ...) points.
        dtype: the other precision.

    Returns:
        In [-1, 1]; the mean over all chains.

    Example:
        >>> x = torch.ones(4, 2)
        >>> round(gradient_cosine(lambda x: -0.5 * x.square().sum(1), x), 4)
        1.0
    """
    with network_precision(x.device, torch.float32):
        log_p, exact = input_gradient(log_density_fn, x)
    with network_precision(x.device, dtype):
        _, other = input_gradient(log_density_fn, x)
    chains = log_p.dim()
    return float(F.cosine_similarity(exact.flatten(chains), other.flatten(chains), dim=-1).mean())


def choose_precision(
    log_density_fn: LogDensity, x: Tensor, run: Callable[[str], object]
) -> tuple[str, str]:
    """Measure which precision the sampler should run in.

    bf16 if it is at least 1.2 times as fast as fp32 and the mean cosine between their gradients is
    at least 0.99.

    Args:
        log_density_fn: (n, ...) -> (n,), log p up to a constant.
        x: (n, ...) points to measure at, on the device to measure.
        run: what is timed, called with "fp32" or "bf16".

    Returns:
        "fp32" or "bf16", and the reason as a phrase.

    Example:
        >>> x = torch.ones(4, 2)
        >>> def log_p(x):
        ...     return -x.square().sum(1)
        >>> def run(precision):
        ...     with network_precision(x.device, DTYPES[precision]):
        ...         input_gradient(log_p, x)
        >>> precision, reason = choose_precision(log_p, x, run)
        >>> precision in DTYPES
        True
    """
    if not has_bf16(x.device):
        return "fp32", "this processor has no bf16"

    speedup = _speedup(run, x.device)
    cosine = gradient_cosine(log_density_fn, x)
    chosen = "bf16" if speedup >= MIN_SPEEDUP and cosine >= MIN_COSINE else "fp32"
    return chosen, f"bf16 is {speedup:.2f} times as fast, cosine of the gradients {cosine:.4f}"


def has_bf16(device: torch.device) -> bool:
    """Whether a processor multiplies in bfloat16; emulation can be ten times as slow.

    Args:
        device: the processor.

    Returns:
        True too where PyTorch does not say: the measurement will tell.

    Example:
        >>> isinstance(has_bf16(torch.device("cpu")), bool)
        True
    """
    if device.type == "cuda":
        supported: bool = torch.cuda.is_bf16_supported(including_emulation=False)
        return supported
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        known = torch.cpu.get_capabilities()
        return any(known.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))
    return True


def _speedup(run: Callable[[str], object], device: torch.device) -> float:
    """Time of float32 over that of bfloat16, each the best of five interleaved runs.

    The best, since other programs can only slow a run down.
    """
    seconds: dict[str, list[float]] = {name: [] for name in DTYPES}
    for _ in range(6):
        for name, measured in seconds.items():
            start = time.perf_counter()
            run(name)
            torch.zeros(1, device=device).item()  # waits for the device
            measured.append(time.perf_counter() - start)
    return min(seconds["fp32"][1:]) / min(seconds["bf16"][1:])

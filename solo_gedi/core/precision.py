"""The precision that the sampler's network runs in, chosen by measurement."""

import time
from collections.abc import Iterator
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
    """Context in which networks run by autocast in bfloat16, or in their inputs' own precision.

    Whatever autocast it is inside of.

    Args:
        device: of the networks.
        dtype: torch.bfloat16, or torch.float32 for no autocast.
    """
    # The cache of autocast does not ask for which precision a weight was cast.
    torch.clear_autocast_cache()
    try:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            yield
    finally:
        torch.clear_autocast_cache()


def gradient_cosine(
    log_density_fn: LogDensity, x: Tensor, dtype: torch.dtype = torch.bfloat16
) -> float:
    """Mean cosine of the input gradients of float32 and of another precision, at x (n, ...)."""
    with network_precision(x.device, torch.float32):
        _, exact = input_gradient(log_density_fn, x)
    with network_precision(x.device, dtype):
        _, other = input_gradient(log_density_fn, x)
    return float(F.cosine_similarity(exact.flatten(1), other.flatten(1)).mean())


def choose_precision(log_density_fn: LogDensity, x: Tensor) -> tuple[str, str]:
    """bf16 where it is at least 1.2 times as fast as fp32 and its gradients have its direction.

    Args:
        log_density_fn: (n, ...) -> (n,), log p up to a constant.
        x: (n, ...) points at which to try it; on which device decides what is measured.

    Returns:
        "fp32" or "bf16", and why.
    """
    if not has_bf16(x.device):
        return "fp32", "this processor has no bf16"
    speedup, cosine = _speedup(log_density_fn, x), gradient_cosine(log_density_fn, x)
    chosen = "bf16" if speedup >= MIN_SPEEDUP and cosine >= MIN_COSINE else "fp32"
    return chosen, f"bf16 is {speedup:.2f} times as fast, cosine of the gradients {cosine:.4f}"


def has_bf16(device: torch.device) -> bool:
    """Whether a processor multiplies in bfloat16; one that emulates it can be ten times as slow."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        known = torch.cpu.get_capabilities()
        return any(known.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))
    return True  # it is not said: the measurement shows it


def _speedup(log_density_fn: LogDensity, x: Tensor) -> float:
    """How many times as fast as float32 bfloat16 is: the best of five interleaved runs.

    The best, since other programs can only slow a run down.
    """
    seconds: dict[str, list[float]] = {name: [] for name in DTYPES}
    for _ in range(6):
        for name, dtype in DTYPES.items():
            seconds[name].append(_seconds(log_density_fn, x, dtype))
    return min(seconds["fp32"][1:]) / min(seconds["bf16"][1:])


def _seconds(log_density_fn: LogDensity, x: Tensor, dtype: torch.dtype) -> float:
    start = time.perf_counter()
    with network_precision(x.device, dtype):
        _, gradient = input_gradient(log_density_fn, x)
    gradient.sum().item()  # waits for the device
    return time.perf_counter() - start

"""Which device there is, and how much memory it has to give."""

import math
import os
from pathlib import Path

import torch

_CONTAINER = Path("/sys/fs/cgroup/memory.max")  # Linux's limit of this group of processes


def room(device: torch.device) -> int | None:
    """Bytes that a tensor could still take at the most; None where that is not known.

    Args:
        device: a GPU, where others' memory counts as taken; or the CPU, whose whole memory counts,
            or what its container may have, since a system gives up caches for a program.

    Example:
        >>> room(torch.device("meta")) is None
        True
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "cpu" and hasattr(os, "sysconf"):
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        limit = _CONTAINER.read_text().strip() if _CONTAINER.is_file() else "max"
        return min(whole, int(limit)) if limit.isdecimal() else whole
    return None


def in_words(size: float) -> str:
    """A number of bytes in the unit that suits it.

    Args:
        size: at least 0.

    Example:
        >>> in_words(51200), in_words(1.5 * 2**30)
        ('50 KiB', '1.5 GiB')
    """
    power = min(4, int(math.log(max(1, size), 1000)))
    return f"{size / 1024**power:.3g} {('bytes', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


def best_device() -> torch.device:
    """A GPU if there is one, of NVIDIA or Apple; else the CPU.

    Example:
        >>> best_device().type in ("cuda", "mps", "cpu")
        True
    """
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")

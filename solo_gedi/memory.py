"""The memory of the process."""

import ctypes
import os
import sys


def keep_freed_memory() -> None:
    """Let Linux's C library keep up to 1 GiB of what tensors on the CPU have freed, for the next.

    To ask the system for pages anew at each layer takes time, more of it the more images there are.
    Nothing is changed where the user has set one of its thresholds.

    Example:
        >>> keep_freed_memory()
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    own = {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"} & set(os.environ)
    if mallopt is None or own:
        return
    trim_threshold, mmap_threshold = -1, -3  # malloc.h
    # An old library takes no more than 32 MiB for the second.
    if mallopt(mmap_threshold, 2**30) or mallopt(mmap_threshold, 2**25):
        mallopt(trim_threshold, 2**30)

"""Whether training runs in several processes, and which of them this one is."""

from typing import Any

import torch.distributed as dist


def distributed() -> bool:
    """Whether a process group is up."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if distributed() else 0


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if distributed() else 1


def leave() -> bool:
    """End the process group, if there is one; whether this process is the first of it."""
    first = rank() == 0
    if distributed():
        dist.destroy_process_group()
    return first


def gather(item: Any) -> list[Any]:
    """Every process's item, on every process, in the order of their ranks."""
    if not distributed():
        return [item]
    items = [None] * world_size()
    dist.all_gather_object(items, item)
    return items

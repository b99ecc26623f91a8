"""Whether training runs in several processes, and which of them this one is."""

import logging
import os
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


def get_logger(name: str) -> logging.Logger:
    """A logger that is heard in the first process alone.

    Args:
        name: of the module.
    """
    logger = logging.getLogger(name)
    if _first not in logger.filters:
        logger.addFilter(_first)
    return logger


def _first(record: logging.LogRecord) -> bool:
    """Before the process group is up, launchers name the rank in the environment."""
    if distributed():
        return rank() == 0
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))

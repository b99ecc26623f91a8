"""The processes of a distributed training, and a logger for the first of them."""

import logging
import os
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def distributed() -> bool:
    """Whether a process group is initialised.

    Example:
        >>> distributed()
        False
    """
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Number of this process, from 0; 0 without a process group.

    Example:
        >>> rank()
        0
    """
    return dist.get_rank() if distributed() else 0


def world_size() -> int:
    """Number of processes; 1 without a process group.

    Example:
        >>> world_size()
        1
    """
    return dist.get_world_size() if distributed() else 1


def leave() -> bool:
    """Leave the process group, if there is one.

    Returns:
        Whether this process was its first.

    Example:
        >>> leave()
        True
    """
    first = rank() == 0
    if distributed():
        dist.destroy_process_group()
    return first


def gather(item: Any) -> list[Any]:
    """Every process's item, on every process. All must call this.

    Args:
        item: what can be pickled.

    Returns:
        One item a process, in the order of their ranks; the item alone without a process group.

    Example:
        >>> gather("mine")
        ['mine']
    """
    if not distributed():
        return [item]
    items = [None] * world_size()
    dist.all_gather_object(items, item)
    return items


def gather_to_first(tensor: Tensor) -> list[Tensor]:
    """Every process's tensor on the first process alone, through the hosts. All must call this.

    Nothing of it comes near a GPU, and no other process holds more than its own.

    Args:
        tensor: on the CPU, of one shape and type in all processes.

    Returns:
        One a process, in the order of their ranks; nothing on the others.

    Example:
        >>> gather_to_first(torch.ones(2))
        [tensor([1., 1.])]
    """
    if not distributed():
        return [tensor]
    tensor, hosts = tensor.contiguous(), _hosts()
    if rank():
        dist.send(tensor, 0, hosts)
        return []
    others = [torch.empty_like(tensor) for _ in range(1, world_size())]
    for source, other in enumerate(others, 1):
        dist.recv(other, source, hosts)
    return [tensor, *others]


def _hosts() -> Any:
    """All processes, as a group that talks from host to host."""
    world = dist.group.WORLD
    return world if dist.get_backend(world) == "gloo" else _gloo(world)


@cache
def _gloo(world: Any) -> Any:
    return dist.new_group(backend="gloo")


def get_logger(name: str) -> logging.Logger:
    """A logger that drops the messages of all processes but the first.

    Args:
        name: of the module.

    Example:
        >>> get_logger("solo_gedi.example").name
        'solo_gedi.example'
    """
    logger = logging.getLogger(name)
    logger.addFilter(_first)
    return logger


def is_first() -> bool:
    """Whether this process is the first; launchers name its rank before there is a group.

    Example:
        >>> is_first()
        True
    """
    if distributed():
        return rank() == 0
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))


def _first(record: logging.LogRecord) -> bool:
    """Whether a record is of the first process."""
    return is_first()

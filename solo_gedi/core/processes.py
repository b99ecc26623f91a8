"""Whether there are several processes, and which one this is."""

import torch.distributed as dist


def distributed() -> bool:
    """Whether a process group is up, as under DDP."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Index of this process; 0 where there is only one."""
    return dist.get_rank() if distributed() else 0

"""How many processes train, and by what strategy: without waiting for what is logged."""

from typing import Any

import torch
from lightning.fabric.utilities.imports import _IS_INTERACTIVE
from lightning.pytorch.strategies import DDPStrategy
from omegaconf import DictConfig, ListConfig
from torch import Tensor

from solo_gedi.errors import ConfigError


def num_devices(cfg: DictConfig) -> int:
    """How many devices a config's `devices` means: a list of them, a number, or "auto" (-1).

    Raises:
        ConfigError: for anything else.
    """
    devices = cfg.devices
    if isinstance(devices, ListConfig):
        number = len(devices)
    elif str(devices) in ("auto", "-1"):
        of_gpus = cfg.get("accelerator") in (None, "auto", "gpu", "cuda")
        number = max(1, torch.cuda.device_count()) if of_gpus else 1
    else:
        number = int(devices) if str(devices).isdecimal() else 0
    if number < 1:
        raise ConfigError(f'devices must be a list, a number or "auto", got {devices!r}')
    return number


def num_processes(cfg: DictConfig) -> int:
    """How many processes of all nodes a config trains on.

    Args:
        cfg: with Lightning's `devices` and `num_nodes`.

    Raises:
        ConfigError: for `devices` of another kind.
    """
    return num_devices(cfg) * (cfg.get("num_nodes") or 1)


def strategy_of(chosen: str | None, processes: int) -> "str | QuietDDP":
    """What the Trainer is given: `QuietDDP` for DDP, which "auto" is for several processes too.

    Args:
        chosen: the config's `strategy`.
        processes: of all nodes.

    Raises:
        ConfigError: for processes that Lightning forks or spawns from this one, as in a notebook:
            what they have trained does not come back whole.

    Example:
        >>> strategy_of("auto", 1), type(strategy_of("ddp", 2)).__name__
        ('auto', 'QuietDDP')
    """
    chosen = chosen or "auto"
    forked = any(how in chosen for how in ("fork", "spawn", "notebook"))
    if forked or (processes > 1 and _IS_INTERACTIVE):
        where = f"strategy={chosen}" if forked else "a notebook"
        raise ConfigError(
            f"{where}: several processes need `solo-gedi pretrain` in a shell with strategy=ddp; a "
            "notebook trains on one device"
        )
    ddp = chosen == "ddp" or (chosen == "auto" and processes > 1)
    return QuietDDP() if ddp else chosen


class QuietDDP(DDPStrategy):
    """DDP whose training steps reduce gradients, and nothing that they log.

    With `sync_dist=True` Lightning reduces each value at each step, by a barrier and an all-reduce,
    whether it is written or not; solo-learn's methods log so. Here an epoch's means are reduced
    when the epoch is over, and a step's values are those of the first process's batch.

    Every parameter takes part in every step of the methods here, so that DDP need not look for
    those that do not.
    """

    def __init__(self) -> None:
        super().__init__(find_unused_parameters=False)
        self._in_step = False

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Run the module's step."""
        self._in_step = True
        try:
            return super().training_step(*args, **kwargs)
        finally:
            self._in_step = False

    def reduce(self, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Reduce a value over the processes, unless it is logged within a step."""
        return tensor if self._in_step else super().reduce(tensor, *args, **kwargs)

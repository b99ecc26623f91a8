"""What the first of several processes decides for all of them, before they are a group."""

import json
import os
from collections.abc import Callable
from typing import Any

import torch.distributed as dist
from lightning.pytorch import Trainer
from omegaconf import DictConfig

from solo_gedi.core.processes import distributed, rank
from solo_gedi.errors import GEDIError

_DECIDED = "SOLO_GEDI_DECIDED"  # for the processes that Lightning starts from this one


def decide_once(cfg: DictConfig, processes: int, decide: Callable[[], Any]) -> Any:
    """Let the first process decide, and tell the others.

    Args:
        cfg: with Lightning's `accelerator`, `devices`, `strategy` and `num_nodes`.
        processes: how many there will be.
        decide: called in the first process; gives what JSON can hold.

    Returns:
        What it has decided, on every process.

    Raises:
        GEDIError: on every process, if it did so in the first.
    """
    if processes == 1:
        return decide()
    if os.environ.get("LOCAL_RANK", "0") != "0" and _DECIDED in os.environ:
        return json.loads(os.environ[_DECIDED])
    if not distributed() and not _join(cfg):
        # The others do not exist yet. Lightning starts them, and they inherit this.
        decided = decide()
        os.environ[_DECIDED] = json.dumps(decided)
        return decided
    said: list[Any] = [None]
    if rank() == 0:
        try:
            said = [decide()]
        except GEDIError as error:
            said = [error]
    dist.broadcast_object_list(said)
    if isinstance(said[0], GEDIError):
        raise said[0]
    return said[0]


def forget() -> None:
    """Let the next run decide anew."""
    os.environ.pop(_DECIDED, None)


def _join(cfg: DictConfig) -> bool:
    """Form the group, where a launcher such as torchrun or Slurm has started all processes."""
    trainer = Trainer(
        accelerator=cfg.get("accelerator") or "auto",
        devices=cfg.devices,
        num_nodes=cfg.get("num_nodes") or 1,
        strategy=cfg.strategy or "auto",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    environment = trainer._accelerator_connector.cluster_environment
    if not environment.creates_processes_externally:
        return False
    trainer.strategy.setup_environment()
    return distributed()

"""Several processes of one training: what the first decides, and which one says what went wrong."""

import json
import logging
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from subprocess import TimeoutExpired
from typing import Any

import torch.distributed as dist
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from solo_gedi.core.processes import distributed, rank, world_size
from solo_gedi.errors import ConfigError, DataError, GEDIError, Interrupted, ProcessLostError
from solo_gedi.training.quiet import quiet_lightning

logger = logging.getLogger(__name__)  # one process of every node speaks

_LOST = re.compile(
    "closed by peer|reset by peer|Broken pipe|remote process|communicator was aborted"
)
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
        ConfigError: if there are several nodes and no launcher has started this process on them.
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
    if (number := world_size()) != processes:
        raise ConfigError(
            f"the launcher has started {number} process(es), and devices={cfg.devices} on "
            f"num_nodes={cfg.get('num_nodes') or 1} require {processes}: with Slurm, "
            f"--ntasks-per-node={processes // (cfg.get('num_nodes') or 1)}"
        )
    said: list[Any] = [None]
    if rank() == 0:
        try:
            said = [decide()]
        except GEDIError as error:
            said = [error]
        except Exception as error:  # or the others would wait for half an hour
            dist.broadcast_object_list([RuntimeError(f"of process 0: {error!r}")])
            raise
    dist.broadcast_object_list(said)
    if isinstance(said[0], Exception):
        raise said[0]
    return said[0]


def forget() -> None:
    """Let the next run decide anew."""
    os.environ.pop(_DECIDED, None)


@contextmanager
def said_once(trainer: Trainer) -> Iterator[None]:
    """Let one process alone say why a training has ended.

    Args:
        trainer: of the training.

    Raises:
        ProcessLostError: where another process has ended, instead of what its silence led to.
    """
    number, processes = trainer.global_rank, trainer.world_size
    try:
        yield
    except DataError as error:  # of this process's share of the images
        if number:
            raise DataError(f"process {number} of {processes}: {error}") from error
        raise
    except GEDIError as error:
        if number and not isinstance(error, ProcessLostError | Interrupted):
            raise ProcessLostError(str(error), said=True) from error  # as the first says, too
        raise
    except RuntimeError as error:
        if processes == 1 or not _LOST.search(str(error)):
            raise
        raise _lost(trainer) from error


def _lost(trainer: Trainer) -> ProcessLostError:
    """Which process has ended, as far as this one knows."""
    launcher = trainer.strategy.launcher
    for number, process in enumerate(getattr(launcher, "procs", ()), 1):
        with suppress(TimeoutExpired):
            status = process.wait(timeout=5)
            how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
            return ProcessLostError(
                f"process {number} of {trainer.world_size} has ended {how}", said=status > 0
            )
    if trainer.num_nodes == 1:
        return ProcessLostError("another process has ended", said=True)
    return ProcessLostError(
        "a process on another node has ended, whose output says why; start the run again on all "
        "nodes to continue from its last checkpoint",
        said=trainer.local_rank > 0,  # once on every node
    )


def _join(cfg: DictConfig) -> bool:
    """Form the group, where a launcher such as torchrun or Slurm has started all processes."""
    nodes = cfg.get("num_nodes") or 1
    try:
        with quiet_lightning():
            trainer = Trainer(
                accelerator=cfg.get("accelerator") or "auto",
                devices=cfg.devices,
                num_nodes=nodes,
                strategy=cfg.strategy or "auto",
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
    except (MisconfigurationException, TypeError, ValueError):
        return False  # the run's own Trainer says what it refuses
    environment = trainer._accelerator_connector.cluster_environment
    if not environment.creates_processes_externally:
        if nodes > 1:
            raise ConfigError(
                f"num_nodes={nodes} needs a launcher on every node, torchrun or srun, to "
                "connect the processes; there is none here"
            )
        return False
    if nodes > 1 and environment.local_rank() == 0:
        number = environment.node_rank() + 1
        place = f"{environment.main_address}:{environment.main_port}"
        logger.info("Node %d of %d waits for the others at %s", number, nodes, place)
    with quiet_lightning():
        trainer.strategy.setup_environment()
    return distributed()

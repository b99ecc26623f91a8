"""A training: its folder, loggers, callbacks and Trainer, and what it leaves."""

import inspect
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, ListConfig, OmegaConf

from solo_gedi.core import checkpoints
from solo_gedi.core.processes import get_logger
from solo_gedi.data import class_folders, spec_of
from solo_gedi.errors import ConfigError, DataError, DivergenceError, GEDIError, reason
from solo_gedi.files import check_folder
from solo_gedi.training.callbacks import (
    AtomicCheckpointIO,
    Checkpointer,
    GracefulStop,
    Progress,
    RandomState,
)
from solo_gedi.training.callbacks.divergence_guard import refuse_broken_weights
from solo_gedi.training.loggers import loggers_of
from solo_gedi.training.quiet import quiet_lightning
from solo_gedi.training.resume import check_resume, find_unfinished

logger = get_logger(__name__)


@dataclass(frozen=True)
class Run:
    """What a training left.

    Attributes:
        folder: of its files.
        checkpoint: the last one; None where none was asked for.
        metrics: as last logged, e.g. `val_acc1` in percent.
        interrupted: the signal that stopped it before its end; None if none did.
        config: parsed, as in `args.json`.
        method: the trained module.
    """

    folder: Path
    checkpoint: Path | None
    metrics: dict[str, float] = field(repr=False)
    interrupted: int | None
    config: DictConfig = field(repr=False)
    method: LightningModule = field(repr=False)


def parse(cfg: DictConfig, parse_cfg: Any) -> DictConfig:
    """solo-learn's parsing of a config, which wants a list of devices to count.

    Args:
        cfg: changed, as solo-learn does it.
        parse_cfg: `hosts.parse_pretrain` or `hosts.parse_linear`.
    """
    devices = cfg.devices
    cfg.devices = list(range(num_devices(cfg)))
    cfg = parse_cfg(cfg)
    cfg.devices = devices
    if spec_of(cfg.data.dataset).is_folder:  # where solo-learn counts what is hidden, too
        cfg.data.num_classes = max(1, len(class_folders(cfg.data.train_path)))
    return cfg


def num_devices(cfg: DictConfig) -> int:
    """How many devices a config's `devices` means: a list of them, a number, or "auto" (-1).

    Raises:
        ConfigError: for anything else.
    """
    devices = cfg.devices
    if isinstance(devices, ListConfig):
        number = len(devices)
    elif str(devices) in ("auto", "-1"):
        number = max(1, torch.cuda.device_count())
    else:
        number = int(devices) if str(devices).isdecimal() else 0
    if number < 1:
        raise ConfigError(f'devices must be a list, a number or "auto", got {devices!r}')
    return number


class Job:
    """A training about to start: where its files go, and whether it resumes an earlier one.

    Args:
        cfg: parsed config.
        kind: the method, or "linear"; the folder is `<checkpoint.dir>/<kind>/<run id>`.
        model: the module to train.

    Attributes:
        folder: of its files.
        resume_from: checkpoint to resume from, or None.

    Raises:
        CheckpointError: if the checkpoint to resume from cannot be used.
        ConfigError: if nothing can be written to `checkpoint.dir`.
    """

    def __init__(self, cfg: DictConfig, kind: str, model: LightningModule) -> None:
        self.cfg, self.model = cfg, model
        parent = Path(cfg.checkpoint.dir) / kind
        check_folder(parent, "checkpoint.dir")
        self.resume_from: Path | None = None
        if cfg.resume_from_checkpoint is not None:
            self.resume_from = Path(cfg.resume_from_checkpoint)
        elif cfg.auto_resume.enabled:
            self.resume_from = find_unfinished(cfg, parent)
        self.folder = _new_folder(parent)
        if self.resume_from is not None:
            logger.info("Resuming from %s", self.resume_from)
            if self.resume_from.parent.parent == parent:
                self.folder = self.resume_from.parent
            check_resume(cfg, self.resume_from, model)

    def fit(self, train: Any, val: Any, callbacks: list[Callback]) -> tuple[Run, Trainer]:
        """Train, with checkpoints, loggers and random states as the config says.

        Args:
            train: batches.
            val: batches, or None.
            callbacks: in addition to those of every run.

        Returns:
            The run, interrupted or finished, and the Trainer that made it.

        Raises:
            GEDIError: if Lightning refuses a setting, an image cannot be read or training
                diverges; what the run has written is removed if no checkpoint is among it.
        """
        cfg, stop = self.cfg, GracefulStop()
        callbacks = [*callbacks, RandomState(), stop]
        if cfg.get("enable_progress_bar") in (None, True):
            callbacks.append(Progress())
        if cfg.checkpoint.enabled:
            frequency, keep = cfg.checkpoint.frequency, cfg.checkpoint.keep_prev
            callbacks.append(Checkpointer(cfg, self.folder, frequency, keep))
        if cfg.wandb.enabled:
            callbacks.append(LearningRateMonitor(logging_interval="step"))
        missing = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        try:
            with quiet_lightning():
                trainer = self._trainer(callbacks)
                with refusals(MisconfigurationException):
                    trainer.fit(self.model, train, val, ckpt_path=self.resume_from)
            refuse_broken_weights(self.model, trainer.global_step)
            if not trainer.global_step and stop.received is None:
                raise ConfigError("max_time and the like leave no time for a training step")
        except DivergenceError:
            raise
        except GEDIError:
            if self.folder in missing and checkpoints.last(self.folder) is None:
                _remove(missing)
            raise
        interrupted = stop.received if trainer.current_epoch < cfg.max_epochs else None
        if interrupted is not None:
            logger.info("Stopped after epoch %d.", trainer.current_epoch - 1)
        run = Run(
            folder=self.folder,
            checkpoint=checkpoints.last(self.folder),
            metrics={name: float(value) for name, value in trainer.callback_metrics.items()},
            interrupted=interrupted,
            config=cfg,
            method=self.model,
        )
        return run, trainer

    def _trainer(self, callbacks: list[Callback]) -> Trainer:
        known = inspect.signature(Trainer.__init__).parameters
        settings: dict[str, Any] = OmegaConf.to_container(self.cfg)  # type: ignore[assignment]
        settings = {key: value for key, value in settings.items() if key in known}
        settings.pop("default_root_dir", None)
        settings.setdefault("enable_model_summary", False)
        settings["strategy"] = (
            DDPStrategy(find_unused_parameters=False)
            if self.cfg.strategy == "ddp"
            else self.cfg.strategy or "auto"
        )
        if isinstance(settings["devices"], str) and settings["devices"].isdigit():
            settings["devices"] = int(settings["devices"])
        with refusals(MisconfigurationException, TypeError, ValueError):
            trainer = Trainer(
                **settings,
                logger=loggers_of(self.cfg, self.folder),
                callbacks=callbacks,
                plugins=[AtomicCheckpointIO()],
                enable_checkpointing=False,
                # Where Lightning looks for what a Slurm job has left, to go on with it unasked.
                default_root_dir=self.folder,
            )
        environment = trainer._accelerator_connector.cluster_environment
        if isinstance(environment, SLURMEnvironment):
            environment.auto_requeue = False  # nor is anything to be left
        return trainer


@contextmanager
def refusals(*kinds: type[Exception]) -> Iterator[None]:
    """What Lightning raises for a setting or workers that do not start, as an error of ours.

    Args:
        kinds: of its exceptions.
    """
    try:
        yield
    except GEDIError:
        raise
    except RuntimeError as error:
        # Its cleaning up stumbles over workers that have never been started.
        first = error.__context__
        if first is None or "combined_loader" not in str(error):
            raise
        if isinstance(first, GEDIError):
            raise first from None
        raise DataError(f"the workers of data.num_workers cannot start: {reason(first)}") from first
    except kinds as error:
        raise ConfigError(f"Lightning refuses a setting: {reason(error)}") from error


def _remove(folders: list[Path]) -> None:
    """Remove a run's folder with what is in it, and its parents as far as they are empty."""
    shutil.rmtree(folders[0], ignore_errors=True)
    for folder in folders[1:]:
        with suppress(OSError):
            folder.rmdir()


def _new_folder(parent: Path) -> Path:
    """A folder that does not exist yet, named after the time."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder, n = parent / stamp, 1
    while folder.exists():
        folder, n = parent / f"{stamp}-{n}", n + 1
    return folder

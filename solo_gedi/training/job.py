"""A training: its folder, loggers, callbacks and Trainer, and what it leaves."""

import inspect
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from filelock import BaseFileLock
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

from solo_gedi.core import checkpoints
from solo_gedi.core.processes import get_logger
from solo_gedi.data import class_folders, spec_of
from solo_gedi.errors import ConfigError, DivergenceError, GEDIError
from solo_gedi.files import check_folder, release
from solo_gedi.training.callbacks import (
    AtomicCheckpointIO,
    Checkpointer,
    GracefulStop,
    LateState,
    Progress,
    RandomState,
    Schedule,
)
from solo_gedi.training.callbacks.divergence_guard import refuse_broken_weights
from solo_gedi.training.launch import decide_once, forget, said_once
from solo_gedi.training.loaders import TrainingLoader, WorkersLoader
from solo_gedi.training.lock import lock_folder, new_folder
from solo_gedi.training.loggers import loggers_of
from solo_gedi.training.quiet import quiet_lightning
from solo_gedi.training.refusals import refusals
from solo_gedi.training.resume import check_resume, find_unfinished, is_finished
from solo_gedi.training.strategy import num_devices, num_processes, strategy_of

logger = get_logger(__name__)


@dataclass(frozen=True)
class Run:
    """What a training left.

    Attributes:
        folder: of its files.
        checkpoint: the last one; None where none was asked for.
        metrics: as last logged, e.g. `val_acc1` in percent.
        interrupted: the signal that stopped it before its end; None if none did.
        finished: whether it came to its end; neither a signal nor `max_time` stopped it.
        resumed: whether it went on with an earlier checkpoint.
        config: parsed, as in `args.json`.
        method: the trained module.
    """

    folder: Path
    checkpoint: Path | None
    metrics: dict[str, float] = field(repr=False)
    interrupted: int | None
    finished: bool
    resumed: bool
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
    number = len(cfg.devices)
    cfg = parse_cfg(cfg)
    cfg.devices = number if str(devices) in ("auto", "-1") else devices
    if spec_of(cfg.data.dataset).is_folder:  # where solo-learn counts what is hidden, too
        cfg.data.num_classes = max(1, len(class_folders(cfg.data.train_path)))
    return cfg


class Job:
    """A training about to start: where its files go, and whether it resumes an earlier one.

    Args:
        cfg: parsed config.
        kind: the method, or "linear"; the folder is `<checkpoint.dir>/<kind>/<run id>`.
        model: the module to train.

    Attributes:
        folder: of its files, which no other run has; made here.
        resume_from: checkpoint to resume from, or None.

    Raises:
        CheckpointError: if the checkpoint to resume from cannot be used.
        ConfigError: if nothing can be written to `checkpoint.dir`, or another process trains the
            run that is to be resumed.
    """

    def __init__(self, cfg: DictConfig, kind: str, model: LightningModule) -> None:
        self.cfg, self.model = cfg, model
        self._parent = Path(cfg.checkpoint.dir) / kind
        check_folder(self._parent, "checkpoint.dir")
        self._lock: BaseFileLock | None = None
        self._made: list[Path] = []  # of the run's folder and those above it
        self._begun = False  # whether an epoch is done
        self._processes = num_processes(cfg)
        try:
            folder, resume_from, self._factor = decide_once(cfg, self._processes, self._decide)
        except BaseException:
            if self._lock is not None:
                release(self._lock)
            raise
        self.folder = Path(folder)
        self.resume_from = None if resume_from is None else Path(resume_from)

    def _decide(self) -> tuple[str, str | None, float]:
        """The folder, the checkpoint to go on with, and the factor of its learning rate."""
        path, factor = self._resumed(), 1.0
        if path is not None:
            factor = check_resume(self.cfg, path, self.model)
        if path is not None and self._is_last(path):
            folder = path.parent
            self._lock = self._lock or lock_folder(folder)
            if self._lock is None:
                raise ConfigError(f"{folder} is in use by another run, which is still training")
        else:
            above = [p for p in (self._parent, *self._parent.parents) if not p.exists()]
            folder = new_folder(self._parent, datetime.now().strftime("%Y%m%d-%H%M%S"))
            self._made = [folder, *above]
            self._lock = lock_folder(folder)
        return str(folder), None if path is None else str(path), factor

    def _is_last(self, path: Path) -> bool:
        """Whether a checkpoint is the last of a run here; beyond another one begins a new run."""
        is_here = path.parent.parent.resolve() == self._parent.resolve()
        return is_here and path == checkpoints.last(path.parent)

    def _resumed(self) -> Path | None:
        cfg = self.cfg
        given = cfg.resume_from_checkpoint
        for found in find_unfinished(cfg, self._parent) if cfg.auto_resume.enabled else ():
            # The same command again goes on with what it has made of the given checkpoint.
            begun_from = (checkpoints.saved_config(found) or {}).get("resume_from_checkpoint")
            if given is not None and begun_from != given:
                continue
            if lock := lock_folder(found.parent):
                newest = checkpoints.last(found.parent) or found
                if not is_finished(newest, cfg):
                    self._lock = lock
                    return newest
                release(lock)
            else:
                logger.info("%s is in use by another run of this config", found.parent)
        return None if given is None else checkpoints.of_run(given)

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
                diverges. Before an epoch is done or a checkpoint written, its folder is removed.
            KeyboardInterrupt: for a Ctrl-C before the first step.
        """
        try:
            return self._fit(train, val, callbacks)
        except DivergenceError:
            raise
        except (GEDIError, KeyboardInterrupt):
            if self._made and not self._begun and checkpoints.last(self.folder) is None:
                _remove(self._made)
            raise
        finally:
            forget()
            if self._lock is not None:
                release(self._lock)
            for loader in (train, val):
                if isinstance(loader, TrainingLoader | WorkersLoader):
                    loader.end()

    def _fit(self, train: Any, val: Any, callbacks: list[Callback]) -> tuple[Run, Trainer]:
        cfg = self.cfg
        on_sigint = signal.getsignal(signal.SIGINT)
        kept = cfg.checkpoint.enabled and not cfg.get("fast_dev_run")
        checkpointer = Checkpointer(cfg, self.folder) if kept else None
        with quiet_lightning(), _matmul_precision(cfg), refusals(MisconfigurationException):
            stop = GracefulStop(checkpointer, cfg.get("max_time"))
            first = [stop] if checkpointer is None else [stop, checkpointer]
            callbacks = [*first, *callbacks, RandomState(), LateState(self.resume_from)]
            validated = cfg.data.get("val_path") is not None
            callbacks.append(Schedule(self._factor, self._factor if validated else 1.0))
            if cfg.get("enable_progress_bar") in (None, True):
                callbacks.append(Progress())
            if cfg.wandb.enabled:
                callbacks.append(LearningRateMonitor(logging_interval="step"))
            trainer = self._trainer(callbacks)
            if isinstance(train, TrainingLoader):
                train.position = lambda: _position(trainer)
            try:
                with said_once(trainer):
                    trainer.fit(self.model, train, val, ckpt_path=self.resume_from)
            except SystemExit as error:  # Lightning's, after a Ctrl-C that we had not taken over
                if not isinstance(error.__context__, KeyboardInterrupt):
                    raise
                signal.signal(signal.SIGINT, on_sigint)
                raise error.__context__ from None
            finally:
                self._begun = trainer.current_epoch > stop.first
        refuse_broken_weights(self.model, trainer.global_step)
        if not trainer.global_step and stop.why is None:
            raise ConfigError("max_steps, max_time or another limit allows no training step")
        checkpoint = checkpoints.last(self.folder)
        ended = stop.why is not None and stop.done[0] < cfg.max_epochs
        if ended:
            _say_stopped(stop, cfg, checkpoint, int(trainer.num_training_batches))
        run = Run(
            folder=self.folder,
            checkpoint=checkpoint,
            metrics={name: float(value) for name, value in trainer.callback_metrics.items()},
            interrupted=stop.received if ended else None,
            finished=not ended,
            resumed=self.resume_from is not None,
            config=cfg,
            method=self.model,
        )
        return run, trainer

    def _trainer(self, callbacks: list[Callback]) -> Trainer:
        known = inspect.signature(Trainer.__init__).parameters
        settings: dict[str, Any] = OmegaConf.to_container(self.cfg)  # type: ignore[assignment]
        settings = {key: value for key, value in settings.items() if key in known}
        for ours in ("default_root_dir", "max_time"):
            settings.pop(ours, None)
        settings.setdefault("enable_model_summary", False)
        settings["strategy"] = strategy_of(self.cfg.strategy, self._processes)
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
def _matmul_precision(cfg: DictConfig) -> Iterator[None]:
    """Multiply float32 matrices as the config says, and afterwards as before."""
    before = torch.get_float32_matmul_precision()
    named = cfg.get("performance", {}).get("matmul_precision")
    torch.set_float32_matmul_precision(named or before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _remove(folders: list[Path]) -> None:
    """Remove a run's folder with what is in it, and its parents as far as they are empty."""
    shutil.rmtree(folders[0], ignore_errors=True)
    for folder in folders[1:]:
        with suppress(OSError):
            folder.rmdir()


def _position(trainer: Trainer) -> tuple[int, int]:
    """The epoch and the batch of it, from 0, with which a training goes on."""
    loop = trainer.fit_loop
    epoch: Any = loop.epoch_progress.current
    batch = loop.epoch_loop.batch_progress.current
    return epoch.processed, batch.ready if epoch.ready > epoch.processed else 0


def _say_stopped(
    stop: GracefulStop, cfg: DictConfig, checkpoint: Path | None, batches: int
) -> None:
    epochs, within = stop.done
    done = f"{epochs} of {cfg.max_epochs} epochs"
    if within:
        done += f" and {within} of {batches} batches of the next"
    if checkpoint is None:
        goes_on = "nothing is kept of it, since checkpoint.enabled=false"
    elif cfg.auto_resume.enabled:
        goes_on = "started again, it goes on from there"
    else:
        goes_on = f"resume_from_checkpoint={checkpoint} goes on from there"
    logger.info("Stopped by %s after %s; %s.", stop.why, done, goes_on)

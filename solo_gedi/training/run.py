"""A run: its folder, loggers, callbacks and Trainer."""

import inspect
import shutil
import sys
import warnings
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, ListConfig, OmegaConf

from solo_gedi.errors import ConfigError, DivergenceError, reason
from solo_gedi.files import check_folder
from solo_gedi.training import checkpoints
from solo_gedi.training.callbacks import AtomicCheckpointIO, Checkpointer, GracefulStop, RandomState
from solo_gedi.training.callbacks.divergence_guard import refuse_broken_weights
from solo_gedi.training.loggers import loggers_of


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


def parse(cfg: DictConfig, parse_cfg: Any) -> DictConfig:
    """solo-learn's parsing of a config, which wants a list of devices to count."""
    devices = cfg.devices
    cfg.devices = list(range(num_devices(cfg)))
    cfg = parse_cfg(cfg)
    cfg.devices = devices
    return cfg


class Run:
    """Where a run keeps its files, and whether it goes on with an earlier one.

    Args:
        cfg: parsed config.
        kind: the method, or "linear"; the folder is `<checkpoint.dir>/<kind>/<run id>`.

    Attributes:
        folder: of this run.
        resume_from: checkpoint to go on with, or None.

    Raises:
        ConfigError: if the checkpoint to resume from cannot be read, or nothing can be written.
    """

    def __init__(self, cfg: DictConfig, kind: str) -> None:
        self.cfg = cfg
        parent = Path(cfg.checkpoint.dir) / kind
        check_folder(parent, "checkpoint.dir")
        self.resume_from: Path | None = None
        if cfg.resume_from_checkpoint is not None:
            self.resume_from = Path(cfg.resume_from_checkpoint)
        elif cfg.auto_resume.enabled:
            self.resume_from = checkpoints.find_unfinished(cfg, parent)
        if self.resume_from is not None:
            print(f"Resuming from {self.resume_from}", flush=True)
        goes_on = self.resume_from is not None and self.resume_from.parent.parent == parent
        self.folder = self.resume_from.parent if goes_on else _new_folder(parent)  # type: ignore[union-attr]

    def check_resume(self, model: LightningModule) -> None:
        """Check, before anything runs, that the checkpoint fits the model."""
        if self.resume_from is None:
            return
        checkpoint = checkpoints.load(self.resume_from)
        saved = checkpoints.saved_config(self.resume_from)
        keys = ["method", "optimizer.name", "scheduler.name"]
        if checkpoint.get("replay_buffers"):  # whose chains have the images' size
            keys.append("augmentations[0].crop_size")
        for key in keys:
            before, now = OmegaConf.select(saved or self.cfg, key), OmegaConf.select(self.cfg, key)
            if before not in (None, now):
                raise ConfigError(
                    f"resume_from_checkpoint={self.resume_from} is of a run with {key}={before}, "
                    f"which one with {key}={now} cannot go on with"
                )
        checkpoints.check_state(checkpoint["state_dict"], model.state_dict(), self.resume_from)
        if "optimizer_states" not in checkpoint or "loops" not in checkpoint:
            raise ConfigError(
                f"resume_from_checkpoint={self.resume_from} holds weights alone, without the "
                "state of a training that could go on"
            )

    def fit(
        self, model: LightningModule, train: Any, val: Any, callbacks: list[Callback]
    ) -> Trainer:
        """Train, with checkpoints, loggers and random states as the config says.

        A run that a signal stopped ends the program, with the status that the signal stands for.

        Raises:
            ConfigError: if Lightning refuses a setting, or an image cannot be read; what the run
                has written is removed if there is no checkpoint among it.
        """
        cfg = self.cfg
        stop = GracefulStop()
        callbacks = [*callbacks, RandomState(), stop]
        if cfg.checkpoint.enabled:
            frequency, keep = cfg.checkpoint.frequency, cfg.checkpoint.keep_prev
            callbacks.append(Checkpointer(cfg, self.folder, frequency, keep))
        if cfg.wandb.enabled:
            callbacks.append(LearningRateMonitor(logging_interval="step"))
        known = inspect.signature(Trainer.__init__).parameters
        settings: dict[str, Any] = OmegaConf.to_container(cfg)  # type: ignore[assignment]
        settings = {key: value for key, value in settings.items() if key in known}
        settings["strategy"] = (
            DDPStrategy(find_unused_parameters=False)
            if cfg.strategy == "ddp"
            else cfg.strategy or "auto"
        )
        if isinstance(settings["devices"], str) and settings["devices"].isdigit():
            settings["devices"] = int(settings["devices"])
        missing = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        try:
            trainer = self._trainer(settings, callbacks)
            self._fit(trainer, model, train, val)
            refuse_broken_weights(model, trainer.global_step)
        except DivergenceError:
            raise
        except ConfigError:
            if self.folder in missing and checkpoints.last(self.folder) is None:
                _remove(missing)
            raise
        if stop.received is not None and trainer.current_epoch < cfg.max_epochs:
            print(f"Stopped after epoch {trainer.current_epoch - 1}.", flush=True)
            sys.exit(128 + stop.received)
        return trainer

    def _trainer(self, settings: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        try:
            return Trainer(
                **settings,
                logger=loggers_of(self.cfg, self.folder),
                callbacks=callbacks,
                plugins=[AtomicCheckpointIO()],
                enable_checkpointing=False,
            )
        except ConfigError:
            raise
        except (MisconfigurationException, TypeError, ValueError) as error:
            raise ConfigError(f"Lightning refuses a setting: {reason(error)}") from error

    def _fit(self, trainer: Trainer, model: LightningModule, train: Any, val: Any) -> None:
        with warnings.catch_warnings():
            # Lightning's own use of a torch name that has since been renamed.
            warnings.filterwarnings("ignore", message=".*LeafSpec.*")
            trainer.fit(model, train, val, ckpt_path=self.resume_from)


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

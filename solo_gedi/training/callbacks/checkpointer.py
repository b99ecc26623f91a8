"""Checkpoints in solo-learn's layout, never half written."""

import os
from pathlib import Path
from time import monotonic
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins import TorchCheckpointIO
from omegaconf import DictConfig, OmegaConf

from solo_gedi.core import checkpoints
from solo_gedi.core.processes import get_logger
from solo_gedi.errors import CheckpointError, reason
from solo_gedi.files import write_atomically, write_json
from solo_gedi.training.callbacks.divergence_guard import refuse_broken_weights

logger = get_logger(__name__)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and then renames it, whoever asked for it.

    What it reads is read as everywhere here: tensors and plain values alone.
    """

    def load_checkpoint(self, path: str | os.PathLike, *_: Any, **__: Any) -> dict[str, Any]:
        """Read a checkpoint; see `checkpoints.read`."""
        return checkpoints.read(Path(path))

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike, storage_options: Any = None
    ) -> None:
        """Write, then rename; a checkpoint that was there before stays until the rename.

        Raises:
            CheckpointError: if it cannot be written, as on a full disk.
        """
        save = super().save_checkpoint
        try:
            write_atomically(Path(path), lambda partial: save(checkpoint, partial, storage_options))
        except (OSError, RuntimeError) as error:  # torch's writer raises the latter
            raise CheckpointError(
                f"checkpoint {path} could not be written: {reason(error)}"
            ) from error


def ends(trainer: Trainer) -> bool:
    """Whether the epoch that is just over is the last, by its number, `max_steps` or a stop."""
    by_steps = 0 <= trainer.max_steps <= trainer.global_step
    return trainer.should_stop or by_steps or trainer.current_epoch + 1 == trainer.max_epochs


class Checkpointer(Callback):
    """Saves `<folder>/<name>-<run id>-ep=<epoch>.ckpt` and the config as `args.json`.

    Within an epoch, after some of its batches, it is `...-ep=<epoch>-batch=<batches>.ckpt`, which
    the next checkpoint replaces. solo-learn's own callback with the same layout leaves the
    checkpoints of several processes to chance in 1.0.2 and half-written files in both generations.

    Args:
        cfg: the run's config, after parsing; each checkpoint holds it.
        folder: where to save; its name is the run's id.
    """

    def __init__(self, cfg: DictConfig, folder: Path) -> None:
        self.cfg, self.folder = cfg, folder
        self.last: Path | None = None
        self._saved_at = monotonic()
        self._batches = 0  # of an epoch that is not done, while its checkpoint is written

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the config, and take note of the checkpoint that the run goes on with."""
        if trainer.ckpt_path and Path(trainer.ckpt_path).parent == self.folder:
            self.last = Path(trainer.ckpt_path)
        if trainer.is_global_zero:
            write_json(self.folder / "args.json", OmegaConf.to_container(self.cfg))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, and only then drop the checkpoint before; weights that are broken are not saved."""
        epoch = trainer.current_epoch
        done = trainer.fit_loop.epoch_loop.batch_progress.current.completed
        if done < trainer.num_training_batches:  # max_steps, or a stop, which has saved already
            if not trainer.should_stop:
                self.save_within(trainer, pl_module, done)
            return
        if ends(trainer) or epoch % self.cfg.checkpoint.frequency == 0:
            self._save(trainer, pl_module, f"ep={epoch}")

    def save_within(self, trainer: Trainer, pl_module: LightningModule, batches: int) -> None:
        """Save in the middle of an epoch, between two steps.

        Args:
            trainer: of the run.
            pl_module: what it trains.
            batches: of this epoch that have been trained on.
        """
        self._batches = batches
        self._save(trainer, pl_module, f"ep={trainer.current_epoch}-batch={batches}")
        self._batches = 0

    def is_due(self) -> bool:
        """Whether the last checkpoint is `checkpoint.every_minutes` old."""
        minutes = self.cfg.checkpoint.get("every_minutes")
        return minutes is not None and monotonic() - self._saved_at >= 60 * minutes

    def _save(self, trainer: Trainer, pl_module: LightningModule, label: str) -> None:
        refuse_broken_weights(pl_module, trainer.global_step)
        path = self.folder / f"{self.cfg.name}-{self.folder.name}-{label}.ckpt"
        # On every process: each has chains to hand in.
        trainer.save_checkpoint(path, weights_only=False)
        if trainer.is_global_zero and self.last and self.last != path:
            _, within = checkpoints.progress(self.last)
            if within or not self.cfg.checkpoint.keep_prev:
                self.last.unlink(missing_ok=True)
        self.last, self._saved_at = path, monotonic()

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the config, and what an epoch is; say of one that is not done how far it is."""
        checkpoint["config"] = OmegaConf.to_container(self.cfg)
        checkpoint["processes"] = trainer.world_size
        # solo-learn hangs a function on the schedule of groups whose rate is not to change.
        checkpoint["lr_schedulers"] = [
            {key: value for key, value in state.items() if not callable(value)}
            for state in checkpoint["lr_schedulers"]
        ]
        checkpoint["batches_per_epoch"] = trainer.num_training_batches
        if self._batches:
            loops = checkpoint["loops"]["fit_loop"]
            of_batches = loops["epoch_loop.batch_progress"]
            of_batches["is_last_batch"] = False
            # The batch that is next may have been fetched, and the epoch counted as processed.
            for count in (of_batches["total"], of_batches["current"]):
                count["ready"] = count["started"] = count["processed"] = count["completed"]
            for count in (loops["epoch_progress"]["total"], loops["epoch_progress"]["current"]):
                count["processed"] = count["completed"] = count["ready"] - 1

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """In an epoch that other numbers of processes share, go on after as many images.

        Unless each of them has as many batches as before, as of the toy sets.
        """
        of_epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]
        within = of_epochs["ready"] > of_epochs["processed"]
        if within and self.cfg.get("knn_eval", {}).get("enabled"):
            logger.warning(
                "val_knn_acc1 of the epoch that this run goes on with uses only the images of its "
                "remaining batches"
            )
        before, now = checkpoint.get("processes", trainer.world_size), trainer.world_size
        if checkpoint.get("batches_per_epoch") == trainer.limit_train_batches:
            return
        of_batches = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
        if before != now and within:
            of_batches.update(dict.fromkeys(of_batches, of_batches["completed"] * before // now))

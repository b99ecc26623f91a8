"""Checkpoints in solo-learn's layout, never half written."""

import os
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins import TorchCheckpointIO
from omegaconf import DictConfig, OmegaConf

from solo_gedi.core import checkpoints
from solo_gedi.errors import CheckpointError, reason
from solo_gedi.files import write_atomically, write_json
from solo_gedi.training.callbacks.divergence_guard import refuse_broken_weights


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


class Checkpointer(Callback):
    """Saves `<folder>/<name>-<run id>-ep=<epoch>.ckpt` and the config as `args.json`.

    solo-learn's own callback with the same layout leaves the checkpoints of several processes to
    chance in 1.0.2 and half-written files in both generations.

    Args:
        cfg: the run's config, after parsing.
        folder: where to save; its name is the run's id.
        frequency: epochs between checkpoints; the last epoch is always saved.
        keep_prev: whether to keep earlier checkpoints of this run.
    """

    def __init__(self, cfg: DictConfig, folder: Path, frequency: int, keep_prev: bool) -> None:
        self.cfg, self.folder = cfg, folder
        self.frequency, self.keep_prev = frequency, keep_prev
        self.last: Path | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the config, and take note of the checkpoint that the run goes on with."""
        if trainer.ckpt_path and Path(trainer.ckpt_path).parent == self.folder:
            self.last = Path(trainer.ckpt_path)
        if trainer.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / "args.json", OmegaConf.to_container(self.cfg))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, and only then drop the checkpoint before; weights that are broken are not saved."""
        epoch = trainer.current_epoch
        last = trainer.should_stop or epoch + 1 == trainer.max_epochs
        last = last or 0 <= trainer.max_steps <= trainer.global_step
        if epoch % self.frequency and not last:
            return
        refuse_broken_weights(pl_module, trainer.global_step)
        path = self.folder / f"{self.cfg.name}-{self.folder.name}-ep={epoch}.ckpt"
        # On every process: each has chains to hand in.
        trainer.save_checkpoint(path, weights_only=False)
        if trainer.is_global_zero and self.last and self.last != path and not self.keep_prev:
            self.last.unlink(missing_ok=True)
        self.last = path

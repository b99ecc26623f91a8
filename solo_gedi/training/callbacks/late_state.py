"""What solo-learn's methods keep outside the state that a checkpoint restores."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from solo_gedi.core import checkpoints

# Buffers that SwAV's and DeepClusterV2's `on_train_start` makes, of zeros: a checkpoint has them,
# and a module that has yet to start has not.
LATE = ("queue", "local_memory_index", "local_memory_embeddings")
_TAU = "momentum_tau"


class LateState(Callback):
    """Restores buffers that a method makes as it starts, and the rate of a momentum encoder.

    Args:
        resume_from: the checkpoint to go on with, if any.
    """

    def __init__(self, resume_from: Path | None) -> None:
        self.resume_from = resume_from
        self._kept: dict[str, Tensor] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make room for the buffers, so that Lightning finds each weight of the checkpoint."""
        if self.resume_from is None:
            return
        state = checkpoints.read(self.resume_from)["state_dict"]
        for name in set(LATE) & state.keys() - pl_module.state_dict().keys():
            pl_module.register_buffer(name, state[name].clone())

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep what is restored; the method's own `on_train_start` comes next."""
        buffers = dict(pl_module.named_buffers())
        self._kept = {name: buffers[name].clone() for name in LATE if name in buffers}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put it back; not where the number of processes has changed, and the shapes with it."""
        for name, value in self._kept.items():
            buffer = pl_module.get_buffer(name)
            if buffer.shape == value.shape:
                buffer.copy_(value)
        self._kept = {}

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the rate."""
        updater = getattr(pl_module, "momentum_updater", None)
        if updater is not None:
            checkpoint[_TAU] = float(updater.cur_tau)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore it."""
        if _TAU in checkpoint:
            pl_module.momentum_updater.cur_tau = checkpoint[_TAU]  # type: ignore[union-attr]

"""Pictures of the chains while they are trained on."""

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from solo_gedi.data import save_grid
from solo_gedi.training.callbacks.checkpointer import ends

SHOWN = 64  # chains


class SampleGrid(Callback):
    """Writes the first chains of the replay buffer as `<folder>/ep=<epoch>.png`.

    Does nothing for a method without chains, or whose samples are not images.

    Args:
        folder: where to write.
        frequency: epochs between pictures; the last epoch is always drawn.
    """

    def __init__(self, folder: Path, frequency: int) -> None:
        self.folder, self.frequency = folder, frequency

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the grid."""
        epoch = trainer.current_epoch
        due = epoch % self.frequency == 0 or ends(trainer)
        buffer = getattr(pl_module, "replay_buffer", None)
        if due and trainer.is_global_zero and buffer is not None and buffer.chains.dim() == 4:
            try:
                save_grid(buffer.chains[:SHOWN], self.folder / f"ep={epoch}.png")
            except OSError as error:
                rank_zero_warn(f"no picture of the chains ({error}); training goes on without it")

"""Pictures of the chains while they are trained on."""

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from solo_gedi.data import save_grid


class SampleGrid(Callback):
    """Writes the first chains of the replay buffer as `<folder>/ep=<epoch>.png`.

    Does nothing for a method without chains, or whose samples are not images.

    Args:
        folder: where to write.
        frequency: epochs between pictures; the last epoch is always drawn.
        num_samples: chains shown.
    """

    def __init__(self, folder: Path, frequency: int, num_samples: int = 64) -> None:
        self.folder, self.frequency, self.num_samples = folder, frequency, num_samples

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the grid."""
        epoch = trainer.current_epoch
        due = epoch % self.frequency == 0 or epoch + 1 == trainer.max_epochs
        buffer = getattr(pl_module, "replay_buffer", None)
        if due and trainer.is_global_zero and buffer is not None and buffer.chains.dim() == 4:
            try:
                save_grid(buffer.chains[: self.num_samples], self.folder / f"ep={epoch}.png")
            except OSError as error:
                rank_zero_warn(f"no picture of the chains ({error}); training goes on without it")

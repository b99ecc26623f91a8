"""Pictures of the chains while they are trained on."""

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torchvision.utils import save_image


def save_grid(samples: Tensor, path: Path, columns: int = 8) -> None:
    """Write images (n, channels, h, w), pixels in [-1, 1], as one PNG grid; small ones enlarged."""
    zoom = max(1, 32 // samples.shape[-1])
    samples = samples.repeat_interleave(zoom, -1).repeat_interleave(zoom, -2)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_image((samples.clamp(-1, 1) + 1) / 2, path, nrow=columns, pad_value=1.0)


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

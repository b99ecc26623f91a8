"""Augmentation of whole batches, on the device that trains."""

from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor


class Augmentation(Callback):
    """Makes the views of a batch, for any method, where the loader gives images as they are.

    Put before callbacks that look at the views or change them.

    Args:
        views: called with uint8 images (n, channels, height, width), gives a list of views.
    """

    def __init__(self, views: Callable[[Tensor], list[Tensor]]) -> None:
        self.views = views

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Turn a batch [indices, images, targets] into [indices, [views], targets]."""
        # As Lightning does to what a loader gives: the precision may not be float32.
        batch[1] = trainer.precision_plugin.convert_input(self.views(batch[1]))

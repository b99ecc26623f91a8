"""The paper's additive Gaussian noise, for methods that do not add it themselves."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from solo_gedi.data import SampleSpace


class InputNoise(Callback):
    """Adds Gaussian noise to the training views of any method, on the device.

    GEDI and JEM do so in their training step; this gives SwAV and Barlow Twins the same views
    (Tables 3 and 5).

    Args:
        space: the map between network inputs and [-1, 1].
        std: standard deviation in [-1, 1] units.
    """

    def __init__(self, space: SampleSpace, std: float) -> None:
        self.space, self.std = space, std

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Change the views of a batch [indices, [views], targets] in place."""
        for view in batch[1]:
            view.copy_(self.space.add_noise(view, self.std))

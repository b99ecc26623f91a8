"""The triad of failure modes, while a method is trained."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from solo_gedi.core import evaluation_mode
from solo_gedi.core.failure_modes import triad
from solo_gedi.hosts import cluster_scores


class Triad(Callback):
    """Logs the measures of `core.failure_modes.triad` of every epoch's last batch.

    As `triad_<measure>`, for any method whose outputs give clusters.
    """

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the two first views of the batch."""
        if not trainer.is_last_batch:
            return
        views = [batch[1]] if isinstance(batch[1], torch.Tensor) else batch[1][:2]
        with evaluation_mode(pl_module), torch.no_grad():
            outs = [pl_module(view) for view in views]
        found = (cluster_scores(pl_module, out) for out in outs)
        if not (scores := [of_one.float() for of_one in found if of_one is not None]):
            return
        view_scores = scores[1] if len(scores) > 1 else None
        # Its own randomness: a run with this callback is the run without it.
        generator = torch.Generator(pl_module.device).manual_seed(batch_idx)
        measures = triad(outs[0]["feats"].float(), scores[0], view_scores, generator)
        pl_module.log_dict(
            {f"triad_{name}": value for name, value in measures.items()},
            on_step=False,
            on_epoch=True,
            sync_dist=True,
        )

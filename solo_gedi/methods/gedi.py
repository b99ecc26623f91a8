"""GEDI as a solo-learn method."""

from collections.abc import Sequence
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from solo_gedi.core import (
    EnergyHead,
    GEDIObjective,
    SpectralBound,
    cluster_entropy,
    clusters_used,
    evaluation_mode,
    input_score,
    kept_statistics,
    log_density,
    mixes_batch,
)
from solo_gedi.core.processes import get_logger
from solo_gedi.errors import ConfigError
from solo_gedi.methods.chains import MethodWithChains
from solo_gedi.methods.kwargs import MethodKwargs, with_defaults

logger = get_logger(__name__)

_HALF = ("16-true", "bf16-true")  # of Lightning's `precision`


class GEDI(MethodWithChains):
    """GEnerative and DIscriminative training (Sansone, "The Triad of Failure Modes").

    Extra cfg settings: see `solo_gedi.methods.kwargs.MethodKwargs`.

    Args:
        cfg: solo-learn's config.

    Attributes:
        has_energy: whether a method models log p(x), and so has `sampler` and `watched`.
        objective: the loss, Eq. 5.
        shown: which of its metrics a progress bar shows, and by which label.
        watched: what the last step says about divergence: loss terms, energies and the chains'
            range and gradient, as scalars.
    """

    has_energy = True
    shown = {
        "train_gedi_loss": "loss",
        "train_inv_loss": "inv",
        "train_prior_loss": "prior",
        "train_gen_loss": "gen",
        "train_clusters_used": "clusters",
    }

    def __init__(self, cfg: DictConfig) -> None:
        super().__init__(cfg)
        kwargs = self.cfg.method_kwargs
        self.input_noise_std = kwargs.input_noise_std
        self.projector = EnergyHead(
            self.features_dim,
            kwargs.proj_hidden_dim,
            kwargs.num_clusters,
            kwargs.temperature,
            batch_norm=kwargs.use_bn_in_head,
        )
        prior = kwargs.cluster_prior
        self.objective = GEDIObjective(
            **kwargs.weights,
            energy_l2=kwargs.energy_l2,
            grad_penalty=kwargs.grad_penalty,
            cluster_prior=None if prior is None else torch.tensor(prior),
            gather_distributed=True,
        )
        if self.objective.needs_samples and str(self.cfg.get("precision")) in _HALF:
            raise ConfigError(
                f"precision={self.cfg.precision} would keep the chains in half precision, in which "
                "their steps are lost: take bf16-mixed or 16-mixed"
            )
        self.mixes_batch = mixes_batch(self.backbone)
        limit = kwargs.max_spectral_norm
        networks = self.backbone, self.projector
        self.spectral_bound = None if limit is None else SpectralBound(networks, limit)
        self.watched: dict[str, Tensor] = {}
        self._validated = False  # whether images have been, and their size looked at

        views = 2 if self.objective.needs_view else 1
        large, small = self.cfg.data.num_large_crops, self.cfg.data.num_small_crops
        if small or large < views:
            raise ConfigError(
                f"augmentations must give {views} view(s) of one crop_size to {cfg.method} with "
                f"weights.inv={kwargs.weights.inv}, not {large} large and {small} small ones"
            )
        # A view that no term needs is not looked at, not even by the online classifier. For
        # solo-learn the views are one batch, in one pass, unless the backbone would mix them.
        self.num_views = views
        self.num_large_crops = self.num_crops = views if self.mixes_batch else 1

    @staticmethod
    def add_and_assert_specific_cfg(cfg: DictConfig) -> DictConfig:
        """Add the method's defaults to the config and check its values.

        Raises:
            ConfigError: for a `method_kwargs` key or value that cannot work.
        """
        cfg = super(GEDI, GEDI).add_and_assert_specific_cfg(cfg)
        return with_defaults(cfg, MethodKwargs())

    @property
    def learnable_params(self) -> list[dict[str, Any]]:
        """Add the head's parameters to those of the backbone and the online classifier."""
        extra = [{"name": "projector", "params": self.projector.parameters()}]
        return super().learnable_params + extra

    def forward(self, X: Tensor) -> dict[str, Any]:
        """Online classifier, features and cluster logits.

        Args:
            X: (n, ...) network inputs.

        Returns:
            `logits` (n, classes) of the online classifier, `feats` (n, h) and `z` (n, c), the
            cluster logits divided by the temperature.
        """
        out = super().forward(X)
        return {**out, "z": self.projector(out["feats"])}

    def training_step(self, batch: Sequence[Any], batch_idx: int) -> Tensor:
        """One step of Algorithm 1, with solo-learn's online classifier.

        Args:
            batch: [indices, [views], targets]; targets of -1 are unlabelled.
            batch_idx: index of the batch.

        Returns:
            The objective plus the online classifier's loss, whose gradients do not meet.
        """
        indices, X, targets = batch
        X = [X] if isinstance(X, Tensor) else X[: self.num_views]
        # x and x', with the noise of Tables 3 and 5
        views = [self.sample_space.add_noise(x, self.input_noise_std) for x in X]
        data = self.sample_space.to_samples(views[0])

        # Generate samples from p_Theta using SGLD.
        samples = self.draw_samples(data) if self.objective.needs_samples else None
        # log p(x) of data and samples, Eq. 6
        out, logits = self._classify(indices, views, targets, batch_idx)
        features = out["feats"][0][: len(data)]
        densities = {} if samples is None else self._log_densities(data, features, samples)
        # L_GEN (Eq. 11), L_INV and L_PRIOR (Eq. 3), weighted as in Eq. 5
        score = self._score(data) if self.objective.needs_score else None
        view = logits[1] if self.objective.needs_view else None
        terms = self.objective(logits[0], view, **densities, data_score=score)
        loss = terms.pop("loss")

        self._log_step({**terms, "gedi": loss}, logits[0], densities)
        # The online classifier's mean over no labelled point is NaN.
        labelled = (targets != -1).any()
        return loss + torch.where(labelled, out["loss"], torch.zeros_like(out["loss"]))

    def _score(self, data: Tensor) -> Tensor:
        """grad_x log p(x) of each image, by the density that the chains follow, with its graph."""
        x = data.detach().requires_grad_()
        with evaluation_mode(self):
            return input_score(self.log_density(x), x)

    def _classify(
        self, indices: Tensor, views: list[Tensor], targets: Tensor, batch_idx: int
    ) -> tuple[dict[str, Any], Sequence[Tensor]]:
        """solo-learn's own step with its online classifier, and the cluster logits of each view."""
        if self.mixes_batch:
            out = super().training_step([indices, views, targets], batch_idx)
            return out, out["z"]
        targets = targets.repeat(self.num_views)
        out = super().training_step([indices, [torch.cat(views)], targets], batch_idx)
        return out, out["z"][0].chunk(self.num_views)

    def _log_densities(self, data: Tensor, features: Tensor, samples: Tensor) -> dict[str, Tensor]:
        """Log-densities of the data and of samples, by one and the same density.

        Batch norm normalises both by their common statistics. By running ones, which lag behind the
        weights, features that outgrow them would have a higher density, and would explode. The
        running ones stay the data's, by which it is clustered. The data's `features` are used where
        no batch norm is in the backbone.
        """
        with kept_statistics(self.backbone, self.projector):
            if self.mixes_batch:
                both = self.log_density(torch.cat([data, samples]))
            else:
                of_samples = self.backbone(self.sample_space.to_input(samples))
                both = log_density(self.projector(torch.cat([features, of_samples])))
        of_data, of_samples = both.split([len(data), len(samples)])
        return {"data_log_density": of_data, "sample_log_density": of_samples}

    def _log_step(
        self, losses: dict[str, Tensor], logits: Tensor, densities: dict[str, Tensor]
    ) -> None:
        metrics = {f"train_{name}_loss": loss for name, loss in losses.items()}
        chains: dict[str, Tensor] = {}
        if densities and self.sampler is not None:
            metrics["train_data_energy"] = -densities["data_log_density"].mean()
            metrics["train_sample_energy"] = -densities["sample_log_density"].mean()
            chains = self.sampler.watched
        # Energies and scores are of a size that can be judged; their squares are not.
        squares = ("train_energy_l2_loss", "train_grad_penalty_loss")
        judged = {name: value.detach() for name, value in metrics.items() if name not in squares}
        self.watched = {**chains, **judged}
        if chains:
            metrics["train_chain_grad_norm"] = chains["chain_grad_norm"]
        metrics["train_cluster_entropy"] = cluster_entropy(logits.detach())
        metrics["train_clusters_used"] = clusters_used(logits)
        self.log_dict(metrics, on_epoch=True, sync_dist=True)

    def on_validation_batch_start(self, batch: Sequence[Any], *_: Any) -> None:
        """Warn, once, of images of another size than that of the training views."""
        if self._validated:
            return
        self._validated, images = True, batch[0]
        if images.dim() == 4 and images.shape[-1] != (size := self.cfg.augmentations[0].crop_size):
            logger.warning(
                "The validation images are %d pixels wide and the training views %d: val_acc1 is "
                "that of images that the network does not know. solo-learn's own main_pretrain.py "
                "validates `custom` folders at 224 pixels whatever augmentations.0.crop_size; "
                "`solo-gedi pretrain` with the same config validates at %d.",
                *(images.shape[-1], size, size),
            )

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Bound the weights' singular values after a step, if `max_spectral_norm` is set."""
        super().optimizer_step(*args, **kwargs)
        if self.spectral_bound is not None:
            self.spectral_bound.apply()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save `spectral_bound` beside the chains."""
        super().on_save_checkpoint(checkpoint)
        if self.spectral_bound is not None:
            checkpoint["spectral_bound"] = self.spectral_bound.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore it with them."""
        super().on_load_checkpoint(checkpoint)
        if self.spectral_bound is not None:
            self.spectral_bound.load_state_dict(checkpoint.get("spectral_bound", []))

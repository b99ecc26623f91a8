"""solo-learn 1.0.2's base method, built from a config and at home on Lightning 2."""

from typing import Any

import torch.nn.functional as F
from lightning.pytorch import LightningModule
from omegaconf import DictConfig
from torch import Tensor, nn

from solo_gedi.backbones.build import FACTORIES
from solo_gedi.hosts._shared import (
    BackboneFactory,
    WeightedKNNMixin,
    build_backbone,
    features_dim,
)
from solo_gedi.hosts.pypi import config, optim, solo

# Its own are torchvision's and timm's, too.
BACKBONES: dict[str, BackboneFactory] = dict(FACTORIES)


class WeightedKNN(WeightedKNNMixin, solo.WeightedKNNClassifier):
    """solo-learn's weighted kNN on today's torchmetrics."""


class CollectedValidation:
    """Mends 1.0.2's validation, whose outputs Lightning 2 no longer collects.

    Put before 1.0.2's module among the bases.
    """

    # Lightning 2 refuses a module on which this can be called.
    validation_epoch_end: Any = None
    validation_step_outputs: list[Any]

    def on_validation_batch_end(self, outputs: Any, *_: Any) -> None:
        """Collect what the validation step returned."""
        self.validation_step_outputs.append(outputs)

    def on_validation_epoch_end(self) -> None:
        """Average the validation metrics as 1.0.2 does."""
        super().validation_epoch_end(self.validation_step_outputs)  # type: ignore[misc]
        self.validation_step_outputs.clear()


class BaseMethod(CollectedValidation, solo.base.BaseMethod):
    """1.0.6's BaseMethod in 1.0.2: the same config, names of attributes and checkpoint keys.

    Args:
        cfg: as 1.0.6's, after `parse_pretrain`.
        **_: what 1.0.2's methods hand on to their base class.
    """

    add_and_assert_specific_cfg = staticmethod(config.method_defaults)

    def __init__(self, cfg: DictConfig, **_: Any) -> None:
        LightningModule.__init__(self)
        cfg = self.add_and_assert_specific_cfg(cfg)
        self.cfg = cfg
        self.backbone_name = cfg.backbone.name
        self.backbone = build_backbone(BACKBONES, cfg)
        self.features_dim = features_dim(self.backbone)
        self.num_classes = cfg.data.num_classes
        self.classifier = nn.Linear(self.features_dim, self.num_classes)

        self.max_epochs, self.batch_size = cfg.max_epochs, cfg.optimizer.batch_size
        self.weight_decay = cfg.optimizer.weight_decay
        accumulated = cfg.accumulate_grad_batches
        self.lr = cfg.optimizer.lr * accumulated
        self.classifier_lr = cfg.optimizer.classifier_lr * accumulated
        self.min_lr = cfg.scheduler.min_lr * accumulated
        self.warmup_start_lr = cfg.scheduler.warmup_start_lr * accumulated

        self.num_large_crops = cfg.data.num_large_crops
        self.num_small_crops = cfg.data.num_small_crops
        self.num_crops = self.num_large_crops + self.num_small_crops
        self.multicrop = self.num_small_crops != 0

        self.knn_eval = cfg.knn_eval.enabled
        if self.knn_eval:
            self.knn = WeightedKNN(cfg.knn_eval.k, distance_fx=cfg.knn_eval.distance_func)
        self.validation_step_outputs = []

    @property
    def encoder(self) -> nn.Module:
        """1.0.2's name for the backbone."""
        return self.backbone

    @property
    def learnable_params(self) -> list[dict[str, Any]]:
        """Parameter groups of the backbone and of the online classifier."""
        classifier = {"lr": self.classifier_lr, "weight_decay": 0}
        return [
            {"name": "backbone", "params": self.backbone.parameters()},
            {"name": "classifier", "params": self.classifier.parameters(), **classifier},
        ]

    def configure_optimizers(self) -> Any:
        """The optimiser and schedule that the config names, with 1.0.6's meaning."""
        groups = self.learnable_params
        if self.cfg.optimizer.exclude_bias_n_norm_wd:
            groups = optim.split_off_vectors(groups, weight_decay=0)
        static = [i for i, group in enumerate(groups) if group.pop("static_lr", False)]
        optimizer = optim.build_optimizer(
            self.cfg.optimizer.name, groups, self.lr, self.weight_decay, self.cfg.optimizer.kwargs
        )
        return optim.build_scheduler(
            optimizer,
            self.cfg.scheduler,
            max_epochs=self.max_epochs,
            total_steps=int(self.trainer.estimated_stepping_batches),
            start_lr=self.warmup_start_lr,
            min_lr=self.min_lr,
            static_groups=static,
        )

    def _base_shared_step(self, X: Tensor, targets: Tensor) -> dict[str, Any]:
        """As in 1.0.6, all of `forward`'s outputs, with the online classifier's loss."""
        out = self(X)
        loss = F.cross_entropy(out["logits"], targets, ignore_index=-1)
        top_k = (1, min(5, out["logits"].size(1)))
        acc1, acc5 = solo.base.accuracy_at_k(out["logits"], targets, top_k=top_k)
        return {**out, "loss": loss, "acc1": acc1, "acc5": acc5}

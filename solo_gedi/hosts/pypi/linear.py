"""solo-learn 1.0.2's linear probe, built from a config and at home on Lightning 2."""

from typing import Any

from lightning.pytorch import LightningModule
from omegaconf import DictConfig
from torch import nn

from solo_gedi.errors import ConfigError
from solo_gedi.hosts._shared import FewClassesMixin, features_dim
from solo_gedi.hosts.pypi import config, optim, solo
from solo_gedi.hosts.pypi.base import CollectedValidation


class LinearModel(FewClassesMixin, CollectedValidation, solo.linear.LinearModel):
    """1.0.6's LinearModel in 1.0.2.

    Args:
        backbone: the pretrained network, which is frozen.
        cfg: as 1.0.6's, after `parse_linear`.

    Raises:
        ConfigError: for `finetune`, which 1.0.2 does not have.
    """

    def __init__(self, backbone: nn.Module, cfg: DictConfig) -> None:
        LightningModule.__init__(self)
        cfg = config.linear_defaults(cfg)
        if cfg.finetune:
            raise ConfigError("finetune=true needs solo-learn's GitHub version; 1.0.2 is installed")
        self.cfg = cfg
        self.backbone = backbone.requires_grad_(False)
        self.classifier = nn.Linear(features_dim(backbone), cfg.data.num_classes)
        self.validation_step_outputs = []

    def configure_optimizers(self) -> Any:
        """The optimiser and schedule that the config names, with 1.0.6's meaning."""
        cfg = self.cfg
        optimizer = optim.build_optimizer(
            cfg.optimizer.name,
            [{"params": self.classifier.parameters()}],
            cfg.optimizer.lr,
            cfg.optimizer.weight_decay,
            cfg.optimizer.kwargs,
        )
        return optim.build_scheduler(
            optimizer,
            cfg.scheduler,
            max_epochs=cfg.max_epochs,
            total_steps=int(self.trainer.estimated_stepping_batches),
            start_lr=cfg.scheduler.warmup_start_lr,
            min_lr=cfg.scheduler.min_lr,
        )

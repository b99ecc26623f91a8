"""solo-learn's offline linear probe on a pretrained backbone."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch import seed_everything
from omegaconf import DictConfig, OmegaConf

from solo_gedi import hosts
from solo_gedi.config import LINEAR, as_config, check_choice, prepare
from solo_gedi.core import checkpoints
from solo_gedi.core.processes import get_logger
from solo_gedi.errors import CheckpointError, ConfigError
from solo_gedi.methods import register
from solo_gedi.training import loaders
from solo_gedi.training.job import Job, Run, parse
from solo_gedi.training.quiet import quiet_lightning, quiet_solo

logger = get_logger(__name__)


def linear(cfg: DictConfig | Mapping[str, Any]) -> Run:
    """Train the linear probe that a config describes.

    Args:
        cfg: in solo-learn's schema, as `load_config(..., kind="linear")` gives it; not changed.

    Returns:
        The run; unless it was interrupted, `metrics["val_acc1"]` is the top-1 accuracy on the
        validation data after the last epoch, in percent.

    Raises:
        GEDIError: before training starts, if config, data or checkpoint cannot work.

    Example:
        linear(load_config("digits/gedi", [f"pretrained_feature_extractor={path}"], kind="linear"))
    """
    cfg = as_config(cfg)
    register()
    prepare(cfg, LINEAR)
    if cfg.data.get("val_path") is None:
        raise ConfigError("data.val_path is missing from the config")
    check_choice("pretrain_method", cfg.pretrain_method, hosts.METHODS)
    cfg = parse(loaders.with_probe_augmentations(cfg), hosts.parse_linear)
    if cfg.auto_augment or cfg.mixup or cfg.cutmix or cfg.label_smoothing:
        raise ConfigError(
            "auto_augment, mixup, cutmix and label_smoothing: use solo-learn's own main_linear.py"
        )
    seed_everything(cfg.seed, workers=True, verbose=False)

    with quiet_solo():
        model = hosts.LinearModel(load_backbone(cfg), cfg=cfg)
    if not cfg.get("performance", {}).get("disable_channel_last", False):
        model = model.to(memory_format=torch.channels_last)
    train, val = loaders.probe_loaders(cfg)
    loaders.check_inputs(cfg, train, cfg.data.augmentations.crop_size)
    run, trainer = Job(cfg, "linear", model).fit(train, val, [])
    if run.interrupted is not None:
        return run
    with quiet_lightning():
        (metrics,) = trainer.validate(model, val, verbose=False)
    logger.info(
        "Linear probe of %s (offline), on\ndata.val_path=%s: accuracy %.4f",
        *(cfg.pretrained_feature_extractor, cfg.data.val_path, metrics["val_acc1"] / 100),
    )
    return replace(run, metrics={**run.metrics, **metrics})


def load_backbone(cfg: DictConfig) -> torch.nn.Module:
    """The backbone of a linear config with all of its pretrained weights.

    Args:
        cfg: parsed.

    Raises:
        CheckpointError: if the checkpoint is of another method or network, or leaves a weight open.
        ConfigError: for an `optimizer.layer_decay` that the backbone has no use for.
    """
    path = checkpoints.of_run(cfg.pretrained_feature_extractor)
    checkpoint = checkpoints.read(path)
    pretrained = checkpoints.saved_config(path)
    if pretrained is not None and pretrained.get("method") != cfg.pretrain_method:
        raise CheckpointError(
            f"pretrained_feature_extractor={path} was pretrained with {pretrained.get('method')}, "
            f"not with pretrain_method={cfg.pretrain_method}"
        )
    if pretrained is not None:
        _compare_views(pretrained, cfg)
    backbone = hosts.build_backbone(hosts.BACKBONES, cfg)
    state = checkpoints.backbone_state(checkpoint["state_dict"])
    checkpoints.check_state(state, backbone.state_dict(), path)
    backbone.load_state_dict(state)
    if OmegaConf.select(cfg, "optimizer.layer_decay") and not hasattr(backbone, "no_weight_decay"):
        raise ConfigError(
            f"optimizer.layer_decay={cfg.optimizer.layer_decay} is for vision transformers; "
            f"backbone.name={cfg.backbone.name} takes 0"
        )
    return backbone


def _compare_views(pretrained: Mapping[str, Any], cfg: DictConfig) -> None:
    """Warn of a probe that sees images otherwise than the pretraining did."""
    before = (pretrained.get("augmentations") or [{}])[0]
    now: Any = OmegaConf.to_container(cfg.data.augmentations)
    for key in ("crop_size", "mean", "std"):
        if before.get(key) is not None and before[key] != now.get(key):
            logger.warning(
                "The backbone was pretrained with %s=%s and is probed with %s: set "
                "data.augmentations.%s to change that.",
                *(key, before[key], now.get(key), key),
            )

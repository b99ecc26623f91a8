"""`solo-gedi linear`: solo-learn's offline linear probe on a pretrained backbone."""

from pathlib import Path

import torch
from lightning.pytorch import seed_everything
from omegaconf import DictConfig

from solo_gedi import hosts
from solo_gedi.config import compose as config
from solo_gedi.errors import ConfigError
from solo_gedi.training import checkpoints, loaders
from solo_gedi.training import run as runs


def main(arguments: list[str]) -> None:
    """Run the command."""
    linear(config.parse_arguments("linear", arguments))


def linear(cfg: DictConfig) -> float:
    """Train the probe that the config describes.

    Args:
        cfg: in solo-learn's schema, before its parsing.

    Returns:
        Top-1 accuracy on the validation data after the last epoch, in [0, 1].

    Raises:
        ConfigError: before training starts, if config or checkpoint cannot work.
    """
    config.prepare(cfg, required=config.LINEAR)
    if cfg.data.get("val_path") is None:
        raise ConfigError("data.val_path is missing from the config")
    config.check_method(cfg, "pretrain_method")
    cfg = runs.parse(cfg, hosts.parse_linear)
    if cfg.auto_augment or cfg.mixup or cfg.cutmix or cfg.label_smoothing:
        raise ConfigError(
            "auto_augment, mixup, cutmix and label_smoothing: use solo-learn's own main_linear.py"
        )
    seed_everything(cfg.seed, workers=True, verbose=False)

    backbone = load_backbone(cfg)
    model = hosts.LinearModel(backbone, cfg=cfg)
    if not cfg.get("performance", {}).get("disable_channel_last", False):
        model = model.to(memory_format=torch.channels_last)
    train, val = loaders.probe_loaders(cfg)
    loaders.check_inputs(cfg, train, cfg.data.augmentations.crop_size)
    run = runs.Run(cfg, "linear")
    run.check_resume(model)
    trainer = run.fit(model, train, val, [])
    (metrics,) = trainer.validate(model, val, verbose=False)
    accuracy = metrics["val_acc1"] / 100
    print(f"Linear probe of {cfg.pretrained_feature_extractor} (offline), on")
    print(f"data.val_path={cfg.data.val_path}: accuracy {accuracy:.4f}", flush=True)
    return accuracy


def load_backbone(cfg: DictConfig) -> torch.nn.Module:
    """The backbone of a linear config with all of its pretrained weights.

    Raises:
        ConfigError: if the checkpoint is of another method or network, or leaves a weight open.
    """
    path = Path(cfg.pretrained_feature_extractor)
    checkpoint = checkpoints.load(path)
    pretrained = checkpoints.saved_config(path)
    if pretrained is not None and pretrained.method != cfg.pretrain_method:
        raise ConfigError(
            f"pretrained_feature_extractor={path} was pretrained with {pretrained.method}, "
            f"not with pretrain_method={cfg.pretrain_method}"
        )
    backbone = hosts.build_backbone(hosts.BACKBONES, cfg)
    state = checkpoints.backbone_state(checkpoint)
    checkpoints.check_state(state, backbone.state_dict(), path)
    backbone.load_state_dict(state)
    return backbone

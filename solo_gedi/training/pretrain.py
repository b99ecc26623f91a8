"""`solo-gedi pretrain`: pretrain any of solo-learn's methods, GEDI among them."""

import inspect
from typing import Any

import torch
from lightning.pytorch import Callback, seed_everything
from omegaconf import DictConfig

from solo_gedi import hosts
from solo_gedi.config import compose as config
from solo_gedi.errors import ConfigError
from solo_gedi.methods import GEDI, METHODS, sample_space
from solo_gedi.training import loaders
from solo_gedi.training import run as runs
from solo_gedi.training.callbacks import (
    Augmentation,
    DivergenceGuard,
    InputNoise,
    SampleGrid,
    Triad,
)


def main(arguments: list[str]) -> None:
    """Run the command."""
    pretrain(config.parse_arguments("pretrain", arguments))


def pretrain(cfg: DictConfig) -> tuple[hosts.BaseMethod, runs.Run]:
    """Pretrain what the config describes.

    Args:
        cfg: in solo-learn's schema, before its parsing.

    Returns:
        The trained method and its run.

    Raises:
        ConfigError: before training starts, if the config cannot work.
    """
    config.prepare(cfg, required=config.PRETRAIN)
    config.check_method(cfg, "method")
    print(f"Pretraining {cfg.method} on {cfg.data.dataset}, with {hosts.describe()}", flush=True)
    cfg = runs.parse(cfg, hosts.parse_pretrain)
    views = loaders.device_views(cfg)
    train, val = loaders.pretrain_loader(cfg), loaders.validation_loader(cfg)
    loaders.check_inputs(cfg, train, cfg.augmentations[0].crop_size, views)

    seed_everything(cfg.seed, workers=True, verbose=False)
    model = config.build_method(cfg)
    if not cfg.get("performance", {}).get("disable_channel_last", False):
        model = model.to(memory_format=torch.channels_last)
    run = runs.Run(cfg, cfg.method)
    run.check_resume(model)

    callbacks: list[Callback] = [
        Triad(),
        SampleGrid(run.folder / "samples", cfg.checkpoint.frequency),
    ]
    if isinstance(model, GEDI):
        callbacks.insert(0, _guard(cfg))
    if views is not None:
        callbacks.insert(0, Augmentation(views))
    noise = (cfg.get("method_kwargs") or {}).get("input_noise_std", 0)
    if noise and cfg.method not in METHODS:
        callbacks.append(InputNoise(sample_space(cfg), noise))
    run.fit(model, train, val, callbacks)
    print(f"Files of this run: {run.folder}", flush=True)
    return model, run


def _guard(cfg: DictConfig) -> DivergenceGuard:
    """The divergence guard with the settings in the config's `divergence`."""
    settings: dict[str, Any] = dict(cfg.get("divergence") or {})
    try:
        return DivergenceGuard(**settings)
    except TypeError as error:
        known = sorted(set(inspect.signature(DivergenceGuard).parameters))
        raise ConfigError(f"divergence={settings}: choose from {known}") from error

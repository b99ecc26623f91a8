"""Pretraining of any of solo-learn's methods, GEDI among them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from solo_gedi import hosts
from solo_gedi.config import PRETRAIN, as_config, check_choice, prepare
from solo_gedi.core import checkpoints, evaluation_mode, log_density
from solo_gedi.core.processes import get_logger, rank
from solo_gedi.data import spec_of
from solo_gedi.errors import ConfigError, DataError, GEDIError, reason
from solo_gedi.methods import GEDI, register, sample_space
from solo_gedi.training import loaders
from solo_gedi.training.callbacks import (
    Augmentation,
    DivergenceGuard,
    InputNoise,
    SampleGrid,
    Triad,
)
from solo_gedi.training.job import Job, Run, parse
from solo_gedi.training.quiet import quiet_solo
from solo_gedi.training.reference import measure_reference

logger = get_logger(__name__)


def pretrain(cfg: DictConfig | Mapping[str, Any]) -> Run:
    """Pretrain what a config describes.

    Args:
        cfg: in solo-learn's schema, as `load_config` gives it; not changed.

    Returns:
        The run: its folder, checkpoint, metrics, and whether a signal stopped it.

    Raises:
        GEDIError: before training starts, if config, data or checkpoint cannot work; later, if an
            image cannot be read or training diverges.

    Example:
        run = pretrain(load_config("digits/gedi", ["max_epochs=5"]))
    """
    cfg = as_config(cfg)
    register()
    prepare(cfg, PRETRAIN)
    check_choice("method", cfg.method, hosts.METHODS)
    logger.info("Pretraining %s on %s, with %s", cfg.method, cfg.data.dataset, hosts.describe())
    cfg = parse(cfg, hosts.parse_pretrain)
    if spec_of(cfg.data.dataset).points is None:
        cfg = loaders.with_normalization(cfg)
    else:  # points have no channels, whose layout solo-learn's newer generation changes
        OmegaConf.update(cfg, "performance.disable_channel_last", True, force_add=True)
    views = loaders.device_views(cfg)
    train, val = loaders.pretrain_loader(cfg), loaders.validation_loader(cfg)
    loaders.check_inputs(cfg, train, cfg.augmentations[0].crop_size, views)

    if OmegaConf.select(cfg, "method_kwargs.sgld.buffer_size", default=0) is None:
        cfg.method_kwargs.sgld.buffer_size = chains_for(train, cfg.optimizer.batch_size)
    seed_everything(cfg.seed, workers=True, verbose=False)
    with quiet_solo():
        model = build_method(cfg)
    if not cfg.get("performance", {}).get("disable_channel_last", False):
        model = model.to(memory_format=torch.channels_last)
    cfg = model.cfg  # with what the method adds, which belongs into args.json
    callbacks: list[Callback] = []
    if views is not None:
        callbacks.append(Augmentation(views))
    if getattr(model, "has_energy", False):
        callbacks.append(_guard(cfg))
    elif noise := (cfg.get("method_kwargs") or {}).get("input_noise_std", 0):
        callbacks.append(InputNoise(sample_space(cfg), noise))
    job = Job(cfg, cfg.method, model)
    callbacks += [Triad(), SampleGrid(job.folder / "samples", cfg.checkpoint.frequency)]
    run, trainer = job.fit(train, val, callbacks)
    if run.finished and run.checkpoint is not None and rank() == 0:
        _write_reference(run, run.checkpoint, trainer)
    logger.info("Files of this run: %s", run.folder)
    return run


def chains_for(train: loaders.TrainingLoader, batch_size: int) -> int:
    """How many chains are moved as often in an epoch as the paper's 10,000 by 50,000 images.

    Fewer fit a small data set, and every checkpoint holds them all.

    Args:
        train: the training data.
        batch_size: how many move at a time.

    Returns:
        A fifth of the images for each process, from a batch to 10,000; 10,000 for points.
    """
    if train.batch_size is None:
        return 10_000
    # As many whichever the number of processes, which need not be known yet.
    images = len(train.dataset) // batch_size * batch_size
    return min(10_000, max(batch_size, images // 5))


def build_method(cfg: DictConfig) -> hosts.BaseMethod:
    """The method that a parsed config names.

    Args:
        cfg: parsed; its method is known to the host.

    Raises:
        ConfigError: if the method refuses its settings.
    """
    method = hosts.METHODS[cfg.method]
    if issubclass(method, GEDI):  # which checks its settings itself
        return method(cfg)
    # solo-learn's own methods hand theirs on to torch unchecked.
    try:
        return method(cfg)
    except GEDIError:
        raise
    except (AssertionError, OmegaConfBaseException, RuntimeError, TypeError, ValueError) as error:
        kwargs = OmegaConf.to_container(cfg.get("method_kwargs") or OmegaConf.create())
        raise ConfigError(
            f"method={cfg.method} refuses its settings, perhaps method_kwargs={kwargs}: "
            f"{reason(error)}"
        ) from error


def _write_reference(run: Run, checkpoint: Path, trainer: Trainer) -> None:
    """Keep the quantiles of log p over the training images beside the checkpoint."""
    method, device = run.method, trainer.strategy.root_device
    dtype = next(method.parameters()).dtype  # Lightning's "64-true" is double

    def log_p(x: Tensor) -> Tensor:
        scores = hosts.cluster_scores(method, method(x.to(dtype)))
        if scores is None:
            raise DataError(f"{run.config.method} has no clusters to take log p from")
        return log_density(scores)

    try:
        with evaluation_mode(method.to(device)):
            if reference := measure_reference(log_p, run.config, device):
                epoch, batches = checkpoints.progress(checkpoint)
                epochs = round(epoch + batches / trainer.num_training_batches, 2)
                reference.write(run.folder, checkpoint.name, epochs)
    except (GEDIError, OSError) as error:  # the training itself has come to its end
        logger.info("no reference for `typicality`: %s", reason(error))
    finally:
        method.cpu()


def _guard(cfg: DictConfig) -> DivergenceGuard:
    """The divergence guard with the settings in the config's `divergence`."""
    settings: dict[str, Any] = dict(cfg.get("divergence") or {})
    return DivergenceGuard(**settings)

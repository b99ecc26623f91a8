"""Which keys a config may have. One that nothing reads is refused, with what it may have meant."""

import re
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from solo_gedi.errors import ConfigError

TRAINER = frozenset(
    {
        *("accelerator", "strategy", "devices", "num_nodes", "precision", "fast_dev_run"),
        *("max_epochs", "min_epochs", "max_steps", "min_steps", "max_time", "overfit_batches"),
        *("limit_train_batches", "limit_val_batches", "val_check_interval"),
        *("check_val_every_n_epoch", "num_sanity_val_steps", "log_every_n_steps"),
        *("enable_progress_bar", "enable_model_summary", "accumulate_grad_batches"),
        *("gradient_clip_val", "gradient_clip_algorithm", "deterministic", "benchmark"),
        *("profiler", "detect_anomaly", "sync_batchnorm"),
        "reload_dataloaders_every_n_epochs",
    }
)
"""Arguments of Lightning's Trainer that a config gives by their names."""

_COMMON = TRAINER | {
    *("name", "seed", "resume_from_checkpoint"),
    *("auto_resume.enabled", "auto_resume.max_hours"),
    *("backbone.name", "backbone.kwargs.*"),
    *("checkpoint.enabled", "checkpoint.dir", "checkpoint.frequency", "checkpoint.keep_prev"),
    "checkpoint.every_minutes",
    *("data.dataset", "data.train_path", "data.val_path", "data.num_workers", "data.format"),
    *("data.fraction", "performance.disable_channel_last", "performance.matmul_precision"),
    *("optimizer.name", "optimizer.batch_size", "optimizer.lr", "optimizer.weight_decay"),
    *("optimizer.exclude_bias_n_norm_wd", "optimizer.kwargs.*"),
    *("scheduler.name", "scheduler.warmup_epochs", "scheduler.warmup_start_lr"),
    *("scheduler.min_lr", "scheduler.interval", "scheduler.lr_decay_steps"),
    *("wandb.enabled", "wandb.project", "wandb.entity", "wandb.offline"),
}
VIEW = (
    *("crop_size", "num_crops", "mean", "std"),
    *("rrc.enabled", "rrc.crop_min_scale", "rrc.crop_max_scale", "color_jitter.prob"),
    *("color_jitter.brightness", "color_jitter.contrast", "color_jitter.saturation"),
    *("color_jitter.hue", "grayscale.prob", "gaussian_blur.prob", "solarization.prob"),
    *("equalization.prob", "horizontal_flip.prob"),
)
PRETRAIN_KEYS = _COMMON | {
    *("method", "method_kwargs.*", "debug_augmentations", "optimizer.classifier_lr"),
    *("data.test_path", "data.no_labels", "data.augment_on_device"),
    *(f"augmentations.N.{key}" for key in VIEW),
    *("divergence.policy", "divergence.max_recoveries", "divergence.limit", "divergence.jump"),
    *("divergence.check_every", "divergence.snapshot_every"),
    *("knn_eval.enabled", "knn_eval.k", "knn_eval.distance_func"),
}
LINEAR_KEYS = _COMMON | {
    *("pretrained_feature_extractor", "pretrain_method", "finetune", "optimizer.layer_decay"),
    *("data.augmentations.crop_size", "data.augmentations.mean", "data.augmentations.std"),
    *("auto_augment", "mixup", "cutmix", "label_smoothing"),
}
EVALUATE_KEYS = frozenset(
    {
        *("name", "seed", "optimizer.batch_size", "method_kwargs.input_noise_std"),
        *("data.dataset", "data.train_path", "data.val_path", "data.test_path"),
        *("data.num_workers", "data.format", "data.fraction", "data.no_labels"),
        *(f"probe.{key}" for key in LINEAR_KEYS),
    }
)
"""Of the keys of a run's config those with which it may be evaluated, and the probe's."""


def check_keys(cfg: DictConfig, known: Collection[str], reader: str) -> None:
    """Refuse keys that nothing reads.

    Args:
        cfg: a config, or changes to one.
        known: the keys that are read; of lists with N, of sections whose reader checks them *.
        reader: what reads the config, for the message.

    Raises:
        ConfigError: naming the first such key, and what has a similar name.

    >>> check_keys(OmegaConf.create({"optimizer": {"rate": 1}}), PRETRAIN_KEYS, "pretrain")
    Traceback (most recent call last):
    solo_gedi.errors.ConfigError: optimizer.rate=1: pretrain reads no such key; optimizer has ...
    """
    for key, value in leaves(cfg):
        if is_known(key, known):
            continue
        generic = generic_key(key)
        section, _, last = generic.rpartition(".")
        beside = sorted(
            {
                k.removeprefix(f"{section}.").split(".")[0]
                for k in known
                if not section or k.startswith(f"{section}.")
            }
        )
        near = get_close_matches(last, beside, 1, cutoff=0.65)
        near = [f"{key.removesuffix(last)}{near[0]}"] if near else []
        near = near or [k for k in known if k.rpartition(".")[2] == last]
        if len(near) == 1:
            meant = f"did you mean {near[0]}?"
        elif section and beside:
            meant = f"{section} has {', '.join(beside)}"
        else:
            meant = "`solo-gedi pretrain CONFIG --cfg` prints the keys of a config"
        raise ConfigError(f"{key}={value}: {reader} reads no such key; {meant}")


def is_known(key: str, known: Collection[str] = PRETRAIN_KEYS | LINEAR_KEYS) -> bool:
    """Whether something reads a key.

    Args:
        key: as "augmentations.0.crop_size".
        known: the keys that are read.

    >>> is_known("augmentations.0.crop_size"), is_known("augmentations.0.crop")
    (True, False)
    """
    generic = generic_key(key)
    parents = generic.split(".")
    opened = (f"{'.'.join(parents[:i])}.*" for i in range(1, len(parents)))
    # An empty section, or one that a rule will say is none.
    section = any(k.startswith(f"{generic}.") for k in known)
    return generic in known or section or any(k in known for k in opened)


def generic_key(key: str) -> str:
    """A key with N in the place of the number of a view."""
    return re.sub(r"\.\d+(?=\.|$)", ".N", key)


def leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The keys of a config and their values, sections and lists of sections gone through."""
    if isinstance(node, DictConfig) and not node._is_none() and (node or not key):
        for name in node:
            child = None if OmegaConf.is_missing(node, name) else node[name]
            yield from leaves(child, f"{key}.{name!s}" if key else str(name))
    elif isinstance(node, ListConfig) and any(isinstance(item, DictConfig) for item in node):
        for i, item in enumerate(node):
            yield from leaves(item, f"{key}.{i}")
    else:
        yield key, node

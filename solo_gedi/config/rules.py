"""What the settings of a config may be, whatever the method."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from omegaconf import DictConfig, ListConfig, OmegaConf

from solo_gedi.errors import ConfigError, reason

Rule = tuple[Callable[[Any], bool], str]

_ABSENT = object()
_SECTIONS = (
    *("auto_resume", "backbone", "backbone.kwargs", "checkpoint", "data", "data.augmentations"),
    "divergence",
    *("knn_eval", "method_kwargs", "optimizer", "optimizer.kwargs", "performance"),
    *("scheduler", "wandb"),
)
_STEPS = (
    *("color_jitter", "grayscale", "gaussian_blur", "solarization", "equalization"),
    "horizontal_flip",
)
_LARS = ("momentum", "dampening", "nesterov", "eta", "eps", "clip_lr", "exclude_bias_n_norm")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(low: int, high: float = float("inf")) -> Rule:
    return (
        lambda value: _is_number(value) and isinstance(value, int) and low <= value <= high,
        f"a whole number of at least {low}" + (f", at most {high}" if high < 2**60 else ""),
    )


def _number(low: float, high: float = float("inf")) -> Rule:
    def holds(value: Any) -> bool:
        return _is_number(value) and low <= value <= high and abs(value) != float("inf")

    text = f"in [{low}, {high}]" if high < float("inf") else f"of at least {low}"
    return holds, f"a finite number {text}"


def _choice(*choices: str) -> Rule:
    return lambda value: value in choices, f"one of {', '.join(choices)}"


def _or_null(rule: Rule) -> Rule:
    holds, text = rule
    return lambda value: value is None or holds(value), f"{text}, or null"


_POSITIVE: Rule = (
    lambda value: _is_number(value) and 0 < value < float("inf"),
    "a finite number above 0",
)
_FLAG: Rule = lambda value: isinstance(value, bool), "true or false"
_SECTION: Rule = lambda value: isinstance(value, DictConfig), "a section with keys of its own"
_TEXT: Rule = (
    lambda value: isinstance(value, str) and value != "",
    "a text; one that looks like a number, a list or the like goes in quotes: \"{key}='...'\"",
)

_EPOCHS: Rule = (
    lambda value: (
        isinstance(value, ListConfig) and all(map(_whole(1)[0], value)) and len(value) > 0
    ),
    "a list of epochs, as [60, 80]",
)
_CHANNELS: Rule = (
    lambda value: isinstance(value, ListConfig) and all(map(_is_number, value)) and len(value) > 0,
    "a list of a number per channel",
)

RULES: dict[str, Rule] = {
    **dict.fromkeys(_SECTIONS, _or_null(_SECTION)),
    "name": (lambda value: "/" not in str(value), 'a name without "/", of which files are made'),
    "seed": _or_null(_whole(0, 2**32 - 1)),
    "max_epochs": _whole(1),
    "max_steps": (
        lambda value: value == -1 or _whole(1)[0](value),
        "a whole number of at least 1, or -1 for all",
    ),
    "num_nodes": _whole(1),
    "accumulate_grad_batches": _whole(1),
    "log_every_n_steps": _whole(0),
    "limit_train_batches": _or_null(_POSITIVE),
    "limit_val_batches": _or_null(_number(0)),
    "overfit_batches": _number(0),
    "val_check_interval": _or_null(_POSITIVE),
    "check_val_every_n_epoch": _or_null(_whole(1)),
    "num_sanity_val_steps": _whole(-1),
    "min_epochs": _or_null(_whole(1)),
    "min_steps": _or_null(_whole(1)),
    "gradient_clip_val": _or_null(_number(0)),
    "reload_dataloaders_every_n_epochs": _whole(0),
    "optimizer.name": _choice("sgd", "lars", "adam", "adamw"),
    "optimizer.batch_size": _whole(1),
    "optimizer.lr": _POSITIVE,
    "optimizer.classifier_lr": _number(0),
    "optimizer.weight_decay": _number(0),
    "scheduler.name": _choice("warmup_cosine", "step", "none"),
    "scheduler.lr_decay_steps": _or_null(_EPOCHS),
    "scheduler.warmup_epochs": _number(0),
    "scheduler.warmup_start_lr": _number(0),
    "scheduler.min_lr": _number(0),
    "scheduler.interval": _choice("step", "epoch"),
    "data.train_path": _or_null(_TEXT),  # null where nothing is trained: of an export, say
    "data.val_path": _or_null(_TEXT),
    "data.test_path": _or_null(_TEXT),
    "data.num_workers": _whole(0, 1024),  # processes
    "data.format": _choice("image_folder", "h5", "dali"),
    "data.fraction": (
        lambda value: value == -1 or _is_number(value) and 0 < value < 1,
        "above 0 and below 1, or -1 for all",
    ),
    "data.augmentations.crop_size": _whole(1),
    "data.augmentations.mean": _CHANNELS,
    "data.augmentations.std": _CHANNELS,
    "checkpoint.dir": _TEXT,
    "checkpoint.frequency": _whole(1),
    "checkpoint.every_minutes": _or_null(_POSITIVE),
    "auto_resume.max_hours": (lambda value: _is_number(value) and value >= 0, "at least 0"),
    "resume_from_checkpoint": _or_null(_TEXT),
    "pretrained_feature_extractor": _TEXT,
    "knn_eval.k": _whole(1),
    "knn_eval.distance_func": _choice("euclidean", "cosine"),
    "performance.matmul_precision": _choice("highest", "high", "medium"),
    "divergence.max_recoveries": _whole(0),
    "divergence.limit": _POSITIVE,
    "divergence.jump": _POSITIVE,
    "divergence.check_every": _whole(1),
    "divergence.snapshot_every": _whole(1),
    **dict.fromkeys(
        (
            *("auto_resume.enabled", "checkpoint.enabled", "checkpoint.keep_prev"),
            *("data.augment_on_device", "data.no_labels", "debug_augmentations"),
            *("detect_anomaly", "enable_model_summary", "enable_progress_bar", "finetune"),
            "knn_eval.enabled",
            "optimizer.exclude_bias_n_norm_wd",
            *("performance.disable_channel_last", "sync_batchnorm", "wandb.enabled"),
            "wandb.offline",
        ),
        _FLAG,
    ),
}


def check(cfg: DictConfig, required: Sequence[str], where: str = "the config") -> None:
    """Check every setting that has a rule, and that the required ones are there.

    Args:
        cfg: before solo-learn's own parsing.
        required: keys.
        where: what the config is called in a message.

    Raises:
        ConfigError: naming the key, what was given and what would be right.
    """
    _check(cfg, RULES)  # sections come first: their keys can only be looked for in a section
    for key in required:
        if OmegaConf.select(cfg, key) is None:
            raise ConfigError(f"{key} is missing from {where}")
    if cfg.scheduler.name == "step":
        _check(cfg, {"scheduler.lr_decay_steps": _EPOCHS}, missing="a list of epochs")
    _check_optimizer(cfg)


def check_augmentations(cfg: DictConfig, images: bool) -> None:
    """Check the list `augmentations` of a pretraining config.

    Args:
        cfg: the config.
        images: whether they are for images, and not for points, which have no steps.

    Raises:
        ConfigError: naming the key, what was given and what would be right.
    """
    entries = cfg.augmentations
    if not isinstance(entries, ListConfig) or not entries:
        raise ConfigError(f"augmentations must be a list of one entry or more, got {entries!r}")
    for i, _ in enumerate(entries):
        at = f"augmentations.{i}"
        _check(cfg, {at: _SECTION, f"{at}.mean": _CHANNELS, f"{at}.std": _CHANNELS})
        sizes = {f"{at}.crop_size": _whole(1), f"{at}.num_crops": _whole(1)}
        _check(cfg, sizes, missing="a whole number")
        _check_normalization(entries, i)
        if images:
            steps = {f"{at}.{step}.prob": _number(0, 1) for step in _STEPS}
            flag = {f"{at}.rrc.enabled": _FLAG}
            _check(cfg, {**flag, **steps}, missing="as in the shipped configs")


def _check_normalization(entries: ListConfig, i: int) -> None:
    """All views are of one normalisation, that of what they are mapped to [-1, 1] by."""
    mean, std = entries[i].get("mean"), entries[i].get("std")
    if std and (min(std) <= 0 or len(std) != len(mean or std)):
        raise ConfigError(
            f"augmentations.{i}.std must have a number above 0 for each of mean={mean}, got {std}"
        )
    for key, value in (("mean", mean), ("std", std)):
        if value != entries[0].get(key):
            raise ConfigError(
                f"augmentations.{i}.{key}={value} differs from that of augmentations.0, "
                f"{entries[0].get(key)}: all views must have the same"
            )


def _check(cfg: DictConfig, rules: dict[str, Rule], missing: str = "") -> None:
    for key, (holds, text) in rules.items():
        value = OmegaConf.select(cfg, key, default=_ABSENT)
        if value is _ABSENT and missing:
            raise ConfigError(f"{key} is missing from the config: {missing}")
        if value is not _ABSENT and not holds(value):
            raise ConfigError(f"{key} must be {text.replace('{key}', key)}, got {value!r}")


def _check_optimizer(cfg: DictConfig) -> None:
    """Try the arguments that `optimizer.kwargs` adds, which solo-learn hands on as they are."""
    classes = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    name, given = cfg.optimizer.name, OmegaConf.create(cfg.optimizer.get("kwargs") or {})
    kwargs: Any = OmegaConf.to_container(given)
    if name == "lars" and not set(kwargs) <= set(_LARS):
        raise ConfigError(f"optimizer.kwargs={kwargs} does not fit lars, which has {_LARS}")
    if name not in classes or not kwargs:
        return
    try:
        own = {"lr": cfg.optimizer.lr, "weight_decay": cfg.optimizer.get("weight_decay", 0)}
        defaults = {"momentum": 0.9} if name == "sgd" else {}  # solo-learn's
        classes[name]([torch.zeros(1)], **own, **{**defaults, **kwargs})
    except (IndexError, TypeError, ValueError) as error:
        raise ConfigError(
            f"optimizer.kwargs={kwargs} does not fit {name}: {reason(error)}"
        ) from error

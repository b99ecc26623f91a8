"""The defaults that solo-learn 1.0.6 fills into a config, for 1.0.2."""

import os
from typing import Any

from omegaconf import DictConfig, OmegaConf

NUM_CLASSES = {"cifar10": 10, "cifar100": 100, "stl10": 10, "imagenet": 1000, "imagenet100": 100}

_RUN = {
    "checkpoint": {
        "enabled": False,
        "dir": "trained_models",
        "frequency": 1,
        "keep_prev": False,
    },
    "auto_resume": {"enabled": False, "max_hours": 36},
    "data": {"val_path": None, "format": "image_folder", "no_labels": False, "fraction": -1},
    "debug_augmentations": False,
    "wandb": {"enabled": False, "entity": None, "project": "solo-learn", "offline": False},
    "seed": 5,
    "resume_from_checkpoint": None,
    "strategy": None,
    "num_nodes": 1,
    "accumulate_grad_batches": 1,
    "optimizer": {"exclude_bias_n_norm_wd": False, "kwargs": {}},
    "scheduler": {
        "lr_decay_steps": None,
        "min_lr": 0.0,
        "warmup_start_lr": 3e-5,
        "warmup_epochs": 10,
        "interval": "step",
    },
    "backbone": {"kwargs": {}},
    "performance": {"disable_channel_last": False},
}
_METHOD = {
    "knn_eval": {"enabled": False, "k": 20, "distance_func": "euclidean"},
    "method_kwargs": {},
}
_LINEAR = {
    "pretrain_method": None,
    "auto_augment": False,
    "label_smoothing": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
    "finetune": False,
}
_OPTIMIZER_KWARGS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": 0.9},
    "lars": {"momentum": 0.9, "eta": 1e-3, "clip_lr": False, "exclude_bias_n_norm": False},
    "adamw": {"betas": [0.9, 0.999]},
}


def _with_defaults(cfg: DictConfig, *defaults: dict[str, Any]) -> DictConfig:
    """The config, with the defaults where it says nothing."""
    merged = OmegaConf.merge(*defaults, _none(OmegaConf.to_container(cfg)))
    assert isinstance(merged, DictConfig)
    OmegaConf.set_struct(merged, False)
    return merged


def _none(value: Any) -> Any:
    """The same tree with None for the word "None", as 1.0.6 reads it."""
    if isinstance(value, dict):
        return {key: _none(item) for key, item in value.items()}
    return None if value == "None" else value


def method_defaults(cfg: DictConfig) -> DictConfig:
    """1.0.6's `BaseMethod.add_and_assert_specific_cfg`."""
    return _with_defaults(cfg, _RUN, _METHOD)


def linear_defaults(cfg: DictConfig) -> DictConfig:
    """1.0.6's `LinearModel.add_and_assert_specific_cfg`."""
    return _with_defaults(cfg, _RUN, _LINEAR)


def add_dataset(name: str, num_classes: int) -> None:
    """Let configs name a data set."""
    NUM_CLASSES[name] = num_classes


def has_dataset(name: str) -> bool:
    """Whether configs may name a data set."""
    return name == "custom" or name in NUM_CLASSES


def parse_pretrain(cfg: DictConfig) -> DictConfig:
    """1.0.6's `solo.args.pretrain.parse_cfg`.

    Counts the classes and crops, and scales `optimizer.lr` and, where there is validation data,
    `optimizer.classifier_lr` by batch * devices * nodes / 256.
    """
    cfg = _common(method_defaults(cfg))
    sizes = [augmentation.crop_size for augmentation in cfg.augmentations]
    crops = [augmentation.num_crops for augmentation in cfg.augmentations]
    large = sum(n for size, n in zip(sizes, crops, strict=True) if size == sizes[0])
    cfg.data.num_large_crops, cfg.data.num_small_crops = large, sum(crops) - large
    if cfg.data.val_path is not None:
        cfg.optimizer.classifier_lr *= _lr_scale(cfg)
    return cfg


def parse_linear(cfg: DictConfig) -> DictConfig:
    """1.0.6's `solo.args.linear.parse_cfg`."""
    return _common(linear_defaults(cfg))


def _common(cfg: DictConfig) -> DictConfig:
    if cfg.data.dataset in NUM_CLASSES:
        cfg.data.num_classes = NUM_CLASSES[cfg.data.dataset]
    else:
        folders = sum(entry.is_dir() for entry in os.scandir(cfg.data.train_path))
        cfg.data.num_classes = max(1, folders)
    cfg.optimizer.lr *= _lr_scale(cfg)
    known = _OPTIMIZER_KWARGS.get(cfg.optimizer.name, {})
    cfg.optimizer.kwargs = OmegaConf.merge(known, cfg.optimizer.kwargs)
    return cfg


def _lr_scale(cfg: DictConfig) -> float:
    return cfg.optimizer.batch_size * len(cfg.devices) * cfg.num_nodes / 256

"""Checks of a config before anything is built from it."""

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from solo_gedi import hosts
from solo_gedi.backbones import BACKBONES
from solo_gedi.config import rules
from solo_gedi.config.keys import LINEAR_KEYS, PRETRAIN_KEYS, check_keys
from solo_gedi.data import DATASETS, spec_of
from solo_gedi.errors import ConfigError, MissingPackageError

_REQUIRED = (
    "name",
    "backbone.name",
    "data.dataset",
    "data.train_path",
    "optimizer.name",
    "optimizer.batch_size",
    "optimizer.lr",
    "optimizer.weight_decay",
    "scheduler.name",
    "max_epochs",
    "devices",
)

PRETRAIN = ("method", "augmentations", "optimizer.classifier_lr")
LINEAR = ("pretrained_feature_extractor", "pretrain_method")


def prepare(cfg: DictConfig, required: Sequence[str]) -> None:
    """Check what a run needs of a config, before solo-learn's own parsing.

    Args:
        cfg: the config; it stays as it is.
        required: keys that the run needs beside those that all need: `PRETRAIN` or `LINEAR`.

    Raises:
        ConfigError: naming the key, what was given and what would be right.
    """
    if "method" in required:
        method = cfg.get("method")
        check_keys(cfg, _pretrain_keys(method), f"pretrain with method={method}")
    else:
        check_keys(cfg, LINEAR_KEYS, "linear")
    check(cfg, (*required, *_REQUIRED))
    _check_labels(cfg)
    _check_frozen(cfg)
    _check_knn(cfg)
    for key in ("train_path", "val_path"):
        path = cfg.data.get(key)
        if path is not None and spec_of(cfg.data.dataset).is_folder and not Path(path).is_dir():
            raise ConfigError(f"data.{key}={path} is not a folder (from {Path.cwd()})")


def check(cfg: DictConfig, required: Sequence[str], where: str = "the config") -> None:
    """Check settings and names, but not the paths of data, which may have moved.

    Args:
        cfg: before or after solo-learn's own parsing; it stays as it is.
        required: keys that must be there, `data.dataset`, `backbone.name`, `optimizer.name` and
            `scheduler.name` among them.
        where: what the config is called in a message.

    Raises:
        ConfigError: naming the key, what was given and what would be right.
    """
    rules.check(cfg, required, where)
    dataset, backbones = cfg.data.dataset, {*BACKBONES, *hosts.BACKBONES}
    if dataset not in DATASETS and not hosts.has_dataset(dataset):
        raise ConfigError(f"data.dataset={dataset!r} does not exist in {hosts.describe()}")
    _check_format(cfg)
    check_choice("backbone.name", cfg.backbone.name, backbones)
    if "augmentations" in cfg:
        rules.check_augmentations(cfg, images=spec_of(dataset).points is None)


def _check_knn(cfg: DictConfig) -> None:
    """solo-learn keeps the features of all training images until a validation."""
    if not OmegaConf.select(cfg, "knn_eval.enabled"):
        return
    without = (("data.val_path", None), ("data.no_labels", True), ("limit_val_batches", 0))
    for key, missing in without:
        if OmegaConf.select(cfg, key, default="given") == missing:
            raise ConfigError(f"knn_eval.enabled=true needs validation images: {key}={missing}")


def _check_format(cfg: DictConfig) -> None:
    """Refuse a `data.format` that nothing here reads, before solo-learn's parsing asserts on it."""
    spec, wanted = spec_of(cfg.data.dataset), cfg.data.get("format", "image_folder")
    if wanted == "dali":
        raise ConfigError("data.format=dali: use solo-learn's own main_pretrain.py")
    if wanted == "h5" and not (spec.is_hosts and spec.size is None):
        raise ConfigError(
            f"data.format=h5 is for solo-learn's imagenet and imagenet100; data.dataset="
            f"{cfg.data.dataset} takes data.format=image_folder"
        )
    if wanted == "h5" and find_spec("h5py") is None:
        raise MissingPackageError("data.format=h5 needs h5py: pip install h5py")


def _pretrain_keys(method: Any) -> frozenset[str]:
    """The keys that a pretraining reads; of other methods than solo-learn's they check theirs."""
    known, own = PRETRAIN_KEYS, hosts.method_keys(method)
    if own is not None:
        known = known - {"method_kwargs.*"} | own
    if method in hosts.METHODS and not getattr(hosts.METHODS[method], "has_energy", False):
        known = frozenset(key for key in known if not key.startswith("divergence."))
    return known


def _check_labels(cfg: DictConfig) -> None:
    """Refuse `data.no_labels` where labels are part of the data."""
    data = cfg.data
    is_folder = spec_of(data.dataset).has_class_folders
    if data.get("no_labels") and not (is_folder and data.get("format") != "h5"):
        raise ConfigError(
            f"data.no_labels=true is for folders of images, as of data.dataset=custom; "
            f"data.dataset={data.dataset} has labels"
        )


def _check_frozen(cfg: DictConfig) -> None:
    """Refuse what a probe has no use for where its backbone is not trained."""
    if "pretrained_feature_extractor" not in cfg:
        return
    for key in ("optimizer.exclude_bias_n_norm_wd", "optimizer.layer_decay"):
        value = OmegaConf.select(cfg, key)
        if value and not cfg.get("finetune"):
            raise ConfigError(f"{key}={value} is for finetune=true")


def check_choice(key: str, value: Any, choices: Iterable[str]) -> None:
    """Check that a setting names something that is there with the installed solo-learn.

    Args:
        key: of the setting.
        value: what it is.
        choices: what it could be.

    Raises:
        ConfigError: if it is something else.
    """
    known = sorted(choices)
    if value not in known:
        raise ConfigError(
            f"{key}={value!r} does not exist in {hosts.describe()}; choose from {known}"
        )

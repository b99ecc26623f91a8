"""Configs from the command line, in solo-learn's Hydra syntax."""

import argparse
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from solo_gedi import hosts
from solo_gedi.data import DATASETS
from solo_gedi.errors import ConfigError
from solo_gedi.registration import register

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
_POSITIVE = ("optimizer.batch_size", "optimizer.lr", "max_epochs")


def parse_arguments(command: str, arguments: list[str]) -> DictConfig:
    """The config that a command line names, as Hydra's own `main` would compose it.

    Composing it here, rather than through `hydra.main`, makes relative paths relative to where
    the user stands, and leaves `sys.argv` for Lightning to start further processes with.

    Raises:
        ConfigError: if there is no such config or an override does not parse.
    """
    parser = argparse.ArgumentParser(f"solo-gedi {command}")
    add_arguments(parser)
    given = parser.parse_intermixed_args(arguments)
    return load(Path(given.config_path), given.config_name, given.overrides)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Hydra's way of naming a config and its overrides."""
    parser.add_argument("--config-path", "-cp", required=True, help="folder of the config")
    parser.add_argument("--config-name", "-cn", required=True, help="its file, as gedi.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="Hydra overrides")


def load(folder: Path, name: str, overrides: list[str]) -> DictConfig:
    """Compose `folder/name` with overrides; see `parse_arguments`."""
    if not folder.is_dir():
        raise ConfigError(f"--config-path={folder} is not a folder (from {Path.cwd()})")
    try:
        with initialize_config_dir(str(folder.resolve()), version_base="1.2"):
            cfg = compose(name, [_quoted(override) for override in overrides])
        OmegaConf.resolve(cfg)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(str(error)) from error
    OmegaConf.set_struct(cfg, False)
    return cfg


def _quoted(override: str) -> str:
    """Quote a value with "=" in it, as the names of solo-learn's checkpoints have it."""
    key, _, value = override.partition("=")
    return f'{key}="{value}"' if "=" in value and value[0] not in "\"'[{" else override


def prepare(cfg: DictConfig, required: tuple[str, ...]) -> None:
    """Make solo-learn know what is ours, and check what every command needs of a config.

    Args:
        cfg: before solo-learn's own parsing.
        required: further keys that the command needs.

    Raises:
        ConfigError: naming the key, what was given and what would be right.
    """
    register_all()
    for key in (*required, *_REQUIRED):
        if OmegaConf.select(cfg, key) is None:
            raise ConfigError(f"{key} is missing from the config")
    for key in _POSITIVE:
        value = OmegaConf.select(cfg, key)
        if not isinstance(value, int | float) or not value > 0:
            raise ConfigError(f"{key} must be a number above 0, got {value!r}")
    dataset = cfg.data.dataset
    if not hosts.has_dataset(dataset):
        raise ConfigError(f"data.dataset={dataset!r} does not exist in {hosts.describe()}")
    _check_choice("backbone.name", cfg.backbone.name, hosts.BACKBONES)
    for key in ("train_path", "val_path"):
        path = cfg.data.get(key)
        if dataset == "custom" and path is not None and not Path(path).is_dir():
            raise ConfigError(f"data.{key}={path} is not a folder (from {Path.cwd()})")


def register_all() -> None:
    """Make solo-learn know our methods and backbones, and the data sets of this command line."""
    register()
    for name, spec in DATASETS.items():
        hosts.add_dataset(name, spec.num_classes)


def check_method(cfg: DictConfig, key: str) -> None:
    """Check that the method a config names is one that the installed solo-learn has.

    Raises:
        ConfigError: if it is not.
    """
    _check_choice(key, cfg[key], hosts.METHODS)


def _check_choice(key: str, value: Any, choices: dict[str, Any]) -> None:
    if value not in choices:
        raise ConfigError(
            f"{key}={value!r} does not exist in {hosts.describe()}; choose from {sorted(choices)}"
        )

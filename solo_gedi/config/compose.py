"""Configs from the command line, in solo-learn's Hydra syntax."""

import argparse
from pathlib import Path
from typing import Any, NoReturn

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from solo_gedi import hosts
from solo_gedi.config import rules
from solo_gedi.data import DATASETS, spec_of
from solo_gedi.errors import ConfigError, reason
from solo_gedi.methods.registration import register

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


class Parser(argparse.ArgumentParser):
    """A parser whose errors are ConfigErrors, without the page of usage."""

    def error(self, message: str) -> NoReturn:
        """Raise it."""
        raise ConfigError(f"{message} ({self.prog} --help)")


def parse_arguments(command: str, arguments: list[str]) -> DictConfig:
    """The config that a command line names, as Hydra's own `main` would compose it.

    Composing it here, rather than through `hydra.main`, makes relative paths relative to where
    the user stands, and leaves `sys.argv` for Lightning to start further processes with.

    Raises:
        ConfigError: if there is no such config or an override does not parse.
    """
    parser = Parser(f"solo-gedi {command}")
    add_arguments(parser)
    given = parser.parse_intermixed_args(arguments)
    return load(Path(given.config_path), given.config_name, given.overrides)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Hydra's way of naming a config and its overrides."""
    parser.add_argument("--config-path", "-cp", required=True, help="folder of the config")
    parser.add_argument("--config-name", "-cn", required=True, help="its file, as gedi.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="Hydra overrides")


def numbers(text: str) -> list[int]:
    """Comma-separated seeds, `3,` for one alone, each once: no two runs may share a folder."""
    given = [number.strip() for number in text.removesuffix(",").split(",")]
    if not all(number.isdecimal() for number in given):
        raise argparse.ArgumentTypeError(f"must be a number or a list as 0,1,2, got {text!r}")
    return list(dict.fromkeys(map(int, given)))


def load(folder: Path, name: str, overrides: list[str]) -> DictConfig:
    """Compose `folder/name` with overrides; see `parse_arguments`."""
    if not folder.is_dir():
        raise ConfigError(f"--config-path={folder} is not a folder (from {Path.cwd()})")
    try:
        with initialize_config_dir(str(folder.resolve()), version_base="1.2"):
            cfg = compose(name, [_quoted(override) for override in overrides])
        OmegaConf.resolve(cfg)
    except (HydraException, OmegaConfBaseException, YAMLError, TypeError, ValueError) as error:
        said = _in_one_line(error)
        # Hydra names the override, where it does not stumble over its value.
        named = any(given.lstrip("+~").partition("=")[0] in said for given in overrides)
        given = f" with {' '.join(overrides)}" if overrides and not named else ""
        raise ConfigError(f"config {name}{given}: {said}") from error
    if not isinstance(cfg, DictConfig):
        raise ConfigError(f"config {folder / name} holds no keys")
    OmegaConf.set_struct(cfg, False)
    return cfg


def _in_one_line(error: Exception) -> str:
    """What Hydra says, without where it has looked and where to read about it."""
    said, _, _ = str(error).partition("Config search path:")
    lines = [line.strip() for line in said.splitlines() if "See https://" not in line]
    return " ".join(filter(None, lines))


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
    check(cfg, (*required, *_REQUIRED))
    for key in ("train_path", "val_path"):
        path, dataset = cfg.data.get(key), cfg.data.dataset
        if dataset == "custom" and path is not None and not Path(path).is_dir():
            raise ConfigError(f"data.{key}={path} is not a folder (from {Path.cwd()})")


def check(cfg: DictConfig, required: tuple[str, ...], where: str = "the config") -> None:
    """Check settings and names, but not the paths of data, which may have moved.

    Args:
        cfg: before or after solo-learn's own parsing.
        required: keys that must be there.
        where: what the config is called in a message.

    Raises:
        ConfigError: naming the key, what was given and what would be right.
    """
    register_all()
    rules.check(cfg, required, where)
    dataset = cfg.data.dataset
    if not hosts.has_dataset(dataset):
        raise ConfigError(f"data.dataset={dataset!r} does not exist in {hosts.describe()}")
    _check_choice("backbone.name", cfg.backbone.name, hosts.BACKBONES)
    if "augmentations" in required:
        rules.check_augmentations(cfg, images=spec_of(dataset).points is None)


def register_all() -> None:
    """Make solo-learn know our methods and backbones, and the data sets of this command line."""
    register()
    for name, spec in DATASETS.items():
        hosts.add_dataset(name, spec.num_classes)


def build_method(cfg: DictConfig) -> hosts.BaseMethod:
    """The method that a parsed config names.

    Raises:
        ConfigError: if there is no such method, or it refuses its settings.
    """
    check_method(cfg, "method")
    try:
        return hosts.METHODS[cfg.method](cfg)
    except ConfigError:
        raise
    except (AssertionError, OmegaConfBaseException, RuntimeError, TypeError, ValueError) as error:
        kwargs = OmegaConf.to_container(cfg.get("method_kwargs") or OmegaConf.create())
        raise ConfigError(
            f"method={cfg.method} refuses its settings, perhaps method_kwargs={kwargs}: "
            f"{reason(error)}"
        ) from error


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

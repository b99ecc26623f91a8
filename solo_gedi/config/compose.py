"""Composing configs in solo-learn's Hydra syntax."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from solo_gedi.config.shipped import Kind, find_config
from solo_gedi.errors import ConfigError, reason


def load_config(
    name: str | Path, overrides: Sequence[str] = (), *, kind: Kind = "pretrain"
) -> DictConfig:
    """Compose a config, as Hydra's own `main` would.

    Args:
        name: of a shipped config, as "digits/gedi" (`list_configs` has them all), or the path of
            a yaml file; both with or without the suffix.
        overrides: Hydra's, as "max_epochs=5" or "+data.fraction=0.1".
        kind: "pretrain" or "linear", which shipped configs are meant.

    Returns:
        The config, interpolations resolved, in solo-learn's schema, before its parsing. Relative
        paths in it start in the current folder.

    Raises:
        ConfigError: if there is no such config or an override does not fit it.

    >>> cfg = load_config("digits/gedi", ["max_epochs=5"])
    >>> cfg.method, cfg.max_epochs
    ('gedi', 5)
    """
    if isinstance(overrides, str):
        raise ConfigError(f'overrides must be a list as ["max_epochs=5"], got {overrides!r}')
    path = find_config(name, kind)
    try:
        with _hydra_on(path.parent):
            cfg = compose(path.name, [_quoted(override) for override in overrides])
        OmegaConf.resolve(cfg)
    # Hydra lets the last three through, for what is wrong with the file or an override.
    except (HydraException, OmegaConfBaseException, YAMLError, TypeError, ValueError) as error:
        said = _in_one_line(error)
        # Hydra names the override, where it does not stumble over its value.
        named = any(override.lstrip("+~").partition("=")[0] in said for override in overrides)
        given = f" with {' '.join(overrides)}" if overrides and not named else ""
        raise ConfigError(f"config {name}{given}: {said}") from error
    return as_config(cfg)


def as_config(cfg: Mapping[Any, Any]) -> DictConfig:
    """A copy of a config, which can be changed without changing what was given.

    Args:
        cfg: nested dicts and lists, or a DictConfig.

    Returns:
        It as a DictConfig that takes new keys, with its interpolations resolved and its paths as
        text.

    Raises:
        ConfigError: if it is no mapping, or holds what no yaml file could.

    >>> as_config({"data": {"train_path": Path("images")}}).data.train_path
    'images'
    """
    try:
        plain = _plain(cfg)
        if not isinstance(plain, dict):
            raise ConfigError(f"a config must have keys, got {cfg!r}")
        copy = OmegaConf.create(plain)
        OmegaConf.resolve(copy)
    except OmegaConfBaseException as error:
        key = f" at {error.full_key}" if error.full_key else ""
        raise ConfigError(f"the config cannot be read{key}: {reason(error)}") from error
    return copy


@contextmanager
def _hydra_on(folder: Path) -> Iterator[None]:
    """Hydra with the configs of a folder, in a program that may have a Hydra of its own."""
    theirs = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(folder), version_base="1.2"):
            yield
    finally:
        GlobalHydra.instance().hydra = theirs


def _plain(value: Any) -> Any:
    """A tree of dicts and lists that shares nothing with the one given."""
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value, resolve=True)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _in_one_line(error: Exception) -> str:
    """What Hydra says, without where it has looked and where to read about it."""
    said, _, _ = str(error).partition("Config search path:")
    lines = [line.strip() for line in said.splitlines() if "See https://" not in line]
    return " ".join(filter(None, lines))


def _quoted(override: str) -> str:
    """Quote a value with "=" in it, as the names of solo-learn's checkpoints have it."""
    key, _, value = override.partition("=")
    return f'{key}="{value}"' if "=" in value and value[0] not in "\"'[{" else override


def load(folder: Path, name: str, overrides: list[str]) -> DictConfig:
    """The old name of `load_config`."""
    return load_config(folder / name, overrides)

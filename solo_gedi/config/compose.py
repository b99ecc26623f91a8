"""Composing configs in solo-learn's Hydra syntax."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString, ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from solo_gedi.config.keys import is_known
from solo_gedi.config.shipped import Kind, find_config
from solo_gedi.errors import ConfigError, reason

_SWEEP = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag)\(")
_KEY = re.compile(r"[^\W\d]\w*(\.\w+)*")
_NOTES = ("paper", "views")  # of shipped configs: what other keys refer to
_INTERPOLATION = re.compile(r"\$\{(\w[\w.]*)\}")
_OPENING = "\"'[{"  # of a quoted text, a list or a section


def load_config(
    name: str | Path, overrides: Sequence[str] = (), *, kind: Kind = "pretrain"
) -> DictConfig:
    """Compose a config, as Hydra's own `main` would.

    Args:
        name: of a shipped config, as "digits/gedi" (`list_configs` has them all), or the path of
            a yaml file; both with or without the suffix.
        overrides: Hydra's, as "max_epochs=5" or "+data.fraction=0.1"; a value that Hydra could
            not read, as a folder's name with brackets or commas, is taken as text.
        kind: "pretrain" or "linear", which shipped configs are meant.

    Returns:
        The config, in solo-learn's schema, before its parsing; interpolations are resolved, and a
        key that is there for nothing else is left out. Relative paths in it start in the current
        folder.

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
            cfg = compose(path.name, [_as_meant(override) for override in overrides])
        referred = set(_INTERPOLATION.findall(OmegaConf.to_yaml(cfg)))
        OmegaConf.resolve(cfg)
    # Hydra lets all but the first through, for what is wrong with the file or an override.
    except (
        *(HydraException, OmegaConfBaseException, YAMLError),
        *(AssertionError, TypeError, ValueError),
    ) as error:
        said = _in_one_line(error)
        if isinstance(error, AssertionError):  # of Hydra's own, which no user could read
            said = "Hydra cannot read it"
        # Hydra names the override, where it does not stumble over its value.
        named = any(override.lstrip("+~").partition("=")[0] in said for override in overrides)
        given = f" with {' '.join(overrides)}" if overrides and not named else ""
        raise ConfigError(f"config {name}{given}: {said}{_advice(overrides)}") from error
    for key in (override.lstrip("+").partition("=")[0] for override in overrides):
        if key.startswith(tuple(f"{name}." for name in _NOTES)) and key not in referred:
            raise ConfigError(f"{key}: no key of {name} refers to it")
    cfg = as_config(cfg)
    for key in (*_NOTES, *referred):
        _leave_out(cfg, key)
    return cfg


def read_overrides(overrides: Sequence[str]) -> DictConfig:
    """Overrides by themselves, as changes to a config that is there.

    Args:
        overrides: as "data.val_path=images"; the value is YAML or, where that would be no number,
            list or the like, text as it stands.

    Raises:
        ConfigError: for a value that starts as a list, a section or a quoted text and is none.

    >>> read_overrides(["data.val_path=images #1, it's", "max_epochs=5"])
    {'data': {'val_path': "images #1, it's"}, 'max_epochs': 5}
    """
    changes = OmegaConf.create()
    try:
        for override in overrides:
            key, _, text = override.partition("=")
            if not _KEY.fullmatch(key):
                raise ConfigError(f"{override!r} is not an override: key=value")
            value = text
            with suppress(*[YAMLError] * (text[:1] not in tuple(_OPENING))):
                read: Any = OmegaConf.to_container(OmegaConf.from_dotlist([f"v={text}"]))
                value = read["v"]
            plain = value is None and text in ("", "~", "null") or isinstance(value, int | float)
            as_it_stands = text[:1] not in tuple(_OPENING) and not plain
            OmegaConf.update(changes, key, text if as_it_stands else value)
    except (OmegaConfBaseException, YAMLError) as error:
        raise ConfigError(f"{' '.join(overrides)}: {reason(error)}") from error
    return OmegaConf.create(_plain(OmegaConf.to_container(changes)))


def as_config(cfg: Mapping[Any, Any]) -> DictConfig:
    """A copy of a config, which can be changed without changing what was given.

    Args:
        cfg: nested dicts and lists, or a DictConfig.

    Returns:
        It as a DictConfig that takes new keys, with its interpolations resolved and its paths as
        text, the home folder in place of a "~" at their start.

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
    value = str(value) if isinstance(value, Path) else value
    # Nothing but a path starts so.
    return str(Path(value).expanduser()) if str(value).startswith("~/") else value


def _leave_out(cfg: DictConfig, key: str) -> None:
    """Leave out a key, and sections that are empty without it, if only other keys refer to it."""
    section, _, last = key.rpartition(".")
    parent = OmegaConf.select(cfg, section) if section else cfg
    if isinstance(parent, DictConfig) and last in parent and not is_known(key):
        del parent[last]
        if section and not parent:
            _leave_out(cfg, section)


def _in_one_line(error: Exception) -> str:
    """What Hydra says, without where it has looked and where to read about it."""
    said, _, _ = str(error).partition("Config search path:")
    lines = [line.strip() for line in said.splitlines() if "See https://" not in line]
    return " ".join(filter(None, lines))


def _as_meant(override: str) -> str:
    """An override whose value, such as the name of a file, is text where Hydra could not read it.

    What starts as a list, a section or a quoted text is left to Hydra.
    """
    key, _, value = override.partition("=")
    if not value or value[0] in _OPENING or _SWEEP.match(value) or _is_read(override):
        return override
    quoted = f"{key}={_in_quotes(value)}"
    return quoted if _is_read(quoted) else override


def _is_read(override: str) -> bool:
    """Whether Hydra can read an override, as one value."""
    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    if parsed.value_type != ValueType.SIMPLE_CHOICE_SWEEP:
        return not parsed.is_sweep_override()
    # Text with a comma, or numbers of which one is to be chosen.
    return all(isinstance(choice, int | float) for choice in parsed.value().list)


def _in_quotes(text: str) -> str:
    return QuotedString(text, Quote.single).with_quotes()


def _advice(overrides: Sequence[str]) -> str:
    """What to type for values that are text and could not be told from something else."""
    pairs = (o.partition("=") for o in overrides if not _is_read(_as_meant(o)))
    typed = [shlex.quote(f"{key}={_in_quotes(value)}") for key, _, value in pairs if value]
    return f"; if it is text, type {' '.join(typed)}" if typed else ""

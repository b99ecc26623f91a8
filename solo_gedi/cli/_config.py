"""How a command line names a config: as a shipped one, as a file, or as Hydra does it."""

import argparse
import re
from pathlib import Path
from typing import Literal

from solo_gedi.errors import ConfigError, Interrupted


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of a command that takes a config."""
    add = parser.add_argument
    add("config", nargs="?", help="a shipped config, such as digits/gedi, or a yaml file")
    add("overrides", nargs="*", metavar="key=value", help="changes to it, in Hydra's syntax")
    add("--config-path", "-cp", metavar="FOLDER", help="folder of the config, as in Hydra")
    add("--config-name", "-cn", metavar="NAME", help="its file, such as gedi.yaml")

    # Hydra's `--cfg job`
    text = "print the composed config and stop"
    add("--cfg", nargs="?", const="job", choices=("job",), help=text)


def config_of(arguments: argparse.Namespace) -> tuple[str | Path, list[str]]:
    """The name or path that the arguments mean, and the overrides.

    Raises:
        ConfigError: if they name none, or two.
    """
    given = [part for part in (arguments.config, *arguments.overrides) if part is not None]
    path, name = arguments.config_path, arguments.config_name
    # An override has a "=", or removes a key with "~"; the name comes first, perhaps of a file in
    # a folder as seed=0.
    named = given and (not re.search("^~|=", given[0]) or Path(given[0]).is_file())
    first = given[0] if named else None
    if path is None and name is None:
        if first is None:
            raise ConfigError(
                "no config is named: give a shipped one, such as digits/gedi (`solo-gedi configs` "
                "lists them), or a yaml file"
            )
        return first, given[1:]
    if path is None or name is None:
        raise ConfigError("--config-path and --config-name go together")
    if not Path(path).is_dir():
        raise ConfigError(f"--config-path={path} is not a folder (from {Path.cwd()})")
    return Path(path) / name, given


def train(arguments: argparse.Namespace, kind: Literal["pretrain", "linear"]) -> None:
    """Train what the arguments say, or print its config where they ask for that.

    Raises:
        Interrupted: after a signal, when the run has been saved.
    """
    from solo_gedi.config import load_config

    name, overrides = config_of(arguments)
    cfg = load_config(name, overrides, kind=kind)
    if arguments.cfg is not None:
        from omegaconf import OmegaConf

        print(OmegaConf.to_yaml(cfg))
        return
    from solo_gedi import training

    done = (training.pretrain if kind == "pretrain" else training.linear)(cfg)
    if done.interrupted is not None:
        raise Interrupted(done.interrupted)

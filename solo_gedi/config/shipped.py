"""The configs that come with the package, found by name."""

import shutil
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, get_args

from solo_gedi.errors import ConfigError
from solo_gedi.files import check_folder

Kind = Literal["pretrain", "linear"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def shipped_configs() -> Path:
    """The folder of the shipped configs, with `pretrain`, `linear` and `shared` in it.

    >>> sorted(path.name for path in shipped_configs().iterdir())
    ['linear', 'pretrain', 'shared']
    """
    package = Path(__file__).parents[1]
    installed = package / "scripts"
    return installed if installed.is_dir() else package.parent / "scripts"


def config_roots(folder: Path) -> list[Path]:
    """Where Hydra is to look for what configs share, as `/shared/run`, beside their own folder.

    Args:
        folder: of a config. Where `copy_configs` made it, the shared lines were copied too.

    Returns:
        Folders that hold `shared`, the one that wins first.
    """
    shipped = shipped_configs()
    copied = folder.absolute().parent.parent
    found = copied != shipped and (copied / "shared" / "run.yaml").is_file()
    return [copied, shipped] if found else [shipped]


def list_configs(kind: Kind = "pretrain") -> list[str]:
    """The names of the shipped configs.

    Args:
        kind: "pretrain" or "linear".

    Raises:
        ConfigError: for another kind.

    >>> list_configs("linear")[:4]
    ['cifar/barlow', 'cifar/gedi', 'cifar/jem', 'cifar/swav']
    """
    _check_kind(kind)
    root = shipped_configs() / kind
    found = (path.relative_to(root) for path in root.glob("*/*.yaml") if path.stem != "base")
    return sorted(path.with_suffix("").as_posix() for path in found)


def find_config(name: str | Path, kind: Kind = "pretrain") -> Path:
    """The file of a config.

    Args:
        name: of a shipped config, as "digits/gedi", or the path of a yaml file, both with or
            without the suffix. A file that exists wins over a shipped config of the same name.
        kind: "pretrain" or "linear", which shipped configs are meant.

    Raises:
        ConfigError: if there is none; the message lists shipped configs with a similar name.

    >>> find_config("digits/gedi").name
    'gedi.yaml'
    """
    _check_kind(kind)
    given = Path(name).expanduser()
    file = given if given.suffix == ".yaml" else given.parent / f"{given.name}.yaml"
    for path in (file, shipped_configs() / kind / file):
        if path.is_file():
            return path.parent.resolve() / path.name
    near = get_close_matches(str(given).removesuffix(".yaml"), list_configs(kind), 4, cutoff=0.5)
    meant = f"did you mean {', '.join(near)}? " if near else ""
    raise ConfigError(
        f"no {kind} config {str(name)!r}: neither a yaml file (from {Path.cwd()}) nor a shipped "
        f"config; {meant}`solo-gedi configs` lists them"
    )


def copy_configs(folder: str | Path) -> list[Path]:
    """Copy the shipped configs, to be edited.

    Args:
        folder: gets `pretrain`, `linear` and `shared`; made where it does not exist.

    Returns:
        The files written. `load_config` takes their paths.

    Raises:
        ConfigError: if a file is there already or the folder cannot be written to; then nothing
            is copied.
    """
    folder, shipped = Path(folder).expanduser(), shipped_configs()
    check_folder(folder, "folder")
    copies = {path: folder / path.relative_to(shipped) for path in shipped.rglob("*.yaml")}
    taken = sorted(str(copy) for copy in copies.values() if copy.exists())
    if taken:
        raise ConfigError(
            f"{folder} already holds {len(taken)} of the files, {taken[0]} among "
            "them: nothing was copied; choose another folder"
        )
    for path, copy in copies.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return sorted(copies.values())


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ConfigError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")

"""List the shipped configs, or copy them to be edited.

solo-gedi configs
solo-gedi configs --copy my_configs
solo-gedi pretrain my_configs/pretrain/digits/gedi.yaml
"""

import argparse
import re
from pathlib import Path

from solo_gedi.config import KINDS, copy_configs, list_configs, shipped_configs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("--copy", metavar="FOLDER", help="write them there, to be edited")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    if arguments.copy is not None:
        copies = copy_configs(arguments.copy)
        one = Path(arguments.copy, "pretrain", "digits", "gedi.yaml")
        print(f"{len(copies)} files written. Use one by its path: solo-gedi pretrain {one}")
        return
    for kind in KINDS:
        print(f"For `solo-gedi {kind}`:")
        for name in list_configs(kind):
            print(f"  {name:20}{_about(shipped_configs() / kind / f'{name}.yaml')}")


def _about(path: Path) -> str:
    """What the first line of a config says of it, else the method that it trains."""
    text = path.read_text(encoding="utf-8")
    if text.startswith("#"):
        return text.partition("\n")[0].removeprefix("# ")
    method = re.search(r'^(?:pretrain_)?method: "?(\w+)', text, flags=re.MULTILINE)
    return method[1] if method else ""

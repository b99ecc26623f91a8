"""Run a program of solo-learn's as it is, with gedi and jem among its methods.

solo-gedi run main_knn.py --pretrained_checkpoint_dir trained_models/gedi/20260102-030405 ...
solo-gedi run main_umap.py --pretrained_checkpoint_dir trained_models/gedi/20260102-030405 ...

All that follows the program is its own. It needs solo-learn's GitHub version.
"""

import argparse
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from solo_gedi.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `run_program`."""
    parser.add_argument("program", help="its file, such as main_knn.py in a checkout of solo-learn")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the program's own")


def run(arguments: argparse.Namespace) -> None:
    """Run the program."""
    run_program(**vars(arguments))


def run_program(program: str | Path, arguments: Sequence[str] = ()) -> None:
    """Run a program as `python PROGRAM ARGUMENTS...` does, with our methods registered.

    Args:
        program: its file, whose folder comes first where modules are looked for.
        arguments: its own.

    Raises:
        ConfigError: if there is no such file, or solo-learn's programs cannot run.
        SystemExit: when the program ends itself.
    """
    path = Path(program)
    if not path.is_file():
        raise ConfigError(f"there is no program {program} (from {Path.cwd()})")
    sys.path.insert(0, str(path.resolve().parent))
    from solo_gedi import hosts
    from solo_gedi.methods import register

    if hosts.GENERATION != "github":
        raise ConfigError(
            f"{program}: the programs of solo-learn 1.0.2 do not run on today's Lightning; "
            "those of its GitHub version do"
        )
    register()
    sys.argv = [str(program), *arguments]
    runpy.run_path(str(path), run_name="__main__")

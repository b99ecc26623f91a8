"""Compare methods over seeds, beside the paper's values.

A cell is one method with one seed, run by a command of its own; --dry-run prints these commands.
Finished cells are not run again, so an interrupted suite continues where it stopped.
"""

import argparse
import shlex
from collections.abc import Sequence
from typing import Any

from solo_gedi.cli import Parser
from solo_gedi.cli.evaluate import add_options
from solo_gedi.cli.toy import numbers
from solo_gedi.comparison.suites import SUITES
from solo_gedi.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `solo_gedi.comparison.benchmark`."""
    add = parser.add_argument
    add("suite", choices=SUITES)
    add("--methods", default=(), metavar="NAME,...", help="all if not given")
    add("--seeds", type=_seeds, default=5, help="how many, or which: 0,1,2, or one alone as 3,")
    add("--jobs", type=int, default=2, help="cells at once on this machine")
    add("--out", metavar="FOLDER", help="folder of the results (default: runs/SUITE)")
    add(
        "--scripts",
        metavar="FOLDER",
        help="folder of configs, as `solo-gedi configs --copy` makes it",
    )
    add("--dry-run", action="store_true", help="print what would run, run none")
    add("--rerun", choices=("failed", "all"), help="run these cells again")
    add(
        "--evaluate",
        metavar='"OPTIONS"',
        help='options of solo-gedi evaluate, such as --evaluate="--tasks clustering,knn"',
    )
    add("--cluster", choices=("slurm",), help="run the cells as its jobs, through submitit")
    add("--partition", help="Slurm's partition")
    add("--gpus", type=int, default=1, help="GPUs of a Slurm job")
    add("--cpus", type=int, default=8, help="CPUs of a Slurm job")
    add("--time", type=int, default=24 * 60, help="minutes of a Slurm job")
    add(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="changes every cell's config; probe.key=value the linear probe's",
    )


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from solo_gedi.comparison import benchmark

    given = vars(arguments)
    comparison = benchmark(**{**given, "evaluate": _options(arguments.evaluate)})
    if arguments.dry_run:
        for cell in comparison.cells:
            print(f"{cell.command}  # {cell.state}")
        if comparison.script is not None:
            print(f"# Slurm gets each as a job, from submitit:\n{comparison.script}")


def _options(text: str | None) -> dict[str, Any]:
    """The options that a text has, as keyword arguments; no others."""
    parser = Parser("solo-gedi evaluate", allow_abbrev=False)
    add_options(parser)
    try:
        arguments = shlex.split(text or "")
    except ValueError as error:
        raise ConfigError(f"--evaluate={text}: {error}") from error
    # What is there already gets no default.
    unset = argparse.Namespace(**dict.fromkeys(vars(parser.parse_args([]))))
    given = vars(parser.parse_args(arguments, unset))
    return {name: value for name, value in given.items() if value is not None}


def _seeds(text: str) -> int | Sequence[int]:
    seeds = numbers(text)
    return seeds if "," in text else seeds[0]

"""Pretrain a method, unless that is done, and evaluate it: one cell of a benchmark.

solo-gedi cell runs/digits/gedi/seed=0 digits/gedi --tasks clustering,linear seed=0
"""

import argparse

from solo_gedi.cli.evaluate import add_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `solo_gedi.comparison.cell.cell`."""
    add = parser.add_argument
    add("folder", help="where the cell keeps its files")
    add("config", help="a shipped config, such as digits/gedi, or a yaml file")
    add_options(parser)
    add(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="changes the config; probe.key=value the linear probe's",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command.

    Returns:
        1 after a bug in the evaluation, whose other results are kept; else 0.
    """
    from solo_gedi.comparison.cell import cell

    return int(bool((cell(**vars(arguments)) or {}).get("faults")))

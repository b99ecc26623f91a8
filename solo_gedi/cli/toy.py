"""Train a method on moons or circles, all seeds as one stacked network, and evaluate each.

solo-gedi toy runs/moons toy/gedi --seeds 0,1,2 dataset=moons
"""

import argparse

from solo_gedi.cli.evaluate import add_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `solo_gedi.comparison.toy.study.toy`."""
    add = parser.add_argument
    add("folder", help="where the results go: FOLDER/seed=K")
    add("config", help="a shipped config, such as toy/gedi, or a yaml file")
    add(
        "--seeds",
        type=numbers,
        default=(0, 1, 2, 3, 4),
        metavar="K,...",
        help="one network each; 0,1,2,3,4 if not given",
    )
    add_options(parser)
    parser.set_defaults(tasks=("clustering", "triad", "samples"))
    add("overrides", nargs="*", metavar="key=value", help="changes the config")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from solo_gedi.comparison.toy.study import toy

    toy(**vars(arguments))


def numbers(text: str) -> tuple[int, ...]:
    """Seeds with commas between them, `3,` for one alone, each once."""
    given = [number.strip() for number in text.removesuffix(",").split(",")]
    if not all(number.isdecimal() for number in given):
        raise argparse.ArgumentTypeError(f"must be a number or a list as 0,1,2, got {text!r}")
    return tuple(dict.fromkeys(map(int, given)))

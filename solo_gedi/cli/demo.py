"""Compare GEDI, SwAV and Barlow Twins on digits, in minutes on two CPU cores."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `solo_gedi.comparison.demo.demo`."""
    add = parser.add_argument
    add("--out", default="runs/demo", metavar="FOLDER", help="of the results")
    add("--epochs", type=int, help="shorten pretraining and probes, for a try")
    add("--seed", type=int, help="another than the configs'")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from time import perf_counter

    from solo_gedi.comparison import tables
    from solo_gedi.comparison.demo import DIGITS, demo

    start = perf_counter()
    rows = demo(**vars(arguments))
    print("\nNMI of the cluster head; linear probe and kNN offline; all on digits' test split")
    print(tables.show(rows, digits=DIGITS))
    seconds = perf_counter() - start
    print(f"\n{seconds:.0f} s in all. Tables and pictures: {arguments.out}/")

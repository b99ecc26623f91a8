"""Compare GEDI, SwAV and Barlow Twins on digits, in minutes on two CPU cores."""

import argparse
import shlex


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `solo_gedi.comparison.demo.demo`."""
    add = parser.add_argument
    add("--out", default="runs/demo", metavar="FOLDER", help="folder of the results")
    add("--epochs", type=int, help="of pretraining and probes, fewer for a quick try")
    add("--seed", type=int, help="the configs' own if not given")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from time import perf_counter

    from solo_gedi.comparison import tables
    from solo_gedi.comparison.demo import DIGITS, demo, shown

    start = perf_counter()
    rows = demo(**vars(arguments))
    print("\nNMI of the cluster head; linear probe and kNN offline; all on digits' test split")
    print(tables.show([shown(row) for row in rows], digits=DIGITS))
    seconds, run = perf_counter() - start, rows[0]["run"]
    print(
        f"\n{seconds:.0f} s in all. Look at {arguments.out}/gedi.png and {run}/report.html. Next:"
    )
    print(f"  solo-gedi evaluate {shlex.quote(run)} --tasks ood --ood uniform,shuffled")
    print("  solo-gedi pretrain custom/gedi_fast data.train_path=YOUR_IMAGES")

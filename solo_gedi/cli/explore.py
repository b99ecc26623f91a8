"""Write an interactive HTML page: a map of images, their clusters and the least typical ones.

solo-gedi explore trained_models/gedi/20260102-030405
solo-gedi explore gedi-digits photos --out photos.html
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `solo_gedi.report.explore`."""
    add = parser.add_argument
    add("model", help="a checkpoint, a run's or an exported folder, or a shipped model's name")
    add(
        "images",
        nargs="*",
        help="image files, folders, which are searched through, and globs in quotes; the run's "
        "own test images if not given",
    )
    add("--out", metavar="FILE", default="explore.html", help="the page")
    add("--max-images", type=int, default=2000, help="how many it shows at most")
    add("--overwrite", action="store_true", help="replace a file that exists")


def run(arguments: argparse.Namespace) -> None:
    """Write the page."""
    from solo_gedi.report import explore

    explore(**{**vars(arguments), "images": arguments.images or None})

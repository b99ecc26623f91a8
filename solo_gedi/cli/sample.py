"""Draw samples of a trained GEDI or JEM: PNGs, a grid, their numbers, and an animation.

solo-gedi sample gedi-digits --num 16 --out samples
solo-gedi sample trained_models/gedi/20260102-030405 --start photos --steps 200 --out uphill
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `solo_gedi.inference.sample`."""
    add = parser.add_argument
    add("model", help="a checkpoint, a run's or an exported folder, or a shipped model's name")
    add("--out", metavar="FOLDER", required=True, help="where the files go")
    add(
        "--num",
        type=int,
        default=64,
        help="how many; with --start IMAGES, at most how many of them",
    )
    add("--steps", type=int, default=500, help="SGLD steps")
    add(
        "--start",
        nargs="+",
        default="fresh",
        metavar="fresh|buffer|IMAGES",
        help="uniform noise, the chains of the training, or images that are moved uphill: files, "
        "folders and globs in quotes",
    )
    add("--seed", type=int, default=0, help="the same one draws the same samples")
    add("--overwrite", action="store_true", help="replace files that exist")


def run(arguments: argparse.Namespace) -> None:
    """Sample."""
    from solo_gedi.inference import sample

    sample(**vars(arguments))

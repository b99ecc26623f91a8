"""Cluster and score images with a trained model, one row per image.

solo-gedi predict gedi-digits photos
solo-gedi predict trained_models/gedi/20260102-030405 photos --out predictions.csv

Columns: file; cluster, and its share as confidence; the second cluster and its share; log_density
(log p up to a constant); neg_grad_norm (higher means in-distribution); typicality (the share of
training images that are less likely: 0.001 is stranger than 99.9 % of them); error.
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `solo_gedi.inference.predict`."""
    add = parser.add_argument
    add("model", help="a checkpoint, a run's or an exported folder, or a shipped model's name")
    add(
        "images",
        nargs="+",
        help="image files, folders, which are searched through, and globs in quotes",
    )
    add("--out", metavar="FILE", help="a .csv or .parquet for the rows; printed if not given")
    add("--features", metavar="FILE", help="an .npz for the backbone's features")
    add("--batch-size", type=int, default=64, help="images in the network at once")
    add("--overwrite", action="store_true", help="replace files that exist")


def run(arguments: argparse.Namespace) -> None:
    """Predict; without --out, print the rows as CSV."""
    import sys
    from io import TextIOWrapper

    from solo_gedi.inference import predict
    from solo_gedi.inference.tables import csv_writer

    rows = predict(**vars(arguments))
    if isinstance(rows, list):
        # The names of files are bytes, which need not be UTF-8.
        if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.encoding.lower() == "utf-8":
            sys.stdout.reconfigure(errors="surrogateescape")
        collect = csv_writer(sys.stdout)
        for row in rows:
            collect(row)

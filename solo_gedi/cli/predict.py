"""Cluster and score images with a trained model: a row an image, as CSV.

solo-gedi predict trained_models/gedi/20260102-030405 photos --out predictions.csv
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add = parser.add_argument
    add("model", help="a checkpoint, or the folder of a run or of a benchmark's cell")
    add("images", nargs="+", help="image files, and folders, which are searched through")
    add("--out", metavar="FILE", help="the CSV to write; printed if not given")
    add("--batch-size", type=int, default=64, help="images in memory at once")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    import csv
    import io
    from pathlib import Path

    from solo_gedi.errors import ConfigError
    from solo_gedi.files import check_folder, write_atomically
    from solo_gedi.inference import predict

    out = None if arguments.out is None else Path(arguments.out)
    if out is not None:
        if out.exists():
            raise ConfigError(f"--out={out} exists: give another name")
        check_folder(out.parent, "--out")
    rows = predict(arguments.model, arguments.images, batch_size=arguments.batch_size)
    table = io.StringIO()
    writer = csv.DictWriter(table, dict.fromkeys(key for row in rows for key in row))
    writer.writeheader()
    writer.writerows(rows)
    if out is None:
        print(table.getvalue(), end="")
    else:
        write_atomically(out, lambda partial: partial.write_text(table.getvalue()))
        print(f"{len(rows)} rows: {out}")

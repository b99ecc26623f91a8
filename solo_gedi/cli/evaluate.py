"""Measure what a pretrained method clusters, generates and detects.

metrics.json, pictures and report.html go into the run's folder. Another evaluation of the same
checkpoint adds to them. A task that cannot be done is reported with its reason, and the others run.
Without test images, the training images are measured; the `split` of every row says which.
"""

import argparse

TASKS = ("clustering", "triad", "linear", "logistic", "knn", "ood", "fid", "samples")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `solo_gedi.report.evaluate`."""
    parser.add_argument(
        "model", help="a checkpoint, the folder of a run, a cell or an export, or gedi-digits"
    )
    add_options(parser)
    parser.add_argument(
        "--out", metavar="FOLDER", help="folder of the results (default: the run's)"
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        default=(),
        metavar="key=value",
        help="changes to the run's config, such as data.val_path=FOLDER; probe.key=value: to the "
        "linear probe's",
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that say how to evaluate, which other commands have as well."""
    add = parser.add_argument
    add(
        "--tasks",
        default=TASKS,
        metavar="TASK,...",
        help=f"what to measure, of {','.join(TASKS)}; all if not given",
    )
    add(
        "--ood",
        default=("uniform", "shuffled"),
        metavar="NAME[:PATH],...",
        help="out-of-distribution sets: data sets of solo-learn or solo-gedi, custom:FOLDER, or, "
        "generated, uniform (noise) and shuffled (the test images with shuffled pixels); these two "
        "if not given",
    )
    add(
        "--linear-config",
        metavar="CONFIG",
        help="config of the linear probe: a yaml file, or a shipped one such as digits/gedi; the "
        "paper's setting if not given",
    )
    add("--num-samples", type=int, default=10000, help="samples of the Fréchet distance, at most")
    add("--steps", type=int, default=500, help="SGLD steps of these samples")
    add("--start", choices=("fresh", "buffer"), default="fresh", help="where the chains start")
    add(
        "--fid-features",
        default="inception",
        metavar="inception|backbone|RUN",
        help="whose features it compares: FID's, the run's own, another run's",
    )
    add(
        "--inception-weights",
        metavar="FILE",
        help="weights of FID's network; downloaded if not given",
    )


def run(arguments: argparse.Namespace) -> int:
    """Evaluate; the numbers are logged as they come.

    Returns:
        1 after a bug, else 0.
    """
    from solo_gedi.report import evaluate

    return int(bool(evaluate(**vars(arguments)).faults))

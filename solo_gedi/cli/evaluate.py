"""`solo-gedi evaluate`: what a pretrained method clusters, generates and has not seen."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from solo_gedi import evaluation
from solo_gedi.cli import trained
from solo_gedi.cli.tasks import TASKS, Evaluation
from solo_gedi.errors import ConfigError


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that say how to evaluate; `solo-gedi cell` has them as well."""
    add = parser.add_argument
    add("--tasks", default=",".join(TASKS), help="comma-separated, of %(default)s")
    add("--linear-config", type=Path, help="yaml of the probe; the paper's setting if not given")
    add(
        "--ood",
        default=",".join(evaluation.SYNTHETIC),
        metavar="NAME[:PATH],...",
        help="data sets to tell apart: solo-learn's or ours, or custom:FOLDER; "
        "without files: uniform (noise), shuffled (the test set's own pixels)",
    )
    add("--num-samples", type=int, default=10000, help="of the Frechet distance, at most")
    add("--steps", type=int, default=500, help="SGLD steps of its samples")
    add("--start", choices=("fresh", "buffer"), default="fresh", help="of its chains")
    add(
        "--fid-features",
        default="inception",
        metavar="inception|backbone|RUN",
        help="whose features it compares: FID's, the run's own, another run's",
    )
    add("--inception-weights", help="file of FID's network; downloaded if not given")


def options(*arguments: str, overrides: Sequence[str] = ()) -> argparse.Namespace:
    """The options as `add_options` parses them, for a caller that is not a command line."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    return parser.parse_args(arguments, argparse.Namespace(overrides=list(overrides)))


def main(arguments: list[str]) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser("solo-gedi evaluate", description=__doc__)
    parser.add_argument("run", type=Path, help="a checkpoint, or the folder of a run")
    add_options(parser)
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="changes to the run's config; probe.key=value: to that of the probe",
    )
    given = parser.parse_intermixed_args(arguments)
    evaluate(given.run, given)


def evaluate(run: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Evaluate a run and write `metrics.json`, figures and `report.html` into its folder.

    A task that cannot be done (no labels, no Inception weights, ...) is named with its reason;
    the others go on.

    Args:
        run: a checkpoint or the folder that holds it.
        given: the options of `add_options` and `overrides`.

    Returns:
        What `metrics.json` holds.

    Raises:
        ConfigError: if the run cannot be read, or for an unknown task.
    """
    tasks = [task for task in given.tasks.split(",") if task]
    if unknown := sorted(set(tasks) - set(TASKS)):
        raise ConfigError(f"--tasks has {unknown[0]!r}; choose from {','.join(TASKS)}")
    overrides = OmegaConf.from_dotlist(given.overrides)
    probe = overrides.pop("probe", {})
    evaluated = Evaluation(trained.load(run, overrides), given, probe)
    not_done: dict[str, str] = {}
    for task in tasks:
        print(f"{task} ...", flush=True)
        try:
            TASKS[task](evaluated)
        except ConfigError as error:
            not_done[task] = str(error)
            print(f"  not done: {error}", flush=True)
    return evaluated.write(not_done)

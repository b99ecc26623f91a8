"""`solo-gedi evaluate`: what a pretrained method clusters, generates and has not seen."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from solo_gedi import evaluation, hosts
from solo_gedi.config import compose as config
from solo_gedi.errors import ConfigError, reason
from solo_gedi.evaluation.tasks import TASKS, Evaluation
from solo_gedi.inference import load as trained
from solo_gedi.training import checkpoints

FEATURES = ("inception", "backbone")  # of the Fréchet distance, without naming another run


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that say how to evaluate; `solo-gedi cell` has them as well."""
    add = parser.add_argument
    add("--tasks", default=",".join(TASKS), help=f"comma-separated, of {','.join(TASKS)}")
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
    """The options as `add_options` parses them, for a caller that is not this command line."""
    parser = config.Parser("solo-gedi evaluate")
    add_options(parser)
    return parser.parse_args(arguments, argparse.Namespace(overrides=list(overrides)))


def split_overrides(given: Sequence[str]) -> tuple[list[str], list[str]]:
    """Overrides of a pretraining config, and those of the probe's (`probe.key=value`)."""
    probe = [override for override in given if override.startswith("probe.")]
    return [override for override in given if override not in probe], probe


def check_options(given: argparse.Namespace) -> None:
    """Check what can be known to be wrong before a run is read, or even trained.

    Args:
        given: the options of `add_options` and `overrides`.

    Raises:
        ConfigError: naming the option.
    """
    config.register_all()
    tasks = _listed(given.tasks)
    if unknown := sorted(set(tasks) - set(TASKS)):
        raise ConfigError(f"--tasks has {unknown[0]!r}; choose from {','.join(TASKS)}")
    if not tasks:
        raise ConfigError(f"--tasks names none; choose from {','.join(TASKS)}")
    for name in _listed(given.ood):
        dataset, _, folder = name.partition(":")
        if name not in evaluation.SYNTHETIC and not hosts.has_dataset(dataset):
            raise ConfigError(f"--ood has {dataset!r}, which {hosts.describe()} does not know")
        if dataset == "custom" and not Path(folder or "-").is_dir():
            raise ConfigError(f"--ood has {name}: custom:FOLDER needs a folder that exists")
    for option, low in (("num_samples", 2), ("steps", 0)):
        if (value := getattr(given, option)) < low:
            flag = option.replace("_", "-")
            raise ConfigError(f"--{flag} must be at least {low}, got {value}")
    features = given.fid_features
    for option, path, exists in (
        ("linear-config", given.linear_config, Path.is_file),
        ("inception-weights", given.inception_weights, Path.is_file),
        ("fid-features", None if features in FEATURES else features, Path.exists),
    ):
        if path is not None and not exists(Path(path)):
            raise ConfigError(f"--{option}={path} does not exist (from {Path.cwd()})")
    if features not in FEATURES:
        checkpoints.of_run(Path(features))
    for override in given.overrides:
        if override.find("=") < 1:
            raise ConfigError(f"{override!r} is not an override: key=value")


def _listed(names: str) -> list[str]:
    return [name for name in names.split(",") if name]


def main(arguments: list[str]) -> None:
    """Run the command."""
    parser = config.Parser("solo-gedi evaluate", description=__doc__)
    parser.add_argument("run", type=Path, help="a checkpoint, or the folder of a run or cell")
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
        ConfigError: if the run cannot be read, an option cannot work, or no task could be done.
    """
    check_options(given)
    tasks = _listed(given.tasks)
    try:
        overrides = OmegaConf.from_dotlist(given.overrides)
    except (OmegaConfBaseException, YAMLError) as error:
        raise ConfigError(f"{' '.join(given.overrides)}: {reason(error)}") from error
    probe = overrides.pop("probe", OmegaConf.create())
    if not isinstance(probe, DictConfig):
        raise ConfigError(f"probe={probe}: changes to the probe's config are probe.key=value")
    evaluated = Evaluation(trained.load(run, overrides), given, probe)
    not_done: dict[str, str] = {}
    for task in tasks:
        print(f"{task} ...", flush=True)
        try:
            TASKS[task](evaluated)
        except ConfigError as error:
            not_done[task] = str(error)
            print(f"  not done: {error}", flush=True)
    if len(not_done) == len(tasks):
        raise ConfigError(f"nothing could be done: {not_done[tasks[0]]}")
    return evaluated.write(not_done)

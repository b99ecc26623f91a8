"""A suite's plan: its methods and seeds on its data sets, one plain command a cell."""

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

from solo_gedi.comparison.suites import Suite
from solo_gedi.errors import ConfigError

State = Literal["to do", "failed", "done"]
Rerun = Literal["failed", "all"]
Cluster = Literal["slurm"]


@dataclass(frozen=True)
class Cell:
    """One command, and where its results go.

    Attributes:
        dataset: name.
        method: name.
        seeds: those that the command runs.
        folder: of the cell; the results of a seed are `results_of(seed)`.
        arguments: what comes after `solo-gedi`.
        config: name or path of the config.
        overrides: of the config, without the seed.
        fingerprint: of the configs that the command reads.
        weights: as a method's.
    """

    dataset: str
    method: str
    seeds: tuple[int, ...]
    folder: Path
    arguments: tuple[str, ...] = field(repr=False)
    config: str = ""
    overrides: tuple[str, ...] = ()
    fingerprint: str = ""
    weights: tuple[int, int] | None = None

    def __str__(self) -> str:
        seeds = ", ".join(map(str, self.seeds))
        return f"{self.dataset} {self.method}, seed {seeds}"

    @property
    def command(self) -> str:
        """The command, to be run by hand."""
        return shlex.join(["solo-gedi", *self.arguments])

    def results_of(self, seed: int) -> Path:
        """The file that a finished seed leaves.

        Args:
            seed: one of the cell's.
        """
        folder = self.folder if self.folder.name == f"seed={seed}" else self.folder / f"seed={seed}"
        return folder / "metrics.json"

    @property
    def identity(self) -> str:
        """What its results are results of: the command, in their folder, and its configs."""
        what, _, *rest = self.arguments
        command = shlex.join(["solo-gedi", what, ".", *rest])
        return f"{command}\n# configs {self.fingerprint}\n"

    def state_of(self, seed: int) -> State:
        """How far a seed is; one whose evaluation was interrupted is still to do.

        Args:
            seed: one of the cell's.
        """
        path = self.results_of(seed)
        status = json.loads(path.read_text()).get("status") if path.exists() else None
        return "done" if status == "finished" else "failed" if status == "failed" else "to do"

    @property
    def state(self) -> State:
        """How far the cell is; failed, as soon as every seed has been run, if one has."""
        states = [self.state_of(seed) for seed in self.seeds]
        return next((state for state in get_args(State) if state in states), "done")


def cells_of(
    suite: Suite,
    methods: Sequence[str],
    seeds: Sequence[int],
    out: Path,
    scripts: Path | None = None,
    overrides: Sequence[str] = (),
    evaluate: Mapping[str, Any] | None = None,
) -> list[Cell]:
    """The cells of a suite.

    Args:
        suite: the comparison.
        methods: names of the suite's methods; all when empty.
        seeds: to run each with.
        out: folder of the results: `<out>/<dataset>/<method>/seed=K`.
        scripts: folder with `pretrain` and `linear`; the shipped configs when None.
        overrides: of every cell's config, `probe.key=value` of its probe's.
        evaluate: keyword arguments of the evaluation.

    Raises:
        ConfigError: for an unknown method, a config that is not there or cannot be composed, or a
            path that is missing.
    """
    if unknown := [name for name in methods if name not in suite.methods]:
        raise ConfigError(f"--methods has {unknown[0]!r}; choose from {','.join(suite.methods)}")
    for key in suite.required:
        if not any(override.startswith(f"{key}=") for override in overrides):
            raise ConfigError(f"this suite needs {key}=FOLDER")
    own = [override for override in overrides if not override.startswith("probe.")]
    of_probe = [override for override in overrides if override not in own]
    if of_probe and not suite.probes:
        raise ConfigError(f"{of_probe[0]}: this suite has no linear probe")
    out_sets = {"ood": (*suite.ood, "uniform", "shuffled")} if suite.ood else {}
    fingerprint = cache(_fingerprint)
    cells = []
    for dataset, name in product(suite.datasets, methods or suite.methods):
        method, choice = suite.methods[name], suite.datasets[dataset]
        config = _named(scripts, "pretrain", suite.folder, method.config)
        if config is None:
            path = f"pretrain/{suite.folder}/{method.config}.yaml"
            raise ConfigError(f"--scripts={scripts} has no {path}")
        probe = suite.probes.get(method.config)
        linear = None if probe is None else _named(scripts, "linear", suite.folder, probe)
        options = {"linear_config": linear, **out_sets, **(evaluate or {})}
        arguments = _as_arguments(options)
        _check_own(own, (*choice, *method.overrides))
        changes = (*choice, *method.overrides, *own)
        # Without what the method changes, which is in the command: composing takes its time.
        known = fingerprint(config, (*choice, *own), options["linear_config"])
        folder = out / dataset / name.replace(" ", "-")
        for batch in [tuple(seeds)] if suite.stacked else [(seed,) for seed in seeds]:
            listed = ",".join(map(str, batch))
            place = folder if suite.stacked else folder / f"seed={listed}"
            command = (
                ("toy", str(place), config, "--seeds", listed, *arguments)
                if suite.stacked
                else ("cell", str(place), config, *arguments, f"seed={listed}")
            )
            cells.append(
                Cell(
                    dataset,
                    name,
                    batch,
                    place,
                    arguments=(*command, *changes, *of_probe),
                    config=config,
                    overrides=changes,
                    fingerprint=known,
                    weights=method.weights,
                )
            )
    return cells


def _check_own(own: Sequence[str], suites: Sequence[str]) -> None:
    """Refuse what would make a suite's cells others than their names say."""
    always = ("seed=K", *(f"{key}=NAME" for key in ("method", "dataset", "data.dataset")))
    set_here = {_key(override): override for override in (*always, "checkpoint.dir=DIR", *suites)}
    for override in own:
        key = _key(override)
        for other, what in set_here.items():
            if f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}."):
                raise ConfigError(
                    f"{override}: this suite sets {what} itself; `solo-gedi pretrain` takes any"
                )


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _named(scripts: Path | None, kind: str, folder: str, config: str) -> str | None:
    """What a command calls a config: its name where it is shipped, else its path."""
    from solo_gedi.config import shipped_configs

    path = (scripts or shipped_configs()) / kind / folder / f"{config}.yaml"
    if not path.is_file():
        return None
    return f"{folder}/{config}" if scripts is None else str(path)


def _as_arguments(options: Mapping[str, Any]) -> list[str]:
    """Keyword arguments as the command line has them."""
    arguments = []
    for name, value in options.items():
        if value is not None:
            listed = isinstance(value, Sequence) and not isinstance(value, str)
            text = ",".join(map(str, value)) if listed else str(value)
            arguments += [f"--{name.replace('_', '-')}", text]
    return arguments


def _fingerprint(config: str, overrides: Sequence[str], linear: str | Path | None) -> str:
    """Tells whether configs are those that an earlier result was trained with."""
    from omegaconf import OmegaConf

    from solo_gedi.config import load_config

    configs = [load_config(config, overrides)]
    if linear is not None:
        configs.append(load_config(linear, kind="linear"))
    content = [OmegaConf.to_container(cfg) for cfg in configs]
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]

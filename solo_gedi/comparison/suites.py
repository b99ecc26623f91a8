"""What is compared: methods and seeds on data sets, one plain command a cell."""

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

from solo_gedi.errors import ConfigError

State = Literal["to do", "failed", "done"]
Rerun = Literal["failed", "all"]
Cluster = Literal["slurm", "local", "debug"]  # submitit's names

GRID = (0, 10, 20, 30, 40, 50)  # Figure 2's loss weights

# Configs of images -> those of their linear probes.
PROBES = {
    "jem": "jem",
    "barlow": "barlow",
    "swav": "swav",
    "gedi_nogen": "gedi",
    "gedi": "gedi",
    "gedi_fast": "gedi",
    "gedi_paper": "gedi",
}


@dataclass(frozen=True)
class Method:
    """One line of a comparison: a config and what is changed in it.

    Attributes:
        config: its name in the suite's folder.
        overrides: of the config.
        weights: of the invariance and the prior term, where a suite compares them (Figure 2).
    """

    config: str
    overrides: Sequence[str] = ()
    weights: tuple[int, int] | None = None


@dataclass(frozen=True)
class Suite:
    """A comparison.

    Attributes:
        folder: of its configs, among those of one kind.
        datasets: name -> the overrides that choose it.
        methods: name -> method.
        probes: config -> config of its linear probe.
        stacked: whether one command trains all seeds of a method at once.
        required: overrides that only the user can give.
        ood: out-of-distribution sets of images, which lie where the suite's own data does.
    """

    folder: str
    datasets: Mapping[str, Sequence[str]]
    methods: Mapping[str, Method]
    probes: Mapping[str, str] = field(default_factory=dict)
    stacked: bool = False
    required: Sequence[str] = ()
    ood: Sequence[str] = ()


_POINTS = {name: (f"dataset={name}",) for name in ("moons", "circles")}
_TABLE_2 = ("jem", "swav", "barlow", "gedi_nounif", "gedi_noinv", "gedi_nogen", "gedi")
_ON_POINTS = {name: Method(name) for name in (*_TABLE_2, "gedi_paper")}
_WITH_LETTER = {name: Method(name) for name in PROBES}
_ON_IMAGES = {name: method for name, method in _WITH_LETTER.items() if name != "gedi_paper"}
_WEIGHTS = {
    f"inv={inv} prior={prior}": Method(
        "gedi",
        (f"method_kwargs.weights.inv={inv}", f"method_kwargs.weights.prior={prior}"),
        weights=(inv, prior),
    )
    for inv, prior in product(GRID, GRID)
}

# What may keep energies from running away, at the paper's learning rate and multiples of it.
_STEADYING = {
    "nothing": (),
    "energy_l2": ("method_kwargs.energy_l2=0.01",),
    "grad_penalty": ("+method_kwargs.grad_penalty=0.01",),
    "max_spectral_norm": ("+method_kwargs.max_spectral_norm=2",),
    "max_grad_norm": ("+method_kwargs.sgld.max_grad_norm=1",),
    "clip_samples": ("+method_kwargs.sgld.clip_samples=true",),
}
_OF_THE_TRAINER = {
    "gradient_clip": ("+gradient_clip_val=1",),
    "warmup": ("scheduler.warmup_epochs=5",),
}


def _steadied(rate: float, terms: Mapping[str, Sequence[str]]) -> dict[str, Method]:
    # Left alone: the guard would bring a run back.
    alone = ("+divergence.policy=raise", "method_kwargs.energy_l2=0")
    return {
        f"{method} {term} lr={factor}x": Method(
            method,
            (*alone, f"optimizer.lr={factor * rate}", *terms[term]),
        )
        for method, term, factor in product(("gedi", "jem"), terms, (1, 3, 10))
    }


# What the sampler may be spared, beside SwAV, whose cost is the aim. A chain lives for
# num_steps / reinit_prob moves: 0.0025 gives one step the chains' life of Table 5's 20.
_FEWER = {
    **{f"steps={n}": (f"num_steps={n}",) for n in (20, 10, 5, 2, 1)},
    **{f"steps=1 reinit={p}": ("num_steps=1", f"reinit_prob={p}") for p in (0, 0.0025, 0.2)},
    **{f"steps=1 buffer={n}": ("num_steps=1", f"buffer_size={n}") for n in (64, 250, 4000)},
    "steps=1 reinit=0.0025 buffer=64": ("num_steps=1", "reinit_prob=0.0025", "buffer_size=64"),
    "steps=1 bf16": ("num_steps=1", "precision=bf16"),
}
_PASSES = {
    "swav": Method("swav"),
    **{
        name: Method("gedi", [f"++method_kwargs.sgld.{setting}" for setting in settings])
        for name, settings in _FEWER.items()
    },
}

_FOLDERS = ("data.train_path", "data.val_path")

SUITES = {
    "toy": Suite("toy", _POINTS, _ON_POINTS, stacked=True),
    "sensitivity": Suite("toy", _POINTS, _WEIGHTS, stacked=True),
    "stability": Suite("toy", _POINTS, _steadied(6.4e-4, _STEADYING), stacked=True),
    "stability-digits": Suite(
        "digits", {"digits": ()}, _steadied(1.6e-2, {**_STEADYING, **_OF_THE_TRAINER}), PROBES
    ),
    "passes": Suite("digits", {"digits": ()}, _PASSES, PROBES),
    "digits": Suite("digits", {"digits": ()}, _ON_IMAGES, PROBES),
    # The classic pair, and digits of scikit-learn's wheel.
    "fashion": Suite(
        "fashion", {"fashion_mnist": ()}, _WITH_LETTER, PROBES, ood=("mnist", "digits")
    ),
    "svhn": Suite("svhn", {"svhn": ()}, _WITH_LETTER, PROBES, ood=("cifar10", "cifar100")),
    "cifar10": Suite("cifar", {"cifar10": ()}, _WITH_LETTER, PROBES, ood=("svhn", "cifar100")),
    "cifar100": Suite(
        "cifar",
        {"cifar100": ("dataset=cifar100",)},
        _WITH_LETTER,
        PROBES,
        ood=("svhn", "cifar10"),
    ),
    "folder": Suite("custom", {"custom": ()}, _ON_IMAGES, PROBES, required=_FOLDERS),
    "passes-folder": Suite("custom", {"custom": ()}, _PASSES, PROBES, required=_FOLDERS),
}


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
        """What its results are results of: the command and the configs that it reads."""
        return f"{self.command}\n# configs {self.fingerprint}\n"

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

"""What is compared: methods and seeds on data sets, one plain command a cell."""

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from solo_gedi.errors import ConfigError

GRID = (0, 10, 20, 30, 40, 50)  # Figure 2's loss weights
IMAGE_METHODS = ("jem", "barlow", "swav", "gedi_nogen", "gedi", "gedi_fast")
TOY_METHODS = ("jem", "swav", "barlow", "gedi_nounif", "gedi_noinv", "gedi_nogen", "gedi")


@dataclass(frozen=True)
class Suite:
    """A comparison.

    Attributes:
        folder: of `scripts/pretrain` with its configs.
        datasets: name -> the overrides that choose it.
        methods: name -> (config, overrides).
        stacked: whether one command trains all seeds of a method at once.
        required: overrides that only the user can give.
        ood: the paper's out-of-distribution sets, which lie where the suite's own data does.
    """

    folder: str
    datasets: Mapping[str, Sequence[str]]
    methods: Mapping[str, tuple[str, Sequence[str]]]
    stacked: bool = False
    required: Sequence[str] = ()
    ood: Sequence[str] = ()


def _plain(names: Sequence[str]) -> dict[str, tuple[str, Sequence[str]]]:
    return {name: (name, ()) for name in names}


_POINTS = {name: (f"dataset={name}",) for name in ("moons", "circles")}
_WEIGHTS = {
    f"inv={inv} prior={prior}": (
        "gedi",
        (f"method_kwargs.weights.inv={inv}", f"method_kwargs.weights.prior={prior}"),
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


def _steadied(
    rate: float, terms: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, Sequence[str]]]:
    # Left alone: the guard would bring a run back.
    alone = ("+divergence.policy=raise", "method_kwargs.energy_l2=0")
    return {
        f"{method} {term} lr={factor}x": (
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
    "swav": ("swav", ()),
    **{
        name: ("gedi", [f"++method_kwargs.sgld.{setting}" for setting in settings])
        for name, settings in _FEWER.items()
    },
}

_FOLDERS = ("data.train_path", "data.val_path")

SUITES = {
    "toy": Suite("toy", _POINTS, _plain((*TOY_METHODS, "gedi_paper")), stacked=True),
    "sensitivity": Suite("toy", _POINTS, _WEIGHTS, stacked=True),
    "stability": Suite("toy", _POINTS, _steadied(6.4e-4, _STEADYING), stacked=True),
    "stability-digits": Suite(
        "digits", {"digits": ()}, _steadied(1.6e-2, {**_STEADYING, **_OF_THE_TRAINER})
    ),
    "passes": Suite("digits", {"digits": ()}, _PASSES),
    "digits": Suite("digits", {"digits": ()}, _plain(IMAGE_METHODS)),
    "svhn": Suite("svhn", {"svhn": ()}, _plain(IMAGE_METHODS), ood=("cifar10", "cifar100")),
    "cifar10": Suite("cifar", {"cifar10": ()}, _plain(IMAGE_METHODS), ood=("svhn", "cifar100")),
    "cifar100": Suite(
        "cifar",
        {"cifar100": ("dataset=cifar100",)},
        _plain(IMAGE_METHODS),
        ood=("svhn", "cifar10"),
    ),
    "folder": Suite("custom", {"custom": ()}, _plain(IMAGE_METHODS), required=_FOLDERS),
    "passes-folder": Suite("custom", {"custom": ()}, _PASSES, required=_FOLDERS),
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
        configs: fingerprint of the yaml files that the command reads.
    """

    dataset: str
    method: str
    seeds: tuple[int, ...]
    folder: Path
    arguments: tuple[str, ...] = field(repr=False)
    configs: str = ""

    def __str__(self) -> str:
        seeds = ", ".join(map(str, self.seeds))
        return f"{self.dataset} {self.method}, seed {seeds}"

    @property
    def command(self) -> str:
        """The command, to be run by hand."""
        return shlex.join(["solo-gedi", *self.arguments])

    def results_of(self, seed: int) -> Path:
        """The file that a finished seed leaves."""
        folder = self.folder if self.folder.name == f"seed={seed}" else self.folder / f"seed={seed}"
        return folder / "metrics.json"

    @property
    def identity(self) -> str:
        """What its results are results of: the command and the configs that it reads."""
        return f"{self.command}\n# configs {self.configs}\n"

    @property
    def is_done(self) -> bool:
        """Whether every seed has been run, with or without success."""
        return all(self.results_of(seed).exists() for seed in self.seeds)


def cells_of(
    suite: Suite,
    methods: Sequence[str],
    seeds: Sequence[int],
    out: Path,
    scripts: Path,
    overrides: Sequence[str],
    options: Sequence[str] = (),
) -> list[Cell]:
    """The cells of a suite.

    Args:
        suite: the comparison.
        methods: names of the suite's methods; all when empty.
        seeds: to run each with.
        out: folder of the results: `<out>/<dataset>/<method>/seed=K`.
        scripts: folder with `pretrain` and `linear`.
        overrides: of every cell's config.
        options: of the evaluation.

    Raises:
        ConfigError: for an unknown method, a config that is not there or a path that is missing.
    """
    if unknown := [name for name in methods if name not in suite.methods]:
        raise ConfigError(f"--methods has {unknown[0]!r}; choose from {','.join(suite.methods)}")
    for key in suite.required:
        if not any(override.startswith(f"{key}=") for override in overrides):
            raise ConfigError(f"this suite needs {key}=FOLDER")
    out_sets = ",".join([*suite.ood, "uniform", "shuffled"])
    options = [*(["--ood", out_sets] if suite.ood else []), *options]
    cells = []
    for dataset, method in product(suite.datasets, methods or suite.methods):
        config, own = suite.methods[method]
        path = scripts / "pretrain" / suite.folder
        if not (path / f"{config}.yaml").is_file():
            raise ConfigError(f"--scripts={scripts} has no pretrain/{suite.folder}/{config}.yaml")
        configs = _fingerprint(scripts, suite.folder, config)
        named = ["--config-path", str(path), "--config-name", config]
        chosen = [*suite.datasets[dataset], *own, *overrides]
        folder = out / dataset / method.replace(" ", "-")
        if suite.stacked:
            listed = ",".join(map(str, seeds))
            arguments = ["toy", str(folder), *named, "--seeds", listed, *options, *chosen]
            cells.append(Cell(dataset, method, tuple(seeds), folder, tuple(arguments), configs))
            continue
        probe = scripts / "linear" / suite.folder / f"{config.partition('_')[0]}.yaml"
        linear = ["--linear-config", str(probe)] if probe.is_file() else []
        for seed in seeds:
            place = folder / f"seed={seed}"
            arguments = ["cell", str(place), *named, *linear, *options, f"seed={seed}", *chosen]
            cells.append(Cell(dataset, method, (seed,), place, tuple(arguments), configs))
    return cells


def _fingerprint(scripts: Path, folder: str, config: str) -> str:
    """Tells whether a method's configs are the ones that an earlier result was trained with."""
    digest = hashlib.sha256()
    for kind in ("pretrain", "linear"):
        path = scripts / kind / folder
        own = [path / "base.yaml", path / f"{config}.yaml", *sorted(path.glob("*/*.yaml"))]
        for file in filter(Path.is_file, own):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]

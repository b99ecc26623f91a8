"""What is compared: the methods and data sets of every suite."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

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
_ON_IMAGES = {name: Method(name) for name in PROBES}
_ON_DIGITS = {name: method for name, method in _ON_IMAGES.items() if name != "gedi_paper"}
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
    "digits": Suite("digits", {"digits": ()}, _ON_DIGITS, PROBES),
    # The classic pair, and digits of scikit-learn's wheel.
    "fashion": Suite("fashion", {"fashion_mnist": ()}, _ON_IMAGES, PROBES, ood=("mnist", "digits")),
    "svhn": Suite("svhn", {"svhn": ()}, _ON_IMAGES, PROBES, ood=("cifar10", "cifar100")),
    "cifar10": Suite("cifar", {"cifar10": ()}, _ON_IMAGES, PROBES, ood=("svhn", "cifar100")),
    "cifar100": Suite(
        "cifar",
        {"cifar100": ("dataset=cifar100",)},
        _ON_IMAGES,
        PROBES,
        ood=("svhn", "cifar10"),
    ),
    "folder": Suite("custom", {"custom": ()}, _ON_IMAGES, PROBES, required=_FOLDERS),
    "passes-folder": Suite("custom", {"custom": ()}, _PASSES, PROBES, required=_FOLDERS),
}

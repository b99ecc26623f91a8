"""How to evaluate a model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from solo_gedi.core import checkpoints
from solo_gedi.data import KNOWN
from solo_gedi.errors import ConfigError
from solo_gedi.evaluation.ood import SYNTHETIC

TASKS = ("clustering", "triad", "linear", "logistic", "knn", "ood", "fid", "samples")
OOD = tuple(SYNTHETIC)
STARTS = ("fresh", "buffer")
FEATURES = ("inception", "backbone")  # of the Fréchet distance, without naming another run


@dataclass(frozen=True)
class Options:
    """How to evaluate a model; see `solo_gedi.report.evaluate`.

    Args:
        tasks: what to measure, of `TASKS`; a sequence or a text with commas.
        ood: data sets to tell from the model's own, likewise: NAME[:PATH], custom:FOLDER, and
            without files uniform and shuffled.
        linear_config: the probe's config, a path or a shipped one's name; the paper's when None.
        num_samples: samples of the Fréchet distance, at most.
        steps: SGLD steps of these samples.
        start: of their chains: fresh, or from the model's replay buffer.
        fid_features: whose features the distance compares: "inception" (FID), "backbone" (the
            model's own), or the path of another run.
        inception_weights: file of FID's network; torch-fidelity's download when None.
        overrides: changes "key=value" to the run's config, as of data that have moved;
            "probe.key=value" to that of the probe.

    >>> Options(tasks="knn,ood", ood="uniform").tasks
    ('knn', 'ood')
    """

    tasks: str | Sequence[str] = TASKS
    ood: str | Sequence[str] = OOD
    linear_config: str | Path | None = None
    num_samples: int = 10000
    steps: int = 500
    start: str = "fresh"
    fid_features: str | Path = "inception"
    inception_weights: str | Path | None = None
    overrides: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("tasks", "ood"):
            object.__setattr__(self, name, names(getattr(self, name)))
        object.__setattr__(self, "overrides", tuple(self.overrides))

    def check(self) -> None:
        """Check what can be known to be wrong before a run is read, or even trained.

        Raises:
            ConfigError: naming the option as the command line has it.
            CheckpointError: if `fid_features` names a folder without a checkpoint.
        """
        if unknown := [task for task in self.tasks if task not in TASKS]:
            raise ConfigError(f"--tasks has {unknown[0]!r}; choose from {','.join(TASKS)}")
        if not self.tasks:
            raise ConfigError(f"--tasks names none; choose from {','.join(TASKS)}")
        for name in self.ood:
            _check_dataset(name)
        for option, value, low in (
            ("num-samples", self.num_samples, 2),
            ("steps", self.steps, 0),
        ):
            if value < low:
                raise ConfigError(f"--{option} must be at least {low}, got {value}")
        if self.start not in STARTS:
            raise ConfigError(f"--start must be one of {','.join(STARTS)}, got {self.start!r}")
        if self.inception_weights is not None and not Path(self.inception_weights).is_file():
            raise _missing("inception-weights", self.inception_weights)
        if self.fid_features not in FEATURES:
            if not Path(self.fid_features).exists():
                raise _missing("fid-features", self.fid_features)
            checkpoints.of_run(self.fid_features)
        if self.linear_config is not None:
            from solo_gedi.config import find_config

            try:
                find_config(self.linear_config, "linear")
            except ConfigError as error:
                option = f"--linear-config={self.linear_config}"
                raise ConfigError(f"{option} does not exist: {error}") from error
        for override in self.overrides:
            if override.find("=") < 1:
                raise ConfigError(f"{override!r} is not an override: key=value")
        if self.overrides:
            from solo_gedi.config import EVALUATE_KEYS, check_keys, read_overrides

            check_keys(read_overrides(self.overrides), EVALUATE_KEYS, "evaluate")


def names(given: str | Iterable[str]) -> tuple[str, ...]:
    """A sequence, or the parts of a text between commas, each once.

    >>> names("knn,ood,knn,")
    ('knn', 'ood')
    """
    parts = given.split(",") if isinstance(given, str) else given
    return tuple(dict.fromkeys(part for part in parts if part))


def split_overrides(overrides: Iterable[str]) -> tuple[list[str], list[str]]:
    """Overrides of a run's config, and those of its probe's.

    >>> split_overrides(["max_epochs=5", "probe.max_epochs=1"])
    (['max_epochs=5'], ['probe.max_epochs=1'])
    """
    overrides = list(overrides)
    probe = [override for override in overrides if override.startswith("probe.")]
    return [override for override in overrides if override not in probe], probe


def _check_dataset(name: str) -> None:
    dataset, _, folder = name.partition(":")
    if name not in SYNTHETIC and dataset not in KNOWN:
        raise ConfigError(f"--ood has {dataset!r}; choose from {[*SYNTHETIC, *KNOWN]}")
    if dataset in KNOWN and KNOWN[dataset].is_folder and not Path(folder or "-").is_dir():
        raise ConfigError(f"--ood has {name}: {dataset}:FOLDER needs a folder that exists")


def _missing(option: str, path: str | Path) -> ConfigError:
    return ConfigError(f"--{option}={path} does not exist (from {Path.cwd()})")

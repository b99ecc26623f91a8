"""What is evaluated: a model, its data, and how."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from solo_gedi.data import DatasetSpec, spec_of
from solo_gedi.errors import CheckpointError, ConfigError, reason
from solo_gedi.evaluation.features import Batches, Features, extract
from solo_gedi.evaluation.options import Options
from solo_gedi.evaluation.rows import Row
from solo_gedi.inference import Model, load
from solo_gedi.inference.load import HasCheckpoint

Source = Model | str | Path | HasCheckpoint


@dataclass
class Subject:
    """One model under evaluation, with what its tasks share.

    Args:
        model: the trained model.
        options: how to evaluate it.
        cfg: its config, changed as the options say, `data.val_path` being the test set's.
        probe: changes to the linear probe's config.
        folder: where the linear probe keeps its files.
    """

    model: Model
    options: Options
    cfg: DictConfig
    probe: DictConfig
    folder: Path

    @property
    def spec(self) -> DatasetSpec:
        """What is known of its data set."""
        return spec_of(self.cfg.data.dataset)

    @property
    def is_points(self) -> bool:
        """Whether its inputs are points in the plane rather than images."""
        return len(self.model.input_shape) == 1

    @property
    def split(self) -> str:
        """What the measured points are: a split's name, a folder, or fresh points."""
        if self.spec.points:
            return "fresh points"
        named = self.spec.splits or self.spec.is_folder
        return str(self.cfg.data.val_path) if named else "test"

    @cached_property
    def test_loader(self) -> Any:
        """Batches of the test split, without augmentation."""
        return self.loader()

    @cached_property
    def test(self) -> Features:
        """The model's outputs for the test split."""
        return extract(self.model, self.test_loader)

    @cached_property
    def train(self) -> Features:
        """The model's outputs for the training split, without augmentation."""
        return extract(self.model, self.loader(train=True))

    @cached_property
    def test_inputs(self) -> Tensor:
        """All network inputs (n, ...) of the test split."""
        return torch.cat([x for x, _ in self.test_loader])

    @cached_property
    def test_samples(self) -> Tensor:
        """The test split in the sample space: points, or pixels in [-1, 1], (n, ...)."""
        return self.model.space.to_samples(self.test_inputs)

    def loader(self, *, train: bool = False, other: str | None = None) -> Batches:
        """Batches of (network inputs, labels), without augmentation.

        Args:
            train: of the training split; else of the test split.
            other: NAME[:PATH] of another data set, seen as the model's own is.

        Raises:
            DataError: if they cannot be read or have no labels.
        """
        from solo_gedi.training import loaders

        cfg = self.cfg if other is None else loaders.other_data(self.cfg, other)
        return loaders.plain_loader(cfg, train=train)

    def rows(self, task: str, values: Mapping[str, float], **keys: Any) -> Iterator[Row]:
        """A row for each value.

        Args:
            task: that measured them.
            values: metric -> value.
            keys: how, for all of them.
        """
        for metric, value in values.items():
            yield {"task": task, "metric": metric, **keys, "split": self.split, "value": value}


def subject_of(source: Source, options: Options, folder: Path | None = None) -> Subject:
    """A model, made ready to be evaluated.

    Args:
        source: a model, whose config is not changed; or what `inference.load` takes.
        options: that have been checked.
        folder: where the linear probe keeps its files; the run's when None.

    Raises:
        CheckpointError: if there is no checkpoint, or it cannot be read.
        ConfigError: if an override does not fit the model's config or the probe's, or there is no
            folder.
        MissingPackageError: if no solo-learn is installed, which reads the data.
    """
    from solo_gedi.config import read_overrides

    overrides = read_overrides(options.overrides)
    probe = overrides.pop("probe", OmegaConf.create())
    if not isinstance(probe, DictConfig):
        raise ConfigError(f"probe={probe}: changes to the probe's config are probe.key=value")
    model = source if isinstance(source, Model) else load_with_host(source)
    folder = folder or model.folder
    if folder is None:
        raise ConfigError("this model is not of a run's folder: evaluate it with write=False")
    cfg = OmegaConf.create(model.config)
    cfg.data.setdefault("test_path", None)
    OmegaConf.set_struct(cfg, True)  # a key that is misspelt would change nothing
    try:
        cfg.merge_with(overrides)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{overrides} does not fit the run's config: {reason(error)}") from error
    OmegaConf.set_struct(cfg, False)
    _check(cfg, model)
    # A run validates on val_path, and is compared on this.
    cfg.data.val_path = cfg.data.test_path or cfg.data.get("val_path")
    return Subject(model, options, cfg, probe, folder)


def load_with_host(source: str | Path | HasCheckpoint) -> Model:
    """A trained model, also one whose backbone is known to the installed solo-learn alone.

    Args:
        source: as that of `inference.load`.

    Raises:
        CheckpointError: if there is no checkpoint, or it cannot be read.
        MissingPackageError: if no solo-learn is installed.
    """
    from solo_gedi import hosts
    from solo_gedi.methods import register

    register()
    return load(source, backbones=hosts.BACKBONES)


_REQUIRED = (
    *("name", "method", "backbone.name", "data.dataset", "data.num_classes", "augmentations"),
    *("optimizer.name", "optimizer.batch_size", "scheduler.name", "max_epochs"),
)


def _check(cfg: DictConfig, model: Model) -> None:
    """Check the config that a model is evaluated with, and that it is the model's."""
    from solo_gedi import hosts
    from solo_gedi.config import check, check_choice
    from solo_gedi.methods import register

    register()
    check(cfg, _REQUIRED, "the run's config")
    check_choice("method", cfg.method, hosts.METHODS)
    method = hosts.METHODS[cfg.method]
    if getattr(method, "has_energy", False) != model.has_energy:
        raise CheckpointError(
            f"checkpoint {model.checkpoint} is of another network than method={cfg.method} has"
        )
    if model.has_energy:
        method.add_and_assert_specific_cfg(cfg.copy())

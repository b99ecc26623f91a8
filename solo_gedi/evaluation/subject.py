"""What is evaluated: a model, its data, and how."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from solo_gedi.core.devices import in_words
from solo_gedi.data import DatasetSpec, class_folders, spec_of
from solo_gedi.errors import CheckpointError, ConfigError, DataError, reason
from solo_gedi.evaluation.features import Batches, Features, extract
from solo_gedi.evaluation.options import Options
from solo_gedi.evaluation.rows import Row
from solo_gedi.inference import Model, load
from solo_gedi.inference.load import HasCheckpoint

Source = Model | str | Path | HasCheckpoint

MOST_PIXELS = 2**28  # numbers for k-means: of all images of ImageNet's validation 30 GB
_OWN_DATA = ("dataset", "train_path", "fraction")


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
    def on_training(self) -> bool:
        """Whether the training images are measured, because there are no others."""
        return not self.spec.points and self.cfg.data.val_path is None

    @property
    def other_data(self) -> dict[str, Any]:
        """What the training data have otherwise than the run's own; nothing if they have moved."""
        data, own = self.cfg.data, self.model.config["data"]
        other = {key: data.get(key) for key in _OWN_DATA if data.get(key) != own.get(key)}
        there = self.spec.splits or Path(str(own["train_path"])).exists()
        return other if there or other.keys() != {"train_path"} else {}

    @property
    def split(self) -> str:
        """What the measured points are: a split's name, a folder, or fresh points."""
        if self.spec.points:
            return "fresh points"
        named = bool(self.spec.splits or self.spec.is_folder)
        if self.on_training:
            return f"{self.cfg.data.train_path} (training images)" if named else "training images"
        return str(self.cfg.data.val_path) if named else "test"

    @cached_property
    def test_loader(self) -> Batches:
        """Batches of the test split; of 10,000 training images at most where there is none."""
        return self.loader(train=self.on_training, limit=10_000 if self.on_training else None)

    @cached_property
    def test(self) -> Features:
        """The model's outputs for the test split."""
        return self._extract(self.test_loader, train=self.on_training)

    @cached_property
    def train(self) -> Features:
        """The model's outputs for the training split, without augmentation."""
        return self._extract(self.loader(train=True), train=True)

    def samples_at(self, places: Tensor) -> Tensor:
        """Points of the test split in the sample space: in the plane, or pixels in [-1, 1].

        Args:
            places: (k,) of them in its order.

        Returns:
            (k, ...); the whole split may be too much for the memory.
        """
        loader: Any = self.test_loader
        numbers = list(loader.sampler)
        chosen = [loader.dataset[numbers[place]][0] for place in places.tolist()]
        return self.model.space.to_samples(torch.stack(chosen))

    def pixels(self) -> Tensor:
        """All images of the test split as vectors in the sample space, (n, numbers of an image).

        Raises:
            DataError: if they are more than `MOST_PIXELS` numbers.
        """
        images, each = len(self.test.labels), math.prod(self.model.input_shape)
        if images * each > MOST_PIXELS:
            raise DataError(
                f"{images:,} images of {each:,} numbers each would take more than "
                f"{in_words(4 * MOST_PIXELS)}"
            )
        batches = (self.model.space.to_samples(x) for x, _ in self.test_loader)
        return torch.cat([batch.flatten(1) for batch in batches])

    def some_samples(self, number: int) -> Tensor:
        """As many points of the test split in the sample space, a choice that is always the same.

        Args:
            number: how many at most.
        """
        loader = self.loader(train=self.on_training, limit=number)
        return self.model.space.to_samples(torch.cat([x for x, _ in loader]))

    @property
    def labelled(self) -> bool:
        """Whether the measured points have labels."""
        return self.has_labels(train=self.on_training)

    def has_labels(self, *, train: bool) -> bool:
        """Whether a split has labels: not with `data.no_labels`, nor in a folder without folders.

        Args:
            train: the training split; else that of `data.val_path`.
        """
        data = self.cfg.data
        if self.spec.points:
            return True
        path = data.train_path if train else data.val_path
        if path is None:
            return False
        if self.spec.has_class_folders and Path(path).is_dir():
            return not data.no_labels and bool(class_folders(path))
        return not data.no_labels

    def no_labels(self, *, train: bool = False) -> str:
        """Why a split has no labels, and what would give it some.

        Args:
            train: the training split; else the measured one.
        """
        data, key = self.cfg.data, "train_path" if train else "val_path"
        return (
            f"{data.train_path if train else self.split} has no labels (data.no_labels="
            f"{str(bool(data.no_labels)).lower()}); data.no_labels=false data.{key}=FOLDER with a "
            "folder for each class would have some"
        )

    def check_labels(self) -> None:
        """Check that there are labelled training images, and labelled test images beside them.

        Raises:
            DataError: naming what is missing.
        """
        self.check_test()
        for train in (True, False):
            if not self.has_labels(train=train):
                raise DataError(self.no_labels(train=train))

    def check_test(self) -> None:
        """Check that there are test images beside the training images.

        Raises:
            DataError: if there are none.
        """
        if self.on_training:
            raise DataError("test images are needed beside the training images: data.val_path=null")

    @property
    def classes(self) -> list[str]:
        """The name of each label of the measured points; none where they have no labels."""
        return self.class_names(self.test.labels) if self.labelled else []

    def class_names(self, labels: Tensor) -> list[str]:
        """The names of all classes: those of the folders, or numbers.

        Args:
            labels: (n,), of which there may be more than `data.num_classes`.
        """
        known: list[str] = []
        if self.spec.is_folder:
            paths = (self.cfg.data.train_path, self.cfg.data.val_path)
            there = [path for path in paths if path is not None and Path(path).is_dir()]
            known = list(dict.fromkeys(name for path in there for name in class_folders(path)))
        number = max(self.cfg.data.num_classes, int(labels.max()) + 1)
        return known if len(known) >= number else list(map(str, range(number)))

    @property
    def num_groups(self) -> int:
        """The number of classes; of the model's clusters where no classes are known."""
        return len(self.classes) or self.model.num_clusters

    def loader(self, *, train: bool, limit: int | None = None) -> Batches:
        """Batches of (network inputs, labels), without augmentation.

        Args:
            train: of the training split; else of the test split.
            limit: how many images at most; a random choice, always the same.

        Raises:
            DataError: if they cannot be read.
        """
        from solo_gedi.training import loaders

        cfg = self.cfg.copy()
        cfg.data.no_labels = not self.has_labels(train=train)
        return loaders.plain_loader(cfg, train=train, limit=limit)

    def _extract(self, batches: Batches, *, train: bool) -> Features:
        found = extract(self.model, batches)
        if self.has_labels(train=train):
            return found
        return found._replace(labels=torch.full_like(found.clusters, -1))

    def rows(self, task: str, values: Mapping[str, float], **keys: Any) -> Iterator[Row]:
        """A row for each value.

        Args:
            task: that measured them.
            values: metric -> value.
            keys: how, for all of them; `changed` says what was otherwise than the run has it.
        """
        other = {f"data.{key}": value for key, value in self.other_data.items()}
        if changed := {**other, **keys.pop("changed", {})}:
            keys["changed"] = ", ".join(f"{key}={value}" for key, value in changed.items())
        for metric, value in values.items():
            yield {"task": task, "metric": metric, **keys, "split": self.split, "value": value}


def subject_of(source: Source, options: Options, folder: Path | None = None) -> Subject:
    """A model, made ready to be evaluated.

    Args:
        source: a model, whose config is not changed; or what `inference.load` takes.
        options: that have been checked.
        folder: of the results and the linear probe's files; the run's when None.

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
        raise ConfigError(
            f"{source if isinstance(source, str | Path) else 'this model'} has no run's folder for "
            "the results: name one with --out=FOLDER (write=False writes nothing)"
        )
    cfg = OmegaConf.create(model.config)
    cfg.data.setdefault("test_path", None)
    OmegaConf.set_struct(cfg, True)  # a key that is misspelt would change nothing
    try:
        cfg.merge_with(overrides)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{overrides} does not fit the run's config: {reason(error)}") from error
    OmegaConf.set_struct(cfg, False)
    _check(cfg, model)
    # A run validates on val_path, and is compared on test_path, unless this evaluation says where.
    changed = overrides.get("data") or {}
    if "val_path" not in changed or "test_path" in changed:
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
    cfg.data.setdefault("train_path", None)  # an export has no places of its machine
    check(cfg, _REQUIRED, "the run's config")
    check_choice("method", cfg.method, hosts.METHODS)
    method = hosts.METHODS[cfg.method]
    if getattr(method, "has_energy", False) != model.has_energy:
        raise CheckpointError(
            f"checkpoint {model.checkpoint} is of another network than method={cfg.method} has"
        )
    if model.has_energy:
        method.add_and_assert_specific_cfg(cfg.copy())

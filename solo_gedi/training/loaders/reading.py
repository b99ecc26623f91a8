"""Batches of images or points, by which every split is read."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, Dataset, Subset

from solo_gedi.core.processes import get_logger
from solo_gedi.data import DOWNLOAD, FolderImages, FreshPoints, class_folders, spec_of
from solo_gedi.data.transforms import Transform
from solo_gedi.errors import ConfigError, DataError, reason
from solo_gedi.files import alone_in, given_path
from solo_gedi.training.loaders.batches import ENDLESS, TrainingLoader, WorkersLoader
from solo_gedi.training.strategy import num_processes

logger = get_logger(__name__)


class Indexed(Dataset):
    """(index, views, label), as solo-learn's pretraining expects."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return (index, *self.dataset[index])


def training_loader(dataset: Any, cfg: DictConfig) -> TrainingLoader:
    """Batches of `optimizer.batch_size`, shuffled, and whole ones alone."""
    batch_size, processes = cfg.optimizer.batch_size, num_processes(cfg)
    if len(dataset) < batch_size * processes:
        each = f" for each of {processes} processes" if processes > 1 else ""
        raise ConfigError(
            f"optimizer.batch_size={batch_size}{each} is more than the {len(dataset)} "
            f"training images in {cfg.data.train_path}"
        )
    same = bool(cfg.get("overfit_batches"))
    return TrainingLoader(
        dataset, batch_size, seed=cfg.seed or 0, num_workers=_workers(cfg), same_order=same
    )


def loader_of(
    dataset: Any, cfg: DictConfig, *, batch_size: int = 0, limit: int | None = None
) -> DataLoader:
    """Batches in order, of `optimizer.batch_size` where no other size is given.

    Of more than `limit` images a random choice, always the same.
    """
    sampler = None
    if limit is not None and len(dataset) > limit:
        generator = torch.Generator().manual_seed(0)
        order = torch.randperm(len(dataset), generator=generator)
        sampler = order[:limit].sort().values.tolist()
    return WorkersLoader(
        dataset,
        batch_size=batch_size or cfg.optimizer.batch_size,
        sampler=sampler,
        num_workers=_workers(cfg),
        pin_memory=torch.cuda.is_available(),
    )


def _workers(cfg: DictConfig) -> int:
    return cfg.data.get("num_workers", 4)


def points_of(cfg: DictConfig, views: int = 0) -> FreshPoints | None:
    """Batches of a toy set without end, if it is one."""
    points = spec_of(cfg.data.dataset).points
    if points is None:
        return None
    if cfg.data.get("fraction", -1) != -1:
        raise ConfigError(
            f"data.fraction={cfg.data.fraction}: {cfg.data.dataset} has no end of points"
        )
    return FreshPoints(points, cfg.optimizer.batch_size, views)


def training_points(points: FreshPoints, cfg: DictConfig) -> TrainingLoader:
    """Batches of a toy set, to train on: as many an epoch as `limit_train_batches` says."""
    limit = cfg.get("limit_train_batches")
    length = limit if isinstance(limit, int) else ENDLESS
    return TrainingLoader(
        points, None, seed=cfg.seed or 0, num_workers=cfg.data.get("num_workers", 0), length=length
    )


def is_read_here(cfg: DictConfig) -> bool:
    """Whether `images_of` reads the data, those of folders among them; else solo-learn does."""
    spec = spec_of(cfg.data.dataset)
    return not spec.is_hosts or spec.has_class_folders and cfg.data.format == "image_folder"


def images_of(cfg: DictConfig, *, train: bool, transform: Transform) -> Dataset:
    """Images of one of this package's data sets or a folder.

    The classes of a folder have the labels that they have in the training data, by their names.
    """
    data, key = cfg.data, "train_path" if train else "val_path"
    if images := spec_of(data.dataset).images:
        dataset = images(data[key], train, transform)
    else:
        known: list[str] = []
        if not train and data.train_path is not None and Path(data.train_path).is_dir():
            known = class_folders(data.train_path)
        labelled = not data.get("no_labels")
        try:
            dataset = FolderImages(data[key], transform, labelled=labelled, classes=known)
        except DataError as error:  # which starts with the path
            raise DataError(f"data.{key}={error}") from error
        spec, found = spec_of(data.dataset), len(dataset.classes)
        if spec.num_classes and found > spec.num_classes:
            raise DataError(
                f"data.{key}={data[key]} has {found} class folders, data.dataset={data.dataset} "
                f"{spec.num_classes} classes; data.dataset=custom takes any number"
            )
        _say_once(f"data.{key}={data[key]}: {dataset}")
    return part_of(cfg, dataset) if train else dataset


def reading(make: Callable[[], Any], cfg: DictConfig) -> Any:
    """Run a data set's constructor; what it cannot read is an error of the config."""
    try:
        if spec_of(cfg.data.dataset).has_class_folders:
            return make()
        with alone_in(given_path(cfg.data.train_path), DOWNLOAD):
            return make()
    except (OSError, RuntimeError) as error:
        data = cfg.data
        raise DataError(
            f"data.dataset={data.dataset} cannot be read from data.train_path={data.train_path}, "
            f"data.val_path={data.val_path}: {reason(error)}"
        ) from error


def part_of(cfg: DictConfig, dataset: Any) -> Any:
    """The `data.fraction` of training images, each class's share of it, as solo-learn draws it."""
    fraction = cfg.data.get("fraction", -1)
    if fraction == -1:
        return dataset
    labels = getattr(dataset, "targets", None)
    labels = getattr(dataset, "labels", None) if labels is None else labels
    if labels is None:
        raise ConfigError(f"data.fraction={fraction} needs images whose labels are known")
    try:
        chosen, _ = train_test_split(
            np.arange(len(dataset)),
            train_size=fraction,
            stratify=np.asarray(labels),
            random_state=42,
        )
    except ValueError as error:
        raise ConfigError(
            f"data.fraction={fraction} cannot be taken of {len(dataset)} images: {reason(error)}"
        ) from error
    return Subset(dataset, chosen.tolist())


@cache
def _say_once(said: str) -> None:
    logger.info("%s", said)

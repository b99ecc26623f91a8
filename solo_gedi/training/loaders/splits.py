"""Labelled splits: those a run validates on, a probe trains on, an evaluation measures on."""

from collections.abc import Sequence

import torch
from omegaconf import DictConfig
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision import transforms

from solo_gedi import hosts
from solo_gedi.data import fixed_points, spec_of
from solo_gedi.data.transforms import BICUBIC, Transform, plain
from solo_gedi.errors import DataError
from solo_gedi.training.loaders.checks import check_classes
from solo_gedi.training.loaders.reading import (
    images_of,
    loader_of,
    part_of,
    points_of,
    reading,
    whole_of,
)


def validation_loader(cfg: DictConfig) -> DataLoader | None:
    """The labelled validation data of a pretraining config, if it has any, without augmentation.

    Images of this package's data sets and of `custom` folders have the size and normalisation they
    are trained with; solo-learn's other data sets its fixed pipeline.

    Raises:
        DataError: if the data cannot be read.
    """
    data = cfg.data
    if data.val_path is None or data.no_labels:
        return None
    if (points := points_of(cfg)) is not None:
        return points
    if spec_of(data.dataset).is_hosts:
        _, val = _labelled(cfg)
    else:
        first = cfg.augmentations[0]
        mean_std = hosts.normalization(hosts.build_transform(data.dataset, first))
        val = images_of(cfg, train=False, transform=plain(first.crop_size, *mean_std))
        check_classes(cfg)
    return loader_of(val, cfg, train=False)


def probe_loaders(cfg: DictConfig) -> tuple[DataLoader, DataLoader]:
    """Training and validation data of a linear probe's config.

    The training images of solo-learn's data sets and of `custom` folders are augmented as it
    does it; those of this package's sets, whose digits its crops and flips would turn into others,
    are not.

    Raises:
        DataError: if the data cannot be read.
    """
    if (points := points_of(cfg)) is not None:
        return points, points
    spec = spec_of(cfg.data.dataset)
    if spec.is_hosts:
        train, val = _labelled(cfg)
    else:
        chosen = cfg.data.augmentations
        mean_std = (spec.mean, spec.std) if spec.images else (chosen.mean, chosen.std)
        as_it_is = plain(chosen.crop_size, *mean_std)
        train_transform = as_it_is if spec.images else _augmented(chosen.crop_size, *mean_std)
        train = images_of(cfg, train=True, transform=train_transform)
        val = images_of(cfg, train=False, transform=as_it_is)
        check_classes(cfg)
    return loader_of(train, cfg, train=True), loader_of(val, cfg, train=False)


def plain_loader(cfg: DictConfig, *, train: bool, limit: int | None = None) -> DataLoader:
    """A split of a pretraining config's data as the trained network takes it.

    In order, without augmentation, with the size, channels and normalisation of its training
    views; of a toy set, 2,000 points that are always the same. Labels are -1 with `data.no_labels`.

    Args:
        cfg: parsed config.
        train: the training split; else that of `data.val_path`.
        limit: how many images at most; a random choice, always the same.

    Raises:
        DataError: if the data cannot be read.
    """
    dataset, spec = cfg.data.dataset, spec_of(cfg.data.dataset)
    if spec.points:
        points, labels = fixed_points(spec, seed=0 if train else 1)
        return DataLoader(TensorDataset(points, labels), batch_size=400)
    key = "train_path" if train else "val_path"
    if cfg.data[key] is None:
        raise DataError(f"data.{key} names no images")
    first = cfg.augmentations[0]
    mean, std = hosts.normalization(hosts.build_transform(dataset, first))
    transform = plain(first.crop_size, mean, std)
    # Of solo-learn's sets those without a fixed size are folders, which need not have classes.
    if spec.is_hosts and (spec.size is not None or not cfg.data.no_labels):
        images = _labelled(cfg, transform)[0 if train else 1]
    else:
        images = images_of(cfg, train=train, transform=transform)
    chosen = None
    if limit is not None and len(images) > limit:  # type: ignore[arg-type]
        generator = torch.Generator().manual_seed(0)
        order = torch.randperm(len(images), generator=generator)  # type: ignore[arg-type]
        chosen = order[:limit].sort().values.tolist()
    batch_size = max(cfg.optimizer.batch_size, 100)
    return loader_of(images, cfg, train=False, batch_size=batch_size, sampler=chosen)


def other_data(cfg: DictConfig, name: str) -> DictConfig:
    """A run's config with the data set NAME[:PATH] in place of its own, for `plain_loader`.

    It is seen as the run's own data is: same size, channels and normalisation. A folder need have
    no classes.

    Args:
        cfg: parsed config.
        name: that solo-learn knows.
    """
    dataset, _, path = name.partition(":")
    cfg = cfg.copy()
    first = cfg.augmentations[0]
    first.mean, first.std = hosts.normalization(hosts.build_transform(cfg.data.dataset, first))
    cfg.data.dataset, cfg.data.no_labels = dataset, spec_of(dataset).is_folder
    splits = spec_of(dataset).splits
    path = path or (splits[-1] if splits else cfg.data.val_path)
    cfg.data.train_path = cfg.data.val_path = path
    return cfg


def _labelled(cfg: DictConfig, transform: Transform | None = None) -> tuple[Dataset, Dataset]:
    """Training and validation images of a data set of solo-learn's.

    Args:
        cfg: parsed config.
        transform: in the place of its own.
    """
    whole = whole_of(cfg)
    train, val = reading(lambda: hosts.labelled_images(whole), cfg)
    if transform is not None:
        train.transform = val.transform = transform
    return part_of(cfg, train), val


def _augmented(size: int, mean: Sequence[float], std: Sequence[float]) -> Transform:
    crop = transforms.RandomResizedCrop(size, interpolation=BICUBIC)
    steps = [crop, transforms.RandomHorizontalFlip()]
    return transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(mean, std)])

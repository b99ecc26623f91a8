"""Labelled splits: those a run validates on, a probe trains on, an evaluation measures on."""

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig
from torch.utils.data import DataLoader, TensorDataset
from torchvision import transforms

from solo_gedi import hosts
from solo_gedi.core.processes import get_logger
from solo_gedi.data import fixed_points, spec_of
from solo_gedi.data.transforms import BICUBIC, Channels, Transform, plain
from solo_gedi.errors import DataError
from solo_gedi.methods import normalization_of
from solo_gedi.training.loaders.batches import TrainingLoader
from solo_gedi.training.loaders.checks import check_classes
from solo_gedi.training.loaders.reading import (
    images_of,
    is_read_here,
    loader_of,
    part_of,
    points_of,
    reading,
    training_loader,
    training_points,
)

logger = get_logger(__name__)


def validation_loader(cfg: DictConfig) -> DataLoader | None:
    """The labelled validation data of a pretraining config, if it has any, without augmentation.

    With the size and normalisation that they are trained with.

    Raises:
        DataError: if the data cannot be read.
    """
    data = cfg.data
    if data.val_path is None or data.no_labels:
        if data.val_path is not None:
            logger.info("data.no_labels=true: nothing is validated on %s", data.val_path)
        return None
    if points_of(cfg) is not None:
        return _fixed_points(cfg, seed=1)
    first = cfg.augmentations[0]
    pipelines = _transforms(data.dataset, first.crop_size, *normalization_of(cfg))
    if not is_read_here(cfg):
        return loader_of(_of_host(cfg, *pipelines)[1], cfg)
    check_classes(cfg)
    return loader_of(images_of(cfg, train=False, transform=pipelines[1]), cfg)


def probe_loaders(cfg: DictConfig) -> tuple[TrainingLoader, DataLoader]:
    """Training and validation data of a linear probe's config.

    The training images of solo-learn's data sets and of `custom` folders are augmented as it
    does it; those of this package's sets, whose digits its crops and flips would turn into others,
    are not.

    Raises:
        DataError: if the data cannot be read.
    """
    if (points := points_of(cfg)) is not None:
        return training_points(points, cfg), _fixed_points(cfg, seed=1)
    chosen = cfg.data.augmentations
    pipelines = _transforms(cfg.data.dataset, chosen.crop_size, chosen.mean, chosen.std)
    if is_read_here(cfg):
        check_classes(cfg)
        train, val = (
            images_of(cfg, train=i == 0, transform=transform)
            for i, transform in enumerate(pipelines)
        )
    else:
        train, val = _of_host(cfg, *pipelines)
    return training_loader(train, cfg), loader_of(val, cfg)


def with_probe_augmentations(cfg: DictConfig) -> DictConfig:
    """A linear config whose `data.augmentations` has all keys, by default those of its data set.

    Args:
        cfg: before solo-learn's parsing, which would fill in ImageNet's.
    """
    spec, cfg = spec_of(cfg.data.dataset), cfg.copy()
    defaults = {"crop_size": spec.size or 224, "mean": spec.mean, "std": spec.std}
    given = cfg.data.get("augmentations") or {}
    cfg.data.augmentations = {
        key: default if given.get(key) is None else given[key] for key, default in defaults.items()
    }
    return cfg


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
    spec = spec_of(cfg.data.dataset)
    if spec.points:
        return _fixed_points(cfg, seed=0 if train else 1)
    key = "train_path" if train else "val_path"
    if cfg.data[key] is None:
        raise DataError(f"data.{key} names no folder of images")
    transform = plain(cfg.augmentations[0].crop_size, *normalization_of(cfg))
    if is_read_here(cfg):
        images = images_of(cfg, train=train, transform=transform)
    else:
        images = _of_host(cfg, transform, transform)[0 if train else 1]
    return loader_of(images, cfg, batch_size=max(cfg.optimizer.batch_size, 100), limit=limit)


def other_data(cfg: DictConfig, name: str) -> DictConfig:
    """A run's config with the data set NAME[:PATH] in place of its own, for `plain_loader`.

    It is seen as the run's own data is: same size, channels and normalisation. A folder need have
    no classes.

    Args:
        cfg: parsed config.
        name: that solo-learn knows. Without a path it lies where the run's own data set does, if
            that may hold several.

    Raises:
        DataError: if its path is not given, and the run's own is a folder of images or none.
    """
    dataset, _, path = name.partition(":")
    own = spec_of(cfg.data.dataset)
    cfg = cfg.copy()
    first = cfg.augmentations[0]
    first.mean, first.std = normalization_of(cfg)
    cfg.data.dataset, cfg.data.no_labels = dataset, spec_of(dataset).has_class_folders
    splits = spec_of(dataset).splits
    if not path and splits:
        path = splits[-1]
    elif not path and not (own.splits or own.is_folder or own.has_class_folders):
        path = cfg.data.val_path
    if not path:
        raise DataError(f"--ood has {name}: give its folder, as {name}:FOLDER")
    cfg.data.train_path = cfg.data.val_path = path
    cfg.data.format = "image_folder"
    return cfg


def _fixed_points(cfg: DictConfig, seed: int) -> DataLoader:
    """2,000 points of a toy set, which are always the same."""
    points, labels = fixed_points(spec_of(cfg.data.dataset), seed)
    return DataLoader(TensorDataset(points, labels), batch_size=400)


def _of_host(cfg: DictConfig, train: Transform, val: Transform) -> tuple[Any, Any]:
    """Training and validation images that solo-learn reads, with a transform for each."""
    cfg = cfg.copy()
    # Where there is none, solo-learn would look, and download, at a place of its own.
    cfg.data.train_path = cfg.data.train_path or cfg.data.val_path
    cfg.data.val_path = cfg.data.val_path or cfg.data.train_path
    of_train, of_val = reading(lambda: hosts.labelled_images(cfg, train, val), cfg)
    return part_of(cfg, of_train), of_val


def _transforms(
    dataset: str, size: int, mean: Sequence[float], std: Sequence[float]
) -> tuple[Transform, Transform]:
    """What is made of the training and the validation images of a linear probe.

    Those of solo-learn's data sets have its own, which are for one size.
    """
    spec, as_it_is = spec_of(dataset), plain(size, mean, std)
    if spec.images:
        return as_it_is, as_it_is
    if spec.is_hosts and size == (spec.size or 224) and len(mean) == 3:
        train, val = hosts.labelled_transforms(dataset)
        return hosts.renormalize(train, mean, std), hosts.renormalize(val, mean, std)
    crop = transforms.RandomResizedCrop(size, interpolation=BICUBIC)
    steps = [Channels(len(mean)), crop, transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    return transforms.Compose([*steps, transforms.Normalize(mean, std)]), as_it_is

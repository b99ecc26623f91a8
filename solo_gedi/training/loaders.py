"""Data loaders: solo-learn's data sets and ours, with solo-learn's augmentations."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from solo_gedi import hosts
from solo_gedi.core import evaluation_mode
from solo_gedi.core.processes import get_logger
from solo_gedi.data import (
    KNOWN,
    FolderImages,
    FreshPoints,
    class_folders,
    fixed_points,
    read_image,
    spec_of,
)
from solo_gedi.data.transforms import BICUBIC, Transform, plain
from solo_gedi.errors import ConfigError, DataError, GEDIError, MissingPackageError, reason

DeviceViews = Callable[[Tensor], list[Tensor]]

logger = get_logger(__name__)


def with_normalization(cfg: DictConfig) -> DictConfig:
    """A parsed config whose `augmentations` name the mean and std of their pixels.

    The two generations of solo-learn do not agree on them for CIFAR-100.

    Args:
        cfg: of images.
    """
    cfg = cfg.copy()
    for i, entry in enumerate(cfg.augmentations):
        mean, std = hosts.normalization(_transform(cfg, i))
        entry.mean, entry.std = list(mean), list(std)
    return cfg


class _Indexed(Dataset):
    """(index, views, label), as solo-learn's pretraining expects."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return (index, *self.dataset[index])


def _loader(
    dataset: Any,
    cfg: DictConfig,
    *,
    train: bool,
    batch_size: int = 0,
    sampler: Sequence[int] | None = None,
) -> DataLoader:
    """Batches of `optimizer.batch_size`; shuffled, and whole ones alone, for training."""
    batch_size, workers = batch_size or cfg.optimizer.batch_size, cfg.data.get("num_workers", 4)
    if train and len(dataset) < batch_size:
        raise ConfigError(
            f"optimizer.batch_size={batch_size} is more than the {len(dataset)} "
            f"training images in {cfg.data.train_path}"
        )
    inner = dataset
    while isinstance(inner, Subset | _Indexed):
        inner = inner.dataset
    if isinstance(inner, ImageFolder):  # solo-learn's imagenet
        inner.loader = read_image
    # No persistent workers: new ones are seeded from the global random state at every epoch, so
    # that a resumed run augments as the uninterrupted one.
    return DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=train,
        sampler=sampler,
        drop_last=train,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
    )


def _reading(make: Callable[[], Any], cfg: DictConfig) -> Any:
    """Run a data set's constructor; what it cannot read is an error of the config."""
    try:
        return make()
    except (OSError, RuntimeError) as error:
        data = cfg.data
        raise DataError(
            f"data.dataset={data.dataset} cannot be read from data.train_path={data.train_path}, "
            f"data.val_path={data.val_path}: {reason(error)}"
        ) from error


def _transform(cfg: DictConfig, i: int) -> Transform:
    """solo-learn's pipeline for the i-th entry of `augmentations`."""
    try:
        return hosts.build_transform(cfg.data.dataset, cfg.augmentations[i])
    except GEDIError:
        raise
    except (OmegaConfBaseException, TypeError, ValueError) as error:
        raise ConfigError(f"augmentations.{i} makes no pipeline: {reason(error)}") from error


def pretrain_loader(cfg: DictConfig) -> DataLoader:
    """Batches [indices, [views], labels] with the views that `augmentations` describe.

    With `data.augment_on_device` they are [indices, images, labels], to be given to `device_views`:
    uint8 (n, channels, height, width).

    Raises:
        DataError: if the data cannot be read.
    """
    if (points := _points(cfg, cfg.data.num_large_crops)) is not None:
        return points
    transform: Transform = transforms.PILToTensor()
    if not cfg.data.get("augment_on_device"):
        transform = hosts.multi_view(*_pipelines(cfg))
        if cfg.debug_augmentations:
            logger.info("%s", transform)
    return _loader(_training_images(cfg, transform), cfg, train=True)


def training_images(cfg: DictConfig, limit: int) -> Iterator[Tensor]:
    """Training images as the trained network takes them, labelled or not, without augmentation.

    Args:
        cfg: parsed config of images.
        limit: how many at most; a random choice, always the same.

    Yields:
        Batches (n, channels, size, size).

    Raises:
        DataError: if the data cannot be read.
    """
    first = cfg.augmentations[0]
    mean_std = hosts.normalization(hosts.build_transform(cfg.data.dataset, first))
    images = _training_images(cfg, plain(first.crop_size, *mean_std))
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(images), generator=generator)[:limit].sort().values
    loader = _loader(images, cfg, train=False, batch_size=100, sampler=chosen.tolist())
    return (x for _, x, _ in loader)


def _training_images(cfg: DictConfig, transform: Transform) -> Any:
    """(index, what `transform` makes of the image, label) of a pretraining config's data."""
    spec = spec_of(cfg.data.dataset)
    if not spec.is_hosts:
        return _Indexed(_images(cfg, train=True, transform=transform))
    whole = _whole(cfg)
    dataset = _reading(lambda: hosts.pretrain_images(whole, transform), cfg)
    if "<locals>" in type(dataset).__qualname__:
        # solo-learn adds the index in a class made inside a function, which cannot be pickled for
        # a worker that is spawned.
        dataset.__class__ = type(dataset).__mro__[1]
        return _Indexed(_part(cfg, dataset))
    return _part(cfg, dataset)


def device_views(cfg: DictConfig) -> DeviceViews | None:
    """What makes the views that `augmentations` describe on the device, if the config says so.

    Raises:
        ConfigError: without kornia, for images that are not squares of one size, or for a step
            that can only be done image by image.
    """
    if not cfg.data.get("augment_on_device"):
        return None
    if spec_of(cfg.data.dataset).size is None:
        squares = [name for name, spec in KNOWN.items() if spec.size]
        raise ConfigError(
            "data.augment_on_device=true needs square images of one size: data.dataset must be one "
            f"of {squares}, not {cfg.data.dataset!r}"
        )
    try:
        from solo_gedi.data.batched import BatchedViews
    except ImportError as error:
        raise MissingPackageError(
            "data.augment_on_device=true needs kornia: pip install 'solo-gedi[augment]'"
        ) from error
    views = BatchedViews(*_pipelines(cfg))
    if cfg.debug_augmentations:
        logger.info("%s", views)
    return views


def _pipelines(cfg: DictConfig) -> tuple[list[Transform], list[int]]:
    """solo-learn's pipelines for `augmentations`, and how many views each gives."""
    return (
        [_transform(cfg, i) for i in range(len(cfg.augmentations))],
        [entry.num_crops for entry in cfg.augmentations],
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
    if (points := _points(cfg)) is not None:
        return points
    if spec_of(data.dataset).is_hosts:
        _, val = _labelled(cfg)
    else:
        first = cfg.augmentations[0]
        mean_std = hosts.normalization(hosts.build_transform(data.dataset, first))
        val = _images(cfg, train=False, transform=plain(first.crop_size, *mean_std))
        check_classes(cfg)
    return _loader(val, cfg, train=False)


def probe_loaders(cfg: DictConfig) -> tuple[DataLoader, DataLoader]:
    """Training and validation data of a linear probe's config.

    The training images of solo-learn's data sets and of `custom` folders are augmented as it
    does it; those of this package's sets, whose digits its crops and flips would turn into others,
    are not.

    Raises:
        DataError: if the data cannot be read.
    """
    if (points := _points(cfg)) is not None:
        return points, points
    spec = spec_of(cfg.data.dataset)
    if spec.is_hosts:
        train, val = _labelled(cfg)
    else:
        chosen = cfg.data.augmentations
        mean_std = (spec.mean, spec.std) if spec.images else (chosen.mean, chosen.std)
        as_it_is = plain(chosen.crop_size, *mean_std)
        train_transform = as_it_is if spec.images else _augmented(chosen.crop_size, *mean_std)
        train = _images(cfg, train=True, transform=train_transform)
        val = _images(cfg, train=False, transform=as_it_is)
        check_classes(cfg)
    return _loader(train, cfg, train=True), _loader(val, cfg, train=False)


def plain_loader(cfg: DictConfig, *, train: bool) -> DataLoader:
    """A labelled split of a pretraining config's data as the trained network takes it.

    In order, without augmentation, with the size, channels and normalisation of its training
    views; of a toy set, 2,000 points that are always the same.

    Args:
        cfg: parsed config.
        train: the training split; else that of `data.val_path`.

    Raises:
        DataError: if the data cannot be read or has no labels.
    """
    dataset, spec = cfg.data.dataset, spec_of(cfg.data.dataset)
    if spec.points:
        points, labels = fixed_points(spec, seed=0 if train else 1)
        return DataLoader(TensorDataset(points, labels), batch_size=400)
    if (cfg.data.train_path if train else cfg.data.val_path) is None or cfg.data.no_labels:
        raise DataError("data.train_path and data.val_path must name labelled images")
    first = cfg.augmentations[0]
    mean, std = hosts.normalization(hosts.build_transform(dataset, first))
    transform = plain(first.crop_size, mean, std)
    if spec.is_hosts:
        images = _labelled(cfg, transform)[0 if train else 1]
    else:
        images = _images(cfg, train=train, transform=transform)
    return _loader(images, cfg, train=False, batch_size=max(cfg.optimizer.batch_size, 100))


def other_data(cfg: DictConfig, name: str) -> DictConfig:
    """A run's config with the data set NAME[:PATH] in place of its own, for `plain_loader`.

    It is seen as the run's own data is: same size, channels and normalisation.

    Args:
        cfg: parsed config.
        name: that solo-learn knows.
    """
    dataset, _, path = name.partition(":")
    cfg = cfg.copy()
    first = cfg.augmentations[0]
    first.mean, first.std = hosts.normalization(hosts.build_transform(cfg.data.dataset, first))
    cfg.data.dataset, cfg.data.no_labels = dataset, False
    splits = spec_of(dataset).splits
    path = path or (splits[-1] if splits else cfg.data.val_path)
    cfg.data.train_path = cfg.data.val_path = path
    return cfg


def check_inputs(
    cfg: DictConfig, train: DataLoader, crop_size: int, views: DeviceViews | None = None
) -> None:
    """Try the backbone on one view of the training data before training starts.

    Args:
        cfg: parsed config.
        train: its training data.
        crop_size: what the config says.
        views: what `device_views` gave.

    Raises:
        ConfigError: if the view cannot be made, or the backbone does not take it.
    """
    backbone = hosts.build_backbone(hosts.BACKBONES, cfg)
    try:
        first = next(iter(train.dataset))
    except GEDIError:
        raise
    except (RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(f"augmentations fail on the first image: {reason(error)}") from error
    if views is not None:
        batch = views(first[1][None])[0]
    else:
        view = first[1][0] if isinstance(first[1], list) else first[0]
        batch = view if train.batch_size is None else view[None]
    try:
        with evaluation_mode(backbone), torch.inference_mode():
            backbone(batch)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"backbone={OmegaConf.to_container(cfg.backbone)} cannot take inputs of shape "
            f"{tuple(batch.shape[1:])} (augmentations.crop_size={crop_size}): {reason(error)}"
        ) from error


def _points(cfg: DictConfig, views: int = 0) -> DataLoader | None:
    """Batches of a toy set, if it is one; see `FreshPoints`."""
    points = spec_of(cfg.data.dataset).points
    if points is None:
        return None
    if cfg.data.get("fraction", -1) != -1:
        raise ConfigError(
            f"data.fraction={cfg.data.fraction}: {cfg.data.dataset} has no end of points"
        )
    return DataLoader(FreshPoints(points, cfg.optimizer.batch_size, views), batch_size=None)


def _images(cfg: DictConfig, *, train: bool, transform: Transform) -> Dataset:
    """Images of one of this package's data sets or a `custom` folder.

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
        _say_once(f"data.{key}={data[key]}: {dataset}")
    return _part(cfg, dataset) if train else dataset


def _labelled(cfg: DictConfig, transform: Transform | None = None) -> tuple[Dataset, Dataset]:
    """Training and validation images of a data set of solo-learn's.

    Args:
        cfg: parsed config.
        transform: in the place of its own.
    """
    whole = _whole(cfg)
    train, val = _reading(lambda: hosts.labelled_images(whole), cfg)
    if transform is not None:
        train.transform = val.transform = transform
    return _part(cfg, train), val


def _whole(cfg: DictConfig) -> DictConfig:
    """A config of all the data, of which `_part` takes the fraction, for every data set alike."""
    cfg = cfg.copy()
    cfg.data.fraction = -1
    return cfg


def _part(cfg: DictConfig, dataset: Any) -> Any:
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


def check_classes(cfg: DictConfig) -> None:
    """Check that the classes of `custom` validation images are among those of the training.

    Args:
        cfg: parsed config.

    Raises:
        DataError: naming both.
    """
    data = cfg.data
    if not spec_of(data.dataset).is_folder:
        return
    train, val = class_folders(data.train_path), class_folders(data.val_path)
    if not set(val) <= set(train):
        of_val, of_train = (
            str(names) if len(names) <= 10 else f"{names[:10]} and {len(names) - 10} more"
            for names in (val, train)
        )
        raise DataError(
            f"data.val_path={data.val_path} has the class folders {of_val}, data.train_path="
            f"{data.train_path} has {of_train}, and not {min(set(val) - set(train))!r}"
        )


@cache
def _say_once(said: str) -> None:
    logger.info("%s", said)


def _augmented(size: int, mean: Sequence[float], std: Sequence[float]) -> Transform:
    crop = transforms.RandomResizedCrop(size, interpolation=BICUBIC)
    steps = [crop, transforms.RandomHorizontalFlip()]
    return transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(mean, std)])

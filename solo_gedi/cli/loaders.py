"""Data loaders: solo-learn's data sets and ours, with solo-learn's augmentations."""

from collections.abc import Callable
from typing import Any

import torch
from omegaconf import DictConfig
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from solo_gedi import hosts
from solo_gedi.data import DATASETS, FreshPoints
from solo_gedi.errors import ConfigError


class _Indexed(Dataset):
    """(index, views, label), as solo-learn's pretraining expects."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return (index, *self.dataset[index])


def _loader(dataset: Dataset, cfg: DictConfig, *, train: bool) -> DataLoader:
    if isinstance(dataset, FreshPoints):
        return DataLoader(dataset, batch_size=None)
    batch_size, workers = cfg.optimizer.batch_size, cfg.data.get("num_workers", 4)
    if train and len(dataset) < batch_size:  # type: ignore[arg-type]
        raise ConfigError(
            f"optimizer.batch_size={batch_size} is more than the {len(dataset)} "  # type: ignore[arg-type]
            f"training images in {cfg.data.train_path}"
        )
    # No persistent workers: new ones are seeded from the global random state at every epoch, so
    # that a resumed run augments as the uninterrupted one.
    return DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=train,
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
        raise ConfigError(
            f"data.dataset={data.dataset} cannot be read from data.train_path={data.train_path}, "
            f"data.val_path={data.val_path}: {error}"
        ) from error


def pretrain_loader(cfg: DictConfig) -> DataLoader:
    """Batches [indices, [views], labels] with the views that `augmentations` describe.

    Raises:
        ConfigError: if the data cannot be read.
    """
    spec = DATASETS.get(cfg.data.dataset)
    if spec is not None and spec.points:
        views = cfg.data.num_large_crops
        return _loader(FreshPoints(spec.points, cfg.optimizer.batch_size, views), cfg, train=True)
    transform = hosts.multi_view(
        [hosts.build_transform(cfg.data.dataset, entry) for entry in cfg.augmentations],
        [entry.num_crops for entry in cfg.augmentations],
    )
    if cfg.debug_augmentations:
        print(transform)
    if spec is not None and spec.images:
        dataset = _Indexed(spec.images(cfg.data.train_path, True, transform))
    else:
        dataset = _reading(lambda: hosts.pretrain_images(cfg, transform), cfg)
    return _loader(dataset, cfg, train=True)


def validation_loader(cfg: DictConfig) -> DataLoader | None:
    """The labelled validation data of a pretraining config, if it has any, without augmentation."""
    if cfg.data.val_path is None or cfg.data.no_labels:
        return None
    first = cfg.augmentations[0]
    # Points have no pixels to normalise; images are validated as they are trained on.
    spec = DATASETS.get(cfg.data.dataset)
    points = spec is not None and spec.points
    mean_std = ((), ()) if points else _normalization(cfg.data.dataset, first)
    return labelled_loaders(cfg, first.crop_size, mean_std, augment=False)[1]


def probe_loaders(cfg: DictConfig) -> tuple[DataLoader, DataLoader]:
    """Training and validation data of a linear probe's config.

    The training images of solo-learn's data sets and of `custom` folders are augmented as it
    does it; digits and SVHN, which its crops and flips would turn into other digits, are not.
    """
    chosen = cfg.data.augmentations
    spec = DATASETS.get(cfg.data.dataset)
    mean_std = (spec.mean, spec.std) if spec is not None else (chosen.mean, chosen.std)
    return labelled_loaders(cfg, chosen.crop_size, mean_std, augment=True)


def _normalization(dataset: str, augmentation: DictConfig) -> tuple[Any, Any]:
    return hosts.normalization(hosts.build_transform(dataset, augmentation))


def labelled_loaders(
    cfg: DictConfig, size: int, mean_std: tuple[Any, Any], *, augment: bool
) -> tuple[DataLoader, DataLoader]:
    """Batches (images, labels) of training and validation data.

    Args:
        cfg: a parsed config.
        size: height and width of the images of digits, SVHN and `custom` folders.
        mean_std: their normalisation.
        augment: whether `custom` training images are cropped and flipped.

    Raises:
        ConfigError: if the data cannot be read.
    """
    data, spec = cfg.data, DATASETS.get(cfg.data.dataset)
    if spec is not None and spec.points:
        points = FreshPoints(spec.points, cfg.optimizer.batch_size)
        return _loader(points, cfg, train=True), _loader(points, cfg, train=False)
    if spec is None and data.dataset != "custom":
        train, val = _reading(lambda: hosts.labelled_images(cfg), cfg)
    else:
        last = [transforms.ToTensor(), transforms.Normalize(*mean_std)]
        bicubic = transforms.InterpolationMode.BICUBIC
        plain = transforms.Compose(
            [transforms.Resize(size, bicubic), transforms.CenterCrop(size), *last]
        )
        if spec is not None and spec.images:
            train = spec.images(data.train_path, True, plain)
            val = spec.images(data.val_path, False, plain)
        else:
            crop = transforms.RandomResizedCrop(size, interpolation=bicubic)
            cropped = transforms.Compose([crop, transforms.RandomHorizontalFlip(), *last])
            train = _reading(
                lambda: ImageFolder(data.train_path, cropped if augment else plain), cfg
            )
            val = _reading(lambda: ImageFolder(data.val_path, plain), cfg)
    return _loader(train, cfg, train=True), _loader(val, cfg, train=False)

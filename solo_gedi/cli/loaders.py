"""Data loaders: solo-learn's data sets and ours, with solo-learn's augmentations."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from solo_gedi import hosts
from solo_gedi.data import FreshPoints, fixed_points, spec_of
from solo_gedi.errors import ConfigError

Transform = Callable[[Any], Any]
BICUBIC = transforms.InterpolationMode.BICUBIC

# All images of these are squares of one size.
_SQUARES = ("digits", "svhn", "cifar10", "cifar100", "stl10")


class _Indexed(Dataset):
    """(index, views, label), as solo-learn's pretraining expects."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return (index, *self.dataset[index])


def _loader(dataset: Dataset, cfg: DictConfig, *, train: bool) -> DataLoader:
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

    With `data.augment_on_device` they are [indices, images, labels], to be given to `device_views`:
    uint8 (n, channels, height, width).

    Raises:
        ConfigError: if the data cannot be read.
    """
    if (points := _points(cfg, cfg.data.num_large_crops)) is not None:
        return points
    transform: Transform = transforms.PILToTensor()
    if not cfg.data.get("augment_on_device"):
        transform = hosts.multi_view(*_pipelines(cfg))
        if cfg.debug_augmentations:
            print(transform)
    if images := spec_of(cfg.data.dataset).images:
        dataset = _Indexed(images(cfg.data.train_path, True, transform))
    else:
        dataset = _reading(lambda: hosts.pretrain_images(cfg, transform), cfg)
    return _loader(dataset, cfg, train=True)


def device_views(cfg: DictConfig) -> Callable[[Tensor], list[Tensor]] | None:
    """What makes the views that `augmentations` describe on the device, if the config says so.

    Raises:
        ConfigError: without kornia, for images that are not squares of one size, or for a step
            that can only be done image by image.
    """
    if not cfg.data.get("augment_on_device"):
        return None
    if cfg.data.dataset not in _SQUARES:
        raise ConfigError(
            "data.augment_on_device=true needs square images of one size: data.dataset must be one "
            f"of {list(_SQUARES)}, not {cfg.data.dataset!r}"
        )
    try:
        from solo_gedi.data.batched import BatchedViews
    except ImportError as error:
        raise ConfigError(
            "data.augment_on_device=true needs kornia: pip install 'kornia>=0.9'"
        ) from error
    views = BatchedViews(*_pipelines(cfg))
    if cfg.debug_augmentations:
        print(views)
    return views


def _pipelines(cfg: DictConfig) -> tuple[list[Transform], list[int]]:
    """solo-learn's pipelines for `augmentations`, and how many views each gives."""
    return (
        [hosts.build_transform(cfg.data.dataset, entry) for entry in cfg.augmentations],
        [entry.num_crops for entry in cfg.augmentations],
    )


def validation_loader(cfg: DictConfig) -> DataLoader | None:
    """The labelled validation data of a pretraining config, if it has any, without augmentation.

    Images of digits, SVHN and `custom` folders have the size and normalisation they are trained
    with; solo-learn's other data sets its fixed pipeline.

    Raises:
        ConfigError: if the data cannot be read.
    """
    data = cfg.data
    if data.val_path is None or data.no_labels:
        return None
    if (points := _points(cfg)) is not None:
        return points
    if _is_solo_learns(data.dataset):
        _, val = _reading(lambda: hosts.labelled_images(cfg), cfg)
    else:
        first = cfg.augmentations[0]
        mean_std = hosts.normalization(hosts.build_transform(data.dataset, first))
        val = _images(cfg, train=False, transform=_plain(first.crop_size, *mean_std))
    return _loader(val, cfg, train=False)


def probe_loaders(cfg: DictConfig) -> tuple[DataLoader, DataLoader]:
    """Training and validation data of a linear probe's config.

    The training images of solo-learn's data sets and of `custom` folders are augmented as it
    does it; digits and SVHN, which its crops and flips would turn into other digits, are not.

    Raises:
        ConfigError: if the data cannot be read.
    """
    if (points := _points(cfg)) is not None:
        return points, points
    if _is_solo_learns(cfg.data.dataset):
        train, val = _reading(lambda: hosts.labelled_images(cfg), cfg)
    else:
        chosen, spec = cfg.data.augmentations, spec_of(cfg.data.dataset)
        mean_std = (spec.mean, spec.std) if spec.images else (chosen.mean, chosen.std)
        plain = _plain(chosen.crop_size, *mean_std)
        train_transform = plain if spec.images else _augmented(chosen.crop_size, *mean_std)
        train = _images(cfg, train=True, transform=train_transform)
        val = _images(cfg, train=False, transform=plain)
    return _loader(train, cfg, train=True), _loader(val, cfg, train=False)


def plain_loader(cfg: DictConfig, *, train: bool) -> DataLoader:
    """A labelled split of a pretraining config's data as the trained network takes it.

    In order, without augmentation, with the size, channels and normalisation of its training
    views; of a toy set, 2,000 points that are always the same.

    Args:
        cfg: parsed config.
        train: the training split; else that of `data.val_path`.

    Raises:
        ConfigError: if the data cannot be read or has no labels.
    """
    dataset = cfg.data.dataset
    if spec_of(dataset).points:
        points, labels = fixed_points(spec_of(dataset), seed=0 if train else 1)
        return DataLoader(TensorDataset(points, labels), batch_size=400)
    if (cfg.data.train_path if train else cfg.data.val_path) is None or cfg.data.no_labels:
        raise ConfigError("data.train_path and data.val_path must name labelled images")
    first = cfg.augmentations[0]
    mean, std = hosts.normalization(hosts.build_transform(dataset, first))
    transform = transforms.Compose([_Channels(len(mean)), _plain(first.crop_size, mean, std)])
    if _is_solo_learns(dataset):
        images = _reading(lambda: hosts.labelled_images(cfg), cfg)[0 if train else 1]
        images.transform = transform
    else:
        images = _images(cfg, train=train, transform=transform)
    return DataLoader(
        images,
        batch_size=max(cfg.optimizer.batch_size, 100),
        num_workers=cfg.data.get("num_workers", 4),
        pin_memory=torch.cuda.is_available(),
    )


def other_data(cfg: DictConfig, name: str) -> DictConfig:
    """A run's config with the data set NAME[:PATH] in place of its own, for `plain_loader`.

    It is seen as the run's own data is: same size, channels and normalisation.

    Raises:
        ConfigError: if solo-learn does not know the name.
    """
    dataset, _, path = name.partition(":")
    if not hosts.has_dataset(dataset):
        raise ConfigError(f"data set {dataset!r} does not exist in {hosts.describe()}")
    cfg = cfg.copy()
    first = cfg.augmentations[0]
    first.mean, first.std = hosts.normalization(hosts.build_transform(cfg.data.dataset, first))
    cfg.data.dataset, cfg.data.no_labels = dataset, False
    path = path or ("test" if dataset == "digits" else cfg.data.val_path)
    cfg.data.train_path = cfg.data.val_path = path
    return cfg


class _Channels:
    """A PIL image with one grey or three colour channels, whatever it has."""

    def __init__(self, channels: int) -> None:
        self.mode = "L" if channels == 1 else "RGB"

    def __call__(self, image: Image.Image) -> Image.Image:
        return image.convert(self.mode)


def _is_solo_learns(dataset: str) -> bool:
    """Whether solo-learn reads it; its own reading of `custom` folders is fixed at 224 pixels."""
    return dataset != "custom" and not spec_of(dataset).images


def _points(cfg: DictConfig, views: int = 0) -> DataLoader | None:
    """Batches of a toy set, if it is one; see `FreshPoints`."""
    points = spec_of(cfg.data.dataset).points
    if points is None:
        return None
    return DataLoader(FreshPoints(points, cfg.optimizer.batch_size, views), batch_size=None)


def _images(cfg: DictConfig, *, train: bool, transform: Transform) -> Dataset:
    """Labelled images of digits, SVHN or a `custom` folder."""
    path = cfg.data.train_path if train else cfg.data.val_path
    if images := spec_of(cfg.data.dataset).images:
        return images(path, train, transform)
    return _reading(lambda: ImageFolder(path, transform), cfg)


def _plain(size: int, mean: Sequence[float], std: Sequence[float]) -> Transform:
    steps = [transforms.Resize(size, BICUBIC), transforms.CenterCrop(size)]
    return transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(mean, std)])


def _augmented(size: int, mean: Sequence[float], std: Sequence[float]) -> Transform:
    crop = transforms.RandomResizedCrop(size, interpolation=BICUBIC)
    steps = [crop, transforms.RandomHorizontalFlip()]
    return transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(mean, std)])

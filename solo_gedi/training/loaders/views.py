"""Views of the training images, as `augmentations` describe them."""

from collections.abc import Callable, Iterator
from typing import Any

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor
from torchvision import transforms

from solo_gedi import hosts
from solo_gedi.core.processes import get_logger
from solo_gedi.data import KNOWN, spec_of
from solo_gedi.data.transforms import Channels, Transform, plain
from solo_gedi.errors import ConfigError, DataError, GEDIError, MissingPackageError, reason
from solo_gedi.methods import normalization_of
from solo_gedi.training.loaders.batches import TrainingLoader
from solo_gedi.training.loaders.reading import (
    Indexed,
    images_of,
    is_read_here,
    loader_of,
    part_of,
    points_of,
    reading,
    training_loader,
    training_points,
)

DeviceViews = Callable[[Tensor], list[Tensor]]

logger = get_logger(__name__)


def pretrain_loader(cfg: DictConfig) -> TrainingLoader:
    """Batches [indices, [views], labels] with the views that `augmentations` describe.

    With `data.augment_on_device` they are [indices, images, labels], to be given to `device_views`:
    uint8 (n, channels, height, width).

    Raises:
        DataError: if the data cannot be read.
    """
    if (points := points_of(cfg, cfg.data.num_large_crops)) is not None:
        return training_points(points, cfg)
    transform: Transform = transforms.PILToTensor()
    if not cfg.data.get("augment_on_device"):
        transform = hosts.multi_view(*_pipelines(cfg))
        mean, _ = normalization_of(cfg)
        if spec_of(cfg.data.dataset).has_class_folders and len(mean) == 1:
            transform = transforms.Compose([Channels(1), transform])  # of folders, read in colour
        if cfg.debug_augmentations:
            logger.info("%s", transform)
    return training_loader(_training_images(cfg, transform), cfg)


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
    if cfg.data.train_path is None:
        raise DataError("data.train_path names no folder of images")
    transform = plain(cfg.augmentations[0].crop_size, *normalization_of(cfg))
    loader = loader_of(_training_images(cfg, transform), cfg, batch_size=100, limit=limit)
    return (x for _, x, _ in loader)


def _training_images(cfg: DictConfig, transform: Transform) -> Any:
    """(index, what `transform` makes of the image, label) of a pretraining config's data."""
    if is_read_here(cfg):
        return Indexed(images_of(cfg, train=True, transform=transform))
    dataset = reading(lambda: hosts.pretrain_images(cfg, transform), cfg)
    # solo-learn adds the index in a class made inside a function, which cannot be pickled for a
    # worker that is spawned.
    dataset.__class__ = type(dataset).__mro__[1]
    return Indexed(part_of(cfg, dataset))


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


def with_normalization(cfg: DictConfig) -> DictConfig:
    """A parsed config whose `augmentations` name the mean and std of their pixels.

    The two generations of solo-learn do not agree on them for CIFAR-100.

    Args:
        cfg: of images.
    """
    cfg, spec = cfg.copy(), spec_of(cfg.data.dataset)
    for entry in cfg.augmentations:
        mean, std = spec.normalization(entry)
        entry.mean, entry.std = list(mean), list(std)
    return cfg


def _transform(cfg: DictConfig, i: int) -> Transform:
    """solo-learn's pipeline for the i-th entry of `augmentations`."""
    try:
        return hosts.build_transform(cfg.data.dataset, cfg.augmentations[i])
    except GEDIError:
        raise
    except (OmegaConfBaseException, TypeError, ValueError) as error:
        raise ConfigError(f"augmentations.{i} makes no pipeline: {reason(error)}") from error


def _pipelines(cfg: DictConfig) -> tuple[list[Transform], list[int]]:
    """solo-learn's pipelines for `augmentations`, and how many views each gives."""
    return (
        [_transform(cfg, i) for i in range(len(cfg.augmentations))],
        [entry.num_crops for entry in cfg.augmentations],
    )

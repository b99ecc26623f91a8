"""solo-learn 1.0.2's augmentations and image data sets, from a config."""

from collections.abc import Callable, Sequence
from pathlib import Path

from omegaconf import DictConfig
from torch.utils.data import Dataset

from solo_gedi.data import spec_of
from solo_gedi.errors import ConfigError
from solo_gedi.hosts._shared import renormalize, whole_image, with_normalization
from solo_gedi.hosts.pypi import solo


def _needs_github(setting: str) -> ConfigError:
    return ConfigError(f"{setting} needs solo-learn's GitHub version; 1.0.2 is installed")


def build_transform(dataset: str, augmentation: DictConfig) -> Callable:
    """solo-learn's augmentation pipeline for one entry of `augmentations`.

    Raises:
        ConfigError: for a step that 1.0.2 does not have.
    """
    if augmentation.equalization.prob:
        raise _needs_github("augmentations.equalization.prob > 0")
    jitter = augmentation.color_jitter
    full = with_normalization(dataset, augmentation)
    transform = solo.pretrain_dataloader.prepare_transform(
        dataset if spec_of(dataset).is_hosts else "custom",
        brightness=jitter.get("brightness", 0),
        contrast=jitter.get("contrast", 0),
        saturation=jitter.get("saturation", 0),
        hue=jitter.get("hue", 0),
        color_jitter_prob=jitter.prob,
        gray_scale_prob=augmentation.grayscale.prob,
        horizontal_flip_prob=augmentation.horizontal_flip.prob,
        gaussian_prob=augmentation.gaussian_blur.prob,
        solarization_prob=augmentation.solarization.prob,
        min_scale=augmentation.rrc.get("crop_min_scale", 0.08),
        max_scale=augmentation.rrc.get("crop_max_scale", 1.0),
        crop_size=augmentation.crop_size,
    )
    if not augmentation.rrc.enabled:
        transform = whole_image(transform, augmentation.crop_size)
    return renormalize(transform, full["mean"], full["std"])


def multi_view(transforms: Sequence[Callable], copies: Sequence[int]) -> Callable:
    """The pipeline that gives `copies[i]` views by `transforms[i]`, as one list."""
    return solo.pretrain_dataloader.prepare_n_crop_transform(list(transforms), list(copies))


def _refuse_formats(cfg: DictConfig) -> None:
    if cfg.data.format != "image_folder":
        raise _needs_github(f"data.format={cfg.data.format}")


def pretrain_images(cfg: DictConfig, transform: Callable) -> Dataset:
    """The training images of a data set of solo-learn's: (index, views, label)."""
    _refuse_formats(cfg)
    return solo.pretrain_dataloader.prepare_datasets(
        cfg.data.dataset,
        transform,
        data_dir=Path(cfg.data.train_path),
        train_dir=".",
    )


def labelled_transforms(dataset: str) -> tuple[Callable, Callable]:
    """The fixed pipelines of a linear probe's training and validation images."""
    return solo.classification_dataloader.prepare_transforms(dataset)


def labelled_images(cfg: DictConfig, train: Callable, val: Callable) -> tuple[Dataset, Dataset]:
    """Training and validation images of a data set of solo-learn's, by a transform for each."""
    _refuse_formats(cfg)
    return solo.classification_dataloader.prepare_datasets(
        cfg.data.dataset,
        *(train, val),
        data_dir=".",
        train_dir=cfg.data.train_path,
        val_dir=cfg.data.val_path,
    )

"""solo-learn 1.0.5 and later, from GitHub: almost only re-exports."""

import inspect
import re
import warnings
from collections.abc import Callable, Sequence

from omegaconf import DictConfig, OmegaConf
from torch.utils.data import Dataset

from solo_gedi.hosts._shared import (
    FewClassesMixin,
    WeightedKNNMixin,
    renormalize,
    whole_image,
    with_normalization,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its imports of names that timm has since moved
    import solo.methods.base
    import solo.utils.knn
    from solo.args import linear as linear_args
    from solo.args import pretrain as pretrain_args
    from solo.args.linear import parse_cfg as parse_linear
    from solo.args.pretrain import parse_cfg as parse_pretrain
    from solo.data.classification_dataloader import prepare_datasets as prepare_labelled
    from solo.data.classification_dataloader import prepare_transforms
    from solo.data.pretrain_dataloader import (
        FullTransformPipeline,
        NCropAugmentation,
        build_transform_pipeline,
        prepare_datasets,
    )
    from solo.losses.barlow import barlow_loss_func as barlow_loss
    from solo.losses.swav import swav_loss_func as swav_loss
    from solo.methods import METHODS
    from solo.methods import linear as solo_linear
    from solo.methods.base import BaseMethod
    from solo.utils.knn import WeightedKNNClassifier
    from solo.utils.sinkhorn_knopp import SinkhornKnopp

BACKBONES = BaseMethod._BACKBONES
_OWN = frozenset(METHODS)


class WeightedKNN(WeightedKNNMixin, WeightedKNNClassifier):
    """solo-learn's weighted kNN on today's torchmetrics."""


class LinearModel(FewClassesMixin, solo_linear.LinearModel):
    """solo-learn's linear probe, also for fewer than five classes."""


def mend() -> None:
    """Make kNN work on today's torchmetrics, for solo-learn's own methods and programs too."""
    for module in (solo.methods.base, solo.utils.knn):
        module.WeightedKNNClassifier = WeightedKNN


def method_keys(name: str) -> frozenset[str] | None:
    """The keys of a config that a method of solo-learn's reads itself; None of other methods."""
    if name not in _OWN:
        return None
    classes = [c for c in METHODS[name].__mro__ if c.__module__.startswith("solo.methods")]
    source = "".join(map(inspect.getsource, classes))
    found = re.findall(r"\bcfg\.((?:method_kwargs|momentum)\.\w+)", source)
    # The callback that adds noise to any method's views reads its setting from here.
    return frozenset(found) | {"method_kwargs.input_noise_std"}


def add_dataset(name: str, num_classes: int) -> None:
    """Let configs name a data set."""
    for args in (pretrain_args, linear_args):
        args._N_CLASSES_PER_DATASET[name] = num_classes
        if name not in args._SUPPORTED_DATASETS:
            args._SUPPORTED_DATASETS.append(name)


def has_dataset(name: str) -> bool:
    """Whether configs may name a data set."""
    return name in pretrain_args._SUPPORTED_DATASETS


def build_transform(dataset: str, augmentation: DictConfig) -> Callable:
    """solo-learn's augmentation pipeline for one entry of `augmentations`."""
    full = OmegaConf.create(with_normalization(dataset, augmentation))
    # Which takes its own for some data sets, whatever the config says.
    transform = renormalize(build_transform_pipeline(dataset, full), full.mean, full.std)
    return transform if full.rrc.enabled else whole_image(transform, full.crop_size)


def multi_view(transforms: Sequence[Callable], copies: Sequence[int]) -> Callable:
    """The pipeline that gives `copies[i]` views by `transforms[i]`, as one list."""
    return FullTransformPipeline(
        [NCropAugmentation(transform, n) for transform, n in zip(transforms, copies, strict=True)]
    )


def pretrain_images(cfg: DictConfig, transform: Callable) -> Dataset:
    """The training images of a data set of solo-learn's: (index, views, label)."""
    return prepare_datasets(
        cfg.data.dataset,
        transform,
        train_data_path=cfg.data.train_path,
        data_format=cfg.data.format,
    )


def labelled_transforms(dataset: str) -> tuple[Callable, Callable]:
    """The fixed pipelines of a linear probe's training and validation images."""
    return prepare_transforms(dataset)


def labelled_images(cfg: DictConfig, train: Callable, val: Callable) -> tuple[Dataset, Dataset]:
    """Training and validation images of a data set of solo-learn's, by a transform for each."""
    return prepare_labelled(
        cfg.data.dataset,
        *(train, val),
        train_data_path=cfg.data.train_path,
        val_data_path=cfg.data.val_path,
        data_format=cfg.data.format,
    )


__all__ = [
    "BACKBONES",
    "METHODS",
    "BaseMethod",
    "LinearModel",
    "SinkhornKnopp",
    "WeightedKNN",
    "add_dataset",
    "barlow_loss",
    "build_transform",
    "has_dataset",
    "labelled_images",
    "labelled_transforms",
    "method_keys",
    "mend",
    "multi_view",
    "parse_linear",
    "parse_pretrain",
    "pretrain_images",
    "swav_loss",
]

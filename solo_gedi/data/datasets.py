"""The data sets that solo-learn does not have, in the form that its data loading gives."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits, make_circles, make_moons
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset
from torchvision.datasets import KMNIST, MNIST, SVHN, FashionMNIST

from solo_gedi.core.processes import rank
from solo_gedi.data.transforms import Transform
from solo_gedi.errors import DataError
from solo_gedi.files import alone_in, given_path

DOWNLOAD = ".download.lock"  # in the folder: cells and processes start at once

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class DatasetSpec:
    """What the rest of the package must know of a data set.

    Attributes:
        num_classes: number of classes; 0 where the folder tells.
        images: for image sets of this package: called with `data.train_path` or `data.val_path`,
            the split and a transform, gives the labelled images.
        points: for toy sets: called with the number of points, gives fresh (points, labels).
        mean: per channel, of pixels in [0, 1]; where it is fixed.
        std: per channel, likewise.
        size: height and width where all images are squares of one size.
        splits: names that stand in the place of a path, if the set is part of a package.
        is_folder: whether it is any folder of images.
        has_class_folders: whether its images lie in a folder for each class.
    """

    num_classes: int
    images: Callable[..., Dataset] | None = None
    points: Callable[[int], tuple[Tensor, Tensor]] | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    size: int | None = None
    splits: tuple[str, ...] = ()
    is_folder: bool = False
    has_class_folders: bool = False

    @property
    def is_hosts(self) -> bool:
        """Whether solo-learn reads it."""
        return not (self.images or self.points or self.is_folder)

    def normalization(
        self, augmentation: Mapping[str, Any]
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and std per channel of pixels in [0, 1]: an augmentation's own, else the data set's.

        Args:
            augmentation: an entry of a config's `augmentations`.

        Example:
            >>> spec_of("digits").normalization({"crop_size": 8, "mean": [0.5]})
            ((0.5,), (0.35,))
        """
        mean, std = augmentation.get("mean") or self.mean, augmentation.get("std") or self.std
        return tuple(map(float, mean)), tuple(map(float, std))


@cache
def _digits_split() -> dict[str, np.ndarray]:
    labels = load_digits().target
    rest, test = train_test_split(
        np.arange(len(labels)), test_size=360, stratify=labels, random_state=0
    )
    train, val = train_test_split(rest, test_size=360, stratify=labels[rest], random_state=0)
    return {"train": train, "val": val, "test": test}


class Digits(Dataset):
    """scikit-learn's digits: 1,797 grey 8x8 images of handwritten digits, inside its wheel.

    A fixed stratified split: `train` (1,077), `val` (360, to tune on), `test` (360).

    Args:
        path: which of the three; it stands where other data sets have a folder.
        train: unused, for the signature shared with other data sets.
        transform: applied to the PIL image (mode L).

    Raises:
        DataError: for another split.
    """

    def __init__(self, path: str, train: bool, transform: Transform | None = None) -> None:
        if path not in _digits_split():
            raise DataError(
                f"data.train_path and data.val_path of digits name a split: "
                f"train, val or test, not {path!r}"
            )
        digits, chosen = load_digits(), _digits_split()[path]
        self.images = np.rint(digits.images[chosen] * (255 / 16)).astype(np.uint8)
        self.targets = digits.target[chosen]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = Image.fromarray(self.images[index])
        return self.transform(image) if self.transform else image, int(self.targets[index])


def _of_torchvision(kind: type[MNIST] | type[SVHN]) -> Callable[..., Dataset]:
    """Images that torchvision reads, and downloads where they are missing.

    Args:
        kind: its class; of SVHN the splits are "train" and "test", not "extra".
    """
    like_mnist, hint = issubclass(kind, MNIST), ""
    if like_mnist:
        hint = f" (its four unpacked files belong into {kind.__name__}/raw)"

    def images(path: str, train: bool, transform: Transform | None = None) -> Dataset:
        folder = given_path(path)
        split: Any = train if like_mnist else "train" if train else "test"
        try:
            with alone_in(folder, DOWNLOAD):
                return kind(folder, split, transform, download=True)
        except (AssertionError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
            why = " ".join(str(error).split()) or "it has another format"
            what = f"{kind.__name__} that could be read or downloaded{hint}"
            raise DataError(f"data path {path!r} has no {what}: {why}") from error

    return images


def _seed() -> int:
    """Drawn from torch's global state, which a resumed run brings back; another on each process."""
    return (int(torch.randint(2**31 - 1, ())) + rank()) % 2**32


def _moons(n: int) -> tuple[Tensor, Tensor]:
    """scikit-learn's moons with noise 0.05, shifted and scaled into [-1, 1]."""
    points, labels = make_moons(n, noise=0.05, random_state=_seed())
    return torch.from_numpy((points - [0.5, 0.25]) / 1.7).float(), torch.from_numpy(labels)


def _circles(n: int) -> tuple[Tensor, Tensor]:
    """scikit-learn's circles, of radii 1 and 0.5, with noise 0.05."""
    points, labels = make_circles(n, factor=0.5, noise=0.05, random_state=_seed())
    return torch.from_numpy(points).float(), torch.from_numpy(labels)


class FreshPoints(IterableDataset):
    """Batches of points drawn anew each time they are asked for, without end.

    Give it to a DataLoader with `batch_size=None`: an item is a batch, `(indices, views, labels)`
    for training as in solo-learn, or `(points, labels)` where `views` is 0.

    Args:
        points: called with n gives (points (n, d), labels (n,)).
        batch_size: n.
        views: copies of the points in a training batch; the method perturbs each.
    """

    def __init__(
        self, points: Callable[[int], tuple[Tensor, Tensor]], batch_size: int, views: int = 0
    ) -> None:
        self.points, self.batch_size, self.views = points, batch_size, views

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        while True:
            points, labels = self.points(self.batch_size)
            if self.views:
                views = [points.clone() for _ in range(self.views)]
                yield torch.arange(self.batch_size), views, labels
            else:
                yield points, labels


def fixed_points(spec: DatasetSpec, seed: int, n: int = 2000) -> tuple[Tensor, Tensor]:
    """Points (n, d) of a toy set and their labels (n,), the same for the same seed."""
    assert spec.points is not None
    # On the CPU, where points are drawn; else it would start CUDA, and warn of several GPUs.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return spec.points(n)


# The data sets that this package brings to solo-learn ...
DATASETS = {
    "digits": DatasetSpec(
        10, Digits, mean=(0.3,), std=(0.35,), size=8, splits=("train", "val", "test")
    ),
    "svhn": DatasetSpec(
        10, _of_torchvision(SVHN), mean=(0.4377, 0.4438, 0.4728), std=(0.198, 0.201, 0.197), size=32
    ),
    "fashion_mnist": DatasetSpec(
        10, _of_torchvision(FashionMNIST), mean=(0.2860,), std=(0.3530,), size=28
    ),
    "mnist": DatasetSpec(10, _of_torchvision(MNIST), mean=(0.1307,), std=(0.3081,), size=28),
    "kmnist": DatasetSpec(10, _of_torchvision(KMNIST), mean=(0.1918,), std=(0.3483,), size=28),
    "moons": DatasetSpec(2, points=_moons),
    "circles": DatasetSpec(2, points=_circles),
}
# ... and those that solo-learn has, with the normalisation of its GitHub version.
_HOSTS = {
    "cifar10": DatasetSpec(
        10, mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616), size=32
    ),
    "cifar100": DatasetSpec(
        100, mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762), size=32
    ),
    "stl10": DatasetSpec(10, mean=(0.4914, 0.4823, 0.4466), std=(0.247, 0.243, 0.261), size=96),
    "imagenet": DatasetSpec(1000, mean=IMAGENET_MEAN, std=IMAGENET_STD, has_class_folders=True),
    "imagenet100": DatasetSpec(100, mean=IMAGENET_MEAN, std=IMAGENET_STD, has_class_folders=True),
    "custom": DatasetSpec(
        0, mean=IMAGENET_MEAN, std=IMAGENET_STD, is_folder=True, has_class_folders=True
    ),
}
KNOWN = {**DATASETS, **_HOSTS}


def spec_of(dataset: str) -> DatasetSpec:
    """The spec of a data set.

    Args:
        dataset: its name, as `data.dataset` of a config has it.

    Raises:
        DataError: for an unknown one.
    """
    if dataset not in KNOWN:
        raise DataError(f"data.dataset={dataset!r} does not exist; choose from {sorted(KNOWN)}")
    return KNOWN[dataset]

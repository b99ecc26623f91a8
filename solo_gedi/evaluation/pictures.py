"""What a task has to show, as data; `solo_gedi.report` draws it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture.

    Attributes:
        task: that shows it.
        name: of its file.
        title: above it.
        note: below it.
    """

    task: str
    name: str
    title: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class ScoreSets(Picture):
    """How the scores of several data sets are distributed.

    Attributes:
        scores: data set -> score -> values (n,); the first data set is the in-distribution one.
    """

    scores: Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class RocCurves(ScoreSets):
    """How well the scores tell the first data set from each of the others."""


@dataclass(frozen=True, kw_only=True)
class ClusterSizes(Picture):
    """How many points each cluster has.

    Attributes:
        sizes: (c,).
    """

    sizes: Tensor


@dataclass(frozen=True, kw_only=True)
class Confusion(Picture):
    """How many points of each class each cluster has.

    Attributes:
        table: (clusters, classes).
        clusters: names of the rows.
        classes: names of the columns.
    """

    table: Tensor
    clusters: Sequence[str]
    classes: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class FeatureMap(Picture):
    """Points in the plane of their features.

    Attributes:
        places: (n, 2).
        kinds: what they are coloured by -> the name of each point's kind.
    """

    places: Tensor
    kinds: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Group:
    """Some images under a heading.

    Attributes:
        title: of them.
        images: (n, channels, h, w), pixels in [-1, 1].
        captions: a text for each.
        note: below the title.
    """

    title: str
    images: Tensor
    captions: Sequence[str]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Gallery(Picture):
    """Groups of images.

    Attributes:
        groups: in their order.
    """

    groups: Sequence[Group]


@dataclass(frozen=True, kw_only=True)
class ClusterMap(Picture):
    """Clusters of points and of the plane around them (Figure 3).

    Attributes:
        points: (n, 2).
        clusters: (n,).
        regions: (side, side) clusters of `mesh(box, side)`.
        box: half the side of the square.
    """

    points: Tensor
    clusters: Tensor
    regions: Tensor
    box: float


@dataclass(frozen=True, kw_only=True)
class ImageChains(Picture):
    """Chains of images on their way.

    Attributes:
        start: where they started, "fresh" or "buffer".
        chains: number of steps -> (n, channels, h, w), pixels in [-1, 1].
        real: as many images of the data, to be looked at beside them; None without any.
    """

    start: str
    chains: Mapping[int, Tensor]
    real: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class PointChains(Picture):
    """Chains of points on their way over the landscape of log p (Figure 4).

    Attributes:
        start: where they started, "fresh" or "buffer".
        chains: number of steps -> (n, 2).
        log_density: (side, side) log p of `mesh(box, side)`, up to a constant.
        box: half the side of the square.
    """

    start: str
    chains: Mapping[int, Tensor]
    log_density: Tensor
    box: float


def mesh(box: float, side: int = 200) -> Tensor:
    """The points (side, side, 2) of a grid over [-box, box]^2; [i, j] is the i-th y, the j-th x.

    Args:
        box: half the side of the square.
        side: points along it.

    >>> mesh(1.0, 3)[0].tolist()
    [[-1.0, -1.0], [0.0, -1.0], [1.0, -1.0]]
    """
    line = torch.linspace(-box, box, side)
    return torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)

"""Which images stand for a clustering and a density, and the plane in which features are seen."""

from collections import Counter
from collections.abc import Callable, Sequence

import torch
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import PCA
from torch import Tensor

from solo_gedi.evaluation.features import Features
from solo_gedi.evaluation.pictures import Group

SamplesAt = Callable[[Tensor], Tensor]  # places (k,) -> images (k, ...) in the sample space


def plane(features: Tensor) -> tuple[Tensor, float]:
    """The first two principal components of features.

    Args:
        features: (n, h), on the CPU.

    Returns:
        Places (n, 2), the second coordinate being 0 where there is but one, and the share of the
        variance that they keep.

    >>> places, kept = plane(torch.tensor([[0.0, 0.0, 1.0], [2.0, 0.0, 1.0], [7.0, 0.0, 1.0]]))
    >>> places.shape, round(kept, 3)
    (torch.Size([3, 2]), 1.0)
    """
    dims = min(2, len(features) - 1, features.shape[1])
    places = torch.zeros(len(features), 2)
    if dims == 0 or bool((features == features[0]).all()):
        return places, 1.0
    pca = PCA(dims, svd_solver="randomized", random_state=0)
    places[:, :dims] = torch.from_numpy(pca.fit_transform(features.numpy()))
    return places, float(pca.explained_variance_ratio_.sum())


def spread(n: int, most: int) -> list[int]:
    """At most so many of n places, evenly from the first to the last.

    >>> spread(9, 3), spread(2, 3), spread(5, 1)
    ([0, 4, 8], [0, 1], [0])
    """
    return torch.linspace(0, n - 1, min(n, most)).round().long().tolist()


def cluster_groups(
    samples: SamplesAt, found: Features, classes: Sequence[str], most: int = 12, clusters: int = 50
) -> list[Group]:
    """For each cluster some of its images, from the surest to the least sure.

    Args:
        samples: gives those of which the model said `found`.
        found: clusters, their shares and labels.
        classes: the name of each label; none where there are no labels.
        most: images of a cluster.
        clusters: that are shown, the largest ones.

    Returns:
        A group a cluster that has images, in the order of their numbers.
    """
    numbers, sizes = found.clusters.unique(return_counts=True)
    largest = sizes.argsort(descending=True, stable=True)[:clusters].sort().values
    groups = []
    for number, size in zip(numbers[largest].tolist(), sizes[largest].tolist(), strict=True):
        members = (found.clusters == number).nonzero()[:, 0]
        members = members[found.confidence[members].argsort(descending=True, stable=True)]
        chosen = members[spread(size, most)]
        captions = [f"{found.confidence[k]:.3f}" for k in chosen]
        said = f"{size:,} image{'s' * (size > 1)}, {size / len(found.clusters):.1%}"
        if classes:
            labels = found.labels[chosen].tolist()
            captions = [f"{c}, {classes[y]}" for c, y in zip(captions, labels, strict=True)]
            counted = Counter(found.labels[members].tolist()).most_common(3)
            said += f"; most of class {', '.join(f'{classes[y]} ({n})' for y, n in counted)}"
        groups.append(Group(f"Cluster {number}", samples(chosen), captions, said))
    return groups


def extreme_groups(samples: SamplesAt, log_density: Tensor, most: int = 24) -> list[Group]:
    """The least and the most likely images.

    Args:
        samples: gives the images.
        log_density: (n,).
        most: images of a group; where there are fewer than two of them for each, half of them.
    """
    order = log_density.argsort(stable=True)
    most = max(1, min(most, len(order) // 2))
    chosen = {"The most likely": order.flip(0)[:most], "The least likely": order[:most]}
    return [
        Group(title, samples(of), [f"log p {value:.4g}" for value in log_density[of].tolist()])
        for title, of in chosen.items()
    ]


def confusion(found: Features, num_clusters: int, num_classes: int) -> tuple[Tensor, list[int]]:
    """How many points of each class each cluster has, the clusters that have any alone.

    Args:
        found: clusters and labels (n,).
        num_clusters: c.
        num_classes: k.

    Returns:
        Counts (used, k), and the clusters' numbers: those that are matched with a class, in its
        order, then the others.

    >>> of = torch.zeros(3)
    >>> confusion(Features(of, torch.tensor([4, 4, 1]), torch.tensor([0, 0, 1]), of, of), 5, 2)
    (tensor([[2, 0],
            [0, 1]]), [4, 1])
    """
    pairs = found.clusters * num_classes + found.labels
    table = torch.bincount(pairs, minlength=num_clusters * num_classes)
    table = table.view(num_clusters, num_classes)
    rows, columns = linear_sum_assignment(table.numpy(), maximize=True)
    matched = [row for _, row in sorted(zip(columns.tolist(), rows.tolist(), strict=True))]
    others = [row for row in range(num_clusters) if row not in set(matched)]
    used = [row for row in (*matched, *others) if table[row].any()]
    return table[used], used

"""How clusters are used, and how well they agree with labels, over a whole set."""

import torch
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.metrics import (
    adjusted_mutual_info_score,
    adjusted_rand_score,
    normalized_mutual_info_score,
)
from sklearn.metrics.cluster import contingency_matrix
from torch import Tensor

from solo_gedi.errors import DataError


def cluster_accuracy(labels: Tensor, clusters: Tensor) -> float:
    """Share of points whose cluster's label is right under the best one-to-one matching.

    Args:
        labels: (n,).
        clusters: (n,); which numbers they have does not matter.

    Returns:
        In [0, 1].

    >>> labels = torch.tensor([0, 0, 0, 1, 1, 1])
    >>> cluster_accuracy(labels, torch.tensor([7, 7, 7, 3, 3, 3]))
    1.0
    >>> cluster_accuracy(labels, torch.tensor([7, 7, 3, 3, 3, 3]))
    0.8333333333333334
    """
    table = contingency_matrix(labels, clusters)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / table.sum())


def cluster_usage(clusters: Tensor) -> dict[str, float]:
    """How many clusters are used, and how evenly; it needs no labels.

    Args:
        clusters: (n,); which numbers they have does not matter.

    Returns:
        `clusters_used`; `largest_cluster` and `smallest_cluster`, the points in the largest and the
        smallest of those; `assignment_entropy`, that of the shares of the points that the clusters
        have, in nats.

    >>> found = cluster_usage(torch.tensor([0, 0, 0, 7]))
    >>> {name: round(value, 3) for name, value in found.items()}  # doctest: +NORMALIZE_WHITESPACE
    {'clusters_used': 2.0, 'largest_cluster': 3.0, 'smallest_cluster': 1.0,
     'assignment_entropy': 0.562}
    """
    sizes = clusters.unique(return_counts=True)[1]
    return {
        "clusters_used": float(len(sizes)),
        "largest_cluster": float(sizes.max()),
        "smallest_cluster": float(sizes.min()),
        "assignment_entropy": float(torch.special.entr(sizes / len(clusters)).sum()),
    }


def clustering_metrics(labels: Tensor, clusters: Tensor) -> dict[str, float]:
    """Agreement of clusters with labels.

    Args:
        labels: (n,).
        clusters: (n,).

    Returns:
        `nmi` (arithmetic mean in the denominator), `ami`, `ari`, `cluster_acc` (best one-to-one
        matching), each 1 at best.

    >>> labels = torch.tensor([0, 0, 1, 1])
    >>> found = clustering_metrics(labels, 1 - labels)
    >>> {name: round(value, 3) for name, value in found.items()}
    {'nmi': 1.0, 'ami': 1.0, 'ari': 1.0, 'cluster_acc': 1.0}
    """
    return {
        "nmi": float(normalized_mutual_info_score(labels, clusters)),
        "ami": float(adjusted_mutual_info_score(labels, clusters)),
        "ari": float(adjusted_rand_score(labels, clusters)),
        "cluster_acc": cluster_accuracy(labels, clusters),
    }


def minibatch_nmi(labels: Tensor, clusters: Tensor, batch_size: int) -> dict[str, float]:
    """Mean NMI over mini-batches of the set in a random order, beside what chance gives.

    The fewer points, the higher the NMI of clusters that know nothing of the labels: a number of
    this kind says something only beside its chance level.

    Args:
        labels: (n,).
        clusters: (n,).
        batch_size: points in a batch; a last, smaller batch is left out.

    Returns:
        `nmi` of the clusters and `chance`, that of the same clusters permuted over the points.

    >>> labels = torch.arange(4).repeat(25)
    >>> found = minibatch_nmi(labels, labels, 10)
    >>> found["nmi"]
    1.0
    >>> 0.1 < found["chance"] < 0.5
    True
    """
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(labels), generator=generator)
    permuted = clusters[torch.randperm(len(labels), generator=generator)]
    batches = [batch for batch in order.split(batch_size) if len(batch) == batch_size] or [order]
    return {
        name: float(
            sum(normalized_mutual_info_score(labels[b], chosen[b]) for b in batches) / len(batches)
        )
        for name, chosen in {"nmi": clusters, "chance": permuted}.items()
    }


def kmeans_clusters(features: Tensor, num_clusters: int) -> Tensor:
    """Clusters of features by k-means, the best of ten starts.

    Args:
        features: (n, h), on the CPU.
        num_clusters: k, at most n.

    Returns:
        (n,) in 0, ..., k - 1; the same for the same features.

    Raises:
        DataError: for fewer points than clusters.

    >>> kmeans_clusters(torch.tensor([[0.0], [0.1], [9.0]]), 2).unique(return_counts=True)[1]
    tensor([2, 1])
    """
    if len(features) < num_clusters:
        raise DataError(f"k-means with k={num_clusters} cannot cluster {len(features)} images")
    kmeans = KMeans(num_clusters, n_init=10, random_state=0)
    return torch.from_numpy(kmeans.fit_predict(features.numpy())).long()

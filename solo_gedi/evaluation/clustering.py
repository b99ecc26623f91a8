"""How well clusters agree with labels, over a whole set."""

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


def cluster_accuracy(labels: Tensor, clusters: Tensor) -> float:
    """Share of points whose cluster's label is right under the best one-to-one matching, [0, 1]."""
    table = contingency_matrix(labels, clusters)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / table.sum())


def clustering_metrics(labels: Tensor, clusters: Tensor) -> dict[str, float]:
    """Agreement of clusters (n,) with labels (n,).

    Returns:
        `nmi` (arithmetic mean in the denominator), `ami`, `ari`, `cluster_acc` (best one-to-one
        matching), each 1 at best, `clusters_used`, and `cluster_entropy` of their use in nats.
    """
    shares = clusters.unique(return_counts=True)[1] / len(clusters)
    return {
        "nmi": float(normalized_mutual_info_score(labels, clusters)),
        "ami": float(adjusted_mutual_info_score(labels, clusters)),
        "ari": float(adjusted_rand_score(labels, clusters)),
        "cluster_acc": cluster_accuracy(labels, clusters),
        "clusters_used": float(len(shares)),
        "cluster_entropy": float(torch.special.entr(shares).sum()),
    }


def minibatch_nmi(labels: Tensor, clusters: Tensor, batch_size: int) -> dict[str, float]:
    """Mean NMI over mini-batches of the set in a random order, beside what chance gives.

    The fewer points, the higher the NMI of clusters that know nothing of the labels: a number of
    this kind says something only beside its chance level.

    Returns:
        `nmi` of the clusters and `chance`, that of the same clusters permuted over the points.
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
    """Clusters (n,) of features (n, h) by k-means, the best of ten starts."""
    kmeans = KMeans(num_clusters, n_init=10, random_state=0)
    return torch.from_numpy(kmeans.fit_predict(features.numpy())).long()

"""How well clusters agree with labels, over a whole set."""

import torch
from scipy.optimize import linear_sum_assignment
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
        matching), each 1 at best, and `clusters_used`.
    """
    return {
        "nmi": float(normalized_mutual_info_score(labels, clusters)),
        "ami": float(adjusted_mutual_info_score(labels, clusters)),
        "ari": float(adjusted_rand_score(labels, clusters)),
        "cluster_acc": cluster_accuracy(labels, clusters),
        "clusters_used": float(len(torch.unique(clusters))),
    }

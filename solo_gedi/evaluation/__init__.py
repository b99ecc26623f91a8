"""Metrics, arrays or a model in, numbers out; and the tasks that make result rows of them.

The metrics need no solo-learn, but for `knn_accuracy`, which is solo-learn's.
"""

from solo_gedi.evaluation.clustering import (
    cluster_accuracy,
    cluster_usage,
    clustering_metrics,
    kmeans_clusters,
    minibatch_nmi,
)
from solo_gedi.evaluation.failure_modes import failure_modes_of, neighbour_cuts
from solo_gedi.evaluation.features import Features, extract
from solo_gedi.evaluation.generation import (
    SampleFeatures,
    draw_samples,
    frechet_distance,
    inception_features,
)
from solo_gedi.evaluation.knn import knn_accuracy
from solo_gedi.evaluation.logistic import logistic_accuracy
from solo_gedi.evaluation.ood import SYNTHETIC, auroc, ood_scores
from solo_gedi.evaluation.options import Options

__all__ = [
    "SYNTHETIC",
    "Features",
    "Options",
    "SampleFeatures",
    "auroc",
    "cluster_accuracy",
    "cluster_usage",
    "clustering_metrics",
    "draw_samples",
    "extract",
    "failure_modes_of",
    "frechet_distance",
    "inception_features",
    "kmeans_clusters",
    "knn_accuracy",
    "logistic_accuracy",
    "minibatch_nmi",
    "neighbour_cuts",
    "ood_scores",
]

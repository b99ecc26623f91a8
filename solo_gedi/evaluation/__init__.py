"""Arrays or a model in, numbers out."""

from solo_gedi.evaluation.clustering import (
    cluster_accuracy,
    clustering_metrics,
    kmeans_clusters,
    minibatch_nmi,
)
from solo_gedi.evaluation.features import Features, extract, log_density_of, scores
from solo_gedi.evaluation.generation import (
    SampleFeatures,
    draw_samples,
    frechet_distance,
    inception_features,
)
from solo_gedi.evaluation.knn import knn_accuracy
from solo_gedi.evaluation.ood import SYNTHETIC, auroc, ood_scores
from solo_gedi.evaluation.triad import triad

__all__ = [
    "SYNTHETIC",
    "Features",
    "SampleFeatures",
    "auroc",
    "cluster_accuracy",
    "clustering_metrics",
    "draw_samples",
    "extract",
    "frechet_distance",
    "inception_features",
    "kmeans_clusters",
    "knn_accuracy",
    "log_density_of",
    "minibatch_nmi",
    "ood_scores",
    "scores",
    "triad",
]

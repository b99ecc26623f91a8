"""Arrays or a model in, numbers out."""

from solo_gedi.evaluation.clustering import cluster_accuracy, clustering_metrics, minibatch_nmi
from solo_gedi.evaluation.features import Features, cluster_output, extract
from solo_gedi.evaluation.knn import knn_accuracy
from solo_gedi.evaluation.ood import auroc, ood_scores

__all__ = [
    "Features",
    "auroc",
    "cluster_accuracy",
    "cluster_output",
    "clustering_metrics",
    "extract",
    "knn_accuracy",
    "minibatch_nmi",
    "ood_scores",
]

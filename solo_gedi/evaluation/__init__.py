"""Arrays or a model in, numbers out."""

from solo_gedi.evaluation.clustering import cluster_accuracy, clustering_metrics
from solo_gedi.evaluation.features import Features, extract
from solo_gedi.evaluation.knn import knn_accuracy

__all__ = ["Features", "cluster_accuracy", "clustering_metrics", "extract", "knn_accuracy"]

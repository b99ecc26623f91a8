"""solo-learn's weighted k-nearest-neighbour classifier, offline."""

from solo_gedi.evaluation.features import Features
from solo_gedi.hosts import WeightedKNN


def knn_accuracy(train: Features, test: Features, k: int = 20) -> float:
    """Top-1 accuracy on `test` of the weighted kNN on `train`'s features, in [0, 1].

    Euclidean distance, as solo-learn's online kNN has it by default.
    """
    knn = WeightedKNN(k=k, distance_fx="euclidean")
    knn(train_features=train.feats, train_targets=train.labels)
    knn(test_features=test.feats, test_targets=test.labels)
    top1, _ = knn.compute()
    return top1 / 100

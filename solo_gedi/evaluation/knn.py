"""solo-learn's weighted k-nearest-neighbour classifier, offline."""

from torch import Tensor


def knn_accuracy(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    *,
    k: int = 20,
    distance: str = "euclidean",
) -> float:
    """Top-1 accuracy of solo-learn's weighted kNN, as in its online evaluation.

    Args:
        train_features: (n, h).
        train_labels: (n,); points with -1 have no label, and no vote.
        test_features: (m, h).
        test_labels: (m,).
        k: neighbours that vote.
        distance: "euclidean", where a vote weighs the inverse of the distance, or "cosine", where
            it weighs exp(cosine / 0.07).

    Returns:
        In [0, 1].

    Raises:
        MissingPackageError: if no solo-learn is installed.
    """
    from solo_gedi.hosts import WeightedKNN

    knn = WeightedKNN(k=k, distance_fx=distance)
    knn(train_features=train_features, train_targets=train_labels)
    knn(test_features=test_features, test_targets=test_labels)
    top1, _ = knn.compute()
    return top1 / 100

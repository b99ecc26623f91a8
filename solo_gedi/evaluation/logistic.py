"""Logistic regression on frozen features: the linear probe that does not depend on a rate."""

from torch import Tensor


def logistic_accuracy(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    *,
    C: float = 1.0,
) -> float:
    """Top-1 accuracy of scikit-learn's logistic regression, fitted until it converges.

    Features are standardized by the training set's mean and standard deviation, so that neither
    their scale nor a learning rate decides, as they do in a probe by SGD of few epochs.

    Args:
        train_features: (n, h).
        train_labels: (n,); points with -1 have no label and are left out.
        test_features: (m, h).
        test_labels: (m,).
        C: inverse of the L2 penalty's weight, as scikit-learn has it.

    Returns:
        In [0, 1].

    Raises:
        DataError: if the labels are of one class alone.

    >>> import torch
    >>> features, labels = torch.tensor([[0.0], [1.0], [8.0], [9.0]]), torch.tensor([0, 0, 1, 1])
    >>> logistic_accuracy(features, labels, features, labels)
    1.0
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from solo_gedi.errors import DataError

    labelled = train_labels >= 0
    if len(train_labels[labelled].unique()) < 2:
        raise DataError("logistic regression needs training images of two classes at least")
    model = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=5000))
    model.fit(train_features[labelled].numpy(), train_labels[labelled].numpy())
    return float(model.score(test_features.numpy(), test_labels.numpy()))

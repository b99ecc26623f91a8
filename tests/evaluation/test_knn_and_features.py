import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch.utils.data import DataLoader

from solo_gedi.evaluation import extract, knn_accuracy
from solo_gedi.inference import load


def blobs(n, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 4
    return torch.randn(n, 6, generator=generator) + 2 * torch.eye(6)[labels], labels


def test_knn_agrees_with_scikit_learns_inverse_distance_weighting():
    (train, train_labels), (test, test_labels) = blobs(200, 0), blobs(100, 1)
    reference = KNeighborsClassifier(20, weights=lambda d: 1 / (d + 1e-5))
    reference.fit(train, train_labels)
    expected = reference.score(test, test_labels)
    assert 0.5 < expected < 1
    found = knn_accuracy(train, train_labels, test, test_labels)
    assert found == pytest.approx(expected, abs=0.011)


def test_the_nearest_neighbour_alone_knows_its_own_label():
    train, labels = blobs(50, 0)
    for distance in ("euclidean", "cosine"):
        assert knn_accuracy(train, labels, train, labels, k=1, distance=distance) == 1


def test_unlabelled_training_points_do_not_vote():
    (train, train_labels), test = blobs(200, 0), blobs(100, 1)
    noise = torch.randn(300, 6, generator=torch.Generator().manual_seed(2))
    mixed = torch.cat([train, noise])
    mixed_labels = torch.cat([train_labels, torch.full((300,), -1)])
    assert knn_accuracy(mixed, mixed_labels, *test) == knn_accuracy(train, train_labels, *test)


@pytest.mark.parametrize("method", ["gedi", "swav", "barlow"])
def test_features_are_those_of_evaluation_mode_in_order(trained, method):
    model = load(trained(method)).train()
    x, labels = torch.randn(20, 1, 8, 8), torch.arange(20)
    found = extract(model, DataLoader(list(zip(x, labels, strict=True)), batch_size=7))
    assert model.training
    with torch.no_grad():
        expected = model.eval()(x)
    torch.testing.assert_close(found.features, expected.features)
    assert torch.equal(found.clusters, expected.scores.argmax(1))
    assert torch.equal(found.labels, labels)

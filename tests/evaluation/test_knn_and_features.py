import pytest
import torch
import torch.nn.functional as F
from sklearn.neighbors import KNeighborsClassifier
from torch.utils.data import DataLoader

from solo_gedi import hosts
from solo_gedi.errors import DataError
from solo_gedi.evaluation import extract, knn_accuracy, logistic_accuracy
from solo_gedi.inference import load


def blobs(n, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 4
    return torch.randn(n, 6, generator=generator) + 2 * torch.eye(6)[labels], labels


@pytest.mark.parametrize("k", [1, 3, 20, 60])
def test_knn_agrees_with_scikit_learns_inverse_distance_weighting(k):
    (train, train_labels), (test, test_labels) = blobs(200, 0), blobs(100, 1)
    reference = KNeighborsClassifier(k, weights=lambda d: 1 / (d + 1e-5))
    reference.fit(train, train_labels)
    expected = reference.score(test, test_labels)
    assert 0.5 < expected < 1
    default = {} if k == 20 else {"k": k}
    found = knn_accuracy(train, train_labels, test, test_labels, **default)
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


def test_logistic_regression_reaches_the_minimum_of_its_penalised_loss():
    """Newton's method on the same loss, in float64, predicts alike."""
    (train, labels), (test, test_labels) = blobs(400, 0), blobs(2000, 1)
    mean, std = train.mean(0), train.std(0, correction=0)
    x = F.pad((train - mean) / std, (0, 1), value=1.0).double()

    def loss(flat):
        weights = flat.view(7, 4)
        return (
            F.cross_entropy(x @ weights, labels, reduction="sum") + weights[:6].square().sum() / 2
        )

    flat = torch.zeros(28, dtype=torch.float64)
    for _ in range(20):
        slope, curve = torch.func.grad(loss)(flat), torch.func.hessian(loss)(flat)
        flat = flat - torch.linalg.lstsq(curve, slope, driver="gelsd").solution
    assert torch.func.grad(loss)(flat).norm() < 1e-6
    scores = F.pad((test - mean) / std, (0, 1), value=1.0).double() @ flat.view(7, 4)
    expected = (scores.argmax(1) == test_labels).double().mean().item()
    assert 0.5 < expected < 1
    found = logistic_accuracy(train, labels, test, test_labels)
    assert found == pytest.approx(expected, abs=0.001)


def test_logistic_regression_does_not_depend_on_the_scale_of_the_features():
    (train, labels), (test, test_labels) = blobs(200, 0), blobs(500, 1)
    scale, shift = torch.tensor([1e-3, 1, 10, 100, 1e3, 1e4]), torch.arange(6) * 10.0
    expected = logistic_accuracy(train, labels, test, test_labels)
    scaled = train * scale + shift, labels, test * scale + shift, test_labels
    assert logistic_accuracy(*scaled) == pytest.approx(expected, abs=0.003)


def test_logistic_regression_leaves_unlabelled_points_out_and_needs_two_classes():
    (train, labels), test = blobs(200, 0), blobs(100, 1)
    mixed = (
        torch.cat([train, 5 * torch.randn(300, 6)]),
        torch.cat([labels, -torch.ones(300).long()]),
    )
    assert logistic_accuracy(*mixed, *test) == logistic_accuracy(train, labels, *test)
    with pytest.raises(DataError, match="two classes at least"):
        logistic_accuracy(train, labels.clamp(max=0), *test)


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


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_knn_of_a_part_of_the_classes_is_that_of_its_points(distance):
    """The mean over the classes' own accuracies, weighted, is that of all."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    train, test = (
        torch.randn(60, 4, generator=generator) + labels[:, None].eq(torch.arange(4)).float()
        for _ in range(2)
    )
    whole = knn_accuracy(train, labels, test, labels, distance=distance)
    parts = [
        knn_accuracy(train, labels, test[labels == c], labels[labels == c], distance=distance)
        for c in range(3)
    ]
    assert 0 < whole < 1
    assert sum(parts) / 3 == pytest.approx(whole)


def test_knn_is_solo_learns_where_every_class_is_tested():
    from solo_gedi.hosts import WeightedKNN

    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn(200, 4, generator=generator), torch.arange(200) % 10
    own, theirs = (WeightedKNN(k=20) for _ in range(2))
    for knn in (own, theirs):
        knn(train_features=features[:100], train_targets=labels[:100])
        knn(test_features=features[100:], test_targets=labels[100:])
    assert own.compute() == pytest.approx(WeightedKNN.__mro__[2].compute(theirs))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_online_knn_computes_in_single_precision(dtype):
    """Mixed precision gives features whose squares 16 bits cannot hold."""
    points = torch.arange(60.0)[:, None] * 8
    labels = torch.arange(60) // 10
    knn = hosts.WeightedKNN(k=3, distance_fx="euclidean")
    knn(train_features=points.to(dtype), train_targets=labels)
    knn(test_features=(points + 1).to(dtype), test_targets=labels)
    exact = hosts.WeightedKNN(k=3, distance_fx="euclidean")
    exact(train_features=points.to(dtype).float(), train_targets=labels)
    exact(test_features=(points + 1).to(dtype).float(), test_targets=labels)
    assert knn.compute() == exact.compute()


def test_cosine_knn_is_that_of_directions():
    """Of long features too, whose inner products no exponential holds."""
    from solo_gedi.hosts import WeightedKNN

    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn(200, 4, generator=generator), torch.arange(200) % 10
    lengths = torch.rand(200, 1, generator=generator) * 100
    found = []
    for given in (F.normalize(features), features * lengths):
        knn = WeightedKNN(k=20, distance_fx="cosine")
        knn(train_features=given[:100], train_targets=labels[:100])
        knn(test_features=given[100:], test_targets=labels[100:])
        found.append(knn.compute())
    assert found[0] == pytest.approx(found[1])
    assert found[0][0] > 0


def test_knn_without_labels_is_refused():
    features = torch.zeros(2, 2)
    with pytest.raises(DataError, match="kNN needs training data with labels"):
        knn_accuracy(features, torch.tensor([-1, -1]), features, torch.tensor([0, 1]))

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch.utils.data import DataLoader

from solo_gedi import hosts
from solo_gedi.evaluation import Features, extract, knn_accuracy
from solo_gedi.methods.registration import register


def blobs(n, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 4
    feats = torch.randn(n, 6, generator=generator) + 2 * torch.eye(6)[labels]
    return Features(feats, labels, labels)


def test_knn_agrees_with_scikit_learns_inverse_distance_weighting():
    train, test = blobs(200, 0), blobs(100, 1)
    reference = KNeighborsClassifier(20, weights=lambda d: 1 / (d + 1e-5))
    reference.fit(train.feats, train.labels)
    expected = reference.score(test.feats, test.labels)
    assert 0.5 < expected < 1
    assert knn_accuracy(train, test) == pytest.approx(expected, abs=0.011)


def test_unlabelled_training_points_do_not_vote():
    train, test = blobs(200, 0), blobs(100, 1)
    noise = torch.randn(300, 6, generator=torch.Generator().manual_seed(2))
    unlabelled = torch.full((300,), -1)
    mixed = Features(
        torch.cat([train.feats, noise]), unlabelled, torch.cat([train.labels, unlabelled])
    )
    assert knn_accuracy(mixed, test) == knn_accuracy(train, test)


@pytest.mark.parametrize(("method", "output"), [("gedi", "z"), ("swav", "p"), ("barlow", "z")])
def test_features_are_those_of_evaluation_mode_in_order(load_config, method, output):
    register()
    hosts.add_dataset("digits", 10)
    torch.manual_seed(0)
    cfg = load_config(method)
    cfg.devices = [0]
    cfg = hosts.parse_pretrain(cfg)
    model = hosts.METHODS[cfg.method](cfg).train()
    x, labels = torch.randn(20, 1, 8, 8), torch.arange(20)
    found = extract(model, DataLoader(list(zip(x, labels, strict=True)), batch_size=7))
    assert model.training
    with torch.no_grad():
        expected = model.eval()(x)
    torch.testing.assert_close(found.feats, expected["feats"])
    assert torch.equal(found.clusters, expected[output].argmax(1))
    assert torch.equal(found.labels, labels)

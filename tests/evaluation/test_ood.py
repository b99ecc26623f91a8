from types import SimpleNamespace

import pytest
import torch

from solo_gedi.data import SampleSpace
from solo_gedi.evaluation import SYNTHETIC, auroc, ood_scores, tasks
from solo_gedi.evaluation.ood import negative_knn_distance, negative_mahalanobis


def known_energy(x):
    """log p(x) = -||x||^2 / 2, by one large and one vanishing logit."""
    log_p = -x.square().sum(-1, keepdim=True) / 2
    return torch.cat([log_p, log_p - 100], -1)


def test_scores_are_those_of_the_known_energy_in_sample_units(make_model):
    space = SampleSpace(shift=(1.0, -1.0), scale=(2.0, 0.5))
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    found = ood_scores(make_model(known_energy, space=space), [(x[:30], None), (x[30:], None)])
    torch.testing.assert_close(found["log_density"], -x.square().sum(1) / 2)
    # d log p / d sample = -input / scale
    expected = -(x / torch.tensor(space.scale)).norm(dim=1)
    torch.testing.assert_close(found["neg_grad_norm"], expected)
    torch.testing.assert_close(found["max_softmax"], torch.ones(50))


def test_auroc_is_high_where_the_density_is(make_model):
    generator = torch.Generator().manual_seed(0)
    near = torch.randn(500, 8, generator=generator)
    far = 3 * torch.randn(500, 8, generator=generator)
    scores = [ood_scores(make_model(known_energy), [(x, None)]) for x in (near, far)]
    for name in ("log_density", "neg_grad_norm"):
        assert auroc(scores[0][name], scores[1][name]) > 0.95
        assert auroc(scores[1][name], scores[0][name]) < 0.05


def test_auroc_is_the_share_of_pairs_in_the_right_order():
    inside, outside = torch.tensor([0.9, 0.4, 0.6]), torch.tensor([0.5, 0.1])
    pairs = [float(a > b) for a in inside for b in outside]
    assert auroc(inside, outside) == pytest.approx(sum(pairs) / len(pairs))
    assert auroc(inside, inside) == pytest.approx(0.5)


def test_synthetic_out_sets_are_what_they_say():
    space = SampleSpace.of_images((0.3, 0.5), (0.2, 0.4))
    x = space.to_input(torch.rand(20, 2, 5, 5, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    generator = torch.Generator().manual_seed(0)
    shuffled = SYNTHETIC["shuffled"](x, space, generator)
    # The same pixels (both channels of each together), not in the same places.
    for before, after in zip(x.flatten(2), shuffled.flatten(2), strict=True):
        assert sorted(map(tuple, before.T.tolist())) == sorted(map(tuple, after.T.tolist()))
    assert not torch.equal(shuffled, x)
    uniform = space.to_samples(SYNTHETIC["uniform"](x, space, generator))
    assert uniform.shape == x.shape
    assert uniform.min() >= -1.001
    assert uniform.max() <= 1.001
    assert uniform.std() == pytest.approx(2 / 12**0.5, abs=0.03)


def test_every_image_has_an_order_of_its_own_which_the_generator_gives():
    space = SampleSpace.of_images((0.5,), (0.5,))
    x = torch.arange(25.0).expand(6, 1, 25).reshape(6, 1, 5, 5)
    shuffle = SYNTHETIC["shuffled"]
    first, again = (shuffle(x, space, torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(first, again)
    assert len(first.flatten(1).unique(dim=0)) == 6


def test_noise_is_new_for_every_batch():
    x, labels = torch.zeros(4, 1, 3, 3), torch.zeros(4)
    model = SimpleNamespace(space=SampleSpace.of_images((0.5,), (0.5,)))
    subject = SimpleNamespace(model=model, test_loader=[(x, labels)] * 3)
    noise = torch.cat([batch for batch, _ in tasks._others(subject, "uniform")])
    assert len(noise.flatten(1).unique(dim=0)) == 12
    again = torch.cat([batch for batch, _ in tasks._others(subject, "uniform")])
    assert torch.equal(noise, again)


@pytest.mark.parametrize("k", [1, 5, 40, 100])
def test_knn_distance_is_that_of_directions_to_the_kth_of_them(k):
    generator = torch.Generator().manual_seed(0)
    train, those = (torch.randn(n, 6, generator=generator) for n in (40, 9))
    directions = (x / x.norm(dim=1, keepdim=True) for x in (those, train))
    expected = torch.cdist(*directions).sort(1).values[:, min(k, 40) - 1]
    found = negative_knn_distance(train, those, k)
    torch.testing.assert_close(found, -expected)
    torch.testing.assert_close(negative_knn_distance(3 * train, those / 7, k), found)


def test_mahalanobis_is_that_of_the_gaussian_of_the_training_features():
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(6, 6, generator=generator)
    train, those = (torch.randn(n, 6, generator=generator) @ mix + 3 for n in (20_000, 50))
    # Of so many the shrinking is nearly nothing.
    away = (those - train.mean(0)).double()
    expected = (away @ torch.linalg.inv(train.T.double().cov()) * away).sum(1).sqrt()
    torch.testing.assert_close(
        negative_mahalanobis(train, those), -expected.float(), rtol=0.01, atol=0
    )


def test_mahalanobis_stays_finite_where_features_are_fewer_than_dimensions_or_constant():
    generator = torch.Generator().manual_seed(0)
    few = torch.cat([torch.randn(5, 8, generator=generator), torch.zeros(5, 2)], 1)
    assert negative_mahalanobis(few, few + 1).isfinite().all()


def test_distances_need_training_features(make_model):
    near = torch.randn(200, 2, generator=torch.Generator().manual_seed(0)) + 5
    model = make_model(known_energy)
    assert not {"knn_distance", "mahalanobis"} & ood_scores(model, [(near, None)]).keys()
    for k in (1, 7):
        found = ood_scores(model, [(-near, None)], near, k)["knn_distance"]
        torch.testing.assert_close(found, negative_knn_distance(near, -near, k))
    inside, outside = (ood_scores(model, [(x, None)], near, k=10) for x in (near, -near))
    for score in ("knn_distance", "mahalanobis"):
        assert auroc(inside[score], outside[score]) == 1

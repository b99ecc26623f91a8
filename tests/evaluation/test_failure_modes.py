import math

import pytest
import torch

from solo_gedi.evaluation import failure_modes_of

X = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0))
BATCHES = [(X[:700], None), (X[700:], None)]


@pytest.fixture
def measure(make_model):
    return lambda features, scores: failure_modes_of(make_model(scores, features), BATCHES, 0.01)


def sides(features):
    return 50 * torch.stack([features[:, 0], -features[:, 0]], 1)


def test_a_good_solution_shows_none_of_the_three(measure):
    found = measure(lambda x: x, sides)
    assert found["feature_std"] == pytest.approx(1, abs=0.1)
    assert found["effective_rank"] == pytest.approx(2, abs=0.05)
    assert found["cluster_entropy"] == pytest.approx(math.log(2), abs=0.01)
    assert found["largest_cluster_share"] == pytest.approx(0.5, abs=0.03)
    assert found["view_agreement"] > 0.98
    assert found["permutation_gap"] > 1


def test_representation_collapse(measure):
    found = measure(lambda x: torch.ones(len(x), 2), sides)
    assert found["feature_std"] == 0
    assert found["effective_rank"] == 1


def test_cluster_collapse(measure):
    found = measure(lambda x: x, lambda x: torch.tensor([[50.0, 0.0]]).expand(len(x), 2))
    assert found["cluster_entropy"] == pytest.approx(0, abs=1e-6)
    assert found["largest_cluster_share"] == 1


def test_clusters_that_know_nothing_of_the_point(measure):
    """Clusters that flip with the slightest noise: any permutation is as good."""
    found = measure(
        lambda x: x, lambda x: 50 * torch.stack([(1e5 * x[:, 0]).sin(), -(1e5 * x[:, 0]).sin()], 1)
    )
    assert found["view_agreement"] == pytest.approx(0.5, abs=0.05)
    assert abs(found["permutation_gap"]) < 3
    assert found["cluster_entropy"] == pytest.approx(math.log(2), abs=0.01)

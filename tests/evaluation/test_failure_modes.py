import math

import pytest
import torch

from solo_gedi.core import failure_modes
from solo_gedi.data import fixed_points, spec_of
from solo_gedi.evaluation import failure_modes_of, neighbour_cuts

X = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0))
BATCHES = [(X[:700], None), (X[700:], None)]


def _generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def measure(make_model):
    return lambda features, scores: failure_modes_of(make_model(scores, features), BATCHES, 0.01)


def sides(features):
    return 50 * torch.stack([features[:, 0], -features[:, 0]], 1)


def test_a_good_solution_shows_none_of_the_three(measure):
    found = measure(lambda x: x, sides)
    assert found["feature_std"] == pytest.approx(1, abs=0.1)
    two = failure_modes.feature_std(torch.tensor([[-1.0, 2.0], [1.0, 2.0]]))
    assert two == 0.5, "the mean of 1 and 0: that of the points, no estimate"
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


@pytest.mark.parametrize("name", ["moons", "circles"])
def test_cutting_through_manifolds_is_told_from_parting_them(name):
    """Failure mode 3 without labels: every view agrees, but half the labels have swapped."""
    points, labels = fixed_points(spec_of(name), seed=1)
    right = (points[:, 0] > points[:, 0].mean()).long()
    random = torch.randint(0, 2, (2000,), generator=torch.Generator().manual_seed(0))
    parted, cut, swapped, chance = (
        neighbour_cuts(points, clusters)["model"]
        for clusters in (labels, right, labels ^ right, random)
    )
    assert parted < 0.001
    assert cut > 0.01
    assert swapped > 0.01
    assert chance == pytest.approx(1, abs=0.03)
    # What the data allow is found without labels too.
    assert neighbour_cuts(points, right)["spectral"] < 0.001
    assert neighbour_cuts(points, torch.zeros(2000, dtype=torch.long)) == {}


def test_the_views_of_a_measure_are_always_the_same(make_model):
    model = make_model(sides)
    first, again, coarse = (failure_modes_of(model, BATCHES, noise) for noise in (0.1, 0.1, 3.0))
    assert first == again
    assert coarse["view_agreement"] < first["view_agreement"] < 1
    assert failure_modes_of(model, BATCHES, 0)["view_agreement"] == 1


def test_spectral_clustering_halves_a_line():
    line = torch.arange(60.0)[:, None] + 0.2 * torch.randn(60, 1, generator=_generator())
    halves = torch.arange(60) // 30
    found = neighbour_cuts(line, halves, k=4)
    assert found["spectral"] == pytest.approx(found["model"], abs=0.01)
    thirds = neighbour_cuts(line, torch.arange(60) // 20, k=4)
    assert thirds["spectral"] == pytest.approx(thirds["model"], abs=0.02)
    assert found["model"] < thirds["model"]


def test_points_in_clusters_of_their_own_have_no_edges_to_judge():
    assert neighbour_cuts(torch.randn(5, 2), torch.arange(5), k=2) == {}


def test_the_least_cut_of_one_cloud_is_not_nothing():
    points = X[:500]
    found = neighbour_cuts(points, (torch.arange(500) % 3))
    assert found["model"] == pytest.approx(1, abs=0.05)
    assert 0.01 < found["spectral"] < 0.3

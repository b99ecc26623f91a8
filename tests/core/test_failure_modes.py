import math

import pytest
import scipy.stats
import torch
from torch.nn.functional import one_hot

from solo_gedi.core import cluster_entropy, clusters_used
from solo_gedi.core.failure_modes import effective_rank, neighbour_cut


@pytest.mark.parametrize(("n", "c"), [(1, 2), (5, 3), (64, 10)])
def test_cluster_entropy_is_the_entropy_of_the_mean_prediction(n, c):
    logits = 3 * torch.randn(n, c, generator=torch.Generator().manual_seed(n)).double()
    mean_prediction = scipy.special.softmax(logits.numpy(), axis=1).mean(axis=0)
    expected = scipy.stats.entropy(mean_prediction)
    assert cluster_entropy(logits).item() == pytest.approx(expected, rel=1e-10)


def test_cluster_entropy_is_log_c_for_clusters_used_alike():
    balanced = 1e4 * one_hot(torch.arange(20) % 5).float()
    unsure = torch.zeros(20, 5)
    assert cluster_entropy(balanced).item() == pytest.approx(math.log(5), rel=1e-6)
    assert cluster_entropy(unsure).item() == pytest.approx(math.log(5), rel=1e-6)


def test_cluster_entropy_is_zero_under_cluster_collapse():
    collapsed = 1e4 * one_hot(torch.full((20,), 3), 5).float()
    assert cluster_entropy(collapsed).item() == 0


def test_cluster_entropy_counts_the_clusters_in_use():
    two_of_five = 1e4 * one_hot(torch.arange(20) % 2, 5).float()
    assert cluster_entropy(two_of_five).item() == pytest.approx(math.log(2), rel=1e-6)


@pytest.mark.parametrize(("n", "c"), [(1, 2), (5, 3), (64, 10), (20, 300)])
def test_clusters_used_counts_the_distinct_predictions(n, c):
    logits = torch.randn(n, c, generator=torch.Generator().manual_seed(n))
    distinct = {max(range(c), key=row.__getitem__) for row in logits.tolist()}
    assert clusters_used(logits) == len(distinct)


def test_clusters_used_is_one_under_cluster_collapse():
    assert clusters_used(one_hot(torch.full((20,), 3), 5).float()) == 1


def test_features_that_are_not_finite_have_no_rank():
    features = torch.randn(10, 3)
    features[2, 1] = float("inf")
    assert effective_rank(features).isnan()


@pytest.mark.parametrize("number", [2, 3])
def test_neighbour_cut_is_the_share_of_edges_over_that_of_permuted_clusters(number):
    generator = torch.Generator().manual_seed(0)
    clusters = torch.randint(0, number, (200,), generator=generator) * 2  # cluster 1 is empty
    neighbours = torch.randint(0, 200, (200, 7), generator=generator)
    cut = sum(
        int(clusters[i] != clusters[j]) for i in range(200) for j in neighbours[i].tolist()
    ) / (200 * 7)
    sizes = [(clusters == y).float().mean().item() for y in (0, 2, 4)]
    expected = cut / (1 - sum(size**2 for size in sizes))
    assert neighbour_cut(clusters, neighbours).item() == pytest.approx(expected, rel=1e-5)
    assert expected == pytest.approx(1, abs=0.1)


def test_neighbour_cut_of_a_single_cluster_is_no_number():
    assert neighbour_cut(torch.full((5,), 2), torch.zeros(5, 1, dtype=torch.long)).isnan()

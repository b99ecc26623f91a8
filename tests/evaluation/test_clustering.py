import numpy as np
import pytest
import torch
from sklearn import metrics

from solo_gedi.errors import DataError
from solo_gedi.evaluation.clustering import (
    cluster_accuracy,
    cluster_usage,
    clustering_metrics,
    kmeans_clusters,
    minibatch_nmi,
)


def test_renamed_clusters_are_perfect():
    labels = torch.arange(10).repeat(5)
    renamed = (labels * 7 + 3) % 10
    found = clustering_metrics(labels, renamed)
    assert found == pytest.approx({"nmi": 1, "ami": 1, "ari": 1, "cluster_acc": 1})


def test_one_cluster_says_nothing():
    labels = torch.arange(10).repeat(5)
    found = clustering_metrics(labels, torch.zeros(50))
    assert found["nmi"] == found["ari"] == pytest.approx(0)
    assert found["cluster_acc"] == pytest.approx(0.1)


def test_use_of_clusters_is_counted_without_labels():
    even = cluster_usage(torch.arange(10).repeat(5) * 3)
    of_ten = {"clusters_used": 10, "largest_cluster": 5, "smallest_cluster": 5}
    assert even == pytest.approx({**of_ten, "assignment_entropy": np.log(10)})
    uneven = cluster_usage(torch.tensor([4, 4, 4, 9]))
    shares = np.array([0.75, 0.25])
    of_two = {"clusters_used": 2, "largest_cluster": 3, "smallest_cluster": 1}
    entropy = -(shares * np.log(shares)).sum()
    assert uneven == pytest.approx({**of_two, "assignment_entropy": entropy})
    assert cluster_usage(torch.zeros(50))["assignment_entropy"] == 0


def test_metrics_agree_with_scikit_learn_on_random_clusters():
    rng = np.random.default_rng(0)
    labels, clusters = rng.integers(0, 5, 200), rng.integers(0, 7, 200)
    found = clustering_metrics(torch.from_numpy(labels), torch.from_numpy(clusters))
    assert found["nmi"] == pytest.approx(metrics.normalized_mutual_info_score(labels, clusters))
    assert found["ami"] == pytest.approx(metrics.adjusted_mutual_info_score(labels, clusters))
    assert found["ari"] == pytest.approx(metrics.adjusted_rand_score(labels, clusters))


def test_matching_beats_or_equals_every_renaming():
    from itertools import permutations

    rng = np.random.default_rng(1)
    labels, clusters = rng.integers(0, 4, 60), rng.integers(0, 4, 60)
    best = max(np.mean(np.array(order)[clusters] == labels) for order in permutations(range(4)))
    found = cluster_accuracy(torch.from_numpy(labels), torch.from_numpy(clusters))
    assert found == pytest.approx(best)


@pytest.mark.parametrize(
    ("classes", "clusters", "whole", "of_64", "of_100"),
    [(10, 10, 0.002, 0.31, 0.21), (100, 100, 0.12, 0.90, 0.86), (10, 128, 0.017, 0.64, 0.58)],
)
def test_minibatch_nmi_of_random_clusters_is_its_chance_level(
    classes, clusters, whole, of_64, of_100
):
    """The table of docs/concepts/numbers.md: balanced classes, 10,000 points."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(classes).repeat(10_000 // classes)
    drawn = torch.randint(0, clusters, (10_000,), generator=generator)
    assert metrics.normalized_mutual_info_score(labels, drawn) == pytest.approx(whole, abs=0.005)
    for batch, chance in ((64, of_64), (100, of_100)):
        found = minibatch_nmi(labels, drawn, batch)
        assert found["nmi"] == pytest.approx(chance, abs=0.01)
        assert found["nmi"] == pytest.approx(found["chance"], abs=0.01)


def test_minibatch_nmi_of_perfect_clusters_is_far_above_chance():
    labels = torch.arange(10).repeat(100)
    found = minibatch_nmi(labels, labels, 64)
    assert found["nmi"] == pytest.approx(1)
    assert found["chance"] < 0.4


def test_kmeans_finds_what_lies_apart_and_the_same_each_time():
    labels = torch.arange(3).repeat(20)
    features = 10 * torch.eye(3)[labels] + torch.randn(60, 3)
    clusters = kmeans_clusters(features, 3)
    assert cluster_accuracy(labels, clusters) == 1
    assert torch.equal(clusters, kmeans_clusters(features, 3))


def test_as_many_points_as_clusters_are_a_cluster_each():
    assert sorted(kmeans_clusters(torch.eye(3), 3).tolist()) == [0, 1, 2]


def test_fewer_points_than_clusters_are_refused():
    with pytest.raises(DataError, match="k-means with k=3 cannot cluster 2 images"):
        kmeans_clusters(torch.zeros(2, 4), 3)

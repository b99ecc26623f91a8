"""Which images are shown, against what can be counted by hand."""

import pytest
import torch
from sklearn.decomposition import PCA

from solo_gedi.evaluation.features import Features
from solo_gedi.evaluation.galleries import (
    cluster_groups,
    confusion,
    extreme_groups,
    plane,
    spread,
)


def found(clusters, labels, confidence):
    n = len(clusters)
    tensors = (torch.tensor(values) for values in (clusters, labels, confidence))
    return Features(torch.zeros(n, 2), *tensors, torch.zeros(n))


def numbered(n):
    """Images whose pixels say which they are."""
    return torch.arange(n).float()[:, None, None, None].expand(n, 1, 2, 2).__getitem__


def test_groups_go_from_sure_to_unsure():
    of = found([2, 0, 2, 2, 0], [0, 1, 1, 0, 1], [0.5, 0.9, 0.7, 0.6, 0.95])
    first, second = cluster_groups(numbered(5), of, ["cat", "dog"])
    assert (first.title, second.title) == ("Cluster 0", "Cluster 2")
    assert first.images[:, 0, 0, 0].tolist() == [4, 1]
    assert second.images[:, 0, 0, 0].tolist() == [2, 3, 0]
    assert second.captions == ["0.700, dog", "0.600, cat", "0.500, cat"]
    assert second.note == "3 images, 60.0%; most of class cat (2), dog (1)"
    (only, _) = cluster_groups(numbered(5), of, [])
    assert only.note == "2 images, 40.0%"


def test_the_largest_clusters_are_shown_with_some_of_their_images():
    clusters = [0] * 2 + [1] * 30 + [2] * 5 + [3] * 20
    of = found(clusters, [0] * 57, [1 - k / 100 for k in range(57)])
    groups = cluster_groups(numbered(57), of, [], most=4, clusters=2)
    assert [group.title for group in groups] == ["Cluster 1", "Cluster 3"]
    assert groups[0].images[:, 0, 0, 0].tolist() == [2, 12, 21, 31]


@pytest.mark.parametrize(("n", "most"), [(1, 1), (7, 7), (100, 12), (13, 12), (5, 9)])
def test_places_are_spread_from_the_first_to_the_last(n, most):
    places = spread(n, most)
    assert len(places) == len(set(places)) == min(n, most)
    assert (places[0], places[-1]) == (0, n - 1)
    gaps = {b - a for a, b in zip(places, places[1:], strict=False)}
    assert not gaps or max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize(("n", "each"), [(100, 24), (10, 5), (1, 1)])
def test_the_most_and_the_least_likely(n, each):
    log_p = torch.randperm(n, generator=torch.Generator().manual_seed(0)).float()
    high, low = extreme_groups(numbered(n), log_p)
    order = log_p.argsort().tolist()
    assert high.images[:, 0, 0, 0].tolist() == order[::-1][:each]
    assert low.images[:, 0, 0, 0].tolist() == order[:each]


def test_the_plane_is_that_of_pca():
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 7)
    places, kept = plane(x)
    expected = PCA(2, svd_solver="full").fit(x.numpy())
    assert kept == pytest.approx(expected.explained_variance_ratio_.sum(), rel=1e-4)
    torch.testing.assert_close(
        places.abs(), torch.from_numpy(expected.transform(x.numpy())).abs(), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("x", [torch.ones(1, 3), torch.ones(9, 3), torch.ones(4, 1)])
def test_features_that_do_not_vary_are_one_place(x):
    places, _ = plane(x)
    assert places.tolist() == [[0, 0]] * len(x)


def test_confusion_counts_every_point_once_and_puts_matches_on_the_diagonal():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (200,), generator=generator)
    clusters = (labels + 2) % 4 + 3  # of 8, some unused
    clusters[:10] = 0
    of = Features(torch.zeros(200, 1), clusters, labels, torch.ones(200), torch.zeros(200))
    table, used = confusion(of, 8, 4)
    assert used == [5, 6, 3, 4, 0]
    for row, cluster in enumerate(used):
        for label in range(4):
            assert table[row, label] == ((clusters == cluster) & (labels == label)).sum()

import math

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from solo_gedi.data import SampleSpace
from solo_gedi.evaluation import triad


class Method(nn.Module):
    cfg = OmegaConf.create({"method": "gedi"})
    device = torch.device("cpu")

    def __init__(self, feats, logits):
        super().__init__()
        self.feats, self.logits = feats, logits

    def forward(self, x):
        feats = self.feats(x)
        return {"feats": feats, "z": self.logits(feats)}


X = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0))
BATCHES = [(X[:700], None), (X[700:], None)]


def measure(feats, logits, noise=0.01):
    return triad(Method(feats, logits), SampleSpace(), BATCHES, noise)


def sides(feats):
    return 50 * torch.stack([feats[:, 0], -feats[:, 0]], 1)


def test_a_good_solution_shows_none_of_the_three():
    found = measure(lambda x: x, sides)
    assert found["feature_std"] == pytest.approx(1, abs=0.1)
    assert found["effective_rank"] == pytest.approx(2, abs=0.05)
    assert found["cluster_entropy"] == pytest.approx(math.log(2), abs=0.01)
    assert found["largest_cluster_share"] == pytest.approx(0.5, abs=0.03)
    assert found["view_agreement"] > 0.98
    assert found["permutation_gap"] > 1


def test_representation_collapse():
    found = measure(lambda x: torch.ones(len(x), 2), sides)
    assert found["feature_std"] == 0
    assert found["effective_rank"] == 1


def test_cluster_collapse():
    found = measure(lambda x: x, lambda x: torch.tensor([[50.0, 0.0]]).expand(len(x), 2))
    assert found["cluster_entropy"] == pytest.approx(0, abs=1e-6)
    assert found["largest_cluster_share"] == 1


def test_clusters_that_know_nothing_of_the_point():
    """Clusters that flip with the slightest noise: any permutation is as good."""
    found = measure(
        lambda x: x, lambda x: 50 * torch.stack([(1e5 * x[:, 0]).sin(), -(1e5 * x[:, 0]).sin()], 1)
    )
    assert found["view_agreement"] == pytest.approx(0.5, abs=0.05)
    assert abs(found["permutation_gap"]) < 3
    assert found["cluster_entropy"] == pytest.approx(math.log(2), abs=0.01)

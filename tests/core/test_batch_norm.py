import pytest
import torch
from torch import nn

from solo_gedi.core import kept_statistics, mixes_batch


def test_batch_norm_mixes_a_batch_and_so_does_a_layer_that_says_so():
    class Mixing(nn.Identity):
        mixes_batch = True

    assert mixes_batch(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Sequential(nn.BatchNorm2d(2))))
    assert mixes_batch(nn.Sequential(nn.Linear(2, 2), Mixing()))
    assert not mixes_batch(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.GroupNorm(1, 2)))


def test_kept_statistics_are_kept_while_a_batch_is_normalised_by_its_own():
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2), nn.BatchNorm1d(2))
    network(torch.randn(20, 3))
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    x = 7 + 3 * torch.randn(20, 3)
    with kept_statistics(network):
        found = network(x)
    for name, buffer in network.named_buffers():
        torch.testing.assert_close(buffer, before[name])
    torch.testing.assert_close(found, network(x))
    assert not torch.equal(network[0].running_mean, before["0.running_mean"])  # tracked again


def test_statistics_are_tracked_again_after_an_error():
    layer = nn.BatchNorm1d(3)
    with pytest.raises(ValueError, match="more than 1 value"), kept_statistics(layer):
        layer(torch.zeros(1, 3))
    assert layer.track_running_stats

from torch import nn

from solo_gedi.core import mixes_batch


def test_batch_norm_mixes_a_batch_and_so_does_a_layer_that_says_so():
    class Mixing(nn.Identity):
        mixes_batch = True

    assert mixes_batch(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Sequential(nn.BatchNorm2d(2))))
    assert mixes_batch(nn.Sequential(nn.Linear(2, 2), Mixing()))
    assert not mixes_batch(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.GroupNorm(1, 2)))

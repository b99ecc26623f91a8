import pytest
import torch
import torch.nn.functional as F
from torch import nn

from solo_gedi.core import mixes_batch, statistics_of_first


def test_batch_norm_mixes_a_batch_and_so_does_a_layer_that_says_so():
    class Mixing(nn.Identity):
        mixes_batch = True

    assert mixes_batch(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Sequential(nn.BatchNorm2d(2))))
    assert mixes_batch(nn.Sequential(nn.Linear(2, 2), Mixing()))
    assert not mixes_batch(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.GroupNorm(1, 2)))


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [(7, 3), (7, 3, 4, 5)])
def test_the_first_points_are_normalised_as_in_training_and_the_others_like_them(shape, affine):
    torch.manual_seed(0)
    layer = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(3, affine=affine).double()
    if affine:
        nn.init.uniform_(layer.weight, 1, 2)
        nn.init.uniform_(layer.bias)
    x = (torch.randn(shape) * 3 + 2).double()
    first = F.batch_norm(x[:4], None, None, layer.weight, layer.bias, training=True)
    with statistics_of_first(4, layer.eval()):
        y = layer(x)
    torch.testing.assert_close(y[:4], first)
    # Batch norm is a line for each channel: through two of the first points, and so for the rest.
    (x0, x1), (y0, y1) = x[:2, :1].flatten(1)[:, 0], y[:2, :1].flatten(1)[:, 0]
    line = y0 + (x[4:, 0] - x0) * (y1 - y0) / (x1 - x0)
    torch.testing.assert_close(y[4:, 0], line)


def test_gradients_run_through_the_statistics():
    layer, x = nn.BatchNorm1d(3).double().eval(), torch.randn(6, 3, dtype=torch.double)
    x.requires_grad_()

    def normalised(x):
        with statistics_of_first(4, layer):
            return layer(x)

    assert torch.autograd.gradcheck(normalised, x)


def test_afterwards_batch_norm_is_as_before():
    network, x = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).eval(), torch.randn(6, 3)
    before, state = network(x), {k: v.clone() for k, v in network.state_dict().items()}
    with pytest.raises(RuntimeError, match="shapes"), statistics_of_first(4, network):
        network(x[:, :2])
    assert torch.equal(network(x), before)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_half_precision_comes_back_in_half_precision():
    layer, x = nn.BatchNorm1d(3).eval().bfloat16(), torch.randn(6, 3).bfloat16()
    with statistics_of_first(4, layer):
        assert layer(x).dtype == torch.bfloat16

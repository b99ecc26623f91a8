import pytest
import torch

from solo_gedi.backbones import MLP


def test_default_is_the_2_100_100_2_perceptron_of_the_paper():
    sizes = [tuple(parameter.shape) for parameter in MLP().parameters()]
    assert sizes == [(100, 2), (100,), (100, 100), (100,), (2, 100), (2,)]


@pytest.mark.parametrize(("in_dim", "hidden_dim", "num_features"), [(2, 100, 2), (3, 7, 5)])
def test_network_is_two_relu_layers_and_a_linear_one(in_dim, hidden_dim, num_features):
    torch.manual_seed(0)
    model, x = MLP(in_dim, hidden_dim, num_features), torch.randn(6, in_dim)
    w1, b1, w2, b2, w3, b3 = model.parameters()
    hidden = (x @ w1.T + b1).clamp(min=0)
    hidden = (hidden @ w2.T + b2).clamp(min=0)
    torch.testing.assert_close(model(x), hidden @ w3.T + b3)
    assert sum(p.numel() for p in model.parameters()) == (
        (in_dim + 1) * hidden_dim + (hidden_dim + 1) * hidden_dim + (hidden_dim + 1) * num_features
    )

import pytest
import torch
from torch import nn

from solo_gedi.core import limit_spectral_norm, limit_spectral_norms


def largest(weight):
    return torch.linalg.svdvals(weight.flatten(1) if weight.dim() == 4 else weight)[..., 0]


def test_matrices_are_scaled_to_the_limit_or_left_alone():
    weight = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0))
    weight[1] *= 0.1
    before = weight.clone()
    limit_spectral_norm(weight, 1.5)
    torch.testing.assert_close(largest(weight[::2]), torch.tensor([1.5, 1.5]))
    assert torch.equal(weight[1], before[1])
    # The direction of a scaled one stays.
    torch.testing.assert_close(weight[0] / weight[0].norm(), before[0] / before[0].norm())


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_weights_that_are_zero_or_not_finite_stay_so(value):
    weight = torch.full((4, 3), value)
    limit_spectral_norm(weight, 1.0)
    assert torch.equal(weight.isfinite(), torch.full((4, 3), value == 0))


def test_layers_that_stack_matrices_take_part():
    class Stack(nn.Module):
        is_matrix_stack = True

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 5, 7))

    torch.manual_seed(0)
    network = nn.Sequential(Stack(), nn.BatchNorm1d(7))
    limit_spectral_norms(network, 0.5)
    torch.testing.assert_close(largest(network[0].weight.detach()), torch.full((3,), 0.5))
    assert torch.equal(network[1].weight, torch.ones(7))


def test_every_layer_of_a_network_is_bounded_in_any_memory_format():
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(1, 3, 3), nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)]
    network = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(8, 40))
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    network.to(memory_format=torch.channels_last)
    kept = {name: p.clone() for name, p in network.named_parameters() if p.dim() == 1}
    limit_spectral_norms(network, 0.7)
    for layer in (network[0], network[1], network[4]):
        torch.testing.assert_close(largest(layer.weight.contiguous()), torch.tensor(0.7))
    assert all(torch.equal(p, kept[n]) for n, p in network.named_parameters() if n in kept)

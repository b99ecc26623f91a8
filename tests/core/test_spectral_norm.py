import copy

import pytest
import torch
from torch import nn

from solo_gedi.core import SpectralBound


def largest(weight):
    """The exact value of a layer's matrix, or of each in a stack."""
    return torch.linalg.svdvals(weight.detach())[..., 0]


class Stack(nn.Module):
    is_matrix_stack = True

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 5, 7))

    def forward(self, x):
        return x


@pytest.fixture
def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 3, 3), nn.Conv2d(3, 8, 3), nn.Conv1d(8, 8, 2), nn.BatchNorm2d(8)]
    network = nn.Sequential(*layers, nn.Linear(8, 40), Stack())
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    return network


def matrices(network):
    return [*(network[i].weight.flatten(1) for i in (0, 1, 2, 4)), network[5].weight]


def exact(network):
    return torch.cat([largest(matrix).view(-1) for matrix in matrices(network)])


@pytest.mark.parametrize("channels_last", [False, True])
def test_every_layer_is_scaled_to_the_limit_or_left_alone(network, channels_last):
    with torch.no_grad():
        network[5].weight[1] *= 0.01
    before = copy.deepcopy(network)
    if channels_last:
        for layer in network[:2]:
            layer.to(memory_format=torch.channels_last)
    SpectralBound([network], 0.7).apply()
    expected = exact(before).clamp_max(0.7)
    torch.testing.assert_close(exact(network), expected, rtol=1e-3, atol=0)
    assert torch.equal(network[5].weight[1], before[5].weight[1])
    for name, parameter in network.named_parameters():
        own = before.get_parameter(name)
        if parameter.dim() == 1:  # biases, and all of batch norm
            assert torch.equal(parameter, own)
        # The direction of a scaled one stays.
        cosine = nn.functional.cosine_similarity(parameter.flatten(), own.flatten(), dim=0)
        if name != "5.weight":
            assert cosine > 1 - 1e-6


def test_one_iteration_a_step_keeps_the_exact_value_near_the_limit(network):
    """While an optimizer pushes all weights beyond it, every 50 steps into another direction."""
    bound, optimizer = SpectralBound([network], 2.0), torch.optim.Adam(network.parameters(), 1e-2)
    generator = torch.Generator().manual_seed(1)
    for step in range(200):
        if step % 50 == 0:
            targets = [torch.randn(m.shape, generator=generator) for m in matrices(network)]
        pairs = zip(matrices(network), targets, strict=True)
        optimizer.zero_grad()
        sum(-(matrix * target).sum() for matrix, target in pairs).backward()
        optimizer.step()
        bound.apply()
        assert exact(network).max() < 2.0 * 1.1
    torch.testing.assert_close(exact(network), torch.full((7,), 2.0), rtol=0.01, atol=0)


def test_a_restored_bound_goes_on_bit_for_bit(network):
    bound, weight = SpectralBound([network], 0.7), network[4].weight
    bound.apply()
    twin = copy.deepcopy(network)
    restored = SpectralBound([twin], 0.7)
    restored.load_state_dict(bound.state_dict())
    with torch.no_grad():
        for each in (weight, twin[4].weight):
            each.add_(0.3)
    bound.apply(), restored.apply()
    assert torch.equal(weight, twin[4].weight)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_weights_that_are_zero_or_not_finite_stay_so_and_it_recovers(value):
    layer = nn.Linear(3, 4)
    bound, good = SpectralBound([layer], 1.0), 5 * torch.randn(4, 3)
    for weight in (torch.full((4, 3), value), good):
        for _ in range(30):
            layer.weight.data.copy_(weight)
            bound.apply()
        if weight is not good:
            assert torch.equal(layer.weight.isfinite(), torch.full((4, 3), value == 0))
    assert largest(layer.weight).item() == pytest.approx(1, rel=1e-3)


def test_the_networks_of_two_processes_stay_equal_whatever_their_seeds(network):
    twin = copy.deepcopy(network)
    for seed, each in enumerate((network, twin)):
        torch.manual_seed(seed)
        SpectralBound([each], 0.7).apply()
    assert all(torch.equal(a, b) for a, b in zip(matrices(network), matrices(twin), strict=True))


def test_small_weights_are_bounded_as_well(network):
    with torch.no_grad():
        for parameter in network.parameters():
            parameter *= 1e-3
    SpectralBound([network], 1e-4).apply()
    torch.testing.assert_close(exact(network), torch.full((7,), 1e-4), rtol=1e-3, atol=0)

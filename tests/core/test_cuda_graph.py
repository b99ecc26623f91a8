"""When a draw is captured as a CUDA graph, replayed, or given up, with a capture that is none."""

import logging

import pytest
import torch
from torch import nn

from solo_gedi.core import ReplayBuffer, Sampler, SGLDSettings, sampler
from solo_gedi.core.cuda_graph import GraphedLoop


def noisy(chains, generator):
    noise = torch.randn(chains.shape, generator=generator)
    return chains + noise, noise.abs().amax()


class Captures:
    """Stands for CUDA's captures: counts them, and replays the loop with the graph's generator."""

    def __init__(self, failing=False):
        self.shapes, self.replays, self.failing = [], 0, failing

    def __call__(self, loop, chains, generator):
        self.shapes.append(tuple(chains.shape))
        if self.failing:
            loop(chains, generator)
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\n...")

        def replay(chains):
            self.replays += 1
            return loop(chains, generator)

        return replay


def test_it_is_captured_once_and_the_noise_goes_on_as_in_the_loop():
    captures, twin = Captures(), torch.Generator().manual_seed(3)
    graphed, generator = GraphedLoop(noisy, capture=captures), torch.Generator().manual_seed(3)
    for _ in range(3):
        x = torch.randn(4, 2)
        for one, other in zip(graphed(x, generator), noisy(x, twin), strict=True):
            assert torch.equal(one, other)
    assert (captures.shapes, captures.replays) == ([(4, 2)], 3)
    # What is drawn outside of the graph lies between its replays.
    assert torch.equal(torch.randn(3, generator=generator), torch.randn(3, generator=twin))
    generator.manual_seed(5), twin.manual_seed(5)
    assert torch.equal(graphed(x, generator)[0], noisy(x, twin)[0])


def test_another_shape_or_type_or_place_of_the_weights_is_captured_anew():
    captures, layer = Captures(), nn.Linear(2, 2)
    graphed = GraphedLoop(noisy, layer.parameters, captures)
    generator = torch.Generator()
    for x in (torch.zeros(4, 2), torch.zeros(3, 2), torch.zeros(3, 2).double()):
        for _ in range(2):
            graphed(x, generator)
    assert captures.shapes == [(4, 2), (3, 2), (3, 2)]
    with torch.no_grad():
        layer.weight.add_(1)  # in place, as an optimizer does
    graphed(x, generator)
    assert len(captures.shapes) == 3
    layer.weight.data = layer.weight.data.clone()  # as `Module.to` does
    graphed(x, generator)
    assert len(captures.shapes) == 4


def test_where_a_capture_fails_the_loop_runs_and_one_warning_says_why(caplog):
    captures, twin = Captures(failing=True), torch.Generator().manual_seed(3)
    graphed, generator = GraphedLoop(noisy, capture=captures), torch.Generator().manual_seed(3)
    x = torch.zeros(4, 2)
    with caplog.at_level(logging.WARNING, "solo_gedi"):
        for _ in range(3):
            assert torch.equal(graphed(x, generator)[0], noisy(x, twin)[0])
    (said,) = caplog.messages
    assert said.startswith("The sampler runs without a CUDA graph: CUDA error: operation not perm")
    assert captures.shapes == [(4, 2)]
    assert captures.replays == 0


@pytest.fixture
def graphed_sampler(monkeypatch):
    """A sampler that takes the CPU for a GPU, and stand-ins for captures and compilation."""
    captures = Captures()

    class OnCPU(GraphedLoop):
        def __init__(self, loop, weights):
            super().__init__(loop, weights, captures)

    monkeypatch.setattr(sampler, "GraphedLoop", OnCPU)
    monkeypatch.setattr(sampler, "ON_GRAPHS", "cpu")
    monkeypatch.setattr(torch, "compile", lambda function: function)

    def make(**settings):
        settings = SGLDSettings(num_steps=3, step_size=0.1, precision="fp32", **settings)
        generator = torch.Generator().manual_seed(0)
        buffer = ReplayBuffer(20, (3, 2), 0.3, torch.rand, generator=generator)
        return Sampler(settings, buffer, networks=[torch.nn.Linear(2, 2)]), captures

    return make


def gaussian(x):
    return -0.5 * x.flatten(1).square().sum(1)


@pytest.mark.parametrize("compiled", [False, True])
def test_draws_by_graphs_are_those_without_and_follow_step_size_and_precision(
    graphed_sampler, monkeypatch, compiled
):
    (graphed, captures), (plain, _) = graphed_sampler(compile=compiled), graphed_sampler()

    def same_draws(n=5):
        for _ in range(2):
            with monkeypatch.context() as launched_one_by_one:
                launched_one_by_one.setattr(sampler, "ON_GRAPHS", None)
                expected = plain.draw(gaussian, n)
            assert torch.equal(graphed.draw(gaussian, n), expected)
        assert torch.equal(graphed.buffer.chains, plain.buffer.chains)
        return len(captures.shapes)

    assert same_draws() == 1
    assert same_draws(4) == 2
    for each in (graphed, plain):
        each.scale_step(0.5)
    assert same_draws() == 3
    for each in (graphed, plain):
        each.precision = "bf16"
    assert same_draws() == 4
    for each in (graphed, plain):
        each.restart()
    assert same_draws() == 4

import io
import logging
from functools import partial

import pytest
import torch
from torch import nn

from solo_gedi.backbones import EnergyResNet8
from solo_gedi.core import (
    EnergyHead,
    ReplayBuffer,
    Sampler,
    SGLDSettings,
    log_density,
    sample_sgld,
    saved_sampler,
)

SHAPE = (3, 2)


def gaussian(x):
    return -0.5 * x.flatten(1).square().sum(1)


def make(seed=0, *, size=20, shape=SHAPE, box=(-1.0, 1.0), gather_distributed=False, **settings):
    settings = {"num_steps": 3, "step_size": 0.1, "precision": "fp32", **settings}
    generator = torch.Generator().manual_seed(seed)
    buffer = ReplayBuffer(size, shape, 0.3, torch.rand, generator=generator)
    settings = SGLDSettings(**settings)
    return Sampler(settings, buffer, box, gather_distributed=gather_distributed)


def through_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_a_draw_moves_chains_of_the_buffer_and_writes_them_back():
    sampler, twin = make(), make()
    samples = sampler.draw(gaussian, 5)
    chains, slots = twin.buffer.draw(5)
    expected = sample_sgld(gaussian, chains, 3, 0.1, 0.01, generator=twin.buffer.generator)
    assert torch.equal(samples, expected)
    assert torch.equal(sampler.buffer.chains[slots], samples)
    others = torch.ones(20, dtype=torch.bool)
    others[slots] = False
    assert torch.equal(sampler.buffer.chains[others], twin.buffer.chains[others])


def test_the_steps_of_a_draw_are_watched():
    sampler = make(noise_std=0.0, num_steps=2)
    sampler.buffer.chains = torch.full((20, *SHAPE), 2.0)
    sampler.buffer.reinit_prob = 0.0
    sampler.draw(gaussian, 4)
    # By hand: every value goes 2, 1.8, 1.62; the gradient of a chain is minus its six values.
    norm = (2.0 + 1.8) / 2 * 6**0.5
    assert sampler.watched["chain_grad_norm"].item() == pytest.approx(norm, rel=1e-6)
    assert sampler.watched["chain_range"].item() == pytest.approx(1.62, rel=1e-6)


def test_settings_bound_gradients_and_samples():
    def steep(x):
        return 1e4 * x.flatten(1).sum(1)

    clipped = make(max_grad_norm=0.5, noise_std=0.0)
    before = clipped.buffer.chains.clone()
    clipped.buffer.reinit_prob = 0.0
    clipped.draw(steep, 20)
    moved = (clipped.buffer.chains - before).flatten(1).norm(dim=1)
    torch.testing.assert_close(moved, torch.full((20,), 3 * 0.1 * 0.5))
    torch.testing.assert_close(clipped.watched["chain_grad_norm"], torch.tensor(0.5))
    assert make(clip_samples=True).draw(steep, 5).max() == 1
    assert make(clip_samples=False).draw(steep, 5).max() > 1


def test_a_step_size_is_scaled_from_then_on():
    sampler, twin = make(), make(step_size=0.05)
    assert sampler.step_size == 0.1
    sampler.scale_step(0.5)
    assert sampler.step_size == 0.05
    assert sampler.settings.step_size == 0.1
    assert torch.equal(sampler.draw(gaussian, 5), twin.draw(gaussian, 5))
    sampler.scale_step(0.5)
    assert sampler.step_size == 0.025


def test_a_restored_sampler_continues_bit_for_bit():
    saved, restored = make(seed=0, precision="auto"), make(seed=1, precision="auto")
    for _ in range(3):
        saved.draw(gaussian, 5)
    saved.scale_step(0.5)
    restored.load_state_dict(through_file(saved.state_dict()))
    assert restored.step_size == saved.step_size == 0.05
    assert restored.precision == saved.precision != "auto"
    for _ in range(3):
        assert torch.equal(restored.draw(gaussian, 5), saved.draw(gaussian, 5))
    assert torch.equal(restored.buffer.chains, saved.buffer.chains)


def test_a_state_without_chains_leaves_them_alone():
    sampler = make()
    before = sampler.buffer.chains.clone()
    sampler.load_state_dict({"precision": "bf16", "step_factor": 0.25})
    assert torch.equal(sampler.buffer.chains, before)
    assert sampler.step_size == 0.025


@pytest.mark.parametrize(("own", "after"), [("auto", "bf16"), ("fp32", "fp32"), ("bf16", "bf16")])
def test_a_precision_that_the_settings_name_is_kept_over_a_saved_one(own, after, monkeypatch):
    monkeypatch.setattr("solo_gedi.core.sampler.has_bf16", lambda device: True)
    sampler = make(precision=own)
    sampler.load_state_dict({"precision": "bf16", "step_factor": 1.0})
    assert sampler.precision == after


def test_precision_is_measured_at_the_first_draw_and_logged_once(monkeypatch, caplog):
    chosen = []

    def choose(log_density_fn, chains, run):
        chosen.append(chains.shape)
        return "bf16", "it is faster"

    monkeypatch.setattr("solo_gedi.core.sampler.choose_precision", choose)
    layer, dtypes = nn.Linear(6, 2), []

    def log_p(x):
        logits = layer(x.flatten(1))
        dtypes.append(logits.dtype)
        return log_density(logits)

    sampler = make(precision="auto")
    with caplog.at_level(logging.INFO, "solo_gedi"):
        sampler.draw(log_p, 5)
        sampler.draw(log_p, 4)
    assert chosen == [(5, *SHAPE)]
    assert set(dtypes) == {torch.bfloat16}
    assert caplog.messages == ["The sampler runs in bf16: it is faster."]


def test_measuring_leaves_the_randomness_as_it_is(monkeypatch):
    def choose(log_density_fn, chains, run):
        run("bf16"), run("fp32")
        return "fp32", "it is"

    monkeypatch.setattr("solo_gedi.core.sampler.choose_precision", choose)
    measured, named = make(precision="auto"), make(precision="fp32")
    for _ in range(2):
        assert torch.equal(measured.draw(gaussian, 5), named.draw(gaussian, 5))


def test_a_compiled_score_draws_alike_follows_the_weights_and_is_compiled_once(monkeypatch):
    """By a backend that runs what it gets: C++ would take a minute."""
    torch._dynamo.reset()
    graphs, samples = [], []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    for compiled in (False, True):
        torch.manual_seed(0)
        network = EnergyResNet8(width=8).eval()
        sampler = make(shape=(3, 8, 8), compile=compiled)
        sampler.networks = (network,)
        density = partial(log_density_of, network)
        for _ in range(3):
            drawn = sampler.draw(density, 5)
            with torch.no_grad():
                network.blocks[0].conv2.weight.mul_(2)
        samples.append(drawn)
        assert len(graphs) == compiled
    torch.testing.assert_close(*samples, rtol=1e-4, atol=1e-5)


def log_density_of(network, x):
    return log_density(network(x))


def test_restarting_goes_to_given_chains_or_fresh_ones_with_new_randomness():
    sampler, twin = make(), make()
    earlier = torch.full((20, *SHAPE), 7.0)
    sampler.restart(earlier)
    twin.restart(earlier)
    assert torch.equal(sampler.buffer.chains, earlier)
    again = sampler.draw(gaussian, 5)
    assert torch.equal(again, twin.draw(gaussian, 5)), "the same seed gives the same restart"
    assert torch.equal(earlier, torch.full((20, *SHAPE), 7.0)), "the given chains are copied"

    unmoved = make()
    unmoved.buffer.chains = earlier.clone()
    assert not torch.equal(again, unmoved.draw(gaussian, 5))

    sampler.restart()
    first = sampler.buffer.chains.clone()
    assert 0 <= first.min() < first.max() < 1
    sampler.restart()
    assert not torch.equal(sampler.buffer.chains, first)


def test_a_slot_with_a_chain_of_each_network_is_as_a_sampler_for_each():
    """Clipping included; without noise, since one stream of it serves all networks."""
    torch.manual_seed(0)
    heads = [EnergyHead(2, 8, 3) for _ in range(4)]
    for k, head in enumerate(heads):
        nn.init.normal_(head.layers[0].weight, std=1.0 + k)
    settings = {"noise_std": 0.0, "max_grad_norm": 0.3, "clip_samples": True}

    def stacked(x):
        return torch.stack([log_density(head(x[:, k])) for k, head in enumerate(heads)], 1)

    together = make(shape=(4, 2), **settings)
    together.buffer.reinit_prob = 0.0
    before = together.buffer.chains.clone()
    samples = together.draw(stacked, 20)
    norms = []
    for k, head in enumerate(heads):
        alone = make(shape=(2,), **settings)
        alone.buffer.reinit_prob = 0.0
        alone.buffer.chains = before[:, k].clone()
        alone.draw(lambda x, head=head: log_density(head(x)), 20)
        torch.testing.assert_close(together.buffer.chains[:, k], alone.buffer.chains)
        norms.append(alone.watched["chain_grad_norm"])
    assert samples.shape == (20, 4, 2)
    torch.testing.assert_close(together.watched["chain_grad_norm"], torch.stack(norms).mean())


def test_the_sampler_of_an_earlier_versions_checkpoint():
    """Its step was halved at every recovery but the first, and its precision had its own key."""

    def checkpoint(*events):
        guard = {"events": list(events), "means": {}}
        return {"sampler_precision": "bf16", "callbacks": {"DivergenceGuard": guard}}

    steps = [saved_sampler(checkpoint(*"abc"[:n]))["step_factor"] for n in range(4)]
    assert steps == [1.0, 1.0, 0.5, 0.25]
    assert saved_sampler(checkpoint())["precision"] == "bf16"
    # Today's says so itself, whatever has happened.
    today = {**checkpoint(*"abc"), "sampler": {"precision": "fp32", "step_factor": 0.5}}
    assert saved_sampler(today) == {"precision": "fp32", "step_factor": 0.5}
    assert saved_sampler({"state_dict": {}}) == {"precision": "auto", "step_factor": 1.0}


def test_what_cannot_work_is_refused():
    with pytest.raises(ValueError, match="auto, fp32 or bf16, got fp8"):
        make(precision="fp8")
    with pytest.raises(ValueError, match="clip_samples needs the box"):
        make(clip_samples=True, box=None)
    with pytest.raises(ValueError, match=r"factor must be positive, got 0"):
        make().scale_step(0)
    with pytest.raises(ValueError, match="21 different chains from a buffer of 20"):
        make().draw(gaussian, 21)

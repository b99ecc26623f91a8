import math

import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from solo_gedi.core import (
    EnergyHead,
    evaluation_mode,
    langevin_step,
    log_density,
    sample_sgld,
)
from solo_gedi.core.sgld import chain_norms, clip_norm


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def gaussian(mean=0.0, std=1.0):
    return lambda x: -0.5 * ((x - mean) / std).flatten(1).square().sum(1)


@pytest.fixture
def energy():
    torch.manual_seed(0)
    head = EnergyHead(2, 8, 3)
    return head, lambda x: log_density(head(x))


def test_langevin_step_without_noise_is_the_drift():
    x, grad = torch.randn(2, 5, 3, generator=seeded(0), dtype=torch.float64)
    torch.testing.assert_close(langevin_step(x, grad, 0.3, 0.0), x + 0.3 * grad)


def test_langevin_step_changes_neither_argument():
    x, grad = torch.randn(2, 5, 3, generator=seeded(0))
    copies = x.clone(), grad.clone()
    langevin_step(x, grad, 0.3, 0.1)
    assert torch.equal(x, copies[0])
    assert torch.equal(grad, copies[1])


def test_langevin_step_adds_independent_gaussian_noise_of_the_given_std():
    x, grad = torch.full((20_000, 2), 5.0), torch.ones(20_000, 2)
    noise = (langevin_step(x, grad, 2.0, 0.25, seeded(0)) - 7.0).numpy()
    assert scipy.stats.kstest(noise.ravel() / 0.25, "norm").pvalue > 1e-3
    assert scipy.stats.pearsonr(noise[:, 0], noise[:, 1]).pvalue > 1e-3
    assert scipy.stats.pearsonr(noise[1:, 0], noise[:-1, 0]).pvalue > 1e-3


def test_sgld_without_noise_is_gradient_ascent():
    x = torch.randn(6, 2, generator=seeded(0), dtype=torch.float64)
    moved = sample_sgld(lambda x: -x.pow(4).sum(1), x, 7, 0.01, 0.0)
    for _ in range(7):
        x = x + 0.01 * (-4 * x**3)
    torch.testing.assert_close(moved, x)


def test_sgld_climbs_the_log_density_of_a_network(energy):
    _, log_p = energy
    x = torch.randn(6, 2, generator=seeded(0))
    moved = sample_sgld(log_p, x, 20, 0.1, 0.0)
    assert (log_p(moved) > log_p(x)).all()


@pytest.mark.parametrize("step_size", [0.5, 0.05])
def test_sgld_on_a_gaussian_has_the_exact_moments_of_its_chain(step_size):
    """The chain is autoregressive, so its mean and variance are known after any number of steps.

    With a = 1 - eps / s^2, after k steps from x0: mean mu + a^k (x0 - mu) and variance
    2 eps (1 - a^2k) / (1 - a^2), which tends to the variance s^2 as eps does to 0.
    """
    mean, std, start, steps, chains = 1.5, 0.8, -2.0, 150, 20_000
    x = torch.full((chains, 1), start)
    noise_std = math.sqrt(2 * step_size)
    moved = sample_sgld(gaussian(mean, std), x, steps, step_size, noise_std, generator=seeded(0))
    a = 1 - step_size / std**2
    expected_mean = mean + a**steps * (start - mean)
    expected_var = 2 * step_size * (1 - a ** (2 * steps)) / (1 - a**2)
    assert abs(moved.mean().item() - expected_mean) < 4 * math.sqrt(expected_var / chains)
    assert abs(moved.var().item() - expected_var) < 4 * expected_var * math.sqrt(2 / chains)
    if step_size == 0.05:
        assert moved.mean().item() == pytest.approx(mean, abs=0.05)
        assert moved.std().item() == pytest.approx(std, rel=0.05)


def test_sgld_before_convergence_has_the_exact_moments_of_its_chain():
    steps, step_size, noise_std, chains = 5, 0.1, 0.3, 20_000
    x = torch.full((chains, 1), 10.0)
    moved = sample_sgld(gaussian(), x, steps, step_size, noise_std, generator=seeded(0))
    expected_var = sum(noise_std**2 * 0.9 ** (2 * k) for k in range(steps))
    assert abs(moved.mean().item() - 10 * 0.9**5) < 4 * math.sqrt(expected_var / chains)
    assert abs(moved.var().item() - expected_var) < 4 * expected_var * math.sqrt(2 / chains)


def test_zero_steps_return_the_start_without_its_gradient():
    x = torch.randn(6, 2, generator=seeded(0), requires_grad=True)
    moved = sample_sgld(gaussian(), x, 0, 1.0, 1.0)
    assert torch.equal(moved, x)
    assert not moved.requires_grad


def test_sgld_does_not_change_the_start():
    x = torch.randn(6, 2, generator=seeded(0))
    copy = x.clone()
    moved = sample_sgld(gaussian(), x, 3, 0.1, 0.1)
    assert torch.equal(x, copy)
    assert not torch.equal(moved, copy)


def test_sgld_gives_no_gradient_to_parameters_or_start(energy):
    head, log_p = energy
    x = torch.randn(6, 2, generator=seeded(0), requires_grad=True)
    moved = sample_sgld(log_p, x, 3, 0.1, 0.1)
    assert not moved.requires_grad
    assert x.grad is None
    assert all(p.grad is None and p.requires_grad for p in head.parameters())


def test_sgld_keeps_gradients_that_are_already_there(energy):
    head, log_p = energy
    x = torch.randn(6, 2, generator=seeded(0))
    log_p(x).sum().backward()
    before = [p.grad.clone() for p in head.parameters()]
    sample_sgld(log_p, x, 3, 0.1, 0.1)
    assert all(torch.equal(p.grad, b) for p, b in zip(head.parameters(), before, strict=True))


def test_same_generator_seed_gives_the_same_chains_and_another_seed_others(energy):
    _, log_p = energy
    x = torch.randn(6, 2, generator=seeded(0))
    first, again, other = (
        sample_sgld(log_p, x, 5, 0.1, 0.1, generator=seeded(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_steps_can_be_split_over_two_calls(energy):
    _, log_p = energy
    x = torch.randn(6, 2, generator=seeded(0))
    at_once = sample_sgld(log_p, x, 5, 0.1, 0.1, generator=seeded(1))
    generator = seeded(1)
    halfway = sample_sgld(log_p, x, 2, 0.1, 0.1, generator=generator)
    assert torch.equal(sample_sgld(log_p, halfway, 3, 0.1, 0.1, generator=generator), at_once)


def test_a_generator_leaves_the_global_randomness_untouched():
    before = torch.get_rng_state()
    sample_sgld(gaussian(), torch.zeros(6, 2), 3, 0.1, 0.1, generator=seeded(0))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("context", [torch.inference_mode, torch.no_grad])
def test_sgld_works_where_gradients_are_off(energy, context):
    _, log_p = energy
    expected = sample_sgld(log_p, torch.ones(6, 2), 3, 0.1, 0.1, generator=seeded(1))
    with context():
        x = torch.ones(6, 2)
        moved = sample_sgld(log_p, x, 3, 0.1, 0.1, generator=seeded(1))
        assert not torch.is_grad_enabled()
    torch.testing.assert_close(moved, expected)


def test_callback_sees_every_move():
    x = torch.randn(6, 2, generator=seeded(0))
    states = []
    moved = sample_sgld(gaussian(), x, 4, 0.1, 0.0, callback=states.append)
    assert [state["step"] for state in states] == [0, 1, 2, 3]
    for state in states:
        assert state.keys() == {"step", "x", "log_density", "grad"}
        # By hand: log p and its gradient belong to the place before the move.
        torch.testing.assert_close(state["log_density"], -0.5 * x.square().sum(1))
        torch.testing.assert_close(state["grad"], -x)
        torch.testing.assert_close(state["x"], x + 0.1 * state["grad"])
        assert not any(state[key].requires_grad for key in ("x", "log_density", "grad"))
        x = state["x"]
    assert torch.equal(moved, x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sgld_runs_in_full_precision_inside_autocast(energy, dtype):
    head, _ = energy
    x = torch.randn(6, 2, generator=seeded(0))
    dtypes = []

    def log_p(x):
        logits = head.layers(x)
        dtypes.append(logits.dtype)
        return log_density(logits)

    with torch.autocast("cpu", dtype=dtype):
        assert head.layers(x).dtype == dtype
        inside = sample_sgld(log_p, x, 3, 0.1, 0.0)
        assert head.layers(x).dtype == dtype
    assert dtypes == [torch.float32] * 3
    assert torch.equal(inside, sample_sgld(log_p, x, 3, 0.1, 0.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_too_small_for_half_precision_still_move_the_chains(dtype):
    layer = nn.Linear(2, 1)
    weight = layer.weight.detach()

    def log_p(x):
        return 1e-9 * layer(x)[:, 0]

    x = torch.zeros(6, 2)
    with torch.autocast("cpu", dtype=torch.float16):
        # Half precision's smallest number is 6e-8.
        x_half = torch.zeros(6, 2, requires_grad=True)
        (silent,) = torch.autograd.grad((1e-9 * layer(x_half).half()).sum(), x_half)
        assert not silent.any()
        moved = sample_sgld(log_p, x, 1, 1e9, 0.0, dtype=dtype)
    torch.testing.assert_close(moved, weight.expand(6, 2), atol=0, rtol=1e-2)


@given(st.floats(0.01, 100), st.integers(0, 100))
@settings(deadline=None, max_examples=30)
def test_clipped_gradients_keep_their_direction_and_are_no_longer_than_the_bound(bound, seed):
    grad = 10 * torch.randn(6, 2, 3, generator=seeded(seed), dtype=torch.float64)
    clipped, norm = clip_norm(grad, bound), grad.flatten(1).norm(dim=1)
    torch.testing.assert_close(clipped.flatten(1).norm(dim=1), norm.clamp(max=bound))
    cosine = nn.functional.cosine_similarity(clipped.flatten(1), grad.flatten(1))
    torch.testing.assert_close(cosine, torch.ones_like(cosine))
    assert torch.equal(clip_norm(torch.zeros(2, 2), bound), torch.zeros(2, 2))


@given(st.floats(0.01, 100), st.integers(0, 100))
@settings(deadline=None, max_examples=30)
def test_stacked_gradients_are_clipped_network_by_network(bound, seed):
    grad = 10 * torch.randn(6, 4, 3, 2, generator=seeded(seed), dtype=torch.float64)
    clipped = clip_norm(grad, bound, chain_dims=2)
    alone = [clip_norm(grad[:, k], bound) for k in range(4)]
    torch.testing.assert_close(clipped, torch.stack(alone, 1))
    norms = [chain_norms(grad[:, k]) for k in range(4)]
    torch.testing.assert_close(chain_norms(grad, chain_dims=2), torch.stack(norms, 1))


def test_chains_of_stacked_networks_are_clipped_each_by_its_own_gradient():
    slopes = torch.tensor([[1e4, 0.0], [0.0, 2.0]])
    x = torch.randn(6, 2, 2, generator=seeded(0))
    moved = sample_sgld(lambda x: (x * slopes).sum(-1), x, 3, 0.1, 0.0, max_grad_norm=5.0)
    shifts = torch.tensor([[1.5, 0.0], [0.0, 0.6]])
    torch.testing.assert_close(moved - x, shifts.expand(6, 2, 2), atol=1e-5, rtol=0)


def test_chains_move_no_further_than_the_clipped_gradient_and_stay_in_their_box():
    x = torch.randn(6, 2, generator=seeded(0))

    def steep(x):
        return 1e4 * x.sum(1)

    moved = sample_sgld(steep, x, 3, 0.1, 0.0, max_grad_norm=2.0)
    torch.testing.assert_close((moved - x).norm(dim=1), torch.full((6,), 0.6))
    boxed = sample_sgld(steep, x, 3, 0.1, 0.5, box=(-1.0, 0.5))
    assert torch.equal(boxed, torch.full((6, 2), 0.5))
    untouched = sample_sgld(gaussian(), x, 3, 0.1, 0.1, generator=seeded(1))
    loose = {"max_grad_norm": 1e6, "box": (-1e6, 1e6)}
    same = sample_sgld(gaussian(), x, 3, 0.1, 0.1, generator=seeded(1), **loose)
    torch.testing.assert_close(same, untouched)


class Net(nn.Module):
    """Some submodules in evaluation mode, as in fine-tuning with frozen statistics."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4)).eval()
        self.rest = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
        self.rest[2].eval()

    def forward(self, x):
        return log_density(self.rest(self.frozen(x)))


def modes(*modules):
    return [module.training for root in modules for module in root.modules()]


def test_evaluation_mode_puts_every_submodule_back_where_it_was():
    net, other = Net(), nn.BatchNorm1d(2)
    before = modes(net, other)
    assert len(set(before)) == 2
    with evaluation_mode(net, other):
        assert not any(modes(net, other))
    assert modes(net, other) == before


def test_evaluation_mode_of_a_network_in_evaluation_mode_changes_nothing():
    net = Net().eval()
    with evaluation_mode(net):
        pass
    assert not any(modes(net))


def test_evaluation_mode_is_undone_after_an_exception():
    net = Net()
    before = modes(net)
    with pytest.raises(RuntimeError, match="inside"), evaluation_mode(net):
        raise RuntimeError("inside")
    assert modes(net) == before


def test_chains_in_evaluation_mode_leave_batch_norm_alone_and_do_not_meet():
    torch.manual_seed(0)
    net, x = Net(), torch.randn(6, 2)

    def statistics():
        return {name: buffer.clone() for name, buffer in net.named_buffers()}

    before = statistics()
    with evaluation_mode(net):
        together = sample_sgld(net, x, 3, 0.1, 0.0)
        alone = torch.cat([sample_sgld(net, x[i : i + 1], 3, 0.1, 0.0) for i in range(6)])
    after = statistics()
    assert all(torch.equal(after[name], before[name]) for name in before)
    torch.testing.assert_close(together, alone)

    # The contrast: in training mode the chains move the statistics.
    sample_sgld(net, x, 3, 0.1, 0.0)
    assert not torch.equal(statistics()["rest.1.running_mean"], before["rest.1.running_mean"])

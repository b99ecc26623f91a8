import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn
from torch.autograd import gradcheck
from torch.nn.functional import one_hot

from solo_gedi.core import generative_loss, invariance_loss, log_density, prior_loss
from solo_gedi.core.losses import gradient_penalty

SHAPES = [(1, 2), (3, 2), (8, 5), (32, 10)]


def random_logits(n, c, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(n, c, generator=generator, dtype=torch.float64)


def random_prior(c, seed=0):
    return random_logits(1, c, seed).softmax(-1)[0]


def slow_softmax(row):
    total = sum(math.exp(t) for t in row)
    return [math.exp(t) / total for t in row]


def slow_invariance(logits, view_logits):
    """INV = 1/n sum_i CE(p(y|x'_i), p(y|x_i)), Eq. 3."""
    total = 0.0
    for row, view_row in zip(logits.tolist(), view_logits.tolist(), strict=True):
        p, p_view = slow_softmax(row), slow_softmax(view_row)
        for y in range(len(p)):
            total -= p_view[y] * math.log(p[y])
    return total / len(logits)


def slow_prior(logits, prior):
    """PRIOR = CE(p(y), q(y)) with q(y) = 1/n sum_j p(y|x_j), Eq. 3."""
    predictions = [slow_softmax(row) for row in logits.tolist()]
    total = 0.0
    for y in range(logits.shape[1]):
        q = sum(p[y] for p in predictions) / len(predictions)
        total -= prior[y] * math.log(q)
    return total


def slow_generative(data_logits, sample_logits):
    """GEN = E_samples log sum_y e^t_y - E_data log sum_y e^t_y, Eq. 6 and 11."""
    means = []
    for logits in (data_logits, sample_logits):
        log_p = [math.log(sum(math.exp(t) for t in row)) for row in logits.tolist()]
        means.append(sum(log_p) / len(log_p))
    return means[1] - means[0]


def entropy(prior):
    return -sum(p * math.log(p) for p in prior.tolist() if p > 0)


@pytest.mark.parametrize(("n", "c"), SHAPES)
def test_invariance_loss_is_the_cross_entropy_of_eq_3(n, c):
    logits, view_logits = random_logits(n, c, 0), random_logits(n, c, 1)
    expected = slow_invariance(logits, view_logits)
    assert invariance_loss(logits, view_logits).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("n", "c"), SHAPES)
def test_prior_loss_is_the_cross_entropy_of_eq_3(n, c):
    logits, prior = random_logits(n, c), random_prior(c)
    assert prior_loss(logits).item() == pytest.approx(slow_prior(logits, [1 / c] * c), rel=1e-12)
    expected = slow_prior(logits, prior.tolist())
    assert prior_loss(logits, prior).item() == pytest.approx(expected, rel=1e-12)


def test_gathering_changes_nothing_where_there_is_one_process():
    logits = random_logits(8, 5)
    assert torch.equal(prior_loss(logits, gather_distributed=True), prior_loss(logits))


@pytest.mark.parametrize(("n", "c"), SHAPES)
def test_generative_loss_is_the_difference_of_mean_log_densities(n, c):
    data, samples = random_logits(n, c, 0), random_logits(n + 3, c, 1)
    loss = generative_loss(log_density(data), log_density(samples))
    assert loss.item() == pytest.approx(slow_generative(data, samples), rel=1e-10)


@pytest.mark.parametrize(("n", "c"), SHAPES[:3])
def test_gradients_are_those_of_finite_differences(n, c):
    logits = random_logits(n, c, 0).requires_grad_()
    other = random_logits(n, c, 1).requires_grad_()
    prior = random_prior(c)
    assert gradcheck(invariance_loss, (logits, other))
    assert gradcheck(prior_loss, (logits,))
    assert gradcheck(lambda t: prior_loss(t, prior), (logits,))
    assert gradcheck(lambda t, s: generative_loss(log_density(t), log_density(s)), (logits, other))


@given(st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_invariance_and_prior_losses_are_bounded_by_the_entropy_of_the_prior(data):
    """Eq. 4, with the sign of a minimised loss."""
    shape = data.draw(st.tuples(st.integers(1, 8), st.integers(2, 6)))
    elements = st.floats(-50, 50)
    logits = torch.from_numpy(data.draw(arrays(np.float64, shape, elements=elements)))
    view_logits = torch.from_numpy(data.draw(arrays(np.float64, shape, elements=elements)))
    masses = data.draw(st.lists(st.integers(1, 100), min_size=shape[1], max_size=shape[1]))
    prior = torch.tensor(masses, dtype=torch.float64) / sum(masses)

    inv = invariance_loss(logits, view_logits).item()
    assert inv >= -1e-12
    assert inv + prior_loss(logits).item() >= math.log(shape[1]) - 1e-12
    assert inv + prior_loss(logits, prior).item() >= entropy(prior) - 1e-12


@pytest.mark.parametrize("counts", [[1, 1], [4, 4, 4], [1, 2, 3, 10]])
def test_confident_consistent_predictions_that_match_the_prior_attain_the_bound(counts):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    logits = 100.0 * one_hot(labels).double()
    prior = torch.tensor(counts, dtype=torch.float64) / sum(counts)
    total = invariance_loss(logits, logits) + prior_loss(logits, prior)
    assert total.item() == pytest.approx(entropy(prior), abs=1e-12)
    if len(set(counts)) == 1:
        total = invariance_loss(logits, logits) + prior_loss(logits)
        assert total.item() == pytest.approx(math.log(len(counts)), abs=1e-12)


def naive_prior_loss(logits):
    return -logits.softmax(-1).mean(0).log().mean()


def test_prior_loss_of_an_empty_cluster_is_finite_where_the_naive_form_is_not():
    logits = torch.tensor([[200.0, 0.0, -300.0], [0.0, 200.0, -400.0]])
    naive = logits.clone().requires_grad_()
    naive_loss = naive_prior_loss(naive)
    naive_loss.backward()
    assert naive_loss.isinf()
    assert naive.grad.isnan().any()

    logits.requires_grad_()
    loss = prior_loss(logits)
    loss.backward()
    # By hand: log q = (log 1/2, log 1/2, log of e^-500 / 2), since e^-500 outweighs e^-600.
    assert loss.item() == pytest.approx((3 * math.log(2) + 500) / 3, rel=1e-6)
    assert logits.grad.isfinite().all()
    # The point nearest to the empty cluster is drawn to it.
    assert logits.grad[0, 2] < -0.1


@pytest.mark.parametrize("scale", [1e2, 1e4])
def test_saturated_logits_give_finite_losses_and_gradients(scale):
    generator = torch.Generator().manual_seed(0)
    logits = (scale * torch.randn(16, 6, generator=generator).sign()).requires_grad_()
    view_logits = (scale * torch.randn(16, 6, generator=generator).sign()).requires_grad_()
    prior = random_prior(6).float()
    losses = [
        invariance_loss(logits, view_logits),
        prior_loss(logits),
        prior_loss(logits, prior),
        generative_loss(log_density(logits), log_density(view_logits)),
    ]
    for loss in losses:
        gradients = torch.autograd.grad(loss, (logits, view_logits), allow_unused=True)
        assert loss.isfinite()
        assert all(grad.isfinite().all() for grad in gradients if grad is not None)


def test_generative_gradient_is_the_mean_over_samples_minus_the_mean_over_data():
    """Eq. 11: the gradient of CE(p, p_Theta), estimated with one expectation for each side."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    data, samples = torch.randn(2, 6, 2, dtype=torch.float64)
    parameters = list(model.parameters())

    def mean_gradient(points):
        each = [torch.autograd.grad(log_density(model(x)), parameters) for x in points]
        return [torch.stack(grads).mean(0) for grads in zip(*each, strict=True)]

    loss = generative_loss(log_density(model(data)), log_density(model(samples)))
    gradients = torch.autograd.grad(loss, parameters)
    expected = zip(mean_gradient(samples), mean_gradient(data), strict=True)
    for grad, (of_samples, of_data) in zip(gradients, expected, strict=True):
        torch.testing.assert_close(grad, of_samples - of_data)


def test_a_step_down_the_generative_loss_raises_the_data_above_the_samples():
    torch.manual_seed(0)
    model = nn.Linear(2, 3)
    data, samples = torch.randn(8, 2) + 1, torch.randn(8, 2) - 1
    losses = []
    for _ in range(2):
        losses.append(generative_loss(log_density(model(data)), log_density(model(samples))))
        gradients = torch.autograd.grad(losses[-1], list(model.parameters()))
        with torch.no_grad():
            for parameter, grad in zip(model.parameters(), gradients, strict=True):
                parameter -= 0.1 * grad
    assert losses[1] < losses[0]


def test_gradient_penalty_is_the_squared_slope_and_flattens_it():
    """Of log p(x) = a x, whose gradient is a everywhere."""
    slope = torch.tensor([3.0, -4.0], dtype=torch.float64, requires_grad=True)

    def penalty(slope):
        x = random_logits(5, 2).requires_grad_()
        (score,) = torch.autograd.grad((x @ slope).sum(), x, create_graph=True)
        return gradient_penalty(score)

    torch.testing.assert_close(penalty(slope).item(), 25.0)
    assert gradcheck(penalty, slope)
    torch.testing.assert_close(torch.autograd.grad(penalty(slope), slope)[0], 2 * slope)

import pytest
import torch

import solo_gedi.core.objective
from solo_gedi.core import (
    GEDIObjective,
    generative_loss,
    input_score,
    invariance_loss,
    log_density,
    prior_loss,
)

N, C = 6, 4


@pytest.fixture
def inputs():
    torch.manual_seed(0)
    return {
        "logits": torch.randn(N, C),
        "view_logits": torch.randn(N, C),
        "sample_log_density": torch.randn(N + 2),
    }


def test_loss_is_the_weighted_sum_of_the_single_terms(inputs):
    logits, view_logits, samples = inputs.values()
    score = torch.randn(N, 3, 2)
    weights = {"gen": 0.5, "inv": 2.0, "prior": 0.7, "energy_l2": 0.1, "grad_penalty": 0.2}
    out = GEDIObjective(**weights)(**inputs, data_score=score)
    data = log_density(logits)
    terms = {
        "gen": generative_loss(data, samples),
        "inv": invariance_loss(logits, view_logits),
        "prior": prior_loss(logits),
        "energy_l2": (data**2).mean() + (samples**2).mean(),
        "grad_penalty": (score**2).sum((1, 2)).mean(),
    }
    assert out.keys() == {"loss", *terms}
    for name, term in terms.items():
        torch.testing.assert_close(out[name], term)
    torch.testing.assert_close(out["loss"], sum(weights[name] * terms[name] for name in terms))


def test_default_weights_are_those_of_the_paper_on_svhn_and_cifar10(inputs):
    out = GEDIObjective()(**inputs)
    assert out.keys() == {"loss", "gen", "inv", "prior"}
    torch.testing.assert_close(out["loss"], out["gen"] + 50 * out["inv"] + 25 * out["prior"])


def test_gradient_of_the_loss_reaches_every_input(inputs):
    for tensor in inputs.values():
        tensor.requires_grad_()
    GEDIObjective()(**inputs)["loss"].backward()
    assert all(tensor.grad.abs().sum() > 0 for tensor in inputs.values())


@pytest.mark.parametrize(
    ("off", "function", "unneeded"),
    [
        ("gen", "generative_loss", "sample_log_density"),
        ("inv", "invariance_loss", "view_logits"),
        ("prior", "prior_loss", None),
    ],
)
def test_a_term_of_weight_zero_is_neither_computed_nor_returned(
    inputs, monkeypatch, off, function, unneeded
):
    def refuse(*args, **kwargs):
        raise AssertionError(f"{function} was called")

    monkeypatch.setattr(solo_gedi.core.objective, function, refuse)
    if unneeded:
        inputs[unneeded] = None
    weights = {"gen": 1.0, "inv": 2.0, "prior": 3.0} | {off: 0.0}
    out = GEDIObjective(**weights)(**inputs)
    assert out.keys() == {"loss", "gen", "inv", "prior"} - {off}
    expected = sum(weights[name] * term for name, term in out.items() if name != "loss")
    torch.testing.assert_close(out["loss"], expected)


def test_given_data_log_density_replaces_that_of_the_logits(inputs):
    data = torch.arange(N, dtype=torch.float)
    samples = inputs["sample_log_density"]
    out = GEDIObjective(energy_l2=1.0)(**inputs, data_log_density=data)
    torch.testing.assert_close(out["gen"], samples.mean() - 2.5)
    # By hand: the mean of 0, 1, 4, 9, 16 and 25.
    torch.testing.assert_close(out["energy_l2"], samples.square().mean() + 55 / 6)
    torch.testing.assert_close(out["prior"], prior_loss(inputs["logits"]))


def test_cluster_prior_goes_to_the_prior_term(inputs):
    prior = torch.tensor([0.7, 0.1, 0.1, 0.1])
    out = GEDIObjective(cluster_prior=prior)(**inputs)
    torch.testing.assert_close(out["prior"], prior_loss(inputs["logits"], prior))
    assert not torch.isclose(out["prior"], prior_loss(inputs["logits"]))


def test_energy_l2_pulls_log_densities_towards_zero(inputs):
    samples = inputs["sample_log_density"].requires_grad_()
    objective = GEDIObjective(gen=1e-6, inv=0, prior=0, energy_l2=1.0)
    objective(**inputs)["loss"].backward()
    assert (samples.grad.sign() == samples.detach().sign()).all()


@pytest.mark.parametrize(
    ("weights", "samples", "view"),
    [
        ({}, True, True),
        ({"gen": 0}, False, True),
        ({"inv": 0}, True, False),
        ({"prior": 0}, True, True),
        ({"gen": 0, "inv": 0}, False, False),
    ],
)
def test_objective_tells_what_it_needs(weights, samples, view):
    objective = GEDIObjective(**weights)
    assert objective.needs_samples is samples
    assert objective.needs_view is view


@pytest.mark.parametrize("missing", ["sample_log_density", "view_logits", "data_score"])
def test_a_missing_input_of_a_term_that_is_on_is_named(inputs, missing):
    inputs |= {"data_score": torch.randn(N, 2), missing: None}
    with pytest.raises(ValueError, match=f"^the .* needs {missing}$"):
        GEDIObjective(grad_penalty=1.0)(**inputs)


@pytest.mark.parametrize("name", ["gen", "inv", "prior", "energy_l2"])
@pytest.mark.parametrize("weight", [-1.0, float("nan")])
def test_a_weight_that_is_not_at_least_zero_is_refused(name, weight):
    with pytest.raises(ValueError, match=f"weight of {name} must be at least 0, got {weight}"):
        GEDIObjective(**{name: weight})


@pytest.mark.parametrize("energy_l2", [0.0, 1.0])
def test_an_objective_without_a_term_is_refused(energy_l2):
    with pytest.raises(ValueError, match="gen, inv and prior"):
        GEDIObjective(gen=0, inv=0, prior=0, energy_l2=energy_l2)


def test_energy_l2_without_the_generative_term_is_refused():
    with pytest.raises(ValueError, match="energy_l2 needs the generative term"):
        GEDIObjective(gen=0.0, energy_l2=0.1)


def test_stacked_networks_have_each_its_own_objective():
    torch.manual_seed(0)
    objective = GEDIObjective(energy_l2=0.1, grad_penalty=0.2)
    weights, x = torch.randn(3, 2, C), torch.randn(3, N, 2, requires_grad=True)
    views, samples = [x @ weights, torch.randn(3, N, C)], torch.randn(3, N)
    score = input_score(log_density(views[0]), x)
    losses = torch.func.vmap(
        lambda views, samples, score: objective(
            *views, sample_log_density=samples, data_score=score
        )["loss"]
    )(views, samples, score)
    for k in range(3):
        x_k = x[k].detach().requires_grad_()
        of_k = [x_k @ weights[k], views[1][k]]
        score = input_score(log_density(of_k[0]), x_k)
        one = objective(*of_k, sample_log_density=samples[k], data_score=score)
        torch.testing.assert_close(losses[k], one["loss"])

import math
from functools import partial

import pytest
import torch
from functorch.compile import make_boxed_func
from torch import nn
from torch._dynamo.backends.common import aot_autograd

from solo_gedi.backbones import EnergyResNet8
from solo_gedi.core import EnergyHead, input_gradient, input_score, log_density
from solo_gedi.core.energy import compiled_gradient, functional_gradient
from solo_gedi.data import SampleSpace


def test_log_density_is_the_log_of_the_summed_exponentials():
    torch.manual_seed(0)
    logits = torch.randn(6, 4, dtype=torch.float64)
    expected = [math.log(sum(math.exp(t) for t in row)) for row in logits.tolist()]
    assert log_density(logits).tolist() == pytest.approx(expected, rel=1e-12)


def test_log_density_does_not_overflow():
    # By hand: log(2 e^10000) and log(e^-10000 + e^-20000).
    logits = torch.tensor([[1e4, 1e4], [-1e4, -2e4]], dtype=torch.float64)
    expected = [1e4 + math.log(2), -1e4]
    assert log_density(logits).tolist() == pytest.approx(expected, rel=1e-12)


def test_gradient_of_the_log_density_is_the_prediction():
    torch.manual_seed(0)
    logits = torch.randn(6, 4, requires_grad=True)
    log_density(logits).sum().backward()
    torch.testing.assert_close(logits.grad, logits.detach().softmax(-1))


def test_head_is_one_hidden_layer_and_gives_a_logit_per_cluster():
    torch.manual_seed(0)
    head, features = EnergyHead(5, 8, 3, temperature=0.1), torch.randn(7, 5)
    weight_1, bias_1, weight_2, bias_2 = head.parameters()
    hidden = features @ weight_1.T + bias_1
    hidden = torch.where(hidden > 0, hidden, 0.2 * hidden)
    logits = head(features)
    assert logits.shape == (7, 3)
    torch.testing.assert_close(logits, (hidden @ weight_2.T + bias_2) / 0.1)


def test_temperature_divides_the_logits():
    torch.manual_seed(0)
    warm, cold = EnergyHead(5, 8, 3, temperature=2.0), EnergyHead(5, 8, 3, temperature=0.5)
    cold.load_state_dict(warm.state_dict())
    features = torch.randn(7, 5)
    torch.testing.assert_close(cold(features), 4 * warm(features))


def test_head_has_no_unit_that_can_die():
    head = EnergyHead(5, 8, 3)
    nn.init.constant_(head.layers[0].bias, -100)
    features = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    head(features)[:, 0].sum().backward()
    assert (head.layers[0].weight.grad.abs().sum(1) > 0).all()


def test_head_has_no_state_dict_key_that_solo_learn_would_rewrite():
    assert not [k for k in EnergyHead(5, 8, 3).state_dict() if "backbone" in k or "encoder" in k]


@pytest.mark.parametrize("num_clusters", [1, 0, -2])
def test_head_refuses_fewer_than_two_clusters(num_clusters):
    with pytest.raises(ValueError, match=f"num_clusters must be at least 2, got {num_clusters}"):
        EnergyHead(5, 8, num_clusters)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_head_refuses_a_temperature_that_is_not_positive(temperature):
    with pytest.raises(ValueError, match=f"temperature must be positive, got {temperature}"):
        EnergyHead(5, 8, 3, temperature)


@pytest.mark.parametrize("shape", [(6, 2), (4, 3, 5, 5)])
def test_input_gradient_of_a_gaussian_is_minus_the_distance(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    log_p, grad = input_gradient(lambda x: -0.5 * (x - 3).flatten(1).square().sum(1), x)
    torch.testing.assert_close(grad, 3 - x)
    torch.testing.assert_close(log_p, -0.5 * ((x - 3) ** 2).flatten(1).sum(1))


def test_input_gradient_leaves_no_trace():
    torch.manual_seed(0)
    head, x = EnergyHead(2, 8, 3), torch.randn(6, 2, requires_grad=True)
    log_p, grad = input_gradient(lambda x: log_density(head(x)), x)
    assert not log_p.requires_grad
    assert not grad.requires_grad
    assert x.grad is None
    assert all(p.grad is None and p.requires_grad for p in head.parameters())


def test_input_gradient_needs_no_trainable_parameter():
    torch.manual_seed(0)
    head, x = EnergyHead(2, 8, 3), torch.randn(6, 2)
    trainable = input_gradient(lambda x: log_density(head(x)), x)
    head.requires_grad_(False)
    frozen = input_gradient(lambda x: log_density(head(x)), x)
    torch.testing.assert_close(frozen, trainable)


def test_input_score_is_the_input_gradient_with_its_graph():
    torch.manual_seed(0)
    head, x = EnergyHead(2, 8, 3), torch.randn(6, 2, requires_grad=True)
    score = input_score(log_density(head(x)), x)
    _, grad = input_gradient(lambda x: log_density(head(x)), x)
    torch.testing.assert_close(score.detach(), grad)
    score.square().sum().backward()
    assert head.layers[0].weight.grad.any()


def test_input_gradient_of_stacked_networks_is_each_ones_own():
    torch.manual_seed(0)
    heads, x = [EnergyHead(2, 8, 3) for _ in range(4)], torch.randn(6, 4, 2)
    log_p, grad = input_gradient(
        lambda x: torch.stack([log_density(head(x[:, k])) for k, head in enumerate(heads)], 1), x
    )
    for k, head in enumerate(heads):
        own = input_gradient(lambda x, head=head: log_density(head(x)), x[:, k])
        torch.testing.assert_close((log_p[:, k], grad[:, k]), own)


def test_head_keeps_single_precision_under_autocast():
    head = EnergyHead(3, 4, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(torch.randn(5, 3))
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float()), "no rounded energies"
    assert head.double()(torch.randn(5, 3, dtype=torch.float64)).dtype == torch.float64


@pytest.fixture
def density():
    """Log p by a network of convolutions and a head, in the space of samples."""
    torch.manual_seed(0)
    network, head = EnergyResNet8(width=8).eval(), EnergyHead(8, 16, 5)
    space = SampleSpace.of_images((0.4,) * 3, (0.2,) * 3)
    return lambda x: log_density(head(network(space.to_input(x))))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_a_compiled_gradient_is_one_graph_without_gradients_of_weights(density, monkeypatch, mode):
    torch._dynamo.reset()
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return make_boxed_func(graph.forward)

    compiled = partial(torch.compile, backend=aot_autograd(fw_compiler=backend), fullgraph=True)
    monkeypatch.setattr(torch, "compile", compiled)
    gradient = compiled_gradient(density)
    for _ in range(2):
        with mode():
            x = torch.rand(4, 3, 8, 8)
            log_p, grad = gradient(x)
            torch.testing.assert_close((log_p, grad), input_gradient(density, x))
        assert not log_p.requires_grad
    (graph,) = graphs
    calls = [node for node in graph.graph.nodes if node.op == "call_function"]
    backward = torch.ops.aten.convolution_backward.default
    wanted = [node.args[-1] for node in calls if node.target == backward]
    assert wanted == [[True, False, False]] * 9  # of the input, not of weight and bias
    assert len(calls) < 100


def test_a_functional_gradient_is_that_of_stacked_networks_too():
    torch.manual_seed(0)
    heads, x = [EnergyHead(2, 8, 3) for _ in range(4)], torch.randn(6, 4, 2)

    def log_p(x):
        return torch.stack([log_density(head(x[:, k])) for k, head in enumerate(heads)], 1)

    with torch.no_grad():
        torch.testing.assert_close(functional_gradient(log_p)(x), input_gradient(log_p, x))

import time

import pytest
import torch
from torch import nn

from solo_gedi.core import (
    EnergyHead,
    choose_precision,
    gradient_cosine,
    input_gradient,
    log_density,
    sample_sgld,
)
from solo_gedi.core.precision import DTYPES, has_bf16, network_precision


@pytest.fixture
def log_p():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 64), nn.LeakyReLU(0.2), EnergyHead(64, 64, 5))
    return lambda x: log_density(network(x))


def in_bf16():
    return torch.is_autocast_enabled("cpu")


def test_the_network_runs_in_bfloat16_and_the_chains_do_not():
    layer, seen = nn.Linear(8, 3), []

    def log_p(x):
        logits = layer(x)
        seen.append((x.dtype, logits.dtype))
        return log_density(logits)

    moved = sample_sgld(log_p, torch.zeros(4, 8), 2, 0.1, 0.1, dtype=torch.bfloat16)
    assert seen == [(torch.float32, torch.bfloat16)] * 2
    assert moved.dtype == torch.float32


def test_bfloat16_chains_stay_near_those_of_float32(log_p):
    x = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    exact = sample_sgld(log_p, x, 20, 1.0, 0.0)
    fast = sample_sgld(log_p, x, 20, 1.0, 0.0, dtype=torch.bfloat16)
    moved = (exact - x).norm(dim=1)
    assert not torch.equal(exact, fast)
    assert ((exact - fast).norm(dim=1) / moved).median() < 0.02


@pytest.mark.parametrize("outer", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("inner", [torch.float32, torch.bfloat16])
def test_weights_cast_outside_are_not_taken_for_the_samplers(log_p, outer, inner):
    """Autocast keeps the weights it has cast, whatever it has cast them to."""
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    with network_precision(x.device, inner):
        _, alone = input_gradient(log_p, x)
    with torch.autocast("cpu", dtype=outer):
        before = log_p(x)
        with network_precision(x.device, inner):
            _, inside = input_gradient(log_p, x)
        after = log_p(x)
    assert torch.equal(alone, inside)
    assert torch.equal(before, after)


def test_cosine_is_that_of_the_two_gradients(log_p):
    x = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    assert 0.99 < gradient_cosine(log_p, x) < 1.0
    assert gradient_cosine(log_p, x, torch.float32) == pytest.approx(1.0)
    assert gradient_cosine(lambda x: -log_p(x) if in_bf16() else log_p(x), x) < -0.99


def test_cosine_of_stacked_networks_is_the_mean_over_all_chains(log_p):
    x = torch.randn(50, 3, 8, generator=torch.Generator().manual_seed(0))
    # One network of three turns its gradient round in bf16.
    signs = torch.tensor([1.0, 1.0, -1.0])

    def stacked(x):
        each = torch.stack([log_p(x[:, k]) for k in range(3)], 1)
        return each * signs if in_bf16() else each

    cosines = [gradient_cosine(log_p, x[:, k]) for k in range(3)]
    expected = (cosines[0] + cosines[1] - cosines[2]) / 3
    assert gradient_cosine(stacked, x) == pytest.approx(expected, abs=1e-5)


def slower(log_p, slow):
    def fn(x):
        if slow():
            time.sleep(0.02)
        return log_p(x)

    return fn


@pytest.mark.parametrize(
    ("change", "chosen"),
    [
        (lambda log_p: slower(log_p, lambda: not in_bf16()), "bf16"),
        (lambda log_p: slower(log_p, in_bf16), "fp32"),
        # Fast, but its gradients point elsewhere.
        (
            lambda log_p: slower(
                lambda x: -log_p(x) if in_bf16() else log_p(x), lambda: not in_bf16()
            ),
            "fp32",
        ),
    ],
)
def test_chooses_what_is_faster_and_right(log_p, change, chosen, monkeypatch):
    monkeypatch.setattr("solo_gedi.core.precision.has_bf16", lambda device: True)
    log_p, x = change(log_p), torch.ones(4, 8)

    def run(name):
        with network_precision(x.device, DTYPES[name]):
            input_gradient(log_p, x)

    precision, why = choose_precision(log_p, x, run)
    assert precision == chosen
    assert "times as fast" in why


def test_what_will_run_is_timed(log_p, monkeypatch):
    """A compiled loop, say, whose speed need not be that of one gradient."""
    monkeypatch.setattr("solo_gedi.core.precision.has_bf16", lambda device: True)
    quick = slower(log_p, in_bf16)  # in fp32

    def run(name):
        time.sleep(0.02 if name == "fp32" else 0)

    assert choose_precision(quick, torch.ones(4, 8), run)[0] == "bf16"


def test_a_processor_without_bf16_is_not_measured(log_p, monkeypatch):
    monkeypatch.setattr("solo_gedi.core.precision.has_bf16", lambda device: False)
    monkeypatch.setattr("solo_gedi.core.precision.input_gradient", None)
    assert choose_precision(log_p, torch.ones(4, 8), pytest.fail) == (
        "fp32",
        "this processor has no bf16",
    )


@pytest.mark.parametrize(
    ("able", "has"),
    [
        ({}, False),
        ({"avx512_bf16": False, "avx2": True}, False),
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"bf16": True}, True),  # Arm's
    ],
)
def test_a_cpu_has_bf16_where_its_instructions_say_so(able, has, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    assert has_bf16(torch.device("cpu")) is has
    assert has_bf16(torch.device("mps"))  # which is measured instead


@pytest.mark.parametrize("has", [False, True])
def test_a_gpu_that_emulates_bf16_has_none(has, monkeypatch):
    def supported(including_emulation=True):
        return including_emulation or has

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert has_bf16(torch.device("cuda")) is has

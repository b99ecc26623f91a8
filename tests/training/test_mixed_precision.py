"""Mixed precision, gradient accumulation and the sampler's precision, as a user sets them."""

import csv
import shutil

import pytest
import torch

from solo_gedi.core import DTYPES, gradient_cosine
from solo_gedi.core.precision import network_precision
from solo_gedi.inference import load
from solo_gedi.methods import GEDI
from solo_gedi.training import pretrain

BATCH = "optimizer.batch_size=64"


def logged(run):
    with (run.folder / "logs" / "version_0" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["train_gedi_loss_step"]]
    names = ("gedi_loss", "gen_loss", "inv_loss", "prior_loss", "data_energy", "sample_energy")
    return torch.tensor([[float(row[f"train_{name}_step"]) for name in names] for row in rows])


def test_a_run_in_double_precision_is_used_in_single(load_config):
    run = pretrain(load_config("gedi", "precision=64-true", "data.num_workers=0"))
    model = load(run)
    assert model.chains.dtype == torch.float32
    assert model.sample(4, steps=1, start="buffer").isfinite().all()


# Lightning has no half precision on CPUs: there, 16-mixed warns and becomes bf16-mixed.
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("sampler", ["fp32", "bf16"])
def test_losses_and_chains_are_near_those_of_full_precision(load_config, precision, sampler):
    chains, losses = {}, {}
    for name, setting in (("full", "32-true"), ("mixed", precision)):
        used = "fp32" if name == "full" else sampler
        overrides = (f"precision={setting}", f"+method_kwargs.sgld.precision={used}", BATCH)
        run = pretrain(load_config("gedi", *overrides, "data.num_workers=0"))
        model = run.method
        chains[name], losses[name] = model.replay_buffer.chains, logged(run)
        assert all(p.dtype == torch.float32 for p in model.parameters())
    assert chains["mixed"].dtype == torch.float32
    assert not torch.equal(losses["full"], losses["mixed"])
    torch.testing.assert_close(losses["mixed"], losses["full"], rtol=0.05, atol=0.02)
    difference = (chains["mixed"] - chains["full"]).flatten(1).norm(dim=1)
    assert difference.max() < 0.02 * chains["full"].flatten(1).norm(dim=1).mean()


@pytest.fixture
def micro_batches(monkeypatch):
    """The weights, and their gradients, at every call of `training_step`."""
    step, calls = GEDI.training_step, []

    def record(self, batch, batch_idx):
        loss = step(self, batch, batch_idx)
        named = {k: p for k, p in self.named_parameters() if not k.startswith("classifier")}
        grads = torch.autograd.grad(loss, list(named.values()), retain_graph=True)
        weights = {name: p.detach().clone() for name, p in named.items()}
        rate = self.optimizers().param_groups[0]["lr"]
        calls.append((weights, dict(zip(named, grads, strict=True)), rate))
        return loss

    monkeypatch.setattr(GEDI, "training_step", record)
    return calls


def test_accumulated_gradients_are_the_mean_over_the_batches(load_config, micro_batches):
    overrides = ("optimizer.name=sgd", "optimizer.lr=0.01", "scheduler.name=none")
    model = pretrain(load_config("gedi", *overrides, "accumulate_grad_batches=3")).method
    (weights, _, rate), *_ = micro_batches
    assert len(micro_batches) == 3
    after = dict(model.named_parameters())
    for name, before in weights.items():
        assert all(torch.equal(before, call[0][name]) for call in micro_batches), name
        mean = torch.stack([gradients[name] for _, gradients, _ in micro_batches]).mean(0)
        torch.testing.assert_close(after[name].detach(), before - rate * mean, msg=name)


def test_the_samplers_precision_is_chosen_said_and_kept(load_config, caplog, monkeypatch):
    monkeypatch.setattr("solo_gedi.core.sampler.has_bf16", lambda device: True)
    caplog.set_level("INFO", logger="solo_gedi")
    overrides = ("data.num_workers=0", "checkpoint.keep_prev=true", "max_epochs=2")
    run = pretrain(load_config("gedi", *overrides))
    chosen = run.method.sampler.precision
    assert chosen in DTYPES
    assert caplog.text.count(f"The sampler runs in {chosen}: ") == 1
    caplog.clear()

    # What is resumed goes on as it was, whatever would be chosen now.
    (half,) = run.folder.glob("*-ep=0.ckpt")
    checkpoint = torch.load(half, weights_only=True)
    assert checkpoint["sampler"]["precision"] == chosen
    checkpoint["sampler"]["precision"] = "bf16" if chosen == "fp32" else "fp32"
    torch.save(checkpoint, "half.ckpt")
    resumed = pretrain(load_config("gedi", *overrides, "resume_from_checkpoint=half.ckpt")).method
    assert resumed.sampler.precision == checkpoint["sampler"]["precision"]
    assert "The sampler runs" not in caplog.text


def test_bfloat16_gradients_of_a_trained_network_have_the_direction_of_float32(load_config):
    """On chains and on data; the bound is that of the automatic choice."""
    cfg = load_config("gedi", "max_epochs=3", "backbone.kwargs.width=16")
    cfg.limit_train_batches = 16
    model = pretrain(cfg).method
    model.eval()
    chains = model.replay_buffer.chains
    assert gradient_cosine(model.log_density, chains) > 0.99
    with network_precision(chains.device, torch.bfloat16):
        assert model.backbone(model.sample_space.to_input(chains)).dtype == torch.bfloat16


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_compiled_sampler_moves_chains_alike(load_config):
    chains = []
    for compiled in (False, True):
        compiling = (f"+method_kwargs.sgld.compile={compiled}", "data.num_workers=0")
        # Without batch norm, which makes much of a rounding error.
        plain = ("+method_kwargs.sgld.precision=fp32", "method_kwargs.use_bn_in_head=false")
        cfg = load_config("gedi", *compiling, *plain)
        chains.append(pretrain(cfg).method.replay_buffer.chains)
    torch.testing.assert_close(*chains, rtol=1e-3, atol=1e-3)

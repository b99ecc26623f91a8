import pytest
import torch
from omegaconf import OmegaConf

from solo_gedi import hosts
from solo_gedi.core import log_density
from solo_gedi.errors import ConfigError
from solo_gedi.methods.registration import register


@pytest.fixture
def build(load_config):
    """A method on digits with its training step's logging switched off."""
    register()
    hosts.add_dataset("digits", 10)

    def make(method="gedi", *overrides, **changes):
        cfg = OmegaConf.merge(load_config(method, *overrides), changes)
        OmegaConf.set_struct(cfg, False)
        cfg.devices = [0]
        torch.manual_seed(0)
        model = hosts.METHODS[cfg.method](hosts.parse_pretrain(cfg))
        model.log = lambda *a, **k: None
        model.log_dict = lambda metrics, **k: model.logged.update(metrics)
        model.logged = {}
        return model

    return make


def batch(n=16, views=2, labelled=True):
    generator = torch.Generator().manual_seed(1)
    x = [torch.randn(n, 1, 8, 8, generator=generator) for _ in range(views)]
    labels = torch.arange(n) % 10 if labelled else torch.full((n,), -1)
    return [torch.arange(n), x, labels]


def test_forward_returns_logits_features_and_cluster_logits(build):
    model = build(method_kwargs={"temperature": 0.5})
    out = model(torch.randn(3, 1, 8, 8))
    assert out["logits"].shape == (3, 10)
    assert out["feats"].shape == (3, 8)
    torch.testing.assert_close(out["z"], model.projector.layers(out["feats"]) / 0.5)


@pytest.mark.parametrize("method", ["gedi", "gedi_nogen", "gedi_noinv", "gedi_nounif", "jem"])
def test_every_parameter_takes_part_in_every_step(build, method):
    """What DDP with find_unused_parameters=False needs."""
    model = build(method)
    model.training_step(batch(), 0).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    own = {id(p) for group in model.learnable_params for p in group["params"]}
    assert own == {id(p) for p in model.parameters()}


def test_without_the_generative_term_no_chain_is_moved(build, monkeypatch):
    monkeypatch.setattr("solo_gedi.methods.gedi.sample_sgld", None)
    model = build("gedi_nogen")
    model.training_step(batch(), 0)
    assert model.replay_buffer is None


def test_without_the_invariance_term_the_second_view_is_not_looked_at(build):
    model = build("gedi_noinv", "augmentations=two_views")
    calls = {"backbone": 0, "projector": 0}
    for name in calls:
        module = getattr(model, name)
        module.register_forward_hook(
            lambda m, i, o, name=name: calls.update({name: calls[name] + m.training})
        )
    good = batch()
    good[1][1] = torch.full_like(good[1][1], torch.nan)
    assert model.training_step(good, 0).isfinite()
    # one pass for the view and one for the samples
    assert calls == {"backbone": 2, "projector": 2}


def test_online_classifier_teaches_neither_backbone_nor_head(build):
    model = build("gedi_nogen")
    labelled, unlabelled = batch(), batch(labelled=False)
    gradients = []
    for data in (labelled, unlabelled):
        model.zero_grad()
        torch.manual_seed(2)
        model.training_step(data, 0).backward()
        gradients.append([p.grad.clone() for p in model.backbone.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_unlabelled_batch_gives_a_finite_loss_and_leaves_the_classifier_alone(build):
    model = build("gedi_nogen")
    loss = model.training_step(batch(labelled=False), 0)
    assert loss.isfinite()
    loss.backward()
    assert not model.classifier.weight.grad.any()


def test_sampler_moves_chains_in_sample_space_towards_higher_density(build):
    model = build(method_kwargs={"sgld": {"num_steps": 20, "noise_std": 0.0, "step_size": 0.1}})
    start = model.sample_space.uniform((16, 1, 8, 8))
    model.draw_samples(start)
    buffer = model.replay_buffer
    assert buffer.chains.shape == (200, 1, 8, 8)
    before = buffer.chains.clone()
    buffer.reinit_prob = 0.0
    samples = model.draw_samples(start)
    moved = (buffer.chains != before).flatten(1).any(1)
    assert moved.sum() == 16
    with torch.no_grad():
        assert model.log_density(samples).mean() > model.log_density(before[moved]).mean()
    seen = (buffer.chains + 1) / 2  # pixels in [0, 1]
    expected = (seen - 0.3) / 0.35
    torch.testing.assert_close(model.sample_space.to_input(buffer.chains), expected)


def test_with_batch_norm_data_and_samples_share_one_density(build, load_config):
    model = build()
    model.backbone.blocks[1].pool = torch.nn.Sequential(
        torch.nn.AvgPool2d(2), torch.nn.BatchNorm2d(8)
    )
    model.mixes_batch = True
    norm = model.backbone.blocks[1].pool[1]
    model.train()
    x = batch()[1][0]
    logits = model.projector(model.backbone(x))
    statistics = norm.running_mean.clone()
    densities = model._log_densities(x, logits)
    assert torch.equal(norm.running_mean, statistics), "samples must not enter the statistics"
    assert norm.training
    model.eval()
    expected = log_density(model.projector(model.backbone(x)))
    torch.testing.assert_close(densities["data_log_density"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", [False, True])
def test_gradient_penalty_is_that_of_the_density_in_sample_space(build, norm):
    """Against differences of the density along each pixel of one image."""
    model = build("gedi", "+method_kwargs.grad_penalty=0.5", "method_kwargs.input_noise_std=0")
    if norm:
        model.backbone.blocks[1].pool = torch.nn.Sequential(
            torch.nn.AvgPool2d(2), torch.nn.BatchNorm2d(8)
        )
        model.mixes_batch, model.num_large_crops, model.num_crops = True, 2, 2
    data = batch(n=2)
    loss = model.training_step(data, 0)
    penalty = model.logged["train_grad_penalty_loss"].detach()
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.backbone.parameters())

    model.double().eval()
    samples, step = model.sample_space.to_samples(data[1][0].double()), 1e-5
    squares = []
    for image in samples:
        moved = image + step * torch.eye(64, dtype=torch.float64).view(64, 1, 8, 8)
        with torch.no_grad():
            slope = (model.log_density(moved) - model.log_density(image[None])) / step
        squares.append(slope.square().sum())
    rtol = 0.3 if norm else 1e-3  # the running statistics have moved on since
    torch.testing.assert_close(penalty.double(), torch.stack(squares).mean(), rtol=rtol, atol=0)


def test_noise_on_the_views_has_the_given_size_in_sample_units(build, monkeypatch):
    model = build("gedi_nogen", method_kwargs={"input_noise_std": 0.5})
    seen = []
    model.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    data = batch(n=256)
    model.training_step(data, 0)
    noise = model.sample_space.to_samples(seen[0][:256]) - model.sample_space.to_samples(data[1][0])
    assert noise.std().item() == pytest.approx(0.5, rel=0.03)
    assert noise.mean().item() == pytest.approx(0, abs=0.02)


def test_chains_survive_a_checkpoint_that_is_saved_before_the_first_step(build):
    model, saved = build(), {}
    model.training_step(batch(), 0)
    model.on_save_checkpoint(saved)
    restored, again = build(), {}
    restored.on_load_checkpoint(saved)
    restored.on_save_checkpoint(again)
    chains = model.replay_buffer.chains
    assert torch.equal(again["replay_buffers"][0]["chains"], chains)
    restored.training_step(batch(), 0)
    assert (restored.replay_buffer.chains == chains).flatten(1).all(1).sum() == 200 - 16


def test_checkpoint_with_another_buffer_size_is_refused(build):
    model, saved = build(), {}
    model.training_step(batch(), 0)
    model.on_save_checkpoint(saved)
    other = build(method_kwargs={"sgld": {"buffer_size": 100}})
    with pytest.raises(ConfigError, match="buffer_size=100, but the checkpoint has 200 chains"):
        other.on_load_checkpoint(saved)


def test_checkpoint_keys_name_no_other_module_backbone(build):
    """main_linear.py rewrites every key that contains "backbone" or "encoder"."""
    model = build()
    keys = [k for k in model.state_dict() if "backbone" in k or "encoder" in k]
    assert keys
    assert all(k.startswith("backbone.") and "backbone" not in k[9:] for k in keys)


def test_clusters_default_to_the_number_of_classes(build):
    assert build(method_kwargs={"num_clusters": None}).projector.layers[-1].out_features == 10


def test_settings_may_refer_to_other_keys(build):
    model = build(method_kwargs={"sgld": {"buffer_size": "${optimizer.batch_size}"}})
    assert model.sgld.buffer_size == model.cfg.optimizer.batch_size


def test_config_handed_on_is_plain(build):
    """solo-learn writes it to JSON."""
    import json

    cfg = build().cfg
    assert json.loads(json.dumps(OmegaConf.to_container(cfg)))["method_kwargs"]["sgld"]


def test_small_crops_are_refused(build):
    with pytest.raises(ConfigError, match="1 large and 1 small"):
        build(augmentations=[*two_sizes()])


def two_sizes():
    step = {"prob": 0.0}
    common = {
        "rrc": {"enabled": True, "crop_min_scale": 0.8, "crop_max_scale": 1.0},
        "color_jitter": step,
        **dict.fromkeys(
            ["grayscale", "gaussian_blur", "solarization", "equalization", "horizontal_flip"], step
        ),
        "num_crops": 1,
    }
    return [{**common, "crop_size": 8}, {**common, "crop_size": 6}]

import copy
import io
import json

import pytest
import torch
from omegaconf import OmegaConf

from solo_gedi import hosts
from solo_gedi.core import SGLDSettings, SpectralBound, evaluation_mode, input_gradient
from solo_gedi.errors import ConfigError
from solo_gedi.methods import GEDI, register
from solo_gedi.methods.kwargs import MethodKwargs, with_defaults
from solo_gedi.training import pretrain


@pytest.fixture
def build(load_config):
    """A method on digits with its training step's logging switched off."""
    register()

    def make(method="gedi", *overrides, suite="digits", **changes):
        cfg = OmegaConf.merge(load_config(method, *overrides, suite=suite), changes)
        OmegaConf.set_struct(cfg, False)
        cfg.devices = [0]
        torch.manual_seed(0)
        model = hosts.METHODS[cfg.method](hosts.parse_pretrain(cfg))
        model.log = lambda *a, **k: None
        model.log_dict = lambda metrics, **k: model.logged.update(metrics)
        model.logged = {}
        return model

    return make


@pytest.fixture
def build_with_batch_norm(build):
    """GEDI on a ResNet-18 for 8x8 colour images, whose batch norm mixes a batch."""

    def make(*overrides):
        small = ("optimizer.batch_size=16", "method_kwargs.sgld.num_steps=2")
        chains = "method_kwargs.sgld.buffer_size=20"
        network = ("backbone.name=resnet18", "~backbone.kwargs.width")
        return build("gedi", *small, chains, *network, *overrides, suite="cifar")

    return make


def batch(n=16, views=2, labelled=True, channels=1):
    generator = torch.Generator().manual_seed(1)
    x = [torch.randn(n, channels, 8, 8, generator=generator) for _ in range(views)]
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
    monkeypatch.setattr("solo_gedi.core.sampler.sample_sgld", None)
    model = build("gedi_nogen")
    model.training_step(batch(), 0)
    assert model.sampler is None
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
    # one pass for the view and one for the samples; the chains move in evaluation mode
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


@pytest.mark.parametrize("where", ["backbone", "head"])
def test_with_batch_norm_data_and_samples_share_the_density_of_their_common_batch(
    build, build_with_batch_norm, where
):
    if where == "backbone":
        model = build_with_batch_norm("method_kwargs.input_noise_std=0").train()
    else:
        model = build(method_kwargs={"input_noise_std": 0, "use_bn_in_head": True}).train()
        assert any(isinstance(layer, torch.nn.BatchNorm1d) for layer in model.projector.modules())
    twin, drawn = copy.deepcopy(model), []
    data = batch(channels=3 if where == "backbone" else 1)
    draw = model.draw_samples
    model.draw_samples = lambda like: drawn.append(draw(like)) or drawn[0]
    model.training_step(data, 0)
    assert all(module.training for module in model.modules())

    x = twin.sample_space.to_samples(data[1][0])
    with torch.no_grad():
        for views in data[1] if where == "backbone" else [torch.cat(data[1])]:
            twin(views)
        of_the_data = {name: buffer.clone() for name, buffer in twin.named_buffers()}
        of_data, of_samples = twin.log_density(torch.cat([x, drawn[0]])).split(len(x))
    for name, log_p in (("data", of_data), ("sample", of_samples)):
        energy = model.logged[f"train_{name}_energy"].detach()
        torch.testing.assert_close(energy, -log_p.mean(), rtol=1e-4, atol=1e-5)
    # Evaluation mode has seen the data alone: far samples would move its clusters.
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(buffer, of_the_data[name], msg=name)


def test_features_of_any_scale_have_one_density_under_batch_norm_in_the_head(build):
    """By running statistics larger ones would have a higher one, and grow without end."""
    model = build(method_kwargs={"use_bn_in_head": True}).train()
    model.projector.layers[1].running_var.fill_(4.0)
    data, samples = torch.rand(2, 16, 1, 8, 8) * 2 - 1
    found = []
    for scale in (1, 1000):
        model.backbone.register_forward_hook(lambda m, i, out, scale=scale: scale * out)
        features = model.backbone(model.sample_space.to_input(data))
        found.append(model._log_densities(data, features, samples))
    for name, density in found[0].items():
        torch.testing.assert_close(density, found[1][name], rtol=0.01, atol=0.01)
        assert density.std() > 0.05


def test_gradient_penalty_is_that_of_the_density_in_sample_space(build):
    """Against differences of the density along each pixel of one image."""
    changes = {"grad_penalty": 0.5, "input_noise_std": 0, "use_bn_in_head": False}
    model, data = build(method_kwargs=changes), batch(n=2)
    loss = model.training_step(data, 0)
    penalty = model.logged["train_grad_penalty_loss"].detach()
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.backbone.parameters())

    model.double()
    samples, step = model.sample_space.to_samples(data[1][0].double()), 1e-5
    squares = []
    for image in samples:
        moved = image + step * torch.eye(64, dtype=torch.float64).view(64, 1, 8, 8)
        with torch.no_grad():
            slope = (model.log_density(moved) - model.log_density(image[None])) / step
        squares.append(slope.square().sum())
    torch.testing.assert_close(penalty.double(), torch.stack(squares).mean(), rtol=1e-3, atol=0)


def test_gradient_penalty_with_batch_norm_is_that_of_the_chains_density(
    build_with_batch_norm,
):
    overrides = ("+method_kwargs.grad_penalty=0.5", "method_kwargs.input_noise_std=0")
    model, data = build_with_batch_norm(*overrides).train(), batch(n=4, channels=3)
    drawn = torch.rand(4, 3, 8, 8) * 2 - 1
    model.draw_samples = lambda like: drawn
    model.training_step(data, 0).backward()
    assert all(p.grad.isfinite().all() for p in model.backbone.parameters())
    samples = model.sample_space.to_samples(data[1][0])
    with evaluation_mode(model):
        _, score = input_gradient(model.log_density, samples)
    expected = score.square().sum((1, 2, 3)).mean()
    penalty = model.logged["train_grad_penalty_loss"].detach()
    torch.testing.assert_close(penalty, expected, rtol=1e-3, atol=0)


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


def saved_state(model):
    """What it puts into a checkpoint, written and read."""
    checkpoint, file = {}, io.BytesIO()
    model.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_a_restored_sampler_continues_with_its_step_size_bit_for_bit(build):
    # Without running statistics, which are no part of the sampler.
    model, restored = (build(method_kwargs={"use_bn_in_head": False}) for _ in range(2))
    model.training_step(batch(), 0)
    model.sampler.scale_step(0.5)
    state = saved_state(model)
    assert state["sampler"] == {"precision": model.sampler.precision, "step_factor": 0.5}
    restored.on_load_checkpoint(state)
    again = saved_state(restored)
    assert again["sampler"] == state["sampler"], "also when it is saved before the first step"
    like = batch()[1][0]
    for _ in range(2):
        assert torch.equal(restored.draw_samples(like), model.draw_samples(like))
    assert restored.sampler.step_size == model.sampler.step_size == 0.5 * model.sgld.step_size
    assert restored.sgld == model.sgld == SGLDSettings(**model.cfg.method_kwargs.sgld)


def test_a_method_that_has_trained_takes_a_checkpoints_chains(build):
    model, saved = build(), {}
    model.training_step(batch(), 0)
    model.on_save_checkpoint(saved)
    chains = saved["replay_buffers"][0]["chains"].clone()
    model.sampler.scale_step(0.5)
    model.training_step(batch(), 1)
    model.on_load_checkpoint(saved)
    model.training_step(batch(), 0)
    assert (model.replay_buffer.chains == chains).flatten(1).all(1).sum() == 200 - 16
    assert model.sampler.step_factor == 1


def test_bf16_is_measured_anew_on_a_processor_without_it(build, monkeypatch):
    model = build()
    model.training_step(batch(), 0)
    state = saved_state(model)
    state["sampler"]["precision"] = "bf16"
    for module in ("sampler", "precision"):
        monkeypatch.setattr(f"solo_gedi.core.{module}.has_bf16", lambda device: False)
    restored = build(method_kwargs={"sgld": {"precision": "auto"}})
    restored.on_load_checkpoint(state)
    restored.training_step(batch(), 0)
    assert restored.sampler.precision == "fp32"


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_chains_in_half_precision_are_refused(build, precision):
    with pytest.raises(ConfigError, match=f"precision={precision} .* take bf16-mixed"):
        build(precision=precision)


def test_a_process_without_room_ends_the_others_too(build, monkeypatch):
    monkeypatch.setattr("solo_gedi.methods.chains.gather", lambda own: [own, "no room on cuda:1"])
    with pytest.raises(ConfigError, match="no room on cuda:1"):
        build().training_step(batch(), 0)


def test_chains_of_several_processes_are_dealt_out_anew_to_one(build):
    models = build(), build()
    for seed, model in enumerate(models):
        torch.manual_seed(seed)
        model.training_step(batch(), 0)
    states = [saved_state(model) for model in models]
    both = [*states[0]["replay_buffers"], *states[1]["replay_buffers"]]
    restored = build()
    restored.on_load_checkpoint({**states[0], "replay_buffers": both})
    restored.training_step(batch(), 0)
    kept = (restored.replay_buffer.chains == both[0]["chains"]).flatten(1).all(1)
    assert kept.sum() == 200 - 16


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


def test_terms_that_steady_gen_are_off_without_it_and_said_to_be(build, caplog):
    given = {"weights": {"gen": 0, "inv": 50, "prior": 250}, "energy_l2": 0.02, "grad_penalty": 0.1}
    with caplog.at_level("INFO", logger="solo_gedi"):
        model = build(method_kwargs=given)
    assert "method_kwargs.energy_l2=0.02 is off" in caplog.text
    assert "method_kwargs.grad_penalty=0.1 is off" in caplog.text
    kwargs = model.cfg.method_kwargs
    assert (kwargs.energy_l2, kwargs.grad_penalty) == (0, 0)
    model.training_step(batch(), 0)
    assert not {"train_energy_l2_loss", "train_grad_penalty_loss"} & set(model.logged)


def test_settings_may_refer_to_other_keys(build):
    model = build(method_kwargs={"sgld": {"buffer_size": "${optimizer.batch_size}"}})
    assert model.sgld.buffer_size == model.cfg.optimizer.batch_size


def test_a_config_is_not_changed_by_its_defaults(build):
    cfg = build().cfg
    del cfg.method_kwargs.num_clusters, cfg.method_kwargs.sgld.reinit_prob
    before = copy.deepcopy(cfg)
    complete = with_defaults(cfg, MethodKwargs())
    assert cfg == before
    assert complete.method_kwargs.num_clusters == 10
    assert complete.method_kwargs.sgld.reinit_prob == 0.05


def test_config_handed_on_is_plain(build):
    """solo-learn writes it to JSON."""
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


def test_jem_has_the_generative_term_alone_whatever_its_weight(build):
    once, heavier = (build("jem", f"+method_kwargs.weights.gen={w}") for w in (1, 7))
    for model in (once, heavier):
        loss = model.training_step(batch(), 0)
        terms = {name: value for name, value in model.logged.items() if name.endswith("_loss")}
        assert not {"train_inv_loss", "train_prior_loss"} & terms.keys()
        weight = model.cfg.method_kwargs.weights.gen
        expected = weight * terms["train_gen_loss"] + 0.02 * terms["train_energy_l2_loss"]
        torch.testing.assert_close(terms["train_gedi_loss"], expected)
        assert loss.isfinite()


@pytest.mark.parametrize("weights", [{"gen": 0}, {"inv": 1}, {"prior": 1}, {"gen": -1}])
def test_jem_without_its_term_or_with_another_is_refused(build, weights):
    with pytest.raises(ConfigError, match="method_kwargs.weights"):
        build("jem", method_kwargs={"weights": weights})


def test_clusters_are_asked_to_be_used_as_their_prior_says(build):
    weights = {"gen": 0, "inv": 0, "prior": 1}
    p = [0.55, *[0.05] * 9]
    kwargs = {"weights": weights, "energy_l2": 0, "input_noise_std": 0, "cluster_prior": p}
    model = build(method_kwargs=kwargs)
    x = batch(views=1)
    model.training_step(x, 0)
    q = model(x[1][0])["z"].softmax(-1).mean(0)
    expected = -(torch.tensor(p) * q.log()).sum()
    torch.testing.assert_close(
        model.logged["train_prior_loss"], expected.detach(), rtol=1e-5, atol=0
    )


@pytest.mark.parametrize(
    ("prior", "weights"),
    [
        ([0.5, 0.5], {}),  # digits have ten
        ([1.5, -0.5, *[0.0] * 8], {}),
        ([0.2] * 10, {}),
        ([float("nan")] * 10, {}),
        ([0.1] * 10, {"prior": 0}),
        ("uniform", {}),
    ],
)
def test_priors_that_are_none_are_refused(build, prior, weights):
    with pytest.raises(ConfigError, match=r"method_kwargs\.cluster_prior"):
        build(method_kwargs={"cluster_prior": prior, "weights": weights})


def test_a_wrong_entry_of_a_prior_is_no_unknown_key(build):
    with pytest.raises(
        ConfigError, match=r"cluster_prior\[0\]: Value 'a' .*could not be converted"
    ):
        build(method_kwargs={"cluster_prior": ["a", "b"]})


def test_images_validated_at_another_size_are_warned_of_once(build, caplog):
    labels = torch.zeros(2, dtype=torch.long)
    for size, warnings in ((8, 0), (224, 1)):
        model = build()
        caplog.clear()
        for k in range(3):
            model.on_validation_batch_start([torch.zeros(2, 1, size, size), labels], k)
        assert len(caplog.messages) == warnings
    assert "224 pixels wide and the training views 8" in caplog.text
    build(suite="toy").on_validation_batch_start([torch.zeros(2, 2), labels], 0)


def test_chains_that_cannot_fit_are_refused_before_the_first_step(build, monkeypatch):
    model = build(method_kwargs={"sgld": {"buffer_size": 10_000}})
    monkeypatch.setattr("solo_gedi.methods.chains.room", lambda device: 10_000 * 64 * 4 - 1)
    with pytest.raises(ConfigError, match=r"buffer_size=10000: its chains take 2\.44 MiB on cpu"):
        model.training_step(batch(), 0)
    monkeypatch.setattr("solo_gedi.methods.chains.room", lambda device: 10_000 * 64 * 4)
    model.training_step(batch(), 0)


def test_how_much_memory_the_chains_take_is_said(build, caplog):
    caplog.set_level("INFO", logger="solo_gedi")
    model = build()
    for i in range(2):
        model.training_step(batch(), i)
    assert caplog.text.count("The replay buffer's 200 chains take 50 KiB on cpu.") == 1


def test_chains_kept_on_the_cpu_serve_a_model_elsewhere(build, monkeypatch):
    """Elsewhere is the CPU too here, under another number; the noise has a source there."""
    model = build(method_kwargs={"sgld": {"buffer_device": "cpu"}})
    model.training_step(batch(), 0)
    sampler, buffer = model.sampler, model.replay_buffer
    assert sampler.device == buffer.device == torch.device("cpu")
    states = []
    for _ in range(2):
        sampler.device = torch.device("cpu", 0)
        before, start = buffer.chains.clone(), buffer.generator.get_state()
        first = model.draw_samples(batch()[1][0])
        moved = (buffer.chains != before).flatten(1).any(1)
        assert moved.sum() == 16
        assert sampler._generator is not buffer.generator
        # The same state of the buffer's gives the same noise: nothing else need be saved.
        buffer.chains = before
        buffer.generator.set_state(start)
        sampler._generator = None
        assert torch.equal(model.draw_samples(batch()[1][0]), first)
        states.append(first)
    assert not torch.equal(*states)


@pytest.mark.parametrize("device", ["cuda", "gpu", "meta"])
def test_a_place_for_the_chains_that_is_none_is_refused(build, device):
    with pytest.raises(ConfigError, match=r"sgld\.buffer_device must be cpu, or null, got"):
        build(method_kwargs={"sgld": {"buffer_device": device}})


def test_singular_values_are_bounded_once_an_optimizers_step(load_config, monkeypatch):
    applied = []
    monkeypatch.setattr(SpectralBound, "apply", lambda bound: applied.append(bound.limit))
    bound = ("+method_kwargs.max_spectral_norm=0.5", "+limit_train_batches=6")
    pretrain(load_config("gedi_nogen", *bound, "accumulate_grad_batches=3"))
    assert applied == [0.5, 0.5]


def test_a_bound_is_saved_and_goes_on(build):
    model, restored = (build("gedi_nogen", "+method_kwargs.max_spectral_norm=0.5") for _ in "ab")
    model.spectral_bound.apply()
    restored.on_load_checkpoint(saved_state(model))
    for own, other in zip(
        model.spectral_bound.state_dict(), restored.spectral_bound.state_dict(), strict=True
    ):
        assert torch.equal(own, other)
    # One of before vectors were saved begins anew.
    restored.on_load_checkpoint({})
    assert restored.spectral_bound.state_dict() == []


def test_matrices_are_multiplied_as_the_config_says_while_it_trains(load_config, monkeypatch):
    step, seen = GEDI.training_step, []

    def record(self, *args):
        seen.append(torch.get_float32_matmul_precision())
        return step(self, *args)

    monkeypatch.setattr(GEDI, "training_step", record)
    high = ("+limit_train_batches=1", "performance.matmul_precision=high")
    pretrain(load_config("gedi_nogen", *high))
    assert seen == ["high"]
    assert torch.get_float32_matmul_precision() == "highest"
    with pytest.raises(ConfigError, match=r"performance\.matmul_precision"):
        pretrain(load_config("gedi_nogen", "performance.matmul_precision=tf32"))

import copy

import pytest
import torch

from solo_gedi import hosts
from solo_gedi.comparison.toy.training import ToyTraining, deal
from solo_gedi.config import load_config as compose
from solo_gedi.core import ReplayBuffer, Sampler
from solo_gedi.errors import ConfigError
from solo_gedi.methods import GEDI, register
from solo_gedi.training import pretrain
from solo_gedi.training.job import parse

BATCH = 40


@pytest.fixture
def toy_config():
    def load(method, *overrides):
        small = ["optimizer.batch_size=40", "max_epochs=1", "limit_train_batches=3"]
        register()
        return parse(compose(f"toy/{method}", [*small, *overrides]), hosts.parse_pretrain)

    return load


STEADY = ("grad_penalty=0.1", "sgld.max_grad_norm=0.1", "sgld.clip_samples=true")


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        *((method, ()) for method in ("gedi", "gedi_nogen", "gedi_noinv", "gedi_nounif", "jem")),
        *((method, ()) for method in ("swav", "barlow")),
        ("gedi", STEADY),
        ("jem", STEADY),
        *((method, ("use_bn_in_head=true",)) for method in ("gedi", "gedi_nogen", "jem")),
    ],
)
def test_step_is_the_methods_own_training_step(method, changes, toy_config, monkeypatch):
    """One step without noise gives each network the gradients that `training_step` gives it."""
    changes = [f"+method_kwargs.{key}" for key in changes]
    cfg = toy_config(method, "method_kwargs.input_noise_std=0", *changes)
    if sgld := cfg.method_kwargs.get("sgld"):
        sgld.noise_std, sgld.reinit_prob, sgld.buffer_size = 0.0, 0.0, BATCH
        sgld.step_size = 0.1
    training = ToyTraining(cfg, [3, 4])
    points = torch.randn(2, BATCH, 2)
    training.fresh_points = lambda n: points[:, :n].clone()
    chains = None if training.chains is None else training.chains.clone()
    training.step()

    for k, seed in enumerate([3, 4]):
        torch.manual_seed(seed)
        model = hosts.METHODS[cfg.method](cfg).train()
        monkeypatch.setattr(model, "log", lambda *_, **__: None)
        monkeypatch.setattr(model, "log_dict", lambda *_, **__: None)
        if chains is not None:
            buffer = ReplayBuffer(BATCH, (2,), 0.0, torch.rand)
            buffer.chains = chains[:, k].clone()
            model.sampler = Sampler(model.sgld, buffer, model.sample_space.box)
            model.sampler.precision = "fp32"
        if method == "swav":  # what its on_train_start does with a Trainer
            model.sk = hosts.SinkhornKnopp(model.sk_iters, model.sk_epsilon)
        views = [points[k].clone(), points[k].clone()]
        batch = [torch.arange(BATCH), views, torch.zeros(BATCH).long()]
        model.training_step(batch, 0).backward()
        if chains is not None:
            torch.testing.assert_close(training.chains[:, k], model.replay_buffer.chains)
        first = training.network[0].layers[0]
        expected = model.backbone.layers[0].weight.grad
        torch.testing.assert_close(first.weight.grad[k].T, expected, rtol=1e-4, atol=1e-6)
        head = "layers" if chains is not None or method == "gedi_nogen" else None
        own, stacked = model.projector, training.network[1]
        own, stacked = (getattr(m, head) if head else m for m in (own, stacked))
        torch.testing.assert_close(
            stacked[-1].weight.grad[k].T, own[-1].weight.grad, rtol=1e-4, atol=1e-6
        )


def test_points_are_dealt_out_once_each_and_class_by_class():
    labels = torch.arange(120)[torch.randperm(120)] % 3
    points = torch.stack([torch.arange(120.0), labels.float()], 1)
    dealt = deal(points, labels, 8)
    assert dealt.shape == (8, 15, 2)
    assert sorted(dealt[..., 0].flatten().tolist()) == list(range(120))
    for batch in dealt:
        assert torch.bincount(batch[:, 1].long()).tolist() == [5, 5, 5]


def test_every_network_gets_fresh_points_at_every_step(toy_config):
    training, drawn = ToyTraining(toy_config("gedi_nogen"), [0, 1]), []

    def points(n):
        """Every point has a number of its own."""
        first = sum(map(len, drawn))
        drawn.append(torch.arange(first, first + n).float())
        return drawn[-1][:, None].expand(n, 2), torch.arange(n) % 2

    training.points = points
    seen = torch.stack([training.fresh_points(BATCH) for _ in range(60)])
    assert seen.shape == (60, 2, BATCH, 2)
    assert len(drawn) == 2, "a draw serves many steps, since each is slow"
    assert len(seen[..., 0].unique()) == 60 * 2 * BATCH


def test_the_same_seeds_give_the_same_networks_again(toy_config):
    results = []
    for _ in range(2):
        training = ToyTraining(toy_config("gedi"), [0, 1])
        training.run()
        results.append([model.state_dict() for model in training.models])
    for once, again in zip(*results, strict=True):
        assert all(torch.equal(once[key], again[key]) for key in once)
    assert not torch.equal(*(state["projector.layers.0.weight"] for state in results[0]))


def test_divergence_is_noticed_for_its_seed_alone(toy_config):
    training = ToyTraining(toy_config("gedi"), [0, 1])
    with torch.no_grad():
        next(training.network.parameters())[1] = float("inf")
    training.run()
    assert training.diverged == {
        1: "the weights 0.layers.0.weight are not finite after iteration 3"
    }


@pytest.mark.parametrize("policy", ["raise", "ignore"])
def test_energies_that_run_away_are_divergence_unless_that_is_ignored(toy_config, policy):
    training = ToyTraining(toy_config("gedi", f"+divergence.policy={policy}"), [0, 1])
    with torch.no_grad():
        training.network[1].layers[-1].bias[1] += 1e7
    training.run()
    if policy == "ignore":
        assert not training.diverged
    else:
        said = "log p of the data is 1e+07 in size, beyond 1e+06 after iteration 3"
        assert training.diverged == {1: said}


def test_swavs_prototypes_stay_in_the_first_epoch(toy_config):
    training = ToyTraining(toy_config("swav"), [0])
    before = training.network[-1].weight.clone()
    training.run()
    assert torch.equal(training.network[-1].weight, before)
    training.step()
    assert not torch.equal(training.network[-1].weight, before)


def test_the_rate_is_annealed_as_pretrain_anneals_it(toy_config, load_config):
    """The rates of every step are those of solo-learn's schedule."""
    cosine = ("scheduler.name=warmup_cosine", "+scheduler.warmup_epochs=0")
    cfg = toy_config("gedi_nogen", "limit_train_batches=5", *cosine)
    training, rates = ToyTraining(cfg, [0]), []
    training.optimizer.register_step_post_hook(
        lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"])
    )
    training.run()
    cfg = load_config("gedi_nogen", "limit_train_batches=5", *cosine, suite="toy")
    cfg.optimizer.batch_size, theirs = BATCH, []
    step = GEDI.training_step

    def record(self, batch, batch_idx):
        theirs.append(self.optimizers().param_groups[0]["lr"])
        return step(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GEDI, "training_step", record)
        pretrain(cfg)
    assert rates == pytest.approx(theirs, rel=1e-5)
    assert rates[0] == pytest.approx(6.4e-4 * BATCH / 256)
    assert rates[-1] < 0.2 * rates[0]


def test_singular_values_are_bounded_here_and_by_pretrain(toy_config, load_config):
    limit = "+method_kwargs.max_spectral_norm=0.5"
    training = ToyTraining(toy_config("gedi", limit), [0, 1])
    training.run()
    run = pretrain(
        load_config("gedi", "limit_train_batches=3", "limit_val_batches=1", limit, suite="toy")
    )
    for network in (*training.models, run.method):
        layers = [*network.backbone.layers, *network.projector.layers]
        weights = [layer.weight for layer in layers if hasattr(layer, "weight")]
        largest = torch.stack([torch.linalg.matrix_norm(weight, 2) for weight in weights])
        assert len(weights) == 5
        assert largest.detach().max().item() == pytest.approx(0.5, rel=0.01)


def test_a_method_without_a_loss_here_is_named(toy_config):
    projector = ("+method_kwargs.proj_hidden_dim=4", "+method_kwargs.proj_output_dim=2")
    other = ("method=simclr", "~method_kwargs", *projector, "+method_kwargs.temperature=0.2")
    with pytest.raises(ConfigError, match="the toy study has no method='simclr'"):
        ToyTraining(toy_config("swav", *other), [0])


def test_a_config_is_not_changed_by_its_training(toy_config):
    cfg = toy_config("gedi")
    before = copy.deepcopy(cfg)
    ToyTraining(cfg, [0, 1]).run()
    assert cfg == before


def test_what_is_left_to_pretrain_is_said(toy_config, load_config):
    warm_up = ("scheduler.name=warmup_cosine", "+scheduler.warmup_epochs=1")
    with pytest.raises(ConfigError, match="scheduler.name=none"):
        ToyTraining(toy_config("gedi", *warm_up), [0])
    with pytest.raises(ConfigError, match="not a toy set"):
        ToyTraining(load_config("gedi"), [0])
    with pytest.raises(ConfigError, match="the toy study has .*compile=False, got True; pretrain"):
        ToyTraining(toy_config("gedi", "+method_kwargs.sgld.compile=true"), [0])
    with pytest.raises(ConfigError, match="the toy study has .*queue_size=0, got 400"):
        ToyTraining(toy_config("swav", "method_kwargs.queue_size=400"), [0])
    for given in ("devices=2", "+num_nodes=2"):
        with pytest.raises(ConfigError, match="the toy study trains in one process, got devices="):
            ToyTraining(toy_config("gedi", given), [0])

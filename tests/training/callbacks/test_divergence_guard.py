import csv
import shutil

import pytest
import torch

from solo_gedi.errors import ConfigError, DivergenceError
from solo_gedi.methods import GEDI
from solo_gedi.training import pretrain
from solo_gedi.training.callbacks import Checkpointer, DivergenceGuard, divergence_guard
from solo_gedi.training.callbacks.divergence_guard import beyond, broken_weight

LONG = ["divergence.check_every=1", "divergence.snapshot_every=2", "limit_val_batches=0"]


@pytest.fixture
def poisoned(load_config, monkeypatch):
    """Pretrain GEDI for 12 steps; at given steps, something goes wrong with its chains."""

    def run(steps, what, *overrides):
        draw, calls, sizes = GEDI.draw_samples, [], []

        def poison(self, like):
            samples = draw(self, like)
            calls.append(self.sampler.step_size)
            if len(calls) in steps:
                samples = what(samples)
            sizes.append(self.optimizers().param_groups[0]["lr"])
            return samples

        given = [f"+{override}" for override in LONG]
        cfg = load_config("gedi", "max_epochs=4", *given, "scheduler.name=none", *overrides)
        with monkeypatch.context() as patch:
            patch.setattr(GEDI, "draw_samples", poison)
            run = pretrain(cfg)
        return run, calls, sizes

    return run


def events_of(run):
    with (run.folder / "logs" / "version_0" / "metrics.csv").open() as file:
        found = [row["divergence_events"] for row in csv.DictReader(file)]
    return [float(value) for value in found if value]


def nan(samples):
    return samples * float("nan")


def far(samples):
    return samples * 1e30


@pytest.mark.parametrize("what", [nan, far])
def test_recovers_from_one_bad_step(poisoned, what, caplog):
    # A batch norm would make as much of far samples as of near ones.
    run, steps, rates = poisoned([7], what, "method_kwargs.use_bn_in_head=false")
    assert all(p.isfinite().all() for p in run.method.parameters())
    assert events_of(run)[-1] == 1
    (said,) = [message for message in caplog.messages if "diverged" in message]
    assert "training diverged at step 7" in said
    assert "Continuing from step 4" in said  # the last two states are those of steps 4 and 6
    assert len(set(steps)) == len(set(rates)) == 1
    checkpoint = torch.load(run.checkpoint, weights_only=True)
    assert all(v.isfinite().all() for v in checkpoint["state_dict"].values())
    (event,) = checkpoint["callbacks"]["DivergenceGuard"]["events"]
    assert event.startswith("step 7: ")


@pytest.mark.parametrize("snapshot_every", [2, 200])
def test_chains_that_ran_away_are_given_up_with_the_weights(poisoned, snapshot_every):
    """Noticed only after broken weights have moved chains, with or without a later state."""
    run, _, _ = poisoned(
        [7], nan, "divergence.check_every=5", f"divergence.snapshot_every={snapshot_every}"
    )
    assert events_of(run)[-1] == 1
    assert run.method.replay_buffer.chains.isfinite().all()


def test_chains_that_run_away_at_once_are_started_afresh(poisoned):
    run, _, _ = poisoned([1], nan, "divergence.check_every=10")
    assert events_of(run)[-1] == 1
    assert run.method.replay_buffer.chains.isfinite().all()


def test_a_checkpoint_that_is_due_waits_until_the_guard_has_looked(poisoned, monkeypatch):
    """Weights break in step 7 and are looked at after the ninth, the last of an epoch."""
    monkeypatch.setattr(Checkpointer, "is_due", lambda self: True)
    run, _, _ = poisoned([7], nan, "divergence.check_every=10")
    assert run.finished
    assert events_of(run)[-1] == 1


def test_half_a_gradient_is_not_carried_over(poisoned):
    """The fourth batch is the first of two whose gradients are accumulated."""
    run, _, _ = poisoned([4], nan, "accumulate_grad_batches=2")
    assert events_of(run)[-1] == 1
    assert all(p.isfinite().all() for p in run.method.parameters())


def test_squares_of_energies_are_not_judged_by_their_size(load_config):
    """Energies of about -log 10 are below this limit, their mean square is above it."""
    guard = ("+divergence.policy=raise", "+divergence.limit=4.5", "+divergence.check_every=1")
    run = pretrain(load_config("jem", *guard, "method_kwargs.energy_l2=0.02"))
    assert run.method.watched["train_data_energy"].square() > 4.5
    assert "train_energy_l2_loss" not in run.method.watched


def test_becomes_gentler_from_the_second_time_on_and_so_does_a_resumed_run(poisoned):
    run, steps, rates = poisoned([5, 8], nan)
    assert events_of(run)[-1] == 2
    assert steps[:8] == [0.5] * 8
    assert steps[8:] == [0.25] * 4
    assert rates[8:] == [rates[0] / 2] * 4
    assert torch.load(run.checkpoint, weights_only=True)["sampler"]["step_factor"] == 0.5
    assert run.config.method_kwargs.sgld.step_size == 0.5

    shutil.copy(run.checkpoint, "half.ckpt")
    resume = ("resume_from_checkpoint=half.ckpt", "max_epochs=5")
    resumed, steps, more = poisoned([], nan, *resume)
    assert steps == [0.25] * 3
    assert more == rates[-3:]
    # One more time, and it is halved from where it was.
    _, steps, _ = poisoned([1], nan, *resume)
    assert steps == [0.25, 0.125, 0.125]
    assert resumed.method.sampler.step_size == 0.25


def test_a_run_of_the_first_version_is_resumed_at_its_step_size(poisoned, tmp_path):
    """Its checkpoint has the guard's events, and no step size of the sampler."""
    run, _, _ = poisoned([5, 8], nan)
    checkpoint = torch.load(run.checkpoint, weights_only=True)
    del checkpoint["sampler"]
    torch.save(checkpoint, tmp_path / "old.ckpt")
    resume = ("resume_from_checkpoint=old.ckpt", "max_epochs=5")
    assert poisoned([], nan, *resume)[1] == [0.25] * 3


@pytest.mark.parametrize("schedule", ["none", "warmup_cosine"])
def test_gentler_each_time(poisoned, schedule):
    """Also when the state to go back to is of before the last halving."""
    run, steps, rates = poisoned([5, 8, 9, 10], nan, f"scheduler.name={schedule}")
    assert events_of(run)[-1] == 4
    assert [step / steps[0] for step in steps[7:]] == [1, 0.5, 0.25, 0.125, 0.125]
    _, _, undisturbed = poisoned([], nan, f"scheduler.name={schedule}")
    ratio = [rate / calm for rate, calm in zip(rates[8:], undisturbed[8:], strict=True)]
    assert ratio == pytest.approx([0.5, 0.25, 0.125, 0.125])


def test_gives_up_with_what_ran_away_and_what_to_change(poisoned, tmp_path):
    with pytest.raises(DivergenceError, match="again after 2 recoveries") as caught:
        poisoned(range(5, 20), nan, "+divergence.max_recoveries=2")
    message = str(caught.value)
    assert "at step 7" in message
    assert "energy_l2" in message
    # What was saved before is still there, and whole.
    (saved,) = (tmp_path / "trained_models").glob("gedi/*/*.ckpt")
    state = torch.load(saved, weights_only=True)["state_dict"]
    assert all(value.isfinite().all() for value in state.values())


def test_raise_ends_at_once(poisoned):
    with pytest.raises(DivergenceError, match="at step 3"):
        poisoned([3], nan, "+divergence.policy=raise")


def test_a_broken_run_never_ends_well_whatever_the_policy(poisoned, tmp_path):
    with pytest.raises(DivergenceError, match="are not finite"):
        poisoned([12], nan, "+divergence.policy=ignore")
    (saved,) = (tmp_path / "trained_models").glob("gedi/*/*.ckpt")
    assert saved.name.endswith("ep=2.ckpt")


def test_a_baselines_broken_weights_replace_no_checkpoint(load_config, tmp_path):
    cfg = load_config("swav", "max_epochs=2", "optimizer.lr=1e38", "scheduler.name=none")
    with pytest.raises(DivergenceError, match=r"optimizer\.lr"):
        pretrain(cfg)
    for saved in (tmp_path / "trained_models").glob("swav/*/*.ckpt"):
        state = torch.load(saved, weights_only=True)["state_dict"]
        assert all(value.isfinite().all() for value in state.values())


def test_energies_that_run_away_are_noticed_before_they_are_nan(load_config):
    """JEM at a thousand times its rate, with nothing that bounds its energies."""
    cfg = load_config(
        *("jem", "max_epochs=6", "optimizer.lr=30", "method_kwargs.energy_l2=0"),
        *("scheduler.name=none", "+divergence.policy=raise", "+divergence.check_every=1"),
    )
    with pytest.raises(DivergenceError, match=r"(beyond|jumped|not finite)"):
        pretrain(cfg)


def test_a_jump_is_noticed_far_below_the_limit(monkeypatch):
    guard, sizes = DivergenceGuard(jump=100), iter((1.0, 1.2, 150.0))
    monkeypatch.setattr(divergence_guard, "_look", lambda _: (False, {"energy": next(sizes)}))
    assert guard._problem(None) is None
    assert guard._problem(None) is None
    assert guard._problem(None) == "energy has jumped from about 1.02 to 150 in size"


def test_an_unknown_policy_is_a_matter_of_the_config():
    with pytest.raises(ConfigError, match=r"divergence\.policy='retry'; choose from"):
        DivergenceGuard("retry")


def test_what_is_wrong_is_named():
    weights = {"a": torch.ones(3), "b": torch.tensor([1.0, float("nan")]), "c": torch.ones(1)}
    assert broken_weight(weights.items()) == "the weights b are not finite"
    assert broken_weight([("a", torch.ones(3))]) is None
    assert beyond({"energy": 3.0, "loss": 5.0}, 5.0) is None
    assert beyond({"energy": 3.0, "loss": 5.1}, 5.0) == "loss is 5.1 in size, beyond 5"
    assert beyond({"energy": float("nan")}, float("inf")).startswith("energy is nan")


def test_unknown_settings_are_named(load_config):
    with pytest.raises(ConfigError, match="'retry'; choose from"):
        pretrain(load_config("gedi", "+divergence.policy=retry"))
    with pytest.raises(ConfigError, match=r"divergence\.retries=3: .*max_recoveries"):
        pretrain(load_config("gedi", "+divergence.retries=3"))


def test_a_run_that_diverges_at_once_leaves_one_message_and_no_checkpoint(load_config, tmp_path):
    cfg = load_config("gedi", "optimizer.lr=1e38", "+divergence.policy=raise", "max_epochs=2")
    with pytest.raises(DivergenceError, match="training diverged at step") as caught:
        pretrain(cfg)
    assert len(str(caught.value).splitlines()) == 1
    assert not list(tmp_path.rglob("*.ckpt"))

import csv
import json

import pytest
import torch

from solo_gedi.errors import ConfigError, DivergenceError
from solo_gedi.methods import GEDI
from solo_gedi.training.pretrain import pretrain

LONG = ["max_epochs=4", "divergence.check_every=1", "divergence.snapshot_every=2"]


@pytest.fixture
def poisoned(load_config, monkeypatch):
    """Pretrain GEDI for 12 steps; at given steps, something goes wrong with its chains."""

    def run(steps, what, *overrides):
        draw, calls, sizes = GEDI.draw_samples, [], []

        def poison(self, like):
            calls.append(self.sgld.step_size)
            samples = draw(self, like)
            if len(calls) in steps:
                samples = what(samples)
            sizes.append(self.optimizers().param_groups[0]["lr"])
            return samples

        given = [o if o.startswith("max") else f"+{o}" for o in LONG]
        cfg = load_config("gedi", *given, "scheduler.name=none", *overrides)
        with monkeypatch.context() as patch:
            patch.setattr(GEDI, "draw_samples", poison)
            model, run = pretrain(cfg)
        return model, run, calls, sizes

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
def test_recovers_from_one_bad_step(poisoned, what, capsys):
    model, run, steps, rates = poisoned([7], what)
    assert all(p.isfinite().all() for p in model.parameters())
    assert events_of(run)[-1] == 1
    said = capsys.readouterr().out
    assert "training diverged at step 7" in said
    assert "Going on from step 4" in said  # the last two states are those of steps 4 and 6
    assert len(set(steps)) == len(set(rates)) == 1
    (saved,) = run.folder.glob("*-ep=3.ckpt")
    checkpoint = torch.load(saved, weights_only=True)
    assert all(v.isfinite().all() for v in checkpoint["state_dict"].values())
    (event,) = checkpoint["callbacks"]["DivergenceGuard"]["events"]
    assert event.startswith("step 7: ")


@pytest.mark.parametrize("snapshot_every", [2, 200])
def test_chains_that_ran_away_are_given_up_with_the_weights(poisoned, snapshot_every):
    """Noticed only after broken weights have moved chains, with or without a later state."""
    model, run, _, _ = poisoned(
        [7], nan, "divergence.check_every=5", f"divergence.snapshot_every={snapshot_every}"
    )
    assert events_of(run)[-1] == 1
    assert model.replay_buffer.chains.isfinite().all()


def test_chains_that_run_away_at_once_are_started_afresh(poisoned):
    model, run, _, _ = poisoned([1], nan, "divergence.check_every=10")
    assert events_of(run)[-1] == 1
    assert model.replay_buffer.chains.isfinite().all()


def test_half_a_gradient_is_not_carried_over(poisoned):
    """The fourth batch is the first of two whose gradients are accumulated."""
    model, run, _, _ = poisoned([4], nan, "accumulate_grad_batches=2")
    assert events_of(run)[-1] == 1
    assert all(p.isfinite().all() for p in model.parameters())


def test_squares_of_energies_are_not_judged_by_their_size(load_config):
    """Energies of about -log 10 are below this limit, their mean square is above it."""
    guard = ("+divergence.policy=raise", "+divergence.limit=4.5", "+divergence.check_every=1")
    model, _ = pretrain(load_config("jem", *guard, "method_kwargs.energy_l2=0.02"))
    energy = model.watched["train_data_energy"].square()
    assert energy > 4.5


def test_becomes_gentler_from_the_second_time_on(poisoned):
    _, run, steps, rates = poisoned([5, 8], nan)
    assert events_of(run)[-1] == 2
    assert steps[:8] == [0.5] * 8
    assert steps[8:] == [0.25] * 4
    assert rates[8:] == [rates[0] / 2] * 4


@pytest.mark.parametrize("schedule", ["none", "warmup_cosine"])
def test_gentler_each_time(poisoned, schedule):
    """Also when the state to go back to is of before the last halving."""
    _, run, steps, rates = poisoned([5, 8, 9, 10], nan, f"scheduler.name={schedule}")
    assert events_of(run)[-1] == 4
    assert [step / steps[0] for step in steps[7:]] == [1, 0.5, 0.25, 0.125, 0.125]
    _, _, _, undisturbed = poisoned([], nan, f"scheduler.name={schedule}")
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


def test_unknown_settings_are_named(load_config):
    with pytest.raises(ConfigError, match="'retry'; choose from"):
        pretrain(load_config("gedi", "+divergence.policy=retry"))
    with pytest.raises(ConfigError, match=r"divergence=.*choose from .*'max_recoveries'"):
        pretrain(load_config("gedi", "+divergence.retries=3"))


def test_diverged_run_ends_with_one_message(console, scripts, tmp_path):
    done = console(
        *("solo-gedi", "pretrain", "--config-path", scripts / "pretrain" / "digits"),
        *("--config-name", "gedi", "optimizer.lr=1e38", "+divergence.policy=raise"),
        *("backbone.kwargs.width=8", "+limit_train_batches=3", "max_epochs=2"),
        *("method_kwargs.sgld.num_steps=1", "method_kwargs.sgld.buffer_size=100"),
        "scheduler.name=none",
    )
    assert done.returncode == 2
    assert "training diverged at step" in done.stderr
    assert "Traceback" not in done.stderr
    assert not json.dumps(list(map(str, tmp_path.rglob("*.ckpt")))).count("ckpt")

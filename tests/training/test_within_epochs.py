"""Runs that end in the middle of an epoch, and go on there."""

import logging
import signal

import pytest
import torch

from solo_gedi.core import checkpoints
from solo_gedi.inference import load
from solo_gedi.training import pretrain
from solo_gedi.training.callbacks import Checkpointer, GracefulStop
from solo_gedi.training.callbacks.graceful_stop import SIGNALS

BATCHES = 5


@pytest.fixture
def short(load_config):
    """A config of two epochs of five batches, which goes on by itself."""

    def make(method="gedi_nogen", *overrides, suite="digits", **settings):
        given = ("max_epochs=2", "auto_resume.enabled=true", "data.num_workers=0", *overrides)
        if suite == "toy":
            given = [override for override in given if "workers" not in override]
        cfg = load_config(method, "scheduler.name=warmup_cosine", *given, suite=suite)
        cfg.limit_train_batches, cfg.limit_val_batches = BATCHES, 1
        cfg.update(settings)
        return cfg

    return make


@pytest.fixture
def after_batch(monkeypatch):
    """Does something after a batch, counted over all epochs."""

    def at(batches, do):
        end = GracefulStop.on_train_batch_end

        def then_do(self, trainer, *rest):
            end(self, trainer, *rest)
            if trainer.fit_loop.total_batch_idx + 1 == batches:
                do()

        monkeypatch.setattr(GracefulStop, "on_train_batch_end", then_do)

    return at


def labels(run):
    """The labels of a run's checkpoints."""
    return sorted(path.stem.partition("-ep=")[2] for path in run.folder.glob("*.ckpt"))


def assert_same_end(*runs, also=()):
    """Bit for bit: weights, moments, rates, progress, random states and what else is named."""
    ends = [torch.load(run.checkpoint, weights_only=True) for run in runs]
    keys = ("state_dict", "optimizer_states", "lr_schedulers", "callbacks", "loops", "global_step")
    for key in (*keys, *also):
        assert bits(ends[0][key]) == bits(ends[1][key]), key


def bits(value):
    if isinstance(value, torch.Tensor):
        return value.numpy().tobytes()
    if isinstance(value, dict):
        return {key: bits(item) for key, item in value.items()}
    return [bits(item) for item in value] if isinstance(value, list | tuple) else value


CHAINS = ("+method_kwargs.sgld.precision=fp32", "method_kwargs.sgld.buffer_size=400")


@pytest.mark.parametrize(
    ("method", "suite", "overrides"),
    [
        ("gedi", "digits", CHAINS),
        ("gedi", "digits", (*CHAINS, "data.num_workers=1", "accumulate_grad_batches=2")),
        ("swav", "digits", ("+data.augment_on_device=true",)),
        ("gedi", "toy", CHAINS),
    ],
)
def test_a_run_stopped_within_an_epoch_goes_on_at_its_batch(
    short, tmp_path, after_batch, caplog, method, suite, overrides
):
    if "+data.augment_on_device=true" in overrides:
        pytest.importorskip("kornia")
    whole = pretrain(short(method, *overrides, f"checkpoint.dir={tmp_path}/whole", suite=suite))
    after_batch(BATCHES + 2, lambda: signal.raise_signal(signal.SIGUSR1))
    caplog.set_level(logging.INFO, "solo_gedi")
    stopped = pretrain(short(method, *overrides, suite=suite))
    assert stopped.interrupted == signal.SIGUSR1
    assert not stopped.finished
    assert checkpoints.progress(stopped.checkpoint) == (1, 2)
    assert labels(stopped) == ["1-batch=2"]
    assert load(stopped).epochs == 1.4
    assert (
        f"Stopped by SIGUSR1 after 1 of 2 epochs and 2 of {BATCHES} batches of the next; "
        "started again, it goes on from there." in caplog.messages
    )
    resumed = pretrain(short(method, *overrides, suite=suite))
    assert resumed.folder == stopped.folder
    assert resumed.finished
    assert labels(resumed) == ["1"]
    assert_same_end(
        whole, resumed, also=("replay_buffers", "sampler") if CHAINS[0] in overrides else ()
    )


def test_a_batch_is_the_same_whoever_reads_it(short):
    """So a run may go on with another number of workers."""
    from solo_gedi import hosts
    from solo_gedi.methods import register
    from solo_gedi.training.job import parse
    from solo_gedi.training.loaders import pretrain_loader

    register()
    read = []
    for workers in (0, 2):
        cfg = parse(short(), hosts.parse_pretrain)
        cfg.data.num_workers = workers
        loader = pretrain_loader(cfg)
        loader.position = lambda: (3, 2)
        before = torch.get_rng_state()
        read.append([batch for batch, _ in zip(loader, range(2), strict=False)])
        assert torch.equal(before, torch.get_rng_state())
    assert bits(read[0]) == bits(read[1])
    loader.position = lambda: (3, 0)
    from_start = [batch for batch, _ in zip(loader, range(4), strict=False)]
    assert bits(from_start[2:]) == bits(read[0])
    seen = torch.cat([batch[0] for batch in loader])
    assert len(seen) == len(seen.unique()) == len(loader) * loader.batch_size
    loader.position = lambda: (4, 0)
    assert not torch.equal(next(iter(loader))[0], from_start[0][0])


def test_a_run_ended_by_its_time_says_so_and_goes_on_when_started_again(short, tmp_path, caplog):
    handlers = [signal.getsignal(number) for number in SIGNALS]
    whole = pretrain(short(**{"checkpoint": {**short().checkpoint, "dir": f"{tmp_path}/whole"}}))
    caplog.set_level(logging.INFO, "solo_gedi")
    # Each start comes as far as one batch, however short its time.
    ends = [pretrain(short(max_time="00:00:00:00")) for _ in range(4)]
    done = [checkpoints.progress(run.checkpoint) for run in ends]
    assert done == [(0, 1), (0, 2), (0, 3), (0, 4)]
    assert ends[0].interrupted is None
    assert not ends[0].finished
    said = [message for message in caplog.messages if message.startswith("Stopped by max_time=")]
    assert said[0].endswith(
        f"after 0 of 2 epochs and 1 of {BATCHES} batches of the next; started again, it goes on "
        "from there."
    )
    assert len(said) == 4
    resumed = pretrain(short())
    assert [signal.getsignal(number) for number in SIGNALS] == handlers, "signals are given back"
    assert resumed.folder == ends[0].folder
    assert_same_end(whole, resumed)


@pytest.mark.parametrize("steps", [BATCHES, BATCHES + 2])
def test_a_run_of_some_steps_goes_on_where_they_ended(short, tmp_path, steps):
    """More steps are followed; the same ones are all that was asked for."""
    place = {**short().checkpoint, "dir": f"{tmp_path}/whole"}
    flat = {"name": "none"}
    whole = pretrain(short(max_steps=2 * BATCHES, scheduler=flat, checkpoint=place))
    first = pretrain(short(max_steps=steps, scheduler=flat))
    assert first.finished
    assert labels(first) == ["0" if steps == BATCHES else "1-batch=2"]
    other = pretrain(short(max_steps=steps, scheduler=flat))
    assert other.folder != first.folder, "a finished run is not taken up again"
    resumed = pretrain(
        short(
            max_steps=2 * BATCHES,
            scheduler=flat,
            resume_from_checkpoint=str(first.checkpoint),
        )
    )
    assert resumed.folder == first.folder
    assert_same_end(whole, resumed)


def test_minutes_save_within_epochs(short, monkeypatch):
    """What was saved on the way is replaced; epochs that were asked for stay."""
    saved = []
    save = Checkpointer._save

    def noted(self, trainer, pl_module, label):
        save(self, trainer, pl_module, label)
        saved.append(label)

    monkeypatch.setattr(Checkpointer, "_save", noted)
    cfg = short()
    cfg.checkpoint.update(every_minutes=1e-6, keep_prev=True)
    run = pretrain(cfg)
    within = [[f"ep={epoch}-batch={batch}" for batch in range(1, BATCHES)] for epoch in (0, 1)]
    # The first batch of a start is never followed by a save: it is what a start is for.
    assert saved == [*within[0], "ep=0", *within[1], "ep=1"]
    assert labels(run) == ["0", "1"]

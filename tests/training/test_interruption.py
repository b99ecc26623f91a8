"""Runs that end before their end, as they do on a cluster."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from solo_gedi.core.checkpoints import progress
from solo_gedi.methods import GEDI
from solo_gedi.training import pretrain

EPOCHS = 12


def start(out, workers=0):
    """A training on digits in a session of its own."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        [
            *("solo-gedi", "pretrain", "digits/gedi", f"checkpoint.dir={out}"),
            # Which precision is faster may change between two runs on a busy machine.
            *(f"max_epochs={EPOCHS}", "+method_kwargs.sgld.precision=fp32"),
            *("backbone.kwargs.width=8", "+limit_train_batches=4", f"data.num_workers={workers}"),
            *("method_kwargs.sgld.num_steps=2", "method_kwargs.sgld.buffer_size=200"),
            *("checkpoint.frequency=3", "+limit_val_batches=1", "enable_progress_bar=false"),
        ],
        env={**os.environ, "PATH": path},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def final(out):
    (path,) = Path(out).glob(f"gedi/*/*-ep={EPOCHS - 1}.ckpt")
    return torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    said, _ = (run := start(out)).communicate(timeout=100)
    assert run.returncode == 0, said
    return final(out)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_interrupted_run_goes_on_to_the_same_end(how, whole):
    """Bit for bit, from a random moment."""
    moment = random.Random(int(how))
    run = start("stopped")
    while not list(Path("stopped").glob("gedi/*/*.ckpt")):
        assert run.poll() is None, run.communicate()[0]
        time.sleep(0.02)
    time.sleep(moment.uniform(0, 0.1))
    run.send_signal(how)
    said, _ = run.communicate(timeout=60)
    epochs, batches = max(map(progress, Path("stopped").glob("gedi/*/*.ckpt")))
    assert 1 <= epochs < EPOCHS, said
    assert run.returncode == 128 + how
    name = signal.Signals(how).name
    assert f"{name}: stopping after this step" in said
    within = f" and {batches} of 4 batches of the next" if batches else ""
    assert f"Stopped by {name} after {epochs} of {EPOCHS} epochs{within}; started" in said
    again = start("stopped")
    said, _ = again.communicate(timeout=100)
    assert again.returncode == 0, said
    assert "Resuming from" in said
    after = final("stopped")
    for key, value in whole["state_dict"].items():
        assert torch.equal(after["state_dict"][key], value), key
    own, other = (saved["replay_buffers"][0]["chains"] for saved in (after, whole))
    assert torch.equal(own, other)


def test_killed_at_ten_random_moments_it_comes_to_the_same_end(load_config):
    """`kill -9` and again, and again: in the middle of steps, of epochs and of checkpoints."""
    fork = multiprocessing.get_context("fork")  # has imported torch already
    moments = random.Random(0)

    def train(out, stop_after=None):
        """Kill it a moment after it has begun that many steps."""
        steps, step = fork.Value("i", 0), GEDI.training_step

        def counted(self, batch, batch_idx):
            steps.value += 1
            return step(self, batch, batch_idx)

        def work():
            GEDI.training_step = counted
            fp32 = "+method_kwargs.sgld.precision=fp32"  # as above
            cfg = load_config("gedi", "max_epochs=40", "data.num_workers=0", fp32)
            cfg.checkpoint.dir, cfg.checkpoint.frequency = out, 2
            pretrain(cfg)

        process = fork.Process(target=work, daemon=True)
        process.start()
        if stop_after is not None:
            while steps.value < stop_after:
                assert process.is_alive()
                time.sleep(0.001)
            time.sleep(moments.uniform(0, 0.05))
            process.kill()
        process.join()
        assert process.exitcode == (0 if stop_after is None else -signal.SIGKILL)

    def last(out):
        paths = Path(out).glob("gedi/*/*.ckpt")
        return torch.load(max(paths, key=progress), weights_only=True)

    train("uninterrupted")
    epochs = []
    for _ in range(10):
        train("killed", stop_after=moments.randint(1, 10))
        if list(Path("killed").glob("gedi/*/*.ckpt")):
            epochs.append(last("killed")["epoch"])
    assert epochs == sorted(epochs)
    assert len(set(epochs)) > 3, "it must have gone on in between"
    train("killed")
    after, whole = last("killed"), last("uninterrupted")
    assert after["epoch"] == 39
    for key, value in whole["state_dict"].items():
        assert torch.equal(after["state_dict"][key], value), key
    own, other = (saved["replay_buffers"][0]["chains"] for saved in (after, whole))
    assert torch.equal(own, other)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_workers_too_ends_a_run_in_order(how):
    """As Slurm and Ctrl-C send it."""
    run = start("stopped", workers=2)
    while not list(Path("stopped").glob("gedi/*/*.ckpt")):
        assert run.poll() is None, run.communicate()[0]
        time.sleep(0.02)
    os.killpg(run.pid, how)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 128 + how, said
    assert f"Stopped by {signal.Signals(how).name}" in said
    assert "Traceback" not in said


def test_second_signal_ends_at_once(load_config):
    """In a step that would take ten minutes."""
    fork = multiprocessing.get_context("fork")
    began = fork.Event()

    def work():
        GEDI.training_step = lambda *_: (began.set(), time.sleep(600))
        pretrain(load_config("gedi", "data.num_workers=0", "data.val_path=null"))

    run = fork.Process(target=work, daemon=True)
    run.start()
    assert began.wait(60)
    os.kill(run.pid, signal.SIGINT)
    run.join(1)
    assert run.is_alive(), "the first lets the step end"
    os.kill(run.pid, signal.SIGTERM)
    run.join(60)
    assert run.exitcode == -signal.SIGTERM

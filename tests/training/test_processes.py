"""Two processes on the CPU, as a user starts them."""

import json
import shutil
import signal
import sys
from types import SimpleNamespace

import pytest
import torch

from solo_gedi.errors import DataError, DivergenceError, ProcessLostError
from solo_gedi.training.launch import said_once


@pytest.fixture
def train(console, capsys, tmp_path):
    """Trains on two processes, as a user starts them, or on this one alone."""
    from solo_gedi.cli import main

    def run(out, devices, *overrides, by=("solo-gedi",)):
        command = [
            *("pretrain", "digits/gedi", f"checkpoint.dir={out}", f"devices={devices}"),
            "accelerator=cpu",
            *("backbone.kwargs.width=8", "+limit_val_batches=1"),
            *("+limit_train_batches=3", "optimizer.batch_size=32", "data.num_workers=0"),
            *("method_kwargs.sgld.num_steps=2", "method_kwargs.sgld.buffer_size=100"),
            *("max_epochs=2", "checkpoint.frequency=1", "checkpoint.keep_prev=true"),
            *("auto_resume.enabled=false", *overrides),
        ]
        if devices == 1:
            assert main(command) == 0, capsys.readouterr().err
        else:
            done = console(*by, *command)
            assert done.returncode == 0, done.stderr[-3000:]
            # The first process has decided, and says it once.
            (folder,) = (tmp_path / out / "gedi").iterdir()
            assert done.stdout.count("Files of this run:") == 1
            assert f"Files of this run: {out}/gedi/{folder.name}\n" in done.stdout
            resumed = any("resume_from" in override for override in overrides)
            assert done.stdout.count("Resuming from") == resumed
        (path,) = (tmp_path / out).glob("gedi/*/*-ep=1.ckpt")
        return torch.load(path, weights_only=True)

    return run


def test_a_cell_of_two_processes_is_evaluated_by_one(console, tmp_path):
    done = console(
        *("solo-gedi", "cell", "out", "digits/gedi"),
        *("--tasks", "clustering,linear", "probe.max_epochs=1"),
        *("devices=2", "accelerator=cpu", "strategy=ddp", "backbone.kwargs.width=8"),
        *("+limit_train_batches=3", "+limit_val_batches=1", "optimizer.batch_size=32"),
        *("data.num_workers=0", "max_epochs=1", "method_kwargs.sgld.num_steps=2"),
        "method_kwargs.sgld.buffer_size=100",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("clustering ...") == 1
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert {row["task"] for row in metrics["results"]} == {"clustering", "linear"}


def chains(checkpoint):
    return [state["chains"] for state in checkpoint["replay_buffers"]]


def seed_of(state):
    generator = torch.Generator()
    generator.set_state(state)
    return generator.initial_seed()


def test_every_process_has_its_own_randomness_and_keeps_it(train, tmp_path):
    whole = train("whole", 2)
    first, second = chains(whole)
    assert not torch.equal(first, second)
    states = whole["callbacks"]["RandomState"]["processes"]
    assert not torch.equal(states[0]["torch"], states[1]["torch"])
    assert states[0]["python"] != states[1]["python"]
    generators = [state["generator"] for state in whole["replay_buffers"]]
    seeds = [seed_of(state) for state in (*generators, *(s["torch"] for s in states))]
    assert len({*seeds}) == 4, "neither a process nor its chains share a stream"

    (half,) = (tmp_path / "whole").glob("gedi/*/*-ep=0.ckpt")
    shutil.copy(half, tmp_path / "half.ckpt")
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    by = (*torchrun, "--nproc-per-node", "2", "-m", "solo_gedi")
    resumed = train("resumed", 2, "resume_from_checkpoint=half.ckpt", by=by)
    for key, value in whole["state_dict"].items():
        assert torch.equal(resumed["state_dict"][key], value), key
    for own, other in zip(chains(whole), chains(resumed), strict=True):
        assert torch.equal(own, other)

    # One process alone takes up as many of the chains of both as it has room for.
    alone = train("alone", 1, "resume_from_checkpoint=half.ckpt", "max_epochs=2")
    # solo-learn multiplies the rate by the number of devices.
    full, halved = (end["lr_schedulers"][0]["base_lrs"] for end in (whole, alone))
    assert halved == pytest.approx([rate / 2 for rate in full])
    (kept,) = chains(alone)
    before = torch.cat(chains(torch.load(half, weights_only=True)))[:100]
    moved = (kept != before).flatten(1).any(1).sum()
    assert moved <= 3 * 32
    assert (kept == before).flatten(1).all(1).sum() >= 4


DIES = """
import os, signal
from solo_gedi.cli import main
from solo_gedi.methods import GEDI

def step(self, *batch):
    os.kill(os.getpid(), signal.SIGKILL)

if os.environ.get("LOCAL_RANK") == "1":
    GEDI.training_step = step
raise SystemExit(main())
"""


def test_a_process_that_is_killed_ends_the_others_and_is_named(console, tmp_path):
    (tmp_path / "dies.py").write_text(DIES)
    done = console(
        *(sys.executable, "dies.py", "pretrain", "digits/gedi_nogen", "checkpoint.dir=out"),
        *("devices=2", "accelerator=cpu", "strategy=ddp", "backbone.kwargs.width=8"),
        *("+limit_train_batches=3", "optimizer.batch_size=32", "data.num_workers=0"),
        *("max_epochs=1", "data.val_path=null", "enable_progress_bar=false"),
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "solo-gedi pretrain: error: process 1 of 2 has ended by SIGKILL"
    )
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("out/gedi/*")), "it has come to nothing"


STOPPED = """
import os, signal
from solo_gedi.cli import main
from solo_gedi.methods import GEDI

train = GEDI.training_step

def step(self, batch, batch_idx):
    if batch_idx == 4 and os.environ.get("LOCAL_RANK") == "1":
        os.kill(os.getpid(), signal.SIGUSR1)
    return train(self, batch, batch_idx)

GEDI.training_step = step
raise SystemExit(main())
"""


def test_a_signal_to_one_process_stops_all_and_one_alone_goes_on(console, tmp_path):
    """Of 1,077 digits two processes have seen 640, and one alone has 13 batches left."""
    (tmp_path / "stopped.py").write_text(STOPPED)
    run = (
        *("pretrain", "digits/gedi_nogen", "checkpoint.dir=out", "accelerator=cpu", "max_epochs=1"),
        *("backbone.kwargs.width=8", "optimizer.batch_size=32", "data.num_workers=0"),
        *("data.val_path=null", "enable_progress_bar=false"),
    )
    done = console(sys.executable, "stopped.py", *run, "devices=2", "strategy=ddp")
    assert done.returncode == 128 + signal.SIGUSR1, done.stderr[-3000:]
    assert "Stopped by SIGUSR1 after 0 of 1 epochs and 10 of 16 batches" in done.stdout
    (path,) = tmp_path.glob("out/gedi/*/*.ckpt")
    again = console("solo-gedi", *run, "devices=1")
    assert again.returncode == 0, again.stderr[-3000:]
    (path,) = path.parent.glob("*-ep=0.ckpt")
    assert torch.load(path, weights_only=True)["global_step"] == 10 + 13


def test_what_all_processes_meet_is_said_by_the_first():
    second = SimpleNamespace(
        global_rank=1, world_size=2, num_nodes=1, strategy=SimpleNamespace(launcher=None)
    )
    with pytest.raises(DataError, match=r"^process 1 of 2: image a\.png"), said_once(second):
        raise DataError("image a.png cannot be read")
    with pytest.raises(ProcessLostError, match="diverged") as caught, said_once(second):
        raise DivergenceError("training diverged")
    assert caught.value.said
    with pytest.raises(ProcessLostError, match="another process has ended"), said_once(second):
        raise RuntimeError("Connection closed by peer [127.0.0.1]:1")
    with pytest.raises(RuntimeError, match="a fault of ours"), said_once(second):
        raise RuntimeError("a fault of ours")

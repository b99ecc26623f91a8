"""Two processes on the CPU, as a user starts them."""

import json
import shutil

import pytest
import torch


@pytest.fixture
def train(console, capsys, tmp_path):
    """Trains on two processes, as a user starts them, or on this one alone."""
    from solo_gedi.cli import main

    def run(out, devices, *overrides):
        command = [
            *("pretrain", "digits/gedi", f"checkpoint.dir={out}", f"devices={devices}"),
            *("accelerator=cpu", f"strategy={'ddp' if devices > 1 else 'auto'}"),
            *("backbone.kwargs.width=8", "+limit_val_batches=1"),
            *("+limit_train_batches=3", "optimizer.batch_size=32", "data.num_workers=0"),
            *("method_kwargs.sgld.num_steps=2", "method_kwargs.sgld.buffer_size=100"),
            *("max_epochs=2", "checkpoint.frequency=1", "checkpoint.keep_prev=true"),
            *("auto_resume.enabled=false", *overrides),
        ]
        if devices == 1:
            assert main(command) == 0, capsys.readouterr().err
        else:
            done = console("solo-gedi", *command)
            assert done.returncode == 0, done.stderr[-3000:]
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


def test_every_process_has_its_own_randomness_and_keeps_it(train, tmp_path):
    whole = train("whole", 2)
    first, second = chains(whole)
    assert not torch.equal(first, second)
    states = whole["callbacks"]["RandomState"]["processes"]
    assert not torch.equal(states[0]["torch"], states[1]["torch"])
    assert states[0]["python"] != states[1]["python"]

    (half,) = (tmp_path / "whole").glob("gedi/*/*-ep=0.ckpt")
    shutil.copy(half, tmp_path / "half.ckpt")
    resumed = train("resumed", 2, "resume_from_checkpoint=half.ckpt")
    for key, value in whole["state_dict"].items():
        assert torch.equal(resumed["state_dict"][key], value), key
    for own, other in zip(chains(whole), chains(resumed), strict=True):
        assert torch.equal(own, other)

    # One process alone takes up as many of the chains of both as it has room for.
    alone = train("alone", 1, "resume_from_checkpoint=half.ckpt", "max_epochs=2")
    (kept,) = chains(alone)
    before = torch.cat(chains(torch.load(half, weights_only=True)))[:100]
    moved = (kept != before).flatten(1).any(1).sum()
    assert moved <= 3 * 32
    assert (kept == before).flatten(1).all(1).sum() >= 4

"""How often two processes wait for each other; as a script, one of the processes."""

import csv
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist

STEPS, CHECK_EVERY = 6, 3
COUNTED = (
    *("all_reduce", "reduce", "broadcast", "barrier", "monitored_barrier", "all_gather", "gather"),
    *("all_gather_into_tensor", "reduce_scatter", "scatter", "all_to_all", "send", "recv"),
    *("all_gather_object", "gather_object", "broadcast_object_list", "scatter_object_list"),
)
SMALL = [
    *("devices=2", "accelerator=cpu", "backbone.kwargs.width=8"),
    *(f"+limit_train_batches={STEPS}", "+limit_val_batches=0", "optimizer.batch_size=32"),
    *("data.num_workers=0", "max_epochs=1", "log_every_n_steps=2", "enable_progress_bar=false"),
    *("method_kwargs.sgld.num_steps=1", "method_kwargs.sgld.buffer_size=100"),
    *("+method_kwargs.sgld.precision=fp32", f"+divergence.check_every={CHECK_EVERY}"),
]


def process():
    """Train, and note what is called within each step, and each step's loss."""
    from solo_gedi import load_config, pretrain
    from solo_gedi.core.processes import rank
    from solo_gedi.methods import GEDI
    from solo_gedi.training.callbacks.divergence_guard import _look

    calls, steps, losses = [], [], []

    def counting(name):
        collective = getattr(dist, name)

        def call(*args, **kwargs):
            calls.append(name)
            return collective(*args, **kwargs)

        return call

    for name in COUNTED:
        setattr(dist, name, counting(name))
    train, end = GEDI.training_step, GEDI.on_train_batch_end

    def training_step(self, batch, batch_idx):
        steps.append(len(calls))
        return train(self, batch, batch_idx)

    def on_train_batch_end(self, *args):
        losses.append(float(self.watched["train_gedi_loss"]))
        end(self, *args)

    GEDI.training_step, GEDI.on_train_batch_end = training_step, on_train_batch_end
    pretrain(load_config("digits/gedi", SMALL))
    nan = {"weight": torch.tensor([1.0, float("nan")][rank()])}
    watched = {"energy": torch.tensor(1.0 + rank())}
    look = _look(SimpleNamespace(named_parameters=nan.items, watched=watched))
    within = [calls[a:b] for a, b in zip(steps, steps[1:], strict=False)]
    result = {"calls": within, "losses": losses, "look": look}
    Path(f"{rank()}.json").write_text(json.dumps(result))


@pytest.fixture(scope="module")
def trained_by_two(tmp_path_factory):
    import os
    import subprocess

    folder = tmp_path_factory.mktemp("two")
    env = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else None
    done = subprocess.run(
        [sys.executable, __file__], cwd=folder, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def results(folder):
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_a_step_waits_for_other_processes_in_the_prior_alone(trained_by_two):
    """And, where the guard looks, in one all-reduce; beside DDP's gradients.

    In the first step all learn whether one has no room for its chains.

    Lightning itself broadcasts, before every batch, whether the first process got a signal.
    """
    for result in results(trained_by_two):
        for step, calls in enumerate(result["calls"], 1):
            assert calls.count("broadcast") <= 1
            own = [call for call in calls if call != "broadcast"]
            looked = ["all_reduce"] if step % CHECK_EVERY == 0 else []
            asked = ["all_gather_object"] if step == 1 else []
            assert own == [*asked, "all_gather", *looked], step


def test_the_means_of_an_epoch_are_those_of_all_processes(trained_by_two):
    first, second = (result["losses"] for result in results(trained_by_two))
    assert len(first) == len(second) == STEPS
    assert first != second
    (path,) = trained_by_two.rglob("metrics.csv")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    (mean,) = [float(row["train_gedi_loss_epoch"]) for row in rows if row["train_gedi_loss_epoch"]]
    assert mean == pytest.approx(sum(first + second) / (2 * STEPS), rel=1e-5)
    logged = [row["train_gedi_loss_step"] for row in rows if row["train_gedi_loss_step"]]
    assert [float(value) for value in logged] == pytest.approx(first[1::2], rel=1e-5)


def test_what_the_guard_sees_on_one_process_all_know(trained_by_two):
    for result in results(trained_by_two):
        assert result["look"] == [True, {"energy": 2.0}]


if __name__ == "__main__":
    process()

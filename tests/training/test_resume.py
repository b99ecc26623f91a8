import json
import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf

from solo_gedi.errors import CheckpointError
from solo_gedi.training import pretrain
from solo_gedi.training.callbacks import Checkpointer, LateState
from solo_gedi.training.resume import find_unfinished


def assert_equal(a, b, where=""):
    """Bit for bit, through nested containers."""
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_equal(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{where}[{i}]")
    else:
        assert a == b, where


def checkpoint(run, epoch):
    (path,) = run.folder.glob(f"*-ep={epoch}.ckpt")
    return path


@pytest.mark.parametrize(
    ("method", "workers", "on_device"),
    [
        ("gedi", 0, False),
        ("gedi", 1, False),
        ("swav", 0, False),
        ("swav", 1, False),
        ("gedi", 1, True),
        ("swav", 0, True),
    ],
)
def test_resumed_run_equals_the_uninterrupted_one_bit_for_bit(
    load_config, tmp_path, method, workers, on_device
):
    if on_device:
        pytest.importorskip("kornia")
    overrides = [
        "max_epochs=4",
        "checkpoint.keep_prev=true",
        "scheduler.name=warmup_cosine",
        f"data.num_workers={workers}",
        f"+data.augment_on_device={on_device}",
        # SwAV makes its queue as it starts.
        *(["method_kwargs.queue_size=64"] if method == "swav" and workers else []),
        *(["+method_kwargs.epoch_queue_starts=1"] if method == "swav" and workers else []),
    ]
    whole = pretrain(load_config(method, *overrides))
    stopped = tmp_path / "stopped" / checkpoint(whole, 1).name
    stopped.parent.mkdir()
    shutil.copy(checkpoint(whole, 1), stopped)

    given = stopped.parent if method == "swav" else stopped
    resumed = pretrain(load_config(method, *overrides, f"resume_from_checkpoint='{given}'"))
    assert resumed.folder != whole.folder
    ends = [torch.load(checkpoint(run, 3), weights_only=True) for run in (whole, resumed)]
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "callbacks", "global_step"):
        assert_equal(ends[0][key], ends[1][key], key)
    if method == "gedi":
        assert_equal(ends[0]["replay_buffers"], ends[1]["replay_buffers"], "buffers")
        half = torch.load(stopped, weights_only=True)["replay_buffers"][0]["chains"]
        assert not torch.equal(half, ends[0]["replay_buffers"][0]["chains"])


def test_auto_resume_goes_on_in_the_folder_of_the_same_unfinished_run(load_config):
    args = ["max_epochs=3", "auto_resume.enabled=true"]
    whole = pretrain(load_config("gedi", *args, "checkpoint.keep_prev=true"))
    for epoch in (1, 2):
        os.remove(checkpoint(whole, epoch))
    logged = (whole.folder / "logs" / "version_0" / "metrics.csv").read_bytes()

    other = pretrain(load_config("gedi", *args, "method_kwargs.weights.inv=2"))
    assert other.folder != whole.folder, "another config must not take up these weights"
    resumed = pretrain(load_config("gedi", *args))
    model = resumed.method
    assert resumed.folder == whole.folder
    assert model.trainer.global_step == 9
    assert (whole.folder / "logs" / "version_0" / "metrics.csv").read_bytes() == logged
    assert (whole.folder / "logs" / "version_1" / "metrics.csv").exists()

    again = pretrain(load_config("gedi", *args))
    assert again.folder != whole.folder, "a finished run is not taken up again"


def test_the_same_command_goes_on_with_what_it_made_of_a_checkpoint(load_config):
    short = pretrain(load_config("gedi", "max_epochs=1"))
    longer = ("gedi", "max_epochs=4", "auto_resume.enabled=true", "checkpoint.keep_prev=true")
    given = f"resume_from_checkpoint={short.checkpoint}"
    whole = pretrain(load_config(*longer, given))
    for epoch in (2, 3):
        os.remove(checkpoint(whole, epoch))
    os.remove(short.checkpoint)  # as without keep_prev
    again = pretrain(load_config(*longer, given))
    assert again.folder == whole.folder == short.folder
    assert again.finished
    assert again.method.trainer.global_step == whole.method.trainer.global_step


def test_a_run_is_taken_up_for_as_long_as_the_config_says(load_config):
    run = pretrain(load_config("gedi", "max_epochs=2", "checkpoint.keep_prev=true"))
    os.remove(checkpoint(run, 1))
    for hours, found in ((35, [checkpoint(run, 0)]), (37, [])):
        then = time.time() - 3600 * hours
        os.utime(checkpoint(run, 0), (then, then))
        assert find_unfinished(run.config, run.folder.parent) == found
    gone = checkpoint(run, 0).with_name("gedi-ep=1.ckpt")
    gone.symlink_to("nowhere")  # as a disk that was cleaned up leaves it
    assert find_unfinished(run.config, run.folder.parent) == []


def test_an_earlier_checkpoint_begins_a_run_of_its_own(load_config):
    kept = ("checkpoint.keep_prev=true", "auto_resume.enabled=false")
    whole = pretrain(load_config("gedi", "max_epochs=3", *kept))
    before = {path: path.read_bytes() for path in whole.folder.rglob("*") if path.is_file()}
    given = f"resume_from_checkpoint={checkpoint(whole, 0)}"
    branch = pretrain(load_config("gedi", "max_epochs=2", *kept, given))
    assert branch.folder != whole.folder
    assert {path: path.read_bytes() for path in before} == before
    saved = torch.load(branch.checkpoint, weights_only=True)["state_dict"]
    assert_equal(dict(saved), dict(branch.method.state_dict()))
    reference = json.loads((branch.folder / "reference.json").read_text())
    assert reference["checkpoint"] == branch.checkpoint.name


def test_a_fast_run_leaves_nothing_to_resume(load_config):
    for _ in range(2):
        run = pretrain(load_config("gedi", "+fast_dev_run=true", "auto_resume.enabled=true"))
        assert run.method.trainer.global_step == 1
        assert run.checkpoint is None
        assert not list(run.folder.parent.rglob("*.ckpt"))


def test_an_epoch_of_a_fixed_number_of_batches_is_not_shared_out_anew():
    for limit, batches, expected in ((1000, 1000, 600), (1000, 700, 1200), (1.0, 700, 1200)):
        place = {"current": {"ready": 600, "completed": 600}}
        epoch = {"current": {"ready": 1, "processed": 0}}
        loops = {"fit_loop": {"epoch_loop.batch_progress": place, "epoch_progress": epoch}}
        trainer = SimpleNamespace(world_size=1, limit_train_batches=limit)
        state = {"processes": 2, "loops": loops, "batches_per_epoch": batches}
        Checkpointer(OmegaConf.create(), None).on_load_checkpoint(trainer, None, state)
        assert place["current"] == {"ready": expected, "completed": expected}


def test_the_rate_of_a_momentum_encoder_is_kept():
    callback, content = LateState(None), {}
    module = SimpleNamespace(momentum_updater=SimpleNamespace(cur_tau=0.9998))
    callback.on_save_checkpoint(None, module, content)
    module.momentum_updater.cur_tau = 0.99
    callback.on_load_checkpoint(None, module, content)
    assert module.momentum_updater.cur_tau == 0.9998
    callback.on_save_checkpoint(None, SimpleNamespace(), other := {})
    callback.on_load_checkpoint(None, SimpleNamespace(), other)
    assert not other


def test_kept_neighbours_of_half_an_epoch_are_said(caplog):
    epoch = {"current": {"ready": 1, "processed": 0}}
    loops = {"fit_loop": {"epoch_loop.batch_progress": {"current": {}}, "epoch_progress": epoch}}
    trainer = SimpleNamespace(world_size=1, limit_train_batches=1.0)
    for enabled in (False, True):
        cfg = OmegaConf.create({"knn_eval": {"enabled": enabled}})
        with caplog.at_level("WARNING"):
            Checkpointer(cfg, None).on_load_checkpoint(trainer, None, {"loops": loops})
        assert ("remaining batches" in caplog.text) == enabled


def test_a_broken_newest_checkpoint_is_named_each_time(load_config):
    """And not only until its run is taken for one that is in use."""
    overrides = ["max_epochs=3", "+max_steps=3", "data.num_workers=0"]
    run = pretrain(load_config("gedi", *overrides))
    run.checkpoint.write_bytes(b"")
    for _ in range(2):
        with pytest.raises(CheckpointError, match="cut short"):
            pretrain(
                load_config(
                    "gedi",
                    "max_epochs=3",
                    "+max_steps=6",
                    "data.num_workers=0",
                    f"resume_from_checkpoint={run.checkpoint}",
                )
            )


def test_a_run_goes_on_with_the_checkpoint_of_a_wrapped_network(trained_copy, load_config):
    # A schedule that has ended cannot go on under solo-learn's GitHub version.
    constant = "scheduler.name=none"
    (checkpoint,) = trained_copy("gedi", constant).glob("*-ep=0.ckpt")
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"] = {f"module.{key}": v for key, v in content["state_dict"].items()}
    torch.save(content, checkpoint)
    given = (constant, "max_epochs=2", f"resume_from_checkpoint='{checkpoint}'")
    run = pretrain(load_config("gedi", *given))
    assert torch.load(run.checkpoint, weights_only=True)["epoch"] == 1


def test_a_slurm_job_loads_nothing_that_lies_about(load_config, monkeypatch):
    """Lightning would go on with any hpc_ckpt_N.ckpt in the working folder, and leave others."""
    names = ("NTASKS", "NTASKS_PER_NODE", "JOB_ID")
    for name in (*names, "PROCID", "LOCALID", "NODEID"):
        monkeypatch.setenv(f"SLURM_{name}", "1" if name in names else "0")
    monkeypatch.setenv("SLURM_JOB_NAME", "job")
    Path("hpc_ckpt_1.ckpt").write_text("another's")
    run = pretrain(load_config("gedi"))
    assert torch.load(run.checkpoint, weights_only=True)["epoch"] == 0
    assert Path("hpc_ckpt_1.ckpt").read_text() == "another's"
    assert not run.method.trainer._accelerator_connector.cluster_environment.auto_requeue

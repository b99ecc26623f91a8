import errno
import json

import pytest
from lightning.fabric.loggers import csv_logs
from lightning.pytorch.plugins import TorchCheckpointIO
from PIL import Image

from solo_gedi.errors import CheckpointError
from solo_gedi.training import pretrain


def test_wandb_runs_offline_and_no_entity_is_written(
    load_config, tmp_path, monkeypatch, capfd, caplog
):
    caplog.set_level("INFO", "solo_gedi")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    cfg = load_config("gedi", "wandb.enabled=true", "wandb.offline=true")
    run = pretrain(cfg)
    (offline,) = tmp_path.glob("wandb/offline-run-*")
    assert f"-{run.folder.name}-" in offline.name
    another = pretrain(load_config("gedi_nogen", "wandb.enabled=true", "wandb.offline=true"))
    import wandb

    wandb.finish()
    (second,) = {*tmp_path.glob("wandb/offline-run-*")} - {offline}
    assert f"-{another.folder.name}-" in second.name
    assert all(list(folder.glob("*.wandb")) for folder in (offline, second))
    assert f"later: wandb sync {offline.relative_to(tmp_path)}" in caplog.text
    assert "wandb" not in "".join(capfd.readouterr())  # it has nothing to add
    assert json.loads((run.folder / "args.json").read_text())["wandb"]["entity"] is None
    assert (run.folder / "logs" / "version_0" / "metrics.csv").exists()


@pytest.fixture
def full_disk(monkeypatch):
    """Makes writing to files of some names fail as on a full disk."""

    def fill(method, target):
        def fail(*args, **kwargs):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(target, method, fail)

    return fill


def test_a_log_that_cannot_be_written_does_not_end_the_run(load_config, full_disk):
    full_disk("save", csv_logs._ExperimentWriter)
    full_disk("save", Image.Image)
    with pytest.warns(UserWarning, match="No space left on device") as warned:
        run = pretrain(load_config("gedi", "max_epochs=2"))
    messages = [str(warning.message) for warning in warned]
    failed = [m for m in messages if "No space left on device" in m]
    assert sum("MetricsFile has failed" in m for m in failed) == 1
    assert any("no picture of the chains" in m for m in failed)
    assert list(run.folder.glob("*-ep=1.ckpt"))
    assert not list(run.folder.glob("logs/*/metrics.csv"))


def test_a_checkpoint_that_cannot_be_written_is_an_error_and_leaves_the_one_before(
    load_config, full_disk
):
    run = pretrain(load_config("gedi", "scheduler.name=none"))
    (before,) = run.folder.glob("*-ep=0.ckpt")
    content = before.read_bytes()
    full_disk("save_checkpoint", TorchCheckpointIO)
    longer = ("scheduler.name=none", "max_epochs=2", f"resume_from_checkpoint={before}")
    cfg = load_config("gedi", *longer)
    with pytest.raises(
        CheckpointError, match=r"checkpoint .*ep=1\.ckpt could not be .*No space left"
    ):
        pretrain(cfg)
    assert before.read_bytes() == content
    assert not list(run.folder.glob(".*partial"))


def test_wandb_without_a_network_does_not_end_the_run(console, tmp_path):
    done = console(
        *("solo-gedi", "pretrain", "digits/gedi_nogen", "max_epochs=1"),
        *("+limit_train_batches=2", "+limit_val_batches=1"),
        *("wandb.enabled=true", "backbone.kwargs.width=8", "data.num_workers=0"),
        # A port where nothing answers.
        env={
            "WANDB_BASE_URL": "http://127.0.0.1:9",
            "WANDB_API_KEY": "0" * 40,
            "WANDB_INIT_TIMEOUT": "1",
            "WANDB__DISABLE_VIEWER": "true",  # whose name it would wait for, for ten seconds
            # Not this process's, which other tests have set.
            "WANDB_SERVICE": "",
            "WANDB_MODE": "online",
        },
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr.count("Wandb has failed") == 1
    assert list(tmp_path.glob("trained_models/gedi/*/*-ep=0.ckpt"))

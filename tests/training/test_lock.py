"""Several runs of one config."""

import errno
import logging
import multiprocessing
import signal
import time
from pathlib import Path

import pytest

from solo_gedi.core import checkpoints
from solo_gedi.errors import ConfigError
from solo_gedi.files import release
from solo_gedi.training import job, lock, pretrain
from solo_gedi.training.callbacks import GracefulStop

FORK = multiprocessing.get_context("fork")  # has imported torch already
RUN = ("gedi_nogen", "max_epochs=2", "auto_resume.enabled=true", "data.num_workers=0")


def test_two_runs_started_at_once_have_a_folder_each(load_config):
    both = FORK.Barrier(2)

    def work():
        def together(parent, name):
            both.wait(60)
            return lock.new_folder(parent, "20260101-000000")

        job.new_folder = together
        pretrain(load_config(*RUN))

    processes = [FORK.Process(target=work, daemon=True) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    folders = sorted(Path("trained_models/gedi").iterdir())
    assert [folder.name for folder in folders] == ["20260101-000000", "20260101-000000-1"]
    assert [checkpoints.progress(checkpoints.last(folder)) for folder in folders] == [(2, 0)] * 2


def test_a_run_that_is_training_is_left_alone_until_it_dies(load_config, monkeypatch, caplog):
    def work():
        GracefulStop.on_train_batch_end = lambda self, trainer, *_: (
            time.sleep(600) if trainer.current_epoch else None
        )
        pretrain(load_config(*RUN))

    alive = FORK.Process(target=work, daemon=True)
    alive.start()
    while not list(Path("trained_models").glob("gedi/*/*-ep=0.ckpt")):
        assert alive.is_alive()
        time.sleep(0.02)
    (begun,) = Path("trained_models").glob("gedi/*/*-ep=0.ckpt")
    monkeypatch.setattr(lock, "PATIENCE", 0.1)
    caplog.set_level(logging.INFO, "solo_gedi")
    other = pretrain(load_config(*RUN))
    assert other.folder.name != begun.parent.name
    assert other.finished
    assert any(f"{begun.parent.name} is in use by another run" in m for m in caplog.messages)
    with pytest.raises(ConfigError, match=f"{begun.parent.name} is in use by another run"):
        pretrain(load_config(*RUN, f"resume_from_checkpoint={begun}"))

    alive.kill()
    alive.join(60)
    assert alive.exitcode == -signal.SIGKILL
    resumed = pretrain(load_config(*RUN))
    assert resumed.folder.name == begun.parent.name
    assert checkpoints.progress(resumed.checkpoint) == (2, 0)
    assert not (resumed.folder / ".lock").exists()


def test_where_the_file_system_locks_nothing_a_file_names_the_process(tmp_path, monkeypatch):
    """And a process that is dead holds nothing."""

    class Missing(lock.FileLock):
        def _acquire(self):
            raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock, "FileLock", Missing)
    monkeypatch.setattr(lock, "PATIENCE", 0.1)
    holds = FORK.Event()

    def work():
        held = lock.lock_folder(tmp_path)
        holds.set()
        time.sleep(600)
        assert held

    alive = FORK.Process(target=work, daemon=True)
    alive.start()
    assert holds.wait(60)
    assert lock.lock_folder(tmp_path) is None
    alive.kill()
    alive.join(60)
    monkeypatch.setattr(lock, "PATIENCE", 10)
    own = lock.lock_folder(tmp_path)
    assert own is not None
    release(own)
    assert [*tmp_path.iterdir()] == []

"""Files of which several processes want the same."""

import errno
import subprocess
import sys

import pytest

from solo_gedi.files import alone_in

VISIT = """
import time
from pathlib import Path
from solo_gedi.files import alone_in
for _ in range(3):
    with alone_in(Path("new"), ".lock"):
        inside = Path("new", "inside")
        inside.touch(exist_ok=False)  # nobody else is
        time.sleep(0.1)
        inside.unlink()
"""


def test_one_process_is_in_a_folder_at_a_time(tmp_path):
    visitors = [subprocess.Popen([sys.executable, "-c", VISIT]) for _ in range(3)]
    assert [visitor.wait() for visitor in visitors] == [0, 0, 0]
    assert not list((tmp_path / "new").iterdir())


def test_where_nothing_can_be_locked_nobody_waits(tmp_path):
    (tmp_path / ".lock").mkdir()
    with alone_in(tmp_path, ".lock"):
        assert (tmp_path / ".lock").is_dir()


def test_no_mark_of_another_machine_is_waited_for(tmp_path, monkeypatch):
    """Where a file system has no locks, and such a mark would never go."""
    fcntl = pytest.importorskip("fcntl")

    def missing(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", missing)
    (tmp_path / ".lock").write_text("4242\nother-node\n")
    with alone_in(tmp_path, ".lock"):
        pass


def test_the_lock_is_given_back_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), alone_in(tmp_path, ".lock"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())

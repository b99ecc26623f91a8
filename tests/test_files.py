"""Files of which several processes want the same."""

import errno
import pickle
import subprocess
import sys

import pytest

from solo_gedi.errors import ConfigError, Interrupted
from solo_gedi.files import alone_in, given_path, written_atomically

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


WRITE = """
import sys
from pathlib import Path
from solo_gedi.files import written_atomically
with written_atomically(Path("file")) as place:
    place.write_text("half")
    print(flush=True)
    sys.stdin.readline()
    place.write_text("whole")
"""


def test_two_writers_of_one_file_do_not_show_each_others_halves(tmp_path):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    other = subprocess.Popen([sys.executable, "-c", WRITE], **pipes)
    other.stdout.readline()
    with written_atomically(tmp_path / "file") as place:
        place.write_text("mine")
    assert (tmp_path / "file").read_text() == "mine"
    other.communicate("\n")
    assert other.returncode == 0
    assert [path.read_text() for path in tmp_path.iterdir()] == ["whole"]


def test_a_home_that_nobody_has_is_named():
    with pytest.raises(ConfigError, match="~nobody-has-this/x"):
        given_path("~nobody-has-this/x")


def test_an_interruption_passes_between_processes():
    error = pickle.loads(pickle.dumps(Interrupted(2, "saved")))
    assert (error.signal, str(error)) == (2, "saved")


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

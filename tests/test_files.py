"""Files of which several processes want the same."""

import multiprocessing
import time
from pathlib import Path

import pytest

from solo_gedi.files import alone_in


def visit(folder):
    with alone_in(Path(folder), ".lock"):
        inside = Path(folder, "inside")
        inside.touch(exist_ok=False)  # nobody else is
        time.sleep(0.1)
        inside.unlink()
    return True


def test_one_process_is_in_a_folder_at_a_time(tmp_path):
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert pool.map(visit, [str(tmp_path / "new")] * 6, chunksize=1) == [True] * 6
    assert not list((tmp_path / "new").iterdir())


def test_where_nothing_can_be_locked_nobody_waits(tmp_path):
    (tmp_path / ".lock").mkdir()
    assert visit(tmp_path)
    with pytest.raises(ZeroDivisionError), alone_in(tmp_path, ".other"):
        raise ZeroDivisionError
    assert not (tmp_path / ".other").exists()

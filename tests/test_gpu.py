"""`benchmarks.gpu`: on a GPU what it says to be right, elsewhere that it runs."""

import json
import time
from functools import partial
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]

# Time alone is measured in the others.
CORRECTNESS = ("right", "processes", "mixed")


@pytest.fixture
def gpu(monkeypatch):
    """The module, which lies beside the package."""
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks import gpu

    return gpu


@pytest.fixture
def results(gpu, tmp_path, monkeypatch):
    """Runs it and reads what it has written."""

    def run(*arguments):
        gpu.main([*arguments, "--out", str(tmp_path / "gpu.json")])
        return json.loads((tmp_path / "gpu.json").read_text())

    return run


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("part", CORRECTNESS)
def test_it_is_right_on_a_gpu(results, part):
    rows = results("--parts", part, "--width", "32")["rows"]
    assert len(rows) > 1
    assert [row for row in rows if not row.get("ok", True)] == []


def test_all_of_it_runs_at_tiny_size_without_a_gpu(results, monkeypatch):
    # C++ would take half a minute.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    found = results("--tiny", "--device", "cpu")
    rows = found["rows"]
    assert [row for row in rows if not row.get("ok", True)] == []
    judged = {part: sum("ok" in row for row in rows if row["part"] == part) for part in CORRECTNESS}
    assert judged == {"right": 27, "processes": 0, "mixed": 2}
    what = {row["what"] for row in rows}
    assert {"a step waits for nothing", "a draw of 4, bf16: compiled, ms"} <= what
    assert {"ResNet-50 at 32 pixels, GiB", "gloo, by DDP, ms", "no --data was given"} <= what
    assert found["machine"]["torch"] == torch.__version__


def test_a_part_that_fails_or_takes_too_long_is_a_row_and_the_others_go_on(
    gpu, results, monkeypatch
):
    def breaks(given):
        yield {"what": "before", "value": 1.0}
        raise RuntimeError("CUDA error: out of memory\nmore of it")

    def sleeps(given):
        yield {"what": "before", "value": 1.0}
        time.sleep(30)

    def works(given):
        yield {"what": "good", "value": 2.0, "ok": True}

    parts = {"right": (breaks, 5), "fast": (sleeps, 1), "memory": (works, 5)}
    monkeypatch.setattr(gpu, "PARTS", parts)
    rows = results("--tiny", "--parts", *parts)["rows"]
    said = [(row["part"], row["what"]) for row in rows if row["what"] != "seconds"]
    assert said == [
        ("right", "before"),
        ("right", "RuntimeError: CUDA error: out of memory"),
        ("fast", "before"),
        ("fast", "TimeoutError: longer than its 1 s"),
        ("memory", "good"),
    ]

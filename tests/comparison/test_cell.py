"""A cell: pretrained once, evaluated, and its results where the benchmark looks for them."""

import json
import signal
from types import SimpleNamespace

import pytest

from solo_gedi import training
from solo_gedi.comparison.cell import cell
from solo_gedi.errors import Interrupted

SMALL = ["max_epochs=1", "backbone.kwargs.width=8", "+limit_train_batches=2", "seed=3"]


def test_a_cell_is_pretrained_once_and_evaluated_as_told(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    overrides = [*SMALL, "probe.max_epochs=1"]
    options = {"tasks": "clustering,ood,linear", "linear_config": "digits/gedi", "ood": "uniform"}
    found = cell("~/my cell", "digits/gedi_nogen", overrides=overrides, **options)
    folder = tmp_path / "my cell"
    assert json.loads((folder / "metrics.json").read_text()) == found
    assert (found["status"], found["seed"]) == ("finished", 3)
    assert {row["task"] for row in found["results"]} == {"clustering", "ood", "linear"}
    assert {row["epochs"] for row in found["results"] if row["task"] == "linear"} == {1}
    assert found["seconds"].keys() == {"pretrain", "evaluate"}
    assert found["figures"]
    assert all((folder / name).is_file() for name in found["figures"])

    monkeypatch.setattr(training, "pretrain", lambda cfg: pytest.fail("trained again"))
    again = cell("my cell", "digits/gedi_nogen", overrides=overrides, tasks="knn")
    assert again["checkpoint"] == found["checkpoint"]
    assert {row["task"] for row in again["results"]} == {"clustering", "ood", "linear", "knn"}
    assert again["seconds"].keys() == {"evaluate"}  # this call did not train
    with monkeypatch.context() as launched:
        launched.setenv("RANK", "1")
        assert cell("my cell", "digits/gedi_nogen", overrides=overrides, tasks="triad") is None
    assert json.loads((folder / "metrics.json").read_text()) == again

    class TrainedAnewError(Exception):
        pass

    def train(cfg):
        raise TrainedAnewError

    monkeypatch.setattr(training, "pretrain", train)
    with pytest.raises(TrainedAnewError):
        cell("my cell", "digits/gedi_nogen", overrides=[*SMALL, "seed=4"], tasks="knn")


def test_a_training_that_ended_is_not_done_again_whatever_came_after(monkeypatch):
    """As where a benchmark is stopped while the reference is measured."""
    done = training.pretrain

    def killed(cfg):
        done(cfg)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "pretrain", killed)
        with pytest.raises(KeyboardInterrupt):
            cell("out", "digits/gedi_nogen", overrides=SMALL, tasks="triad")
    monkeypatch.setattr(training, "pretrain", lambda cfg: pytest.fail("trained again"))
    assert cell("out", "digits/gedi_nogen", overrides=SMALL, tasks="triad")["status"] == "finished"


def test_the_seconds_of_a_resumed_training_are_not_those_of_the_training(tmp_path):
    short = ("+max_time=00:00:00:00", *SMALL)
    with pytest.raises(Interrupted, match="max_time=.* is up: the same again goes on"):
        cell("out", "digits/gedi_nogen", overrides=short, tasks="triad")
    found = cell("out", "digits/gedi_nogen", overrides=SMALL, tasks="triad")
    assert found["seconds"].keys() == {"evaluate"}


def test_an_interrupted_cell_leaves_no_results(tmp_path, monkeypatch):
    def interrupted(cfg):
        assert cfg.checkpoint.dir == "out"
        return SimpleNamespace(folder=tmp_path, interrupted=int(signal.SIGTERM))

    monkeypatch.setattr(training, "pretrain", interrupted)
    with pytest.raises(Interrupted) as ended:
        cell("out", "digits/gedi_nogen")
    assert ended.value.signal == signal.SIGTERM
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["cell.json"]

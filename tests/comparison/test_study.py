"""The toy study, from a config to results that every command reads."""

import json

import pytest
import torch

from solo_gedi.comparison.plan import Cell
from solo_gedi.comparison.toy.study import toy
from solo_gedi.errors import ConfigError
from solo_gedi.report import evaluate

SMALL = ["max_epochs=1", "limit_train_batches=20"]


def test_results_are_those_that_evaluate_reads(tmp_path):
    """Moons without GEN: two seeds, checkpoints, numbers, a picture."""
    threads = torch.get_num_threads()
    found = toy("out", "toy/gedi_nogen", seeds=(0, 7), tasks="clustering,samples", overrides=SMALL)
    assert torch.get_num_threads() == threads
    for seed, metrics in zip((0, 7), found, strict=True):
        folder = tmp_path / "out" / f"seed={seed}"
        assert json.loads((folder / "metrics.json").read_text()) == metrics
        assert (metrics["status"], metrics["seed"]) == ("finished", seed)
        assert metrics["seconds"].keys() >= {"pretrain", "forward", "evaluate"}
        (nmi,) = [
            row["value"]
            for row in metrics["results"]
            if row["metric"] == "nmi" and row["source"] == "model"
        ]
        assert 0 <= nmi <= 1
        assert {row["task"] for row in metrics["results"]} == {"clustering"}
        # Pictures of one seed will do.
        assert ("samples_fresh.png" in metrics["figures"]) == (seed == 0)
        assert (folder / "clusters.png").stat().st_size > 1000
    again = evaluate("out/seed=7", "clustering")
    assert again.metrics["results"] == metrics["results"]
    assert again.metrics["seconds"] == metrics["seconds"]


def test_a_seed_whose_training_ran_away_has_failed_with_a_reason(tmp_path):
    (metrics,) = toy("out", "toy/gedi", seeds=[5], overrides=[*SMALL, "optimizer.lr=1e30"])
    assert metrics["status"] == "failed"
    assert "not finite after iteration 20" in metrics["reason"]
    assert Cell("moons", "gedi", (5,), tmp_path / "out", ()).state == "failed"


def test_a_seed_that_has_failed_stays_so_when_it_is_evaluated(tmp_path):
    changed = [*SMALL, "+divergence.limit=1e-9"]
    (metrics,) = toy("out", "toy/gedi", seeds=[5], overrides=changed)
    assert metrics["status"] == "failed"
    cell = Cell("moons", "gedi", (5,), tmp_path / "out", ())
    with pytest.raises(ConfigError, match="a training that failed .*log p.*--out"):
        evaluate(tmp_path / "out" / "seed=5", "clustering")
    assert cell.state == "failed"


def test_another_training_takes_the_place_of_the_former(tmp_path):
    """A rate of zero, in effect, and then one that learns: nothing of the first is left."""
    for rate in (1e-12, 1e-2):
        changed = [*SMALL, f"optimizer.lr={rate}"]
        (metrics,) = toy("out", "toy/swav", seeds=[0], tasks="clustering", overrides=changed)
        assert metrics["config"]["optimizer"]["lr"] == pytest.approx(rate * 400 / 256)
        (path,) = (tmp_path / "out" / "seed=0").glob("*.ckpt")
        assert torch.load(path, weights_only=True)["epoch"] == 0
        (tmp_path / "out" / "seed=0" / "metrics.json").write_text("{}")
    assert not (tmp_path / "out" / "seed=0" / "metrics-1.json").exists()


def test_a_shorter_training_takes_the_place_of_a_longer_one(tmp_path):
    for epochs in (2, 1):
        changed = ["max_epochs=" + str(epochs), "limit_train_batches=2", "dataset=circles"]
        (metrics,) = toy("out", "toy/swav", seeds=[0], tasks="clustering", overrides=changed)
        assert metrics["epochs"] == epochs
    (path,) = (tmp_path / "out" / "seed=0").glob("*.ckpt")
    assert metrics["checkpoint"].endswith(path.name)

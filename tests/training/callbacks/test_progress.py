"""What is seen of a training while it runs."""

import csv
import logging
import re

import pytest

from solo_gedi.errors import DivergenceError
from solo_gedi.training import linear, pretrain
from solo_gedi.training.callbacks import Progress, progress

TERMS = {
    "loss": "train_gedi_loss",
    "inv": "train_inv_loss",
    "prior": "train_prior_loss",
    "gen": "train_gen_loss",
    "clusters": "train_clusters_used",
}


@pytest.fixture
def said(caplog):
    """What a training says of its epochs: when, the values by their labels, and the time."""
    caplog.set_level(logging.INFO, "solo_gedi")

    def split(line):
        when, _, rest = line.partition(": ")
        values, _, time = rest.partition("; ")
        return when, {k: float(v) for k, v in re.findall(r"([a-z ]+) (-?[\d.e+-]+)", values)}, time

    def epochs():
        found = [split(text) for text in caplog.messages if text.startswith("epoch")]
        return [(w, {k.strip(): v for k, v in values.items()}, t) for w, values, t in found]

    return epochs


def logged(run, name):
    (path,) = run.folder.glob("logs/*/metrics.csv")
    with path.open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def test_a_line_an_epoch_has_the_means_that_are_logged(load_config, said, caplog):
    run = pretrain(load_config("gedi", "max_epochs=2", "enable_progress_bar=true"))
    assert "weights to train, on" in caplog.text
    assert [when for when, _, _ in said()] == ["epoch 1 of 2", "epoch 2 of 2"]
    for epoch, (_, values, time) in enumerate(said()):
        assert list(values) == [*TERMS, "val acc"]
        for label, name in TERMS.items():
            assert values[label] == pytest.approx(logged(run, f"{name}_epoch")[epoch], rel=6e-3)
        assert values["val acc"] == pytest.approx(logged(run, "val_acc1")[epoch], abs=0.06)
        assert re.fullmatch(r"[\d.]+ s, \d\d:\d\d left", time)
    assert time.endswith("00:00 left")


@pytest.mark.parametrize("method", ["swav", "barlow", "gedi_nogen"])
def test_every_method_shows_its_own_losses(load_config, said, method):
    run = pretrain(load_config(method, "enable_progress_bar=true"))
    ((_, values, _),) = said()
    name = {"swav": "train_swav_loss", "barlow": "train_barlow_loss"}.get(method, TERMS["loss"])
    assert values["loss"] == pytest.approx(run.metrics[name], rel=6e-3)
    own = ["inv", "prior", "clusters"] if method == "gedi_nogen" else []
    assert list(values) == ["loss", *own, "val acc"]


def test_a_probe_and_points_are_shown_too(load_config, trained, said):
    (path,) = trained("gedi").glob("*.ckpt")
    given = (f'pretrained_feature_extractor="{path}"', "enable_progress_bar=true")
    linear(load_config("gedi", *given, "check_val_every_n_epoch=1", kind="linear"))
    ((_, values, _),) = said()
    assert list(values) == ["loss", "val acc"]
    quick = ("enable_progress_bar=true", "limit_train_batches=2", "limit_val_batches=1")
    pretrain(load_config("gedi", *quick, suite="toy"))
    assert list(said()[1][1]) == [*TERMS, "val acc"]


def test_the_bar_reads_the_device_at_its_own_pace(load_config, said, capsys, monkeypatch):
    reads, values = [], Progress._values
    monkeypatch.setattr(Progress, "_values", lambda *given: reads.append(1) or values(*given))
    monkeypatch.setattr(progress, "watched", lambda: True)
    monkeypatch.setattr(progress, "REFRESH", 1e9)
    pretrain(load_config("gedi", "max_epochs=2", "enable_progress_bar=true"))
    assert len(reads) == 2  # the ends of the epochs
    shown = capsys.readouterr().out
    assert re.search(r"epoch 2/2 .*left, loss [\d.]+, inv .*, clusters [\d.]+", shown)
    assert not said()


def test_an_error_begins_a_line_of_its_own(load_config, capsys, monkeypatch):
    monkeypatch.setattr(progress, "watched", lambda: True)
    cfg = load_config("swav", "enable_progress_bar=true", "optimizer.lr=1e9", "+max_steps=3")
    cfg.optimizer.name = "sgd"
    with pytest.raises(DivergenceError):
        pretrain(cfg)
    assert capsys.readouterr().out.endswith("\n")


def test_nothing_is_shown_where_that_is_asked_for(load_config, said, capsys, monkeypatch):
    monkeypatch.setattr(progress, "watched", lambda: True)
    pretrain(load_config("gedi", "enable_progress_bar=false"))
    assert not said()
    assert "epoch" not in capsys.readouterr().out


def test_what_a_user_sees_is_of_the_run(console):
    """Neither adverts and advice of Lightning's nor doubts of solo-learn's."""
    quick = "+limit_train_batches=2 +limit_val_batches=1 method_kwargs.sgld.num_steps=1"
    done = console("solo-gedi", "pretrain", "digits/gedi", "max_epochs=2", *quick.split())
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout.splitlines()
    assert 5 <= len(said) <= 8, done.stdout
    shown = [line for line in said if re.match("Pretraining gedi|EnergyResNet8|epoch|Files", line)]
    assert [line.partition(" ")[0] for line in shown[2:]] == ["epoch", "epoch", "Files"]

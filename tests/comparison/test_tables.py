import csv
import json
import math
import statistics

import numpy as np
import pytest

from solo_gedi.comparison import measures, overview, tables
from solo_gedi.comparison.plan import Cell, cells_of
from solo_gedi.comparison.suites import SUITES
from solo_gedi.errors import ConfigError

NMI = {"moons": {"gedi": [0.9, 1.0, 0.8], "jem": [0.1]}, "circles": {"gedi": [1.0, 0.9, 1.0]}}


def metrics(dataset, method, seed, nmi, **config):
    def row(metric, value, **keys):
        about = {"task": "clustering", "metric": metric, "split": "fresh points"}
        return {**about, **keys, "value": value}

    own = {"source": "model", "output": "cluster head"}
    return {
        "format": 2,
        "status": "finished",
        "dataset": dataset,
        "method": method,
        "seed": seed,
        "seconds": {"pretrain": 1.0},
        "config": {
            "max_epochs": 20,
            "name": method,
            "optimizer": {"lr": 1e-3, **config},
            "method_kwargs": {"temperature": 1.0},
        },
        # Not in their usual order: it is the keys that count.
        "results": [row("nmi", 0.3, source="kmeans", k=2), row("nmi", nmi, **own)],
        "figures": [],
    }


@pytest.fixture
def cells(tmp_path):
    made = []
    for dataset, methods in NMI.items():
        for method, values in methods.items():
            folder = tmp_path / "out" / dataset / method
            cell = Cell(dataset, method, tuple(range(3)), folder, ("toy",))
            for seed, value in enumerate(values):
                path = cell.results_of(seed)
                path.parent.mkdir(parents=True)
                path.write_text(json.dumps(metrics(dataset, method, seed, value)))
            made.append(cell)
    failed = made[1].results_of(1)
    failed.parent.mkdir()
    failed.write_text(json.dumps({"status": "failed", "reason": "weights not finite", "seed": 1}))
    return made


def test_means_stand_beside_the_papers_values(cells):
    rows = {(r["data set"], r["method"]): r for r in tables.comparison(tables.read(cells))}
    assert set(rows) == {("moons", "gedi"), ("moons", "jem"), ("circles", "gedi")}
    moons = rows["moons", "gedi"]
    assert moons["mean"] == pytest.approx(0.9)
    assert moons["std"] == pytest.approx(statistics.stdev([0.9, 1.0, 0.8])) == pytest.approx(0.1)
    assert (moons["paper"], moons["paper std"]) == (0.94, 0.07)  # Table 2
    assert moons["difference"] == pytest.approx(0.9 - 0.94)
    assert rows["circles", "gedi"]["paper"] == 1.0
    jem = rows["moons", "jem"]
    assert (jem["mean"], jem["std"], jem["seeds"]) == (0.1, None, 1)
    assert jem["failed"] == "seed 1: weights not finite"


def test_what_was_undone_or_not_done_is_in_table_and_report(cells, tmp_path):
    path = cells[0].results_of(1)
    run = json.loads(path.read_text())
    run["divergence"] = ["step 350: train_gen_loss is 2e+06 in size"]
    run["not_done"] = {"fid": "no Inception weights here"}
    path.write_text(json.dumps(run))
    rows = tables.comparison(tables.read(cells))
    assert [row["recovered"] for row in rows] == [1, 0, 0]
    overview.write("a suite", cells, tmp_path / "out", "")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "diverged at step 350" in page
    assert "fid not done: no Inception weights here" in page


def test_full_table_keeps_what_was_measured_otherwise_apart(cells):
    rows = tables.everything(tables.read(cells))
    of_moons = [r for r in rows if (r["data set"], r["method"]) == ("moons", "gedi")]
    assert {r["protocol"]: round(r["mean"], 6) for r in of_moons} == {
        "argmax of the cluster head": 0.9,
        "k-means (k=2) on the features": 0.3,
    }
    assert all(r["split"] == "fresh points" and r["seeds"] == 3 for r in of_moons)


def found(*rows):
    finished = {"results": [{"split": "test", **row} for row in rows]}
    results = {("svhn", "gedi"): tables.Results([finished], {})}
    return {row["measure"]: row for row in tables.comparison(results)}


@pytest.mark.parametrize("where", [{}, {"path": "some/where"}])
def test_one_data_sets_auroc_is_not_taken_for_anothers(where):
    ood = {"task": "ood", "metric": "auroc", **where}
    rows = found(
        {**ood, "score": "log_density", "against": "cifar10", "value": 0.5},
        {**ood, "score": "neg_grad_norm", "against": "cifar100", "value": 0.1},
        {**ood, "score": "neg_grad_norm", "against": "cifar10", "value": 0.9},
        {**ood, "score": "neg_grad_norm", "against": "kmnist", "value": 0.7},
        {"task": "fid", "metric": "frechet_distance", "features": "backbone", "value": 3},
        {"task": "fid", "metric": "fid", "features": "inception", "value": 7},
    )
    assert rows["OOD AUROC against cifar10"]["mean"] == 0.9
    assert rows["OOD AUROC against cifar10"]["paper"] == 0.8
    assert rows["OOD AUROC against cifar100"]["mean"] == 0.1
    assert rows["OOD AUROC against kmnist"]["mean"] == 0.7  # which the paper does not have
    assert rows["FID"]["mean"] == 7


def test_a_number_that_was_measured_in_two_ways_has_a_line_for_each():
    fid = {"task": "fid", "metric": "fid", "features": "inception", "samples": 100}
    rows = found(
        {**fid, "steps": 500, "start": "fresh", "value": 30.0},
        {**fid, "steps": 0, "start": "buffer", "value": 20.0},
    )
    assert rows["FID (start=fresh, steps=500)"]["mean"] == 30
    assert rows["FID (start=buffer, steps=0)"]["mean"] == 20


def test_k_means_on_the_pixels_is_one_row_however_many_runs_have_it():
    def run(nmi):
        own = {"task": "clustering", "metric": "nmi", "split": "test"}
        pixels = {**own, "source": "pixels", "k": 10, "value": 0.5}
        return {"results": [{**own, "source": "model", "value": nmi}, pixels]}

    results = {
        ("svhn", "jem"): tables.Results([run(0.1)], {}),
        ("svhn", "gedi"): tables.Results([run(0.4), run(0.6)], {}),
    }
    rows = tables.comparison(results)
    assert [(row["method"], row["mean"]) for row in rows] == [
        ("jem", 0.1),
        ("gedi", 0.5),
        ("k-means on the pixels", 0.5),
    ]
    assert len({tuple(row) for row in rows}) == 1
    assert (rows[2]["std"], rows[2]["paper"], rows[2]["seeds"]) == (None, None, 1)


def test_results_of_an_earlier_version_are_refused(cells):
    path = cells[0].results_of(2)
    run = json.loads(path.read_text())
    del run["format"]
    path.write_text(json.dumps(run))
    with pytest.raises(ConfigError, match=r"seed=2/metrics.json was written by another version"):
        tables.read(cells)


def test_tables_come_in_four_formats(cells, tmp_path):
    rows = tables.comparison(tables.read(cells))
    tables.write(rows, tmp_path, "tables")
    with (tmp_path / "tables.csv").open() as file:
        read = list(csv.DictReader(file))
    assert float(read[0]["mean"]) == pytest.approx(rows[0]["mean"])
    assert read[0].keys() == rows[0].keys()
    markdown, latex = ((tmp_path / f"tables.{kind}").read_text() for kind in ("md", "tex"))
    assert "| 0.90 ± 0.10 | 0.94 ± 0.07 | -0.04 " in markdown
    assert "\\begin{tabular}" in latex
    assert "0.90 ± 0.10" in latex
    assert "0.90 ± 0.10" in tables.show(rows)


def test_settings_show_what_differs_and_nothing_else(cells):
    path = cells[1].results_of(0)
    path.write_text(json.dumps(metrics("moons", "jem", 0, 0.1, lr=1e-2)))
    ours, kwargs = tables.settings(tables.read(cells), "moons")
    assert ours == [{"key": "optimizer.lr", "gedi": 1e-3, "jem": 1e-2}]
    assert kwargs == [{"key": "temperature", "gedi": 1.0, "jem": 1.0}]


def test_papers_tables_are_there_for_every_method_of_a_suite():
    paper = measures.paper()
    assert paper["nmi"]["circles"]["gedi_nogen"] == [0.83, 0.12]
    for table in ("nmi", "fid", "linear_accuracy"):
        for dataset in ("svhn", "cifar10", "cifar100"):
            ours = {"gedi_fast", "gedi_paper"}
            assert paper[table][dataset].keys() == SUITES[dataset].methods.keys() - ours
    assert paper["ood_auroc"]["svhn"]["cifar10"]["gedi"] == 0.80


def test_report_of_a_suite(cells, tmp_path):
    rows = overview.write("toy", cells, tmp_path / "out", "about")
    assert len(rows) == 3
    page = (tmp_path / "out" / "report.html").read_text()
    for text in (
        "0.90 ± 0.10",
        "weights not finite",
        "2 of 3 cells",
        "k-means (k=2) on the features",
    ):
        assert text in page


def test_sensitivity_is_drawn(tmp_path):
    cells = cells_of(SUITES["sensitivity"], [], [0], tmp_path / "out")
    assert len(cells) == 2 * 36
    done = [c for c in cells if c.dataset == "moons"]
    for cell in done:
        path = cell.results_of(0)
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(metrics("moons", cell.method, 0, 0.5)))
    overview.write("sensitivity", cells, tmp_path / "out", "about")
    assert (tmp_path / "out" / "sensitivity_moons.png").stat().st_size > 1000


def test_figure_2_has_the_weights_that_were_run_invariance_upwards(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "solo_gedi.report.plots.save_figure", lambda canvas, path: drawn.append(canvas)
    )
    nmi = {(30, 0): 0.1, (30, 10): 0.2, (5, 10): math.nan, (5, 0): 0.4, (40, 10): 0.6}
    overview.sensitivity(nmi, "moons", tmp_path)
    axis = drawn[0].axes[0]
    shown = axis.images[0].get_array().filled(math.nan)
    assert shown == pytest.approx(
        np.array([[0.4, math.nan], [0.1, 0.2], [math.nan, 0.6]]), nan_ok=True
    )
    assert axis.images[0].origin == "lower"
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["0", "10"]
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["5", "30", "40"]

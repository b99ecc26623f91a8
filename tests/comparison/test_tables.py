import csv
import json
import shutil
import statistics

import pytest

from solo_gedi.comparison import overview, tables
from solo_gedi.comparison.suites import SUITES, Cell, cells_of
from solo_gedi.errors import ConfigError

NMI = {"moons": {"gedi": [0.9, 1.0, 0.8], "jem": [0.1]}, "circles": {"gedi": [1.0, 0.9, 1.0]}}


def metrics(dataset, method, seed, nmi, **config):
    def row(metric, value, protocol="argmax of the cluster head"):
        about = {"task": "clustering", "metric": metric, "protocol": protocol}
        return {**about, "split": "fresh points", "value": value}

    return {
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
        "results": [row("nmi", nmi), row("nmi", 0.3, "k-means on the features")],
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


def test_full_table_keeps_protocols_apart(cells):
    rows = tables.everything(tables.read(cells))
    of_moons = [r for r in rows if (r["data set"], r["method"]) == ("moons", "gedi")]
    assert {r["protocol"]: round(r["mean"], 6) for r in of_moons} == {
        "argmax of the cluster head": 0.9,
        "k-means on the features": 0.3,
    }
    assert all(r["split"] == "fresh points" and r["seeds"] == 3 for r in of_moons)


@pytest.mark.parametrize("path", ["", ":some/where"])
def test_one_data_sets_auroc_is_not_taken_for_anothers(path):
    found = [
        {
            "task": "ood",
            "metric": "auroc",
            "protocol": f"-||grad_x log p||, against {name}{path}",
            "value": value,
        }
        for name, value in (("cifar100", 0.1), ("cifar10", 0.9))
    ]
    finished = {"results": [*found, {"task": "fid", "metric": "FID", "protocol": "10", "value": 7}]}
    results = {("svhn", "gedi"): tables.Results([finished], {})}
    rows = {row["measure"]: row for row in tables.comparison(results)}
    assert rows["OOD AUROC against cifar10"]["mean"] == 0.9
    assert rows["OOD AUROC against cifar100"]["mean"] == 0.1
    assert rows["FID"]["mean"] == 7


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
    paper = tables.paper()
    assert paper["nmi"]["circles"]["gedi_nogen"] == [0.83, 0.12]
    for table in ("nmi", "fid", "linear_accuracy"):
        for dataset in ("svhn", "cifar10", "cifar100"):
            assert paper[table][dataset].keys() == SUITES[dataset].methods.keys() - {"gedi_fast"}
    assert paper["ood_auroc"]["svhn"]["cifar10"]["gedi"] == 0.80


def test_report_of_a_suite(cells, tmp_path):
    rows = overview.write("toy", cells, tmp_path / "out", "about")
    assert len(rows) == 3
    page = (tmp_path / "out" / "report.html").read_text()
    for text in ("0.90 ± 0.10", "weights not finite", "2 of 3 cells", "k-means on the features"):
        assert text in page


def test_sensitivity_is_drawn(tmp_path):
    suite, scripts = SUITES["sensitivity"], tmp_path / "scripts"
    (scripts / "pretrain" / "toy").mkdir(parents=True)
    (scripts / "pretrain" / "toy" / "gedi.yaml").touch()
    cells = cells_of(suite, [], [0], tmp_path / "out", scripts, [])
    assert len(cells) == 2 * 36
    done = [c for c in cells if c.dataset == "moons"]
    for cell in done:
        path = cell.results_of(0)
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(metrics("moons", cell.method, 0, 0.5)))
    overview.write("sensitivity", cells, tmp_path / "out", "about")
    assert (tmp_path / "out" / "sensitivity_moons.png").stat().st_size > 1000


def test_cells_are_commands(scripts, tmp_path):
    options = ["--tasks", "clustering"]
    toy = cells_of(SUITES["toy"], ["gedi"], [5, 6], tmp_path, scripts, ["max_epochs=1"], options)
    assert [cell.dataset for cell in toy] == ["moons", "circles"]
    assert toy[0].command == (
        f"solo-gedi toy {tmp_path}/moons/gedi --config-path {scripts}/pretrain/toy "
        "--config-name gedi --seeds 5,6 --tasks clustering dataset=moons max_epochs=1"
    )
    digits = cells_of(SUITES["digits"], ["gedi_nogen", "swav"], [0], tmp_path, scripts, [])
    assert [cell.results_of(0) for cell in digits] == [
        tmp_path / "digits" / method / "seed=0" / "metrics.json"
        for method in ("gedi_nogen", "swav")
    ]
    assert f"--linear-config {scripts}/linear/digits/gedi.yaml" in digits[0].command
    cifar = cells_of(SUITES["cifar100"], [], [0], tmp_path, scripts, [])
    assert all("dataset=cifar100" in cell.arguments for cell in cifar)
    assert "--ood svhn,cifar10,uniform,shuffled" in cifar[0].command  # the paper's, and ours


def test_a_changed_config_makes_another_cell(scripts, tmp_path):
    """Of the methods that read it, and of no other."""
    copy = tmp_path / "scripts"
    shutil.copytree(scripts, copy)

    def identities():
        cells = cells_of(SUITES["digits"], ["gedi", "swav"], [0], tmp_path / "out", copy, [])
        return [cell.identity for cell in cells]

    before = identities()
    assert identities() == before
    yaml = copy / "pretrain" / "digits" / "gedi.yaml"
    yaml.write_text(yaml.read_text().replace("inv: 100", "inv: 99"))
    gedi, swav = identities()
    assert gedi != before[0]
    assert swav == before[1]
    base = copy / "linear" / "digits" / "base.yaml"
    base.write_text(base.read_text() + "# another\n")
    assert identities()[1] != swav


@pytest.mark.parametrize(
    ("suite", "methods", "message"),
    [
        ("toy", ["gedi", "simclr"], "--methods has 'simclr'; choose from jem,swav"),
        ("folder", [], "needs data.train_path=FOLDER"),
    ],
)
def test_wrong_suites_are_refused(suite, methods, message, scripts, tmp_path):
    with pytest.raises(ConfigError, match=message):
        cells_of(SUITES[suite], methods, [0], tmp_path, scripts, [])
    with pytest.raises(ConfigError, match="has no pretrain/"):
        cells_of(SUITES["toy"], [], [0], tmp_path, tmp_path, [])

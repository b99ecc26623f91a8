"""The tables of the pages are those of the stored results."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def docs():
    """The tool, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("docs_render", ROOT / "docs" / "render.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_is_as_its_results_have_it(docs):
    for page in docs.pages():
        text = page.read_text()
        assert docs.render(text) == text, f"{page.name}: run `make results`"


def test_the_page_of_speed_is_as_its_results_have_it(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    measure = importlib.import_module("benchmarks.measure")
    assert (ROOT / "benchmarks" / "RESULTS.md").read_text() == measure.page()


def test_every_result_says_where_it_comes_from(docs):
    for path in docs.RESULTS.glob("*.json"):
        result = json.loads(path.read_text())
        assert set(docs.FIELDS) <= result.keys(), path.name
        assert all(row["values"] and "seeds" in row for row in result["rows"]), path.name


def row(task, metric, value, **keys):
    return {"task": task, "metric": metric, **keys, "split": "/data/cifar/test", "value": value}


def cell(folder, dataset, method, seed, nmi, *more, **fields):
    own = {"source": "model", "output": "cluster head"}
    rows = [
        row("clustering", "nmi", nmi, **own),
        row("clustering", "cluster_acc", nmi / 2, **own),
        row("clustering", "minibatch_nmi", 0.5, **own, batch=64),
        row("clustering", "minibatch_nmi_chance", 0.3, **own, batch=64),
        row("clustering", "nmi", 0.2, source="kmeans", k=10),
        row("clustering", "nmi", 0.51234567, source="pixels", k=10),
        *more,
    ]
    run = {
        "format": 2,
        "status": "finished",
        "seed": seed,
        "host": "solo-learn 1.0.2 from PyPI (/home/me/solo)",
        "results": rows,
        "not_done": {},
        "divergence": [],
        "environment": {"python": "3.11", "commit": "a1"},
        "seconds": {"pretrain": 61.0},
        **fields,
    }
    place = folder / dataset / method / f"seed={seed}"
    place.mkdir(parents=True)
    (place / "metrics.json").write_text(json.dumps(run))
    return place


ABOUT = {
    **{"title": "A study", "command": "solo-gedi benchmark it", "commit": "abc", "date": "today"},
    **{"processor": "a processor", "seconds": 120.0},
}


@pytest.fixture
def stored(docs, tmp_path, monkeypatch):
    """Collects a folder as the result `it`, and renders a table of it."""
    monkeypatch.setattr(docs, "RESULTS", tmp_path / "results")

    def table(instruction="it images", *, folder=tmp_path / "runs"):
        path = tmp_path / "results" / "it.json"
        docs.store(docs.collect([folder], **ABOUT), path)
        page = f"before\n<!-- results: {instruction} -->\nold\n<!-- end -->\nafter\n"
        return json.loads(path.read_text()), docs.render(page, path.parent)

    return table


def lines_of(page):
    """The rows of a rendered table, by their method."""
    cells = [
        [part.strip() for part in line.strip("|").split(" | ")]
        for line in page.splitlines()
        if line.startswith("|") and "---" not in line
    ]
    return {line[0]: dict(zip(cells[0], line, strict=True)) for line in cells[1:]}


def test_toy_table_has_the_papers_values_beside_ours(docs, stored, tmp_path):
    for seed, nmi in enumerate((0.9, 1.0, 0.8)):
        cell(tmp_path / "runs", "moons", "gedi", seed, nmi)
    cell(tmp_path / "runs", "circles", "gedi", 0, 1.0)
    reason = "weights not finite in /home/me/runs/x.ckpt (see https://a.example/b/c)"
    failed = {"status": "failed", "reason": reason}
    cell(tmp_path / "runs", "moons", "jem", 0, 0.0)
    cell(tmp_path / "runs", "moons", "jem", 1, 0.0, **failed)
    result, page = stored("it toy")
    assert lines_of(page) == {
        "JEM": {
            **{"method": "JEM", "moons": "0.00", "moons, paper": "0.00 ± 0.00"},
            **{"circles": "", "circles, paper": "0.00 ± 0.00", "seeds": "2 (1 failed)"},
        },
        "GEDI": {
            **{"method": "GEDI", "moons": "0.90 ± 0.10", "moons, paper": "0.94 ± 0.07"},
            **{"circles": "1.00", "circles, paper": "1.00 ± 0.01", "seeds": "3"},
        },
    }
    assert page.startswith("before\n<!-- results: it toy -->\n\n|")
    assert page.endswith("*\n\n<!-- end -->\nafter\n")
    made = "`solo-gedi benchmark it`, 2 min. Commit abc, today, solo-learn 1.0.2 from PyPI, python"
    assert f"{made} 3.11; " in page
    why = "weights not finite in x.ckpt (see https://a.example/b/c)"
    assert result["failed"][0]["reason"] == why


def test_image_table_has_a_line_a_method_and_the_trivial_baseline(docs, stored, tmp_path):
    ood, drawn = {"against": "mnist", "path": "/somewhere/data"}, {"start": "fresh", "steps": 500}
    for seed, nmi in enumerate((0.6, 0.7)):
        cell(
            tmp_path / "runs",
            "cifar10",
            "gedi",
            seed,
            nmi,
            row("linear", "accuracy", 0.8, optimizer="sgd", lr=1e-3, epochs=100, batch=100),
            row("ood", "auroc", 0.9, score="neg_grad_norm", **ood),
            row("ood", "auroc", 0.7, score="knn_distance", k=50, **ood),
            row("ood", "auroc", 0.6, score="neg_grad_norm", against="custom", path="/my/birds"),
            row("fid", "frechet_distance", 7.0, features="backbone", **drawn, samples=2000),
        )
    place = cell(tmp_path / "runs", "cifar10", "swav", 0, 0.4)
    # What another evaluation of the run has added since.
    later = {"start": "buffer", "steps": 0, "samples": 64, "features": "/runs/swav/1"}
    again = row("clustering", "nmi", 0.45, source="model", output="cluster head")
    (place / "swav" / "id").mkdir(parents=True)
    added = {"format": 2, "results": [row("fid", "frechet_distance", 3.0, **later), again]}
    (place / "swav" / "id" / "metrics.json").write_text(json.dumps(added))

    result, page = stored()
    table = lines_of(page)
    of_fresh = "Fréchet distance, 2,000 fresh chains, 500 steps, by backbone's features"
    of_buffer = "Fréchet distance, 64 chains of the buffer, 0 steps, by 1's features"
    assert list(table) == ["SwAV", "GEDI", "k-means on the pixels"]
    assert table["GEDI"] == {
        **{"method": "GEDI", "NMI": "0.650 ± 0.071", "NMI, paper": "0.45"},
        **{"accuracy": "0.325 ± 0.035", "NMI, batches of 64": "0.500 ± 0.000"},
        **{"its chance level": "0.300 ± 0.000", "linear": "0.800 ± 0.000"},
        **{of_fresh: "7.00 ± 0.00", of_buffer: ""},
        **{"AUROC, mnist": "0.90 ± 0.00", "AUROC, birds": "0.60 ± 0.00"},
        **{"seconds": "61 ± 0", "seeds": "2"},
    }
    assert table["SwAV"]["NMI"] == "0.450"
    assert table["SwAV"][of_buffer] == "3.00"
    assert table["k-means on the pixels"]["NMI"] == "0.512"
    assert table["k-means on the pixels"]["seeds"] == ""
    text = json.dumps(result)
    assert "0.512346" in text
    places = ("/somewhere", "/my", "/data", "/runs", str(tmp_path))
    assert not any(place in text for place in places)

    _, page = stored("it images score=knn_distance")
    assert lines_of(page)["GEDI"]["AUROC, mnist"] == "0.70 ± 0.00"
    _, page = stored("it ood")
    assert "| GEDI     | kNN distance | 0.70 ± 0.00 |" in page


def test_a_study_of_its_own_is_a_line_for_what_has_the_same_keys(docs, tmp_path):
    rows = [
        {"prior": 25, "metric": "NMI", "values": [0.01], "seeds": [0]},
        {"prior": 25, "metric": "clusters", "digits": 0, "values": [1.0], "seeds": [0]},
        {"prior": 250, "metric": "NMI", "values": [0.4, 0.5], "seeds": [0, 1]},
        {"prior": 250, "metric": "clusters", "digits": 0, "values": [10, 10], "seeds": [0, 1]},
    ]
    result = {**ABOUT, "host": "solo-learn", "versions": {"python": "3"}, "rows": rows}
    docs.store(result, tmp_path / "search.json")
    assert json.loads((tmp_path / "search.json").read_text()) == result
    page = docs.render("<!-- results: search plain -->\n<!-- end -->", tmp_path)
    assert lines_of(page) == {
        "25": {"prior": "25", "NMI": "0.01", "clusters": "1", "seeds": "1"},
        "250": {"prior": "250", "NMI": "0.45 ± 0.07", "clusters": "10 ± 0", "seeds": "2"},
    }
    assert docs.render(page, tmp_path) == page


def test_seeds_that_came_to_their_end_are_counted_by_term_and_rate(docs, tmp_path):
    for seed, nmi in ((0, 0.4), (1, 0.5)):
        cell(tmp_path / "runs", "moons", "gedi-nothing-lr=1x", seed, nmi)
    cell(tmp_path / "runs", "moons", "gedi-nothing-lr=10x", 0, 0.4)
    cell(tmp_path / "runs", "moons", "gedi-nothing-lr=10x", 1, 0.4, status="failed", reason="away")
    docs.store(docs.collect([tmp_path / "runs"], **ABOUT), tmp_path / "it.json")
    page = docs.render("<!-- results: it alive -->\n<!-- end -->", tmp_path)
    assert lines_of(page)["nothing"] == {
        "term": "nothing",
        "GEDI, moons, 1x": "2 of 2: 0.45 ± 0.07",
        "GEDI, moons, 10x": "1 of 2: 0.40",
    }


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("<!-- results: it images -->", "no <!-- end -->"),
        ("<!-- results: absent toy -->\n<!-- end -->", "there is no .*absent.json"),
        ("<!-- results: it -->\n<!-- end -->", "choose from toy, images, ood, plain, alive"),
    ],
)
def test_what_cannot_be_rendered_is_named(docs, stored, tmp_path, page, message):
    cell(tmp_path / "runs", "moons", "gedi", 0, 1.0)
    stored("it toy")
    with pytest.raises(ValueError, match=message):
        docs.render(page, tmp_path / "results")


def test_numbers_measured_in_two_ways_do_not_share_a_column(docs, stored, tmp_path):
    keys = {"optimizer": "sgd", "lr": 1e-3, "batch": 100}
    probes = [row("linear", "accuracy", 0.5, epochs=n, **keys) for n in (1, 100)]
    cell(tmp_path / "runs", "moons", "gedi", 0, 1.0, *probes)
    with pytest.raises(ValueError, match="2 rows have .*linear"):
        stored()


def test_folders_without_results_and_of_another_version_are_refused(docs, tmp_path):
    with pytest.raises(ValueError, match="no finished cell in"):
        docs.collect([tmp_path], **ABOUT)
    cell(tmp_path, "moons", "gedi", 0, 1.0, format=1)
    with pytest.raises(ValueError, match="not of this version"):
        docs.collect([tmp_path], **ABOUT)


def test_commit_and_versions_are_those_that_the_cells_ran_with(docs, tmp_path):
    ran = ({"torch": "9.9", "commit": "a1"}, {"torch": "9.9", "commit": "b2"})
    for seed, environment in enumerate(ran):
        cell(tmp_path, "moons", "gedi", seed, 1.0, environment=environment)
    result = docs.collect([tmp_path], **{**ABOUT, "commit": None})
    assert (result["commit"], result["versions"]) == ("a1; b2", {"torch": "9.9"})


def test_a_number_of_fewer_seeds_than_its_line_says_so(docs, stored, tmp_path):
    for seed in (0, 1):
        probe = [] if seed else [row("linear", "accuracy", 0.5)]
        cell(tmp_path / "runs", "digits", "gedi", seed, 0.9, *probe)
    _, page = stored()
    line = lines_of(page)["GEDI"]
    assert (line["NMI"], line["linear"], line["seeds"]) == ("0.900 ± 0.000", "0.500 (1 seed)", "2")


def test_a_seed_counts_once(docs, tmp_path):
    for folder in ("one", "two"):
        cell(tmp_path / folder, "moons", "gedi", 0, 1.0)
    with pytest.raises(ValueError, match="the second with seed 0 of gedi"):
        docs.collect([tmp_path / "one", tmp_path / "two"], **ABOUT)


def test_the_command_stores_renews_and_checks(docs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    monkeypatch.setattr(docs, "RESULTS", tmp_path / "docs" / "results")
    page = tmp_path / "README.md"
    page.write_text("<!-- results: it toy -->\n<!-- end -->\n")
    cell(tmp_path / "runs", "moons", "gedi", 0, 1.0)
    about = ["--name", "it", "--title", "A study", "--command", "solo-gedi benchmark it"]
    docs.main(["collect", str(tmp_path / "runs"), *about, "--commit", "abc", "--seconds", "60"])
    assert "renewed: README.md" in capsys.readouterr().out
    assert "| GEDI     | 1.00 " in page.read_text()
    docs.main(["--check"])
    page.write_text(page.read_text().replace("1.00", "0.99"))
    with pytest.raises(SystemExit, match=r"README.md: not as docs/results has it"):
        docs.main(["--check"])
    docs.main([])
    assert "| GEDI     | 1.00 " in page.read_text()
    (tmp_path / "docs" / "results" / "it.json").unlink()
    with pytest.raises(SystemExit, match="there is no"):
        docs.main([])

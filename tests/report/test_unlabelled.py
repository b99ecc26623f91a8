"""Evaluations of images without labels, without test images, or with few of them."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from solo_gedi.cli import main
from solo_gedi.errors import ConfigError
from solo_gedi.evaluation import sampling
from solo_gedi.evaluation.rows import select
from solo_gedi.inference import load
from solo_gedi.report import evaluate

QUICK = {"fid_features": "backbone", "steps": 2, "num_samples": 20}
WHAT = "clustering,triad,linear,logistic,knn,ood,fid,samples"


@pytest.fixture(autouse=True)
def short_chains(monkeypatch):
    monkeypatch.setattr(sampling, "IMAGE_STEPS", (0, 2))


def colours(folder, per_class, seed, classes="abc", size=32):
    """Noise around a colour of each class's own, as flat files `a0.png` or in folders `a/0.png`."""
    generator = torch.Generator().manual_seed(seed)
    for k, name in enumerate(classes):
        for i in range(per_class):
            pixels = torch.randint(0, 90, (size, size, 3), generator=generator)
            pixels[..., k % 3] += 150
            path = Path(str(folder).format(name=name), f"{name}{i}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.to(torch.uint8).numpy()).save(path)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with images: flat/, and train/ and test/ of three classes."""
    folder = tmp_path_factory.mktemp("colours")
    colours(folder / "flat", 8, 0)
    colours(folder / "train" / "{name}", 8, 0)
    colours(folder / "test" / "{name}", 4, 1)
    colours(folder / "few", 1, 2, classes="a")
    return folder


@pytest.fixture(scope="module")
def runs(place, tmp_path_factory):
    """Trains on flat/ without labels, or on train/ with them, once each."""
    from solo_gedi.config import load_config
    from solo_gedi.training import pretrain

    def run(*given):
        quick = ("max_epochs=1", "optimizer.batch_size=8", "data.num_workers=0")
        small = ("backbone.kwargs.width=8", "method_kwargs.num_clusters=5")
        chains = ("method_kwargs.sgld.num_steps=2", "method_kwargs.sgld.buffer_size=20")
        quiet = ("enable_progress_bar=false", f"checkpoint.dir={place / 'runs'}")
        given = [*given, *quick, *small, *chains, *quiet]
        return pretrain(load_config("custom/gedi", given)).folder

    return {
        "unlabelled": run(f"data.train_path={place / 'flat'}", "data.no_labels=true"),
        "labelled": run(f"data.train_path={place / 'train'}"),
    }


@pytest.fixture
def run_of(runs, tmp_path):
    return lambda kind: Path(shutil.copytree(runs[kind], tmp_path / kind))


def test_a_run_without_labels_is_evaluated_on_its_training_images(run_of, place):
    run = run_of("unlabelled")
    result = evaluate(run, WHAT, ood=f"uniform,custom:{place / 'flat'}", **QUICK)
    assert {row["split"] for row in result.rows} == {f"{place / 'flat'} (training images)"}
    assert not result.faults
    # What was found, found anew.
    model = load(run)
    files = sorted((place / "flat").iterdir())
    x = torch.stack([model.transform(Image.open(file)) for file in files])
    sizes = model.cluster_logits(x).argmax(1).bincount(minlength=5)
    own = {"task": "clustering", "source": "model"}
    assert result.value(metric="clusters_used", **own) == (sizes > 0).sum()
    assert result.value(metric="largest_cluster", **own) == sizes.max()
    shares = sizes[sizes > 0] / 24
    entropy = float(-(shares * shares.log()).sum())
    assert result.value(metric="assignment_entropy", **own) == pytest.approx(entropy, abs=1e-5)
    assert {row["k"] for row in result.rows if row.get("source") in ("kmeans", "pixels")} == {5}
    assert not select(result.rows, metric="nmi")
    # The images are their own neighbours and their own out-set.
    assert result.value(metric="auroc", score="log_density", against="custom") == 0.5
    assert not select(result.rows, score="knn_distance")
    assert {"ood_roc", "feature_map", "samples_fresh"} < result.figures.keys()
    assert "confusion" not in result.figures
    for task in ("clustering", "linear", "logistic", "knn", "ood"):
        assert task in result.not_done
    assert "has no labels (data.no_labels=true)" in result.not_done["clustering"]
    assert "test images are needed" in result.not_done["knn"]
    assert result.not_done["ood"].startswith("knn_distance and mahalanobis: test images are needed")
    page = (run / "report.html").read_text()
    assert f"<h4>Cluster {int(sizes.argmax())}</h4>" in page
    assert "The least likely" in page


def test_nothing_is_downloaded_into_a_users_folder(run_of, place):
    run = run_of("labelled")
    before = sorted(place.rglob("*"))
    changed = [f"data.val_path={place / 'test'}"]
    result = evaluate(run, "ood", ood="mnist,uniform", overrides=changed, write=False)
    assert "--ood has mnist: give its folder, as mnist:FOLDER" in result.not_done["ood"]
    assert sorted(place.rglob("*")) == before
    assert select(result.rows, against="uniform")


def test_labelled_test_images_of_an_unlabelled_run_are_used_when_told_so(run_of, place):
    run, test = run_of("unlabelled"), place / "test"
    silent = evaluate(run, "clustering", overrides=[f"data.val_path={test}"], write=False)
    assert not select(silent.rows, metric="nmi")
    assert f"{test} has no labels (data.no_labels=true)" in silent.not_done["clustering"]
    told = [f"data.val_path={test}", "data.no_labels=false"]
    result = evaluate(run, "clustering,knn", overrides=told, write=False)
    assert {row["split"] for row in result.rows} == {str(test)}
    assert 0 <= result.value(metric="nmi", source="model") <= 1
    assert {row["k"] for row in select(result.rows, source="pixels")} == {3}
    assert result.value(metric="nmi", source="pixels") == pytest.approx(1)  # colours are classes
    assert f"{place / 'flat'} has no labels" in result.not_done["knn"]


def test_flat_test_images_of_a_labelled_run_have_no_labels(run_of, place):
    run = run_of("labelled")
    overrides = [f"data.val_path={place / 'flat'}"]
    result = evaluate(run, "clustering,ood", overrides=overrides, write=False)
    assert {row["split"] for row in result.rows} == {str(place / "flat")}
    assert not select(result.rows, metric="nmi")
    assert "has no labels (data.no_labels=false)" in result.not_done["clustering"]
    assert select(result.rows, score="knn_distance")


def test_a_labelled_run_without_test_images_is_clustered_on_its_training_images(run_of, place):
    result = evaluate(run_of("labelled"), "clustering,knn,samples", write=False)
    assert {row["split"] for row in result.rows} == {f"{place / 'train'} (training images)"}
    assert {row["k"] for row in select(result.rows, source="kmeans")} == {3}
    assert "confusion" in result.figures
    assert result.not_done.keys() == {"knn"}


def test_fewer_images_than_clusters_leave_the_rest_to_be_done(run_of, place, solo_gedi):
    run = run_of("unlabelled")
    overrides = [f"data.val_path={place / 'few'}"]
    result = evaluate(run, "clustering,triad,ood,samples", overrides=overrides)
    assert result.value(metric="clusters_used", source="model") == 1
    assert "k-means with k=5 cannot cluster 1 images" in result.not_done["clustering"]
    assert not result.faults
    assert {row["task"] for row in result.rows} == {"clustering", "triad", "ood"}


def test_samples_need_no_data(run_of):
    result = evaluate(run_of("unlabelled"), "samples", overrides=["data.train_path=gone"])
    assert list(result.figures) == ["samples_fresh", "samples_buffer"]
    assert "data.train_path=gone" in result.not_done["samples"]


@pytest.fixture
def solo_gedi(capsys):
    def run(*command):
        status = main([str(part) for part in command])
        return status, *capsys.readouterr()

    return run


class TestShipped:
    """A model that has no run's folder."""

    def test_it_is_evaluated_where_it_is_told(self, solo_gedi, tmp_path):
        out = tmp_path / "new" / "results"
        told = ("evaluate", "gedi-digits", "--out", out, "--tasks")
        status, said, _ = solo_gedi(*told, "clustering")
        assert status == 0
        assert f"Report: {out / 'report.html'}" in said
        metrics = json.loads((out / "metrics.json").read_text())
        (nmi,) = select(metrics["results"], metric="nmi", source="model")
        assert nmi["value"] > 0.6
        assert nmi["split"] == "test"
        assert solo_gedi(*told, "knn")[0] == 0
        again = json.loads((out / "metrics.json").read_text())
        assert {row["task"] for row in again["results"]} == {"clustering", "knn"}

    def test_without_a_folder_it_is_refused_in_a_word(self, solo_gedi):
        status, _, said = solo_gedi("evaluate", "gedi-digits", "--tasks", "clustering")
        assert status == 2
        assert "gedi-digits has no run's folder for the results: name one with --out" in said

    def test_another_models_results_are_not_overwritten(self, run_of, tmp_path):
        evaluate(run_of("unlabelled"), "triad", out=tmp_path / "out")
        before = (tmp_path / "out" / "metrics.json").read_bytes()
        with pytest.raises(ConfigError, match="has the evaluation of another model"):
            evaluate("gedi-digits", "triad", out=tmp_path / "out")
        assert (tmp_path / "out" / "metrics.json").read_bytes() == before

    def test_given_images_are_what_it_is_evaluated_on(self, place, tmp_path):
        given = ["data.dataset=custom", f"data.val_path={place / 'flat'}"]
        result = evaluate("gedi-digits", "clustering,ood", overrides=given, out=tmp_path / "out")
        assert {row["split"] for row in result.rows} == {str(place / "flat")}
        assert result.value(metric="largest_cluster", source="model") <= 24
        assert not result.faults

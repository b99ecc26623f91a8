"""A run evaluated: its numbers, its files, and what stays when it ends early."""

import json
import os
import re
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import PIL.Image
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score, roc_auc_score

from solo_gedi import hosts, training
from solo_gedi.cli import main
from solo_gedi.data import images
from solo_gedi.errors import CheckpointError, ConfigError, DataError, Interrupted
from solo_gedi.evaluation import Options, sampling, tasks
from solo_gedi.evaluation.pictures import RocCurves
from solo_gedi.evaluation.probe import probe_config
from solo_gedi.evaluation.rows import select
from solo_gedi.evaluation.subject import subject_of
from solo_gedi.inference import export, load
from solo_gedi.report import evaluate, folder, plots

QUICK = {"fid_features": "backbone", "steps": 2, "num_samples": 50}


@pytest.fixture(autouse=True)
def short_chains(monkeypatch):
    monkeypatch.setattr(sampling, "IMAGE_STEPS", (0, 3))
    monkeypatch.setattr(sampling, "POINT_STEPS", (0, 3))


@pytest.fixture
def run_of(trained_copy):
    """A trained run that a test may change, and whose data need no other processes."""

    def copy(*names, **more):
        run = trained_copy(*names, **more)
        config = json.loads((run / "args.json").read_text())
        config["data"]["num_workers"] = 0
        (run / "args.json").write_text(json.dumps(config))
        return run

    return copy


@pytest.fixture
def run(run_of):
    return run_of("gedi")


def written(run):
    return json.loads((run / "metrics.json").read_text())


def contents(folder):
    return {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}


def test_numbers_are_those_of_the_model_on_the_test_split(run):
    wanted = ("clustering", "linear", "logistic", "knn", "ood", "triad")
    result = evaluate(run, wanted, overrides=["probe.max_epochs=1"])
    assert result.metrics == written(run)
    assert result.metrics["results"] == result.rows
    assert {row["task"] for row in result.rows} == set(wanted)
    assert all(row["split"] == "test" for row in result.rows)
    assert (result.not_done, result.folder) == ({}, run)
    about = {
        key: result.metrics[key] for key in ("format", "status", "method", "dataset", "epochs")
    }
    assert list(about.values()) == [2, "finished", "gedi", "digits", 1]

    model = load(run)
    from solo_gedi.data.datasets import Digits

    digits = Digits("test", False, model.transform)
    x, labels = torch.stack([image for image, _ in digits]), [label for _, label in digits]
    with torch.no_grad():
        scores = model(x).scores
    nmi = {"task": "clustering", "metric": "nmi"}
    found = result.value(**nmi, source="model", output="cluster head")
    assert found == pytest.approx(normalized_mutual_info_score(labels, scores.argmax(1)))
    assert result.value(**nmi, source="kmeans", k=10) > 0
    trivial = KMeans(10, n_init=10, random_state=0).fit_predict(digits.images.reshape(len(x), -1))
    baseline = result.value(**nmi, source="pixels", k=10)
    assert baseline == pytest.approx(normalized_mutual_info_score(labels, trivial), abs=0.03)
    assert 0.6 < baseline < 0.8
    for batch in (64, 100):
        assert result.value(metric="minibatch_nmi", source="model", batch=batch) >= 0
        assert result.value(metric="minibatch_nmi_chance", source="model", batch=batch) >= 0

    # log p against noise, with the noise drawn here anew
    noise = model.space.to_input(torch.rand(x.shape) * 2 - 1)
    with torch.no_grad():
        log_p = torch.cat([scores, model(noise).scores]).logsumexp(1)
    is_data = [1] * len(x) + [0] * len(noise)
    auroc = result.value(task="ood", metric="auroc", score="log_density", against="uniform")
    assert auroc == pytest.approx(roc_auc_score(is_data, log_p), abs=0.03)
    assert len(select(result.rows, task="ood")) == 5 * 2
    assert len(select(result.rows, task="ood", score="knn_distance", k=50)) == 2

    (probe,) = select(result.rows, task="linear")
    how = {key: probe[key] for key in ("metric", "optimizer", "epochs", "batch")}
    assert how == {"metric": "accuracy", "optimizer": "sgd", "epochs": 1, "batch": 100}
    assert probe["lr"] == pytest.approx(0.001)
    assert 0.5 < result.value(task="logistic", metric="accuracy", C=1.0) < 1
    assert 0 < result.value(task="knn", metric="accuracy", k=20, distance="euclidean") <= 1
    mean = result.value(task="triad", metric="log_density", of="data")
    assert mean == pytest.approx(float(log_p[: len(x)].mean()), abs=1e-4)
    assert result.value(task="triad", metric="feature_std", noise=0.03) > 0
    used = result.value(metric="clusters_used", source="model")
    sizes = scores.argmax(1).bincount()
    assert result.value(metric="largest_cluster", source="model") == sizes.max()
    assert len(select(result.rows, metric="neighbour_cut")) == (2 if used > 1 else 0)


def test_report_and_pictures_lie_in_the_runs_folder(run):
    result = evaluate(run, "ood,samples", ood="shuffled")
    assert list(result.figures) == ["ood_roc", "ood", "samples_fresh", "samples_buffer"]
    assert result.metrics["figures"] == [f"{name}.png" for name in result.figures]
    assert all((run / name).stat().st_size > 1000 for name in result.metrics["figures"])
    page = (run / "report.html").read_text()
    assert "Higher means in-distribution" in page
    assert "AUROC against shuffled" in page
    assert "Real images" in page
    assert (run / "samples" / "buffer-steps=3.png").exists()


@pytest.mark.parametrize("method", ["swav", "barlow", "jem"])
def test_every_method_can_be_evaluated(method, run_of):
    wanted = "clustering,knn,ood,fid,triad,samples"
    result = evaluate(load(run_of(method)), wanted, write=False, **QUICK)
    assert not result.not_done
    assert all(abs(row["value"]) < 1e6 for row in result.rows)
    head = {"swav": "prototypes", "barlow": "projector", "jem": "cluster head"}[method]
    assert result.value(metric="nmi", source="model", output=head) >= 0
    assert ("samples_buffer" in result.figures) == (method == "jem")
    if method == "swav":
        for source in ("model", "spectral"):
            how = {"source": source, "k": 10, "space": "data", "points": 360}
            assert 0 < result.value(task="triad", metric="neighbour_cut", **how) < 1.2


def test_points_are_clustered_and_mapped(run_of):
    run = run_of("gedi", "limit_train_batches=2", suite="toy")
    result = evaluate(run, **QUICK)
    assert result.not_done.keys() == {"linear", "fid"}
    assert "for images, not for points" in result.not_done["fid"]
    shown = ["cluster_sizes", "confusion", "clusters", "ood_roc", "ood"]
    assert list(result.figures) == [*shown, "samples_fresh", "samples_buffer"]
    assert {row["split"] for row in result.rows} == {"fresh points"}
    assert {row["against"] for row in select(result.rows, task="ood")} == {"uniform"}


def test_points_are_told_from_other_points():
    jem = Path(__file__).parents[1] / "inference" / "version_0_1" / "jem-moons"
    result = evaluate(load(jem), "ood", ood="circles", write=False)
    assert not result.not_done
    assert {row["against"] for row in result.rows} == {"circles"}


def test_pixels_too_many_for_the_memory_are_left_out_and_said(run, monkeypatch):
    monkeypatch.setattr("solo_gedi.evaluation.subject.MOST_PIXELS", 10)
    result = evaluate(run, "clustering")
    assert re.match(r"pixels: \d+ images of 64 numbers each", result.not_done["clustering"])
    assert {row["source"] for row in select(result.rows, metric="nmi")} == {"model", "kmeans"}


def test_distance_on_other_features_is_not_called_fid(run):
    for features in ("backbone", str(run)):
        options = {"steps": 3, "start": "buffer", "num_samples": 60}
        result = evaluate(run, "fid", fid_features=features, **options)
        (row,) = result.rows
        assert row.pop("value") > 0
        assert row == {
            **{"task": "fid", "metric": "frechet_distance", "features": features},
            **{"samples": 60, "steps": 3, "start": "buffer", "split": "test"},
        }


def test_what_cannot_be_done_is_named_and_the_rest_goes_on(run_of, tmp_path, caplog):
    (tmp_path / "other.pth").write_text("not weights")
    (tmp_path / "empty").mkdir()
    caplog.set_level("INFO", "solo_gedi")
    run = run_of("swav")
    ood = "custom:empty,uniform,moons"
    result = evaluate(run, "fid,ood,clustering", inception_weights="other.pth", ood=ood)
    assert {row["task"] for row in result.rows} == {"clustering", "ood"}
    assert {row["against"] for row in select(result.rows, task="ood")} == {"uniform"}
    assert "Inception weights of FID could not be loaded" in result.not_done["fid"]
    assert "data.val_path=empty" in result.not_done["ood"]
    assert "points cannot be told from images" in result.not_done["ood"]
    assert "not done" in caplog.text
    assert "--inception-weights" in (run / "report.html").read_text()
    again = evaluate(run, "ood", ood="shuffled")
    assert again.metrics["not_done"].keys() == {"fid"}


def test_a_set_whose_files_are_missing_is_named_and_the_others_are_told_apart(run, monkeypatch):
    def refuse(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", refuse)
    result = evaluate(run, "ood", ood="mnist:nowhere,uniform")
    assert {row["against"] for row in result.rows} == {"uniform"}
    assert re.search("'nowhere' has no MNIST .* no network", result.not_done["ood"])
    assert written(run)["status"] == "finished"


def test_without_training_data_the_other_scores_are_still_there(run):
    result = evaluate(run, "ood", ood="uniform", overrides=["data.train_path=gone"])
    scores = {row["score"] for row in result.rows}
    assert scores == {"neg_grad_norm", "log_density", "max_softmax"}
    assert result.not_done["ood"].startswith("knn_distance and mahalanobis: ")


def test_other_grey_images_are_told_apart(run, mnist_files, tmp_path):
    mnist_files(tmp_path / "data", "MNIST")
    result = evaluate(run, "ood", ood=f"mnist:{tmp_path / 'data'}", write=False)
    assert {(row["against"], row["path"]) for row in result.rows} == {
        ("mnist", str(tmp_path / "data"))
    }
    assert all(0 <= row["value"] <= 1 for row in result.rows)


def test_sets_of_one_folder_are_shown_by_their_names(run, mnist_files, tmp_path):
    for name in ("MNIST", "KMNIST"):
        mnist_files(tmp_path / "data", name)
    where = tmp_path / "data"
    result = evaluate(run, "ood", ood=f"mnist:{where},kmnist:{where}", write=False)
    names = [axis.get_title("left") for axis in result.figures["ood"].axes]
    assert {"digits", "mnist", "kmnist"} <= set(names)


def test_the_reference_is_that_of_the_runs_own_images(run, monkeypatch, caplog):
    caplog.set_level("INFO")
    (run / "reference.json").unlink()
    evaluate(run, "triad", overrides=["data.train_path=val"])
    assert not (run / "reference.json").exists()

    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("solo_gedi.core.reference.Reference.write", refuse)
    assert evaluate(run, "triad").rows
    assert f"no reference for `typicality` in {run}: Permission denied" in caplog.text
    monkeypatch.undo()
    evaluate(run, "triad")
    assert (run / "reference.json").exists()


def test_what_nothing_could_be_done_of_ends_with_the_reason(run_of):
    run = run_of("swav")
    before = contents(run)
    with pytest.raises(ConfigError, match="nothing could be done.*swav has no replay buffer"):
        evaluate(run, "fid", start="buffer", fid_features="backbone")
    (run / "empty").mkdir()
    with pytest.raises(DataError, match="nothing could be done.*empty"):
        evaluate(run, "ood", ood=f"custom:{run / 'empty'}")
    (run / "empty").rmdir()
    assert contents(run) == before


def test_other_images_are_told_apart_at_the_runs_own_size_and_colours(run, image_folder):
    folder = image_folder(size=40)
    result = evaluate(run, "ood", ood=f"custom:{folder}", write=False)
    assert len(result.rows) == 5
    assert select(result.rows, against="custom", path=str(folder)) == result.rows
    names = [axis.get_title("left") for axis in result.figures["ood"].axes[:2]]
    assert names == ["digits", "images"]


def test_the_config_can_be_changed_and_a_misspelt_key_is_refused(run):
    result = evaluate(run, "clustering", overrides=["data.test_path=val"], write=False)
    assert {row["split"] for row in result.rows} == {"val"}
    assert result.metrics["config"]["data"]["val_path"] == "val"
    for wrong, message in (
        ("data.tset_path=val", "tset_path"),
        ("data.num_workers=-1", "data.num_workers must be"),
        ("probe=3", "probe.key=value"),
        ("data={", "data={"),
    ):
        with pytest.raises(ConfigError, match=message):
            evaluate(run, "clustering", overrides=[wrong])
    assert not (run / "metrics.json").exists()


def test_numbers_of_other_data_stand_beside_the_runs_own(run):
    evaluate(run, tasks="knn")
    result = evaluate(run, tasks="knn", overrides=["data.train_path=val"])
    own, other = select(result.metrics["results"], task="knn")
    assert "changed" not in own
    assert other["changed"] == "data.train_path=val"
    page = (run / "report.html").read_text()
    assert "euclidean distance;" in page
    assert "euclidean distance, with data.train_path=val;" in page


def test_rows_of_a_probe_say_what_was_changed_of_it(run, monkeypatch):
    done = SimpleNamespace(interrupted=None, finished=True, metrics={"val_acc1": 50.0})
    monkeypatch.setattr(training, "linear", lambda cfg: done)
    changes = ["probe.max_epochs=1", "probe.finetune=true"]
    result = evaluate(run, tasks="linear", overrides=changes, write=False)
    (row,) = result.rows
    assert (row["epochs"], row["changed"]) == (1, "probe.finetune=True")


def test_a_probe_that_its_time_has_ended_is_no_result(run, monkeypatch):
    done = SimpleNamespace(interrupted=None, finished=False, folder="here", metrics={})
    monkeypatch.setattr(training, "linear", lambda cfg: done)
    with pytest.raises(DataError, match="max_time has stopped it; it resumes: here"):
        evaluate(run, tasks="linear", overrides=["probe.max_time=00:00:00:01"], write=False)


def test_the_probe_has_the_images_that_the_run_had(run):
    subject = subject_of(load(run), Options(overrides=["data.fraction=0.5"]))
    data = probe_config(subject).data
    assert (data.fraction, data.format, data.dataset) == (0.5, "image_folder", "digits")


def test_diverged_weights_are_refused(run):
    (checkpoint,) = run.glob("*.ckpt")
    state = torch.load(checkpoint, weights_only=True)
    state["state_dict"]["projector.layers.0.bias"][0] = float("nan")
    torch.save(state, checkpoint)
    with pytest.raises(CheckpointError, match="layers.0.bias .* not finite"):
        evaluate(run)
    assert not (run / "metrics.json").exists()


def test_nothing_is_written_where_nothing_is_wanted(run):
    before = contents(run)
    model = load(run)
    config = json.dumps(model.config)
    options = {"overrides": ["probe.max_epochs=1", "data.test_path=val"], "write": False}
    result = evaluate(model, "linear,knn,samples", **options)
    assert select(result.rows, task="linear", epochs=1)
    assert list(result.figures) == ["samples_fresh", "samples_buffer"]
    assert result.folder is None
    assert contents(run) == before
    assert json.dumps(model.config) == config


def test_a_result_shows_itself(run):
    result = evaluate(run, "knn,fid", start="buffer", **QUICK)
    lines = repr(result).splitlines()
    assert lines[0] == f"Result of gedi on digits, 1 epochs, in {run}:"
    assert lines[1].startswith("  knn: accuracy 0.")
    assert "weighted kNN on the features, k=20" in lines[1]
    with pytest.raises(LookupError, match="2 rows have"):
        result.value(split="test")
    with pytest.raises(LookupError, match="0 rows have"):
        result.value(task="linear")


class TestSecondEvaluation:
    def test_it_adds_to_the_first_and_replaces_what_it_measured_again(self, run):
        first = evaluate(run, "triad,samples").metrics
        metrics = written(run)
        metrics["seconds"] = {"pretrain": 3.0}
        for row in metrics["results"]:
            row["value"] = -1.0
        (run / "metrics.json").write_text(json.dumps(metrics))
        (run / "samples_buffer.png").unlink()
        second = evaluate(run, "ood,triad", ood="uniform")
        assert second.metrics == written(run)
        assert len(select(second.metrics["results"], task="ood")) == 5
        assert select(second.metrics["results"], task="triad") == first["results"]
        assert second.metrics["figures"] == ["samples_fresh.png", "ood_roc.png", "ood.png"]
        assert second.metrics["seconds"] == {"pretrain": 3.0}
        assert {row["task"] for row in second.rows} == {"ood", "triad"}
        page = (run / "report.html").read_text()
        assert "Samples from fresh chains" in page
        assert "Failure modes" in page
        (run / "report.json").write_text('{"parts": [{}]}')  # as a hand may leave it
        assert not evaluate(run, "triad").faults
        assert "Samples from fresh chains" not in (run / "report.html").read_text()

    def test_another_checkpoint_starts_anew(self, run):
        evaluate(run, "triad,samples")
        assert "Samples from fresh chains" in (run / "report.html").read_text()
        (first,) = run.glob("*-ep=0.ckpt")
        state = torch.load(first, weights_only=True)
        torch.save({**state, "epoch": 1}, first.with_name(first.name.replace("ep=0", "ep=1")))
        metrics = evaluate(run, "ood").metrics
        assert "Samples from fresh chains" not in (run / "report.html").read_text()
        assert metrics["epochs"] == 2
        assert {row["task"] for row in metrics["results"]} == {"ood"}
        assert not (run / "metrics-1.json").exists()

    def test_an_earlier_checkpoint_takes_nothing_from_the_last(self, run):
        (first,) = run.glob("*-ep=0.ckpt")
        state = torch.load(first, weights_only=True)
        torch.save({**state, "epoch": 1}, first.with_name(first.name.replace("ep=0", "ep=1")))
        (run / "reference.json").unlink()
        last = evaluate(run, "knn").metrics
        reference = load(run).reference
        assert reference is not None
        assert evaluate(first, "triad").metrics["epochs"] == 1
        assert json.loads((run / "metrics-epochs=2.json").read_text()) == last
        assert load(run).reference == reference
        for again in ("knn", "triad"):
            evaluate(run if again == "knn" else first, again)
        kept = [json.loads(path.read_text()) for path in run.glob("metrics-epochs=2*.json")]
        assert len(kept) == 2
        assert last in kept

    def test_two_at_once_write_one_after_the_other(self, run, monkeypatch):
        both, written_by_both = threading.Barrier(2), folder._earlier

        def meeting(*args):
            with suppress(threading.BrokenBarrierError):
                both.wait(timeout=3)  # neither comes while the other writes
            return written_by_both(*args)

        monkeypatch.setattr(folder, "_earlier", meeting)
        # matplotlib draws in one thread at a time
        monkeypatch.setattr(plots, "draw", lambda picture: 1 / 0)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda task: evaluate(run, task), ("triad", "knn")))
        assert {row["task"] for row in written(run)["results"]} == {"triad", "knn"}
        assert not list(run.glob(".*lock"))

    @pytest.mark.parametrize("old", ['{"results": [{"protocol": "argmax"}]}', "[]", "{"])
    def test_a_file_of_another_format_is_kept(self, run, old):
        (run / "metrics.json").write_text(old)
        metrics = evaluate(run, "triad").metrics
        assert (run / "metrics-1.json").read_text() == old
        assert metrics == written(run)
        assert {row["task"] for row in metrics["results"]} == {"triad"}
        (run / "metrics.json").write_text("{}")
        evaluate(run, "triad")
        assert (run / "metrics-1.json").read_text() == old
        assert (run / "metrics-1-2.json").read_text() == "{}"


class TestEarlyEnd:
    def test_numbers_that_cannot_be_kept_yet_stop_no_task(self, run, monkeypatch, caplog):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("solo_gedi.report.result.keep_numbers", full)
        result = evaluate(run, "triad,knn")
        assert {row["task"] for row in result.rows} == {"triad", "knn"}
        assert not result.faults
        assert "No space left on device" in caplog.text

    def test_the_numbers_of_a_task_are_there_before_the_next(self, run, monkeypatch):
        def looks(subject):
            found.append(written(run))
            yield from ()

        found = []
        monkeypatch.setitem(tasks.TASKS, "knn", looks)
        evaluate(run, "triad,knn")
        (metrics,) = found
        assert {row["task"] for row in metrics["results"]} == {"triad"}
        assert metrics["status"] == "interrupted"
        assert written(run)["status"] == "finished"

    def test_a_signal_in_the_probe_keeps_what_is_done(self, run, monkeypatch):
        stopped = SimpleNamespace(interrupted=signal.SIGTERM, folder=run / "linear", metrics={})
        with monkeypatch.context() as patch:
            patch.setattr(training, "linear", lambda cfg: stopped)
            with pytest.raises(Interrupted, match=f"what was done before is in {run}") as ended:
                evaluate(run, "triad,linear,ood")
        assert ended.value.signal == signal.SIGTERM
        metrics = written(run)
        assert metrics["status"] == "interrupted"
        assert {row["task"] for row in metrics["results"]} == {"triad"}
        assert metrics["not_done"].keys() == {"linear", "ood"}
        assert "probe was stopped" in metrics["not_done"]["linear"]
        assert metrics["not_done"]["ood"] == "not reached: linear interrupted"
        result = evaluate(run, "linear,ood", overrides=["probe.max_epochs=1"])
        assert result.metrics["status"] == "finished"
        assert "reason" not in result.metrics
        assert not result.metrics["not_done"]
        assert {row["task"] for row in result.metrics["results"]} == {"triad", "linear", "ood"}

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_in_the_probes_validation_keeps_what_is_done(self, run, monkeypatch, number):
        def killed(self, *_):
            os.kill(os.getpid(), number)

        monkeypatch.setattr(hosts.LinearModel, "validation_step", killed)
        with pytest.raises(Interrupted) as ended:
            evaluate(run, "triad,linear", overrides=["probe.max_epochs=1"])
        assert ended.value.signal == number
        assert {row["task"] for row in written(run)["results"]} == {"triad"}

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_in_any_task_keeps_what_is_done(self, run, monkeypatch, number):
        def killed(subject):
            os.kill(os.getpid(), number)
            yield from ()

        before = signal.getsignal(number)
        monkeypatch.setitem(tasks.TASKS, "knn", killed)
        with pytest.raises(Interrupted) as ended:
            evaluate(run, "triad,knn")
        assert ended.value.signal == number
        assert {row["task"] for row in written(run)["results"]} == {"triad"}
        assert signal.getsignal(number) is before

    def test_a_signal_while_an_image_is_read_is_no_broken_image(self, run, monkeypatch, tmp_path):
        def killed(path):
            os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(PIL.Image, "open", killed)

        (tmp_path / "x.png").touch()

        def reading(subject):
            images.read_image(tmp_path / "x.png")
            yield from ()

        monkeypatch.setitem(tasks.TASKS, "knn", reading)
        with pytest.raises(Interrupted) as ended:
            evaluate(run, "triad,knn")
        assert ended.value.signal == signal.SIGTERM
        assert {row["task"] for row in written(run)["results"]} == {"triad"}

    def test_a_signal_while_pictures_are_drawn_loses_no_number(self, run, monkeypatch):
        def killed(picture):
            raise KeyboardInterrupt

        monkeypatch.setattr(plots, "draw", killed)
        with pytest.raises(KeyboardInterrupt):
            evaluate(run, "triad,ood", ood="uniform")
        assert {row["task"] for row in written(run)["results"]} == {"triad", "ood"}
        assert written(run)["status"] == "interrupted"

    def test_where_nothing_is_done_nothing_is_written(self, run, monkeypatch):
        def killed(subject):
            os.kill(os.getpid(), signal.SIGTERM)
            yield from ()

        before = contents(run)
        monkeypatch.setitem(tasks.TASKS, "knn", killed)
        with pytest.raises(Interrupted):
            evaluate(run, "knn,triad")
        assert contents(run) == before


class TestFaults:
    """What nobody foresaw in one task loses nothing of the others."""

    @staticmethod
    def broken(subject):
        yield from subject.rows("knn", {"accuracy": 0.5}, k=1, distance="cosine")
        raise ZeroDivisionError("division by zero")

    def test_the_other_tasks_are_done(self, run, monkeypatch, caplog):
        caplog.set_level("DEBUG", "solo_gedi")
        monkeypatch.setitem(tasks.TASKS, "knn", self.broken)
        result = evaluate(run, "triad,knn,ood", ood="uniform")
        assert {row["task"] for row in result.rows} == {"triad", "knn", "ood"}
        assert result.not_done["knn"].startswith("ZeroDivisionError: division by zero (a bug of")
        assert isinstance(result.faults["knn"], ZeroDivisionError)
        assert written(run)["faults"] == ["knn"]
        assert result.metrics == written(run)
        assert result.metrics["status"] == "finished"
        assert "in broken" in (run / "faults.txt").read_text()
        assert [r.levelname for r in caplog.records if r.exc_info] == ["DEBUG"]
        assert "ZeroDivisionError" in (run / "report.html").read_text()
        monkeypatch.undo()
        assert evaluate(run, "triad", write=False).metrics["faults"] == []
        assert evaluate(run, "triad").metrics["faults"] == ["knn"]  # what is known of it
        assert "in broken" in (run / "faults.txt").read_text()
        assert not evaluate(run, "knn").metrics["faults"]
        assert not (run / "faults.txt").exists()
        assert "knn" not in written(run)["not_done"]

    def test_the_exit_status_tells(self, run, monkeypatch, capsys):
        monkeypatch.setitem(tasks.TASKS, "knn", self.broken)
        assert main(["evaluate", str(run), "--tasks", "triad,knn"]) == 1
        assert "faults.txt" in capsys.readouterr().err

    def test_a_fault_before_anything_is_done_is_raised(self, run, monkeypatch):
        def broken(subject):
            raise ZeroDivisionError
            yield

        before = contents(run)
        monkeypatch.setitem(tasks.TASKS, "knn", broken)
        with pytest.raises(ZeroDivisionError):
            evaluate(run, "knn")
        assert contents(run) == before

    def test_a_picture_that_cannot_be_drawn_loses_nothing_else(self, run, monkeypatch):
        def broken(picture):
            if isinstance(picture, RocCurves):
                raise ZeroDivisionError
            return draw(picture)

        draw = plots.draw
        monkeypatch.setattr(plots, "draw", broken)
        result = evaluate(run, "ood", ood="uniform")
        assert list(result.figures) == ["ood"]
        assert "ZeroDivisionError" in written(run)["not_done"]["ood"]
        assert {row["task"] for row in written(run)["results"]} == {"ood"}

    def test_a_page_that_cannot_be_written_loses_no_number(self, run, monkeypatch):
        def broken(*args):
            raise ZeroDivisionError

        monkeypatch.setattr("solo_gedi.report.sections.sections", broken)
        result = evaluate(run, "triad")
        assert "ZeroDivisionError" in written(run)["not_done"]["report"]
        assert result.metrics == written(run)
        monkeypatch.undo()
        assert not evaluate(run, "triad").metrics["not_done"]


def test_a_model_without_a_folder_is_not_written_anywhere(run):
    model = load(run)
    model.checkpoint = None
    with pytest.raises(ConfigError, match="write=False"):
        evaluate(model, "triad")
    assert evaluate(model, "triad", write=False).rows


def test_a_folder_that_cannot_be_written_to_is_named_before_the_work(run, monkeypatch):
    def refuse(folder, setting):
        raise ConfigError(f"{setting}: cannot write to {folder}: Read-only file system")

    monkeypatch.setattr("solo_gedi.report.result.check_folder", refuse)
    monkeypatch.setitem(tasks.TASKS, "triad", lambda subject: pytest.fail("it began"))
    with pytest.raises(ConfigError, match="the run's folder: cannot write to"):
        evaluate(run, "triad")


def test_an_export_is_evaluated_on_the_data_that_are_named(run_of, tmp_path):
    """It keeps no absolute paths."""
    model = load(run_of("gedi"))
    places = {"train_path": "/data/train", "val_path": "/data/val", "test_path": None}
    model.config = {**model.config, "data": {**model.config["data"], **places}}
    export(model, tmp_path / "out")
    assert evaluate(tmp_path / "out", "samples").figures.keys() == {"samples_fresh"}
    result = evaluate(tmp_path / "out", "clustering,knn", overrides=["data.val_path=val"])
    assert select(result.rows, task="clustering", metric="nmi")
    assert "data.train_path" in result.not_done["knn"]


def test_features_of_a_network_for_other_images_are_refused(run, trained):
    other = trained("gedi", "augmentations.0.crop_size=16")
    with pytest.raises(ConfigError, match=r"takes images of shape \(1, 16, 16\), not \(1, 8, 8\)"):
        evaluate(run, "fid", fid_features=other, num_samples=4, steps=1)

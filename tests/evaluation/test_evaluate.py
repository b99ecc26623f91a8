import json

import pytest
import torch
from sklearn.metrics import normalized_mutual_info_score, roc_auc_score

from solo_gedi.errors import ConfigError
from solo_gedi.evaluation import evaluate
from solo_gedi.inference import load as trained
from solo_gedi.training import loaders
from solo_gedi.training.pretrain import pretrain


def values(metrics, task, metric):
    return {
        row["protocol"]: row["value"]
        for row in metrics["results"]
        if (row["task"], row["metric"]) == (task, metric)
    }


@pytest.fixture
def run(load_config):
    return pretrain(load_config("gedi"))[1].folder


def test_numbers_are_those_of_the_model_on_the_test_split(run):
    tasks = "clustering,linear,knn,ood,triad"
    metrics = evaluate.evaluate(
        run, evaluate.options("--tasks", tasks, overrides=["probe.max_epochs=1"])
    )
    assert metrics == json.loads((run / "metrics.json").read_text())
    assert {row["task"] for row in metrics["results"]} == set(tasks.split(","))
    assert all(row["split"] == "test" for row in metrics["results"])
    assert not metrics["not_done"]

    loaded = trained.load(run)
    loaded.cfg.data.val_path = "test"
    x, labels = map(torch.cat, zip(*loaders.plain_loader(loaded.cfg, train=False), strict=True))
    assert len(x) == 360
    with torch.no_grad():
        out = loaded.model(x)
    nmi = values(metrics, "clustering", "nmi")
    clusters = out["z"].argmax(1)
    expected = normalized_mutual_info_score(labels, clusters)
    assert nmi["argmax of the cluster head"] == pytest.approx(expected)
    assert any("k-means" in protocol for protocol in nmi)
    batched = values(metrics, "clustering", "minibatch_nmi")
    assert sum("chance level" in protocol for protocol in batched) == 2

    # log p against noise, with the noise drawn here anew
    noise = loaded.space.to_input(torch.rand(x.shape) * 2 - 1)
    with torch.no_grad():
        log_p = torch.cat([out["z"], loaded.model(noise)["z"]]).logsumexp(1)
    is_data = [1] * len(x) + [0] * len(noise)
    auroc = values(metrics, "ood", "auroc")["log p, against uniform"]
    assert auroc == pytest.approx(roc_auc_score(is_data, log_p), abs=0.03)
    assert len(values(metrics, "ood", "auroc")) == 3 * 2

    (probe,) = values(metrics, "linear", "accuracy")
    assert probe.startswith("offline linear probe: sgd, learning rate 0.001, 1 epochs, batch 100")
    (knn,) = values(metrics, "knn", "accuracy").values()
    assert 0 < knn <= 1


def test_report_and_pictures_lie_in_the_runs_folder(run):
    metrics = evaluate.evaluate(
        run, evaluate.options("--tasks", "ood,samples", "--ood", "shuffled")
    )
    assert metrics["figures"] == ["ood.png", "samples_fresh.png", "samples_buffer.png"]
    assert all((run / name).stat().st_size > 1000 for name in metrics["figures"])
    page = (run / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "Higher means in-distribution" in page
    assert (run / "samples" / "buffer-steps=500.png").exists()


@pytest.mark.parametrize("method", ["swav", "barlow", "jem"])
def test_every_method_can_be_evaluated(method, load_config):
    folder = pretrain(load_config(method))[1].folder
    metrics = evaluate.evaluate(
        folder,
        evaluate.options(
            *("--tasks", "clustering,knn,ood,fid,triad", "--fid-features", "backbone"),
            *("--steps", "2", "--num-samples", "50"),
        ),
    )
    assert not metrics["not_done"]
    assert all(abs(row["value"]) < 1e6 for row in metrics["results"])
    head = {"swav": "prototypes", "barlow": "projector", "jem": "cluster head"}[method]
    assert f"argmax of the {head}" in values(metrics, "clustering", "nmi")


def test_distance_on_other_features_is_not_called_fid(run):
    arguments = ("--tasks", "fid", "--steps", "3", "--start", "buffer", "--num-samples", "60")
    for features in ("backbone", str(run)):
        metrics = evaluate.evaluate(run, evaluate.options(*arguments, "--fid-features", features))
        (row,) = metrics["results"]
        assert row["metric"].startswith("Fréchet distance on the")
        assert "FID" not in row["metric"]
        assert row["protocol"] == (
            "60 samples after 3 SGLD steps from the buffer, against the test set"
        )
        assert row["value"] > 0


def test_what_cannot_be_done_is_named_and_the_rest_goes_on(load_config, tmp_path, capsys):
    (tmp_path / "other.pth").write_text("not weights")
    (tmp_path / "empty").mkdir()
    run = pretrain(load_config("swav"))[1].folder
    metrics = evaluate.evaluate(
        run,
        evaluate.options(
            *("--tasks", "fid,ood,clustering", "--inception-weights", "other.pth"),
            *("--ood", "custom:empty,uniform"),
        ),
    )
    assert {row["task"] for row in metrics["results"]} == {"clustering", "ood"}
    assert all("against uniform" in protocol for protocol in values(metrics, "ood", "auroc"))
    assert "Inception weights of FID could not be loaded" in metrics["not_done"]["fid"]
    assert "data.val_path=empty" in metrics["not_done"]["ood"]
    assert "not done" in capsys.readouterr().out
    assert "--inception-weights" in (run / "report.html").read_text()


def test_other_images_are_told_apart_at_the_runs_own_size_and_colours(run, image_folder):
    folder = image_folder(size=40)
    metrics = evaluate.evaluate(
        run, evaluate.options("--tasks", "ood", "--ood", f"custom:{folder}")
    )
    assert len(metrics["results"]) == 3


def test_diverged_weights_are_refused(run):
    (checkpoint,) = run.glob("*.ckpt")
    state = torch.load(checkpoint, weights_only=True)
    state["state_dict"]["projector.layers.0.bias"][0] = float("nan")
    torch.save(state, checkpoint)
    with pytest.raises(ConfigError, match="projector.layers.0.bias .* not finite"):
        evaluate.evaluate(run, evaluate.options())
    assert not (run / "metrics.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["."], "holds no checkpoint"),
        ([".", "--tasks", "clustering,cooking"], "'cooking'; choose from clustering,"),
    ],
)
def test_wrong_arguments_end_with_one_message(arguments, message, console):
    done = console("solo-gedi", "evaluate", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_cell_goes_on_where_it_was_killed(console, scripts, tmp_path):
    """Pretraining that was done is not done again, the evaluation is."""
    cell = [
        *("solo-gedi", "cell", "out", "--config-path", scripts / "pretrain" / "digits"),
        *("--config-name", "gedi_nogen", "--tasks", "clustering"),
        *("--linear-config", scripts / "linear" / "digits" / "gedi.yaml"),
        *("max_epochs=1", "+limit_train_batches=2", "seed=3", "backbone.kwargs.width=8"),
    ]
    first = console(*cell)
    assert first.returncode == 0, first.stderr
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (metrics["status"], metrics["seed"], metrics["method"]) == ("finished", 3, "gedi")
    assert metrics["seconds"].keys() == {"pretrain", "evaluate"}
    (tmp_path / "out" / "metrics.json").unlink()
    again = console(*cell)
    assert again.returncode == 0, again.stderr
    assert "Pretraining" in first.stdout
    assert "Pretraining" not in again.stdout
    assert len(list((tmp_path / "out" / "gedi").iterdir())) == 1
    by_hand = console("solo-gedi", "evaluate", "out", "--tasks", "triad")
    assert by_hand.returncode == 0, by_hand.stderr
    after = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert after["results"] == metrics["results"]

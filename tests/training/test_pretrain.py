import csv

import pytest
import torch

from solo_gedi import hosts
from solo_gedi.inference import load
from solo_gedi.methods import GEDI
from solo_gedi.training import pretrain


def only(paths):
    (path,) = paths
    return path


@pytest.mark.parametrize(
    "method", ["gedi", "gedi_nogen", "gedi_noinv", "gedi_nounif", "jem", "swav", "barlow"]
)
def test_every_digits_config_trains_validates_and_saves(load_config, method):
    run = pretrain(load_config(method, "knn_eval.enabled=true"))
    model = run.method
    checkpoint = torch.load(only(run.folder.glob("*-ep=0.ckpt")), weights_only=True)
    assert checkpoint["global_step"] == 3
    saved = checkpoint["state_dict"]
    assert all(torch.equal(saved[k], v) for k, v in model.state_dict().items())
    assert all(torch.isfinite(p).all() for p in model.parameters())
    header = (run.folder / "logs" / "version_0" / "metrics.csv").read_text().splitlines()[0]
    assert {"val_acc1", "val_knn_acc1", "train_class_loss_step"} <= set(header.split(","))


@pytest.mark.parametrize("dataset", ["moons", "circles"])
@pytest.mark.parametrize("method", ["gedi", "jem", "swav", "barlow"])
def test_toy_configs_train(load_config, method, dataset):
    short = ["limit_train_batches=3", "limit_val_batches=1", f"data.dataset={dataset}"]
    run = pretrain(load_config(method, *short, suite="toy"))
    model = run.method
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert only(run.folder.glob("*.ckpt"))


def test_a_run_of_some_steps_ends_with_a_checkpoint(load_config):
    cfg = load_config("gedi", "+max_steps=4", "max_epochs=9")
    cfg.checkpoint.frequency = 10
    run = pretrain(cfg)
    (saved,) = run.folder.glob("*.ckpt")
    assert torch.load(saved, weights_only=True)["global_step"] == 4
    assert load(run).reference.images > 0, "within an epoch too"


def test_logged_metrics_name_every_term(load_config):
    run = pretrain(load_config("gedi"))
    header = (run.folder / "logs" / "version_0" / "metrics.csv").read_text().splitlines()[0]
    assert {
        "train_gedi_loss_step",
        "train_gen_loss_step",
        "train_inv_loss_step",
        "train_prior_loss_step",
        "train_data_energy_step",
        "train_sample_energy_step",
        "train_chain_grad_norm_step",
        "train_cluster_entropy_step",
        "train_clusters_used_step",
    } <= set(header.split(","))


def test_custom_folder_without_labels_trains(load_config, image_folder, monkeypatch):
    folder = image_folder(classes=("all",), per_class=12) / "all"
    overrides = [
        f"data.train_path={folder}",
        "data.no_labels=true",
        "data.num_workers=0",
        "optimizer.batch_size=4",
        "backbone.kwargs.width=8",
        "method_kwargs.sgld.num_steps=1",
        "method_kwargs.sgld.buffer_size=8",
    ]
    taught = []
    step = GEDI.training_step

    def seen(self, *batch):
        taught.append(self.classifier.weight.detach().clone())
        return step(self, *batch)

    monkeypatch.setattr(GEDI, "training_step", seen)
    run = pretrain(load_config("gedi", *overrides, suite="custom"))
    model = run.method
    assert model.replay_buffer.chains.shape == (8, 3, 32, 32)
    assert all(torch.isfinite(p).all() for p in model.parameters())
    # Unlabelled points must not teach the online classifier.
    assert torch.equal(model.classifier.weight, taught[0])


def test_custom_folder_with_labels_validates_at_the_crop_size(load_config, image_folder):
    folder = image_folder(size=40)
    overrides = [
        f"data.train_path={folder}",
        f"data.val_path={folder}",
        "data.num_workers=0",
        "optimizer.batch_size=8",
        "backbone.kwargs.width=8",
    ]
    model = pretrain(load_config("gedi_nogen", *overrides, suite="custom")).method
    assert model.num_classes == 3
    assert "val_acc1" in model.trainer.callback_metrics


BACKBONES = {
    "resnet18": "{}",
    "vit_tiny": "{img_size: 32, patch_size: 8}",
    **({"wide_resnet28w2": "{}"} if hosts.GENERATION == "github" else {}),
}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_gedi_trains_on_solo_learns_own_backbones(load_config, image_folder, backbone):
    folder = image_folder(per_class=4)
    overrides = [
        f"data.train_path={folder}",
        "data.num_workers=0",
        "optimizer.batch_size=4",
        f"backbone.name={backbone}",
        "~backbone.kwargs",
        f"+backbone.kwargs={BACKBONES[backbone]}",
        "+limit_train_batches=2",
        "method_kwargs.sgld.num_steps=1",
        "method_kwargs.sgld.buffer_size=8",
    ]
    model = pretrain(load_config("gedi", *overrides, suite="custom")).method
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_sample_grid_is_written(load_config):
    run = pretrain(load_config("gedi"))
    assert (run.folder / "samples" / "ep=0.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("method", ["gedi", "gedi_noinv", "swav", "barlow"])
def test_triad_is_logged_once_an_epoch(method, load_config):
    run = pretrain(load_config(method, "max_epochs=2"))
    (log,) = run.folder.glob("logs/version_0/metrics.csv")
    with log.open() as file:
        rows = [row for row in csv.DictReader(file) if row["triad_feature_std"]]
    assert len(rows) == 2
    for row in rows:
        assert float(row["triad_feature_std"]) > 0
        assert 0.1 <= float(row["triad_largest_cluster_share"]) <= 1
        # One view says nothing of the third failure mode.
        assert ("triad_view_agreement" in row) == (method != "gedi_noinv")
        assert 0 <= float(row.get("triad_view_agreement", 0)) <= 1
        assert 1 <= float(row["triad_effective_rank"]) <= 8

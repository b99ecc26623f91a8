import csv
import multiprocessing
import signal
from pathlib import Path

import pytest
import torch

from solo_gedi import hosts
from solo_gedi.errors import DataError
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


def test_points_need_no_setting_for_their_layout(load_config):
    cfg = load_config("gedi", "limit_train_batches=3", "limit_val_batches=1", suite="toy")
    cfg.pop("performance")
    assert pretrain(cfg).checkpoint.is_file()


def test_a_finished_training_stays_so_where_no_reference_can_be_written(
    load_config, monkeypatch, caplog
):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("solo_gedi.core.reference.write_json", full)
    with caplog.at_level("INFO"):
        run = pretrain(load_config("gedi"))
    assert run.finished
    assert run.checkpoint.is_file()
    assert "no reference for `typicality`" in caplog.text


def test_what_a_run_without_checkpoints_has_logged_outlives_its_error(load_config, monkeypatch):
    step = GEDI.training_step

    def fail(self, batch, batch_idx):
        if self.trainer.current_epoch:
            raise DataError("one.png cannot be read")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(GEDI, "training_step", fail)
    with pytest.raises(DataError):
        pretrain(load_config("gedi", "max_epochs=2", "checkpoint.enabled=false"))
    (logged,) = Path("trained_models").rglob("metrics.csv")
    assert "train_gedi_loss_epoch" in logged.read_text()


def test_ctrl_c_before_the_first_step_is_an_interruption(load_config, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(GEDI, "setup", interrupted)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        pretrain(load_config("gedi"))
    assert signal.getsignal(signal.SIGINT) is before
    assert not list(Path("trained_models").rglob("*.csv"))


def test_no_worker_outlives_a_training_that_fails(load_config, monkeypatch):
    def fail(*_):
        raise DataError("one.png cannot be read")

    monkeypatch.setattr(GEDI, "validation_step", fail)
    workers = ["data.num_workers=1", "+num_sanity_val_steps=0"]
    with pytest.raises(DataError):
        pretrain(load_config("gedi", *workers))
    assert not multiprocessing.active_children()


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


@pytest.mark.skipif("mae" not in hosts.METHODS, reason="solo-learn 1.0.2 has no MAE")
def test_a_method_without_a_projector_trains_to_its_end(load_config, image_folder, caplog):
    folder = image_folder(per_class=8, size=8)
    small = ["optimizer.batch_size=8", "augmentations.0.crop_size=8", "data.num_workers=0"]
    cfg = load_config("barlow", f"data.train_path={folder}", *small, suite="custom")
    cfg.method, cfg.optimizer.name = "mae", "adamw"
    cfg.backbone = {"name": "vit_tiny", "kwargs": {"img_size": 8, "patch_size": 4}}
    decoder = {"decoder_embed_dim": 16, "decoder_depth": 1, "decoder_num_heads": 2}
    cfg.method_kwargs = {**decoder, "mask_ratio": 0.5}
    with caplog.at_level("INFO"):
        run = pretrain(cfg)
    assert run.finished
    assert "mae has no clusters to take log p from" in caplog.text
    assert not [name for name in run.metrics if name.startswith("triad")]


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

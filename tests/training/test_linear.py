import pytest
import torch

from solo_gedi import hosts
from solo_gedi.errors import GEDIError
from solo_gedi.training import pretrain
from solo_gedi.training.linear import linear, load_backbone


@pytest.fixture
def checkpoint(trained):
    (path,) = trained("gedi").glob("*.ckpt")
    return path


def weights_of(checkpoint):
    """The backbone's, as the checkpoint has them."""
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    names = [name for name in state if name.startswith("backbone.")]
    return {name.removeprefix("backbone."): state[name] for name in names}


def test_probe_loads_every_weight_of_the_backbone(load_config, checkpoint):
    cfg = load_config("gedi", f"pretrained_feature_extractor={checkpoint}", kind="linear")
    linear(cfg)
    backbone = load_backbone(hosts.parse_linear(cfg))
    expected = weights_of(checkpoint)
    assert expected.keys() == backbone.state_dict().keys()
    assert all(torch.equal(expected[k], v) for k, v in backbone.state_dict().items())


def test_probe_trains_the_classifier_only(load_config, checkpoint, tmp_path):
    cfg = load_config(
        "gedi", f"pretrained_feature_extractor={checkpoint}", "max_epochs=2", kind="linear"
    )
    assert 0 <= linear(cfg).metrics["val_acc1"] <= 100
    (saved,) = (tmp_path / "trained_models" / "linear").glob("*/*.ckpt")
    state = torch.load(saved, weights_only=True)["state_dict"]
    expected = weights_of(checkpoint)
    assert all(torch.equal(state[f"backbone.{k}"], v) for k, v in expected.items())


def test_probe_learns_what_is_linearly_separable(load_config, tmp_path, image_folder):
    """Two colours are separable by any convolution; chance is one half."""
    from PIL import Image

    folder = image_folder(classes=("dark", "light"), per_class=20, size=8)
    for label, grey in (("dark", 30), ("light", 220)):
        for path in (folder / label).iterdir():
            Image.new("RGB", (8, 8), (grey,) * 3).save(path)
    common = [f"data.train_path={folder}", f"data.val_path={folder}", "data.num_workers=0"]
    run = pretrain(load_config("gedi_nogen", *common, "optimizer.batch_size=8", suite="custom"))
    (checkpoint,) = run.folder.glob("*.ckpt")
    probe = load_config(
        "gedi",
        *common,
        f"pretrained_feature_extractor={checkpoint}",
        "optimizer.batch_size=10",
        "optimizer.lr=25",
        "max_epochs=10",
        suite="custom",
        kind="linear",
    )
    assert linear(probe).metrics["val_acc1"] == 100


def test_probe_takes_a_runs_folder_and_says_where_images_are_seen_otherwise(
    load_config, checkpoint, caplog
):
    cfg = load_config("gedi", f"pretrained_feature_extractor={checkpoint.parent}", kind="linear")
    with caplog.at_level("WARNING"):
        linear(cfg)
        assert "probed with" not in caplog.text
        cfg.data.augmentations.crop_size = 16
        linear(cfg)
    assert "pretrained with crop_size=8 and is probed with 16: set data.augm" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": {"layer_decay": 0.5}, "finetune": True}, "layer_decay=0.5 is for vision"),
        ({"backbone": {"kwargs": {"width": 16}}}, r"\(8, 1, 3, 3\).*\(16, 1, 3, 3\)"),
        ({"backbone": {"name": "mlp"}}, "does not fit mlp"),
        ({"pretrain_method": "swav"}, "pretrained with gedi.*pretrain_method=swav"),
        ({"pretrain_method": "gedy"}, "pretrain_method='gedy' does not exist"),
        ({"pretrained_feature_extractor": "nowhere.ckpt"}, "nowhere.ckpt does not exist"),
        ({"mixup": 0.5}, "main_linear.py"),
    ],
)
def test_probe_refuses_what_cannot_be_probed(load_config, checkpoint, change, message):
    from omegaconf import OmegaConf

    cfg = load_config("gedi", f"pretrained_feature_extractor={checkpoint}", kind="linear")
    with pytest.raises(GEDIError, match=message):
        linear(OmegaConf.merge(cfg, change))

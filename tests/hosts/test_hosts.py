import math

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from solo_gedi import hosts
from solo_gedi.errors import ConfigError
from solo_gedi.methods.registration import register

CROP = {
    "rrc": {"enabled": True, "crop_min_scale": 0.5, "crop_max_scale": 1.0},
    "color_jitter": {
        "prob": 0.8,
        "brightness": 0.4,
        "contrast": 0.4,
        "saturation": 0.2,
        "hue": 0.1,
    },
    "grayscale": {"prob": 0.1},
    "gaussian_blur": {"prob": 0.1},
    "solarization": {"prob": 0.1},
    "equalization": {"prob": 0.0},
    "horizontal_flip": {"prob": 0.5},
    "crop_size": 32,
    "num_crops": 2,
}


def parsed(**changes):
    register()
    cfg = {
        "name": "x",
        "method": "barlow_twins",
        "backbone": {"name": "resnet18"},
        "method_kwargs": {"proj_hidden_dim": 16, "proj_output_dim": 8},
        "data": {"dataset": "cifar10", "train_path": "x", "val_path": "x"},
        "optimizer": {
            "name": "adam",
            "batch_size": 64,
            "lr": 0.4,
            "classifier_lr": 0.1,
            "weight_decay": 0,
        },
        "scheduler": {"name": "warmup_cosine"},
        "augmentations": [CROP],
        "max_epochs": 10,
        "devices": [0, 1],
    }
    merged = OmegaConf.merge(cfg, changes)
    OmegaConf.set_struct(merged, False)
    return hosts.parse_pretrain(merged)


def test_learning_rates_are_scaled_as_the_scripts_assume():
    cfg = parsed()
    assert cfg.optimizer.lr == pytest.approx(0.4 * 64 * 2 / 256)
    assert cfg.optimizer.classifier_lr == pytest.approx(0.1 * 64 * 2 / 256)
    assert cfg.data.num_classes == 10
    assert (cfg.data.num_large_crops, cfg.data.num_small_crops) == (2, 0)


def test_defaults_of_the_optimizer_and_of_the_run():
    cfg = parsed(optimizer={"name": "lars", "kwargs": {"eta": 0.02}})
    expected = {"momentum": 0.9, "eta": 0.02, "clip_lr": False, "exclude_bias_n_norm": False}
    assert dict(cfg.optimizer.kwargs) == expected
    assert cfg.checkpoint.dir == "trained_models"
    assert (cfg.wandb.enabled, cfg.wandb.entity, cfg.seed) == (False, None, 5)


def test_cifar_resnet_has_the_small_stem():
    method = hosts.METHODS["barlow_twins"](parsed())
    assert method.backbone.conv1.kernel_size == (3, 3)
    assert isinstance(method.backbone.maxpool, nn.Identity)
    assert method.features_dim == 512


def test_linear_backbone_is_built_as_the_method_builds_it():
    cfg = parsed()
    own = hosts.METHODS["barlow_twins"](cfg).backbone.state_dict()
    probe = hosts.build_backbone(hosts.BACKBONES, cfg).state_dict()
    assert {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in probe.items()}


def test_pipeline_is_solo_learns_and_knows_its_normalization():
    transform = hosts.build_transform("cifar10", OmegaConf.create(CROP))
    mean, std = hosts.normalization(transform)
    assert mean == pytest.approx((0.4914, 0.4822, 0.4465))
    assert std == pytest.approx((0.247, 0.2435, 0.2616), abs=1e-3)
    from PIL import Image

    views = hosts.multi_view([transform], [2])(Image.new("RGB", (40, 40)))
    assert [v.shape for v in views] == [(3, 32, 32)] * 2


def test_custom_normalization_is_taken_from_the_augmentation():
    own = OmegaConf.create({**CROP, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]})
    mean, std = hosts.normalization(hosts.build_transform("custom", own))
    assert mean == pytest.approx((0.1, 0.2, 0.3))
    assert std == pytest.approx((0.4, 0.5, 0.6))
    default, _ = hosts.normalization(hosts.build_transform("custom", OmegaConf.create(CROP)))
    assert default == pytest.approx((0.485, 0.456, 0.406))


def test_linear_probe_takes_fewer_than_five_classes():
    cfg = parsed(
        data={"dataset": "cifar10", "augmentations": {"crop_size": 32}},
        backbone={"name": "mlp", "kwargs": {}},
    )
    cfg.data.num_classes = 2
    backbone = hosts.build_backbone(hosts.BACKBONES, cfg)
    model = hosts.LinearModel(backbone, cfg=OmegaConf.merge(cfg, {"finetune": False}))
    x, labels = torch.randn(6, 2), torch.tensor([0, 1] * 3)
    if hasattr(model, "no_channel_last"):
        model.no_channel_last = True
    out = model(x)
    loss = nn.functional.cross_entropy(out["logits"], labels)
    two = model.classifier(backbone(x))
    torch.testing.assert_close(loss, nn.functional.cross_entropy(two, labels))
    assert loss.item() < math.inf
    loss.backward()
    assert model.classifier.weight.grad.isfinite().all()


def test_unknown_backbone_and_bad_arguments_are_named():
    with pytest.raises(ConfigError, match="backbone.name='resnet19' does not exist"):
        hosts.build_backbone(hosts.BACKBONES, parsed(backbone={"name": "resnet19"}))
    wrong = parsed(backbone={"name": "energy_resnet8", "kwargs": {"depth": 3}})
    with pytest.raises(ConfigError, match="depth"):
        hosts.build_backbone(hosts.BACKBONES, wrong)

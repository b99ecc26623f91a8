import math
import sys

import pytest
import torch

from solo_gedi import hosts
from solo_gedi.errors import ConfigError, MissingPackageError
from solo_gedi.methods import register
from solo_gedi.training import loaders, pretrain
from solo_gedi.training.job import parse

ON_DEVICE = "+data.augment_on_device=true"


@pytest.mark.parametrize("method", ["gedi", "jem", "swav", "barlow"])
def test_any_method_trains_on_views_made_on_the_device(load_config, method):
    pytest.importorskip("kornia")
    run = pretrain(load_config(method, ON_DEVICE, "+debug_augmentations=true"))
    model = run.method
    assert model.trainer.global_step == 3
    assert math.isfinite(model.trainer.callback_metrics["train_class_loss"])
    assert all(p.isfinite().all() for p in model.parameters())


def test_double_precision_gets_views_of_its_own(load_config):
    pytest.importorskip("kornia")
    model = pretrain(load_config("barlow", ON_DEVICE, "precision=64-true")).method
    assert next(model.parameters()).dtype == torch.float64


def test_loader_gives_images_as_they_are(load_config):
    register()
    cfg = parse(load_config("gedi", ON_DEVICE), hosts.parse_pretrain)
    _, images, labels = next(iter(loaders.pretrain_loader(cfg)))
    assert images.dtype == torch.uint8
    assert images.shape == (len(labels), 1, 8, 8)


@pytest.mark.parametrize("suite", ["custom", "toy"])
def test_images_of_any_size_are_one_clear_error(load_config, image_folder, suite):
    folder = image_folder()
    overrides = [f"data.train_path={folder}"] if suite == "custom" else []
    with pytest.raises(ConfigError, match=r"data\.augment_on_device.*data\.dataset"):
        pretrain(load_config("gedi", ON_DEVICE, *overrides, suite=suite))


def test_without_kornia_the_error_says_what_to_install(load_config, monkeypatch):
    monkeypatch.delitem(sys.modules, "solo_gedi.data.batched", raising=False)
    for name in ("kornia", "kornia.augmentation", "kornia.augmentation.random_generator"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPackageError, match=r"pip install 'solo-gedi\[augment\]'"):
        pretrain(load_config("gedi", ON_DEVICE))

"""The checks of a config, apart from what they say of each setting (tests/cli/test_bad_input)."""

from copy import deepcopy

import pytest
from omegaconf import OmegaConf

from solo_gedi import hosts
from solo_gedi.config import LINEAR, PRETRAIN, check, load_config, prepare
from solo_gedi.errors import ConfigError


def test_checking_registers_nothing_and_changes_nothing(monkeypatch):
    cfg = load_config("digits/gedi")
    methods, backbones = dict(hosts.METHODS), dict(hosts.BACKBONES)
    monkeypatch.setattr(hosts, "add_dataset", None)
    before = deepcopy(cfg)
    OmegaConf.set_readonly(cfg, True)
    prepare(cfg, PRETRAIN)
    assert cfg == before
    assert methods == hosts.METHODS
    assert backbones == hosts.BACKBONES


@pytest.mark.parametrize("suite", ["toy", "digits"])
def test_views_are_checked_wherever_a_config_has_them(suite):
    cfg = load_config(f"{suite}/gedi")
    check(cfg, ("method",))
    del cfg.augmentations[0].num_crops
    with pytest.raises(ConfigError, match=r"augmentations\.0\.num_crops is missing"):
        check(cfg, ())
    probe = load_config("digits/gedi", ["pretrained_feature_extractor=x"], kind="linear")
    prepare(probe, LINEAR)


def test_an_image_folder_must_be_there(tmp_path):
    cfg = load_config("custom/gedi", ["data.train_path=images"])
    with pytest.raises(ConfigError, match=r"data\.train_path=images is not a folder \(from "):
        prepare(cfg, PRETRAIN)
    (tmp_path / "images").mkdir()
    prepare(cfg, PRETRAIN)
    cfg.data.val_path = "val"
    with pytest.raises(ConfigError, match=r"data\.val_path=val is not a folder"):
        prepare(cfg, PRETRAIN)
    check(cfg, PRETRAIN)  # which leaves paths alone


@pytest.mark.parametrize("key", ["data.train_path", "optimizer.classifier_lr", "method", "name"])
def test_a_missing_key_is_named_with_where_it_is_missing(key):
    cfg = load_config("digits/gedi")
    section, _, last = key.rpartition(".")
    del (cfg[section] if section else cfg)[last]
    with pytest.raises(ConfigError, match=rf"^{key} is missing from args\.json"):
        check(cfg, (key,), "args.json")

"""Every key of a config is used or refused: what a short run reads of it is noted and compared.

A key counts as read where the value of a leaf is asked for, by solo-learn, by this package or as an
argument of Lightning's Trainer; not where a config is composed, checked, parsed, copied or written.
"""

import functools
import re
import sys
from importlib.util import find_spec
from inspect import signature

import pytest
from lightning.pytorch import Trainer
from omegaconf import DictConfig, OmegaConf

from solo_gedi import hosts
from solo_gedi.comparison.toy.study import check_read, toy
from solo_gedi.config import (
    EVALUATE_KEYS,
    LINEAR,
    LINEAR_KEYS,
    PRETRAIN,
    PRETRAIN_KEYS,
    list_configs,
    load_config,
    prepare,
)
from solo_gedi.config.keys import TRAINER, VIEW, generic_key, leaves
from solo_gedi.errors import ConfigError
from solo_gedi.evaluation.options import Options
from solo_gedi.methods import register
from solo_gedi.training import linear, pretrain

NO_READERS = ("/solo_gedi/config/", "/solo/args/", "/hosts/pypi/config.py", "/omegaconf/")


@pytest.fixture
def read(monkeypatch):
    """The keys that have been read, with N in the place of a view's number."""
    keys, get = set(), DictConfig._get_impl

    def noting(self, key, *args, **kwargs):
        frame = sys._getframe(1)
        while "/omegaconf/" in frame.f_code.co_filename:
            frame = frame.f_back
        code = frame.f_code
        # That function copies a view, whose steps are then read without the name of the list.
        copies = code.co_name == "with_normalization" and key not in ("mean", "std")
        if not copies and not any(part in code.co_filename for part in NO_READERS):
            full = generic_key(re.sub(r"\[(\d+)\]", r".\1", self._get_full_key(key)))
            keys.add(f"augmentations.N.{full}" if full in VIEW else full)
        return get(self, key, *args, **kwargs)

    init = Trainer.__init__

    @functools.wraps(init)
    def noting_arguments(self, *args, **kwargs):
        keys.update(kwargs)
        return init(self, *args, **kwargs)

    monkeypatch.setattr(DictConfig, "_get_impl", noting)
    monkeypatch.setattr(Trainer, "__init__", noting_arguments)
    return keys


def keys_of(cfg):
    return {generic_key(key) for key, _ in leaves(cfg)}


class NoWandb:
    """Stands where the logger of wandb does."""

    def __new__(cls, **settings):
        from lightning.pytorch.loggers import CSVLogger

        return CSVLogger("wandb")


# Arguments of the Trainer beside those that the shipped configs have, with harmless values.
OF_THE_TRAINER = {
    **{"fast_dev_run": False, "min_epochs": 1, "max_steps": -1, "min_steps": 1, "num_nodes": 1},
    **{"max_time": None, "overfit_batches": 0.0, "val_check_interval": 1.0},
    **{"check_val_every_n_epoch": 1, "num_sanity_val_steps": 0, "gradient_clip_val": 1.0},
    **{"gradient_clip_algorithm": "norm", "deterministic": False, "benchmark": False},
    **{"profiler": None, "detect_anomaly": False},
    **{"reload_dataloaders_every_n_epochs": 0, "enable_model_summary": False},
}
# Read only if something else is on: in RUNS one run has all of it on.
OFF = {
    *("wandb.entity", "wandb.offline", "wandb.project"),
    *("knn_eval.k", "knn_eval.distance_func"),
    "checkpoint.keep_prev",  # where a checkpoint is the second
    "data.test_path",  # by an evaluation
    "data.format",  # where solo-learn reads the data; else it must be image_folder
}
if hosts.GENERATION == "github":  # which asks for it, whether it needs it or not
    OFF -= {"knn_eval.k"}
ON = {
    **OF_THE_TRAINER,
    "max_epochs": 2,
    **{"wandb.enabled": True, "checkpoint.keep_prev": True, "checkpoint.every_minutes": 60},
    **{"data.fraction": 0.5, "data.format": "image_folder"},
    **{"optimizer.exclude_bias_n_norm_wd": False, "optimizer.kwargs": {"betas": [0.9, 0.99]}},
    **{"scheduler.warmup_start_lr": 0.0, "scheduler.min_lr": 0.0, "scheduler.interval": "step"},
    **{"performance.disable_channel_last": True, "performance.matmul_precision": "high"},
}
ON_PRETRAIN = {
    **{"knn_eval.enabled": True, "knn_eval.distance_func": "cosine", "debug_augmentations": True},
    **{"divergence.policy": "raise", "divergence.max_recoveries": 1, "divergence.limit": 1e9},
    **{"divergence.jump": 1e3, "divergence.check_every": 1, "divergence.snapshot_every": 1},
    **{"augmentations.0.mean": [0.3], "augmentations.0.std": [0.3]},
}
FOLDER = {"data.train_path": "train", "data.val_path": "val", "optimizer.batch_size": 8}
FOLDER |= {"data.dataset": "imagenet100", "backbone.kwargs.width": 8}
DEVICE = {"data.augment_on_device": True} if find_spec("kornia") else {}
POINTS = {"limit_train_batches": 2, "limit_val_batches": 2, "data.no_labels": False}

# A config, what is changed in it, and what of it is not read then.
RUNS = {
    "all on": ("digits/gedi", {**ON, **ON_PRETRAIN}, {"data.test_path", "data.format"}),
    "as shipped": ("digits/jem", DEVICE, OFF),
    "swav": ("digits/swav", {}, OFF),
    "barlow": ("digits/barlow", {}, OFF),
    "folder": ("custom/gedi", FOLDER, OFF - {"data.format"}),
    # Points are made, as many views as the large crops are that parsing has counted.
    "points": (
        "toy/gedi",
        {**POINTS, "scheduler": {"name": "step", "lr_decay_steps": [1]}},
        OFF | {"data.train_path", "augmentations.N.num_crops"},
    ),
}


def changed(cfg, changes):
    OmegaConf.set_struct(cfg, False)
    for key, value in changes.items():
        if key.startswith("augmentations."):
            cfg.augmentations[0][key.rpartition(".")[2]] = value
        else:
            OmegaConf.update(cfg, key, value, merge=False)
    return cfg


@pytest.mark.parametrize("run", RUNS)
def test_a_pretraining_reads_every_key(read, load_config, image_folder, monkeypatch, run):
    name, changes, unread = RUNS[run]
    suite, method = name.split("/")
    if suite == "custom":
        image_folder("train"), image_folder("val")
    monkeypatch.setattr("solo_gedi.training.loggers.Wandb", NoWandb)
    cfg = changed(load_config(method, suite=suite), changes)
    given = keys_of(cfg)
    found = pretrain(cfg).config
    # Its own settings with all of their defaults.
    given |= {key for key in keys_of(found) if key.startswith("method_kwargs.")}
    assert given - read == unread & given


@pytest.fixture
def probe(load_config, trained):
    """The config of a linear probe of a short run."""
    (checkpoint,) = trained().glob("*.ckpt")
    given = [f"pretrained_feature_extractor={checkpoint}", "check_val_every_n_epoch=1"]
    return load_config("gedi", *given, kind="linear")


@pytest.mark.parametrize("all_on", [False, True])
def test_a_probe_reads_every_key(read, probe, monkeypatch, all_on):
    monkeypatch.setattr("solo_gedi.training.loggers.Wandb", NoWandb)
    refused = {"auto_augment": False, "mixup": 0, "cutmix": 0, "label_smoothing": 0}
    more = {**refused, "optimizer.kwargs": {"momentum": 0.9}, "finetune": False}
    augmentations = {"crop_size": 8, "mean": [0.3], "std": [0.4]}
    on = {**ON, **more, "data.augmentations": augmentations, "optimizer.layer_decay": 0}
    cfg = changed(probe, on if all_on else {})
    given = keys_of(cfg)
    linear(cfg)
    # What is true for every value that is not refused.
    constant = {"optimizer.layer_decay", "optimizer.exclude_bias_n_norm_wd", "data.format"}
    assert given - read <= (constant if all_on else OFF | {"checkpoint.frequency"})


def test_the_runs_have_every_key_that_is_accepted():
    """So that one that nothing reads could not be added to the list of those that are."""
    tried = {"data.test_path", "scheduler.lr_decay_steps"}
    for name, changes, _ in RUNS.values():
        paths = ["data.train_path=x", "data.val_path=x"] if name.startswith("custom") else []
        tried |= keys_of(changed(load_config(name, paths), changes))
    accepted = {key for key in PRETRAIN_KEYS if not key.endswith("*")}
    assert accepted - tried <= (set() if DEVICE else {"data.augment_on_device"})
    assert set(signature(Trainer.__init__).parameters) >= TRAINER
    of_probe = {key for key in LINEAR_KEYS - PRETRAIN_KEYS if not key.endswith("*")}
    assert of_probe == {
        *("pretrained_feature_extractor", "pretrain_method", "finetune", "optimizer.layer_decay"),
        *("data.augmentations.crop_size", "data.augmentations.mean", "data.augmentations.std"),
        *("auto_augment", "mixup", "cutmix", "label_smoothing"),
    }


def test_an_evaluation_reads_every_key_that_it_takes(read, trained_copy):
    from solo_gedi.report import evaluate

    taken = {key for key in EVALUATE_KEYS if not key.startswith("probe.")}
    taken -= {"data.format"}  # as by a pretraining
    quick = ("probe.max_epochs=1", "probe.limit_train_batches=1")
    evaluate(trained_copy(), "clustering,triad,knn,linear", overrides=quick)
    assert taken - read == set()
    assert {f"probe.{key}" for key in LINEAR_KEYS} < EVALUATE_KEYS


# A key that nothing reads, and what the message has.
UNREAD = {
    "foo": "prints the keys of a config",
    "max_epoch": r"did you mean max_epochs\?",
    "optimizer.foo": "optimizer has ",
    "optimizer.batchsize": r"did you mean optimizer\.batch_size\?",
    "optimizer.warmup_epochs": r"did you mean scheduler\.warmup_epochs\?",
    "data.foo": "data has ",
    "data.num_classes": "data has ",
    "scheduler.foo": "scheduler has interval, ",
    "checkpoint.foo": "checkpoint has dir, ",
    "auto_resume.foo": "auto_resume has enabled, max_hours",
    "performance.foo": "performance has disable_channel_last, matmul_precision",
    "wandb.foo": "wandb has enabled, ",
    "wandb.entitty": r"did you mean wandb\.entity\?",
    "logger": "prints the keys",
    "callbacks": "prints the keys",
    "default_root_dir": "prints the keys",
    "enable_checkpointing": r"did you mean checkpoint\?",
}
OF_PRETRAIN = {
    "augmentations.0.foo": r"augmentations\.N has ",
    "augmentations.0.color_jitter.satration": r"mean augmentations\.0\.color_jitter\.saturation\?",
    "knn_eval.foo": "knn_eval has ",
    "divergence.foo": "divergence has ",
    "pretrained_feature_extractor": "prints the keys",
}
OF_LINEAR = {
    **{"knn_eval.enabled": "prints the keys", "data.no_labels": "data has "},
    **{"method_kwargs.temperature": "prints the keys", "augmentations.0.crop_size": "data.augmen"},
    **{
        "optimizer.classifier_lr": "optimizer has ",
        "data.augmentations.foo": "has crop_size, mean",
    },
    **{"divergence.policy": "prints the keys", "data.augment_on_device": "data has "},
}


@pytest.mark.parametrize("key", [*UNREAD, *OF_PRETRAIN])
def test_pretraining_refuses_what_nothing_reads(key):
    register()
    for method in ("gedi", "swav"):
        if key == "divergence.foo" and method == "swav":
            continue
        cfg = load_config(f"digits/{method}", [f"+{key}=1"])
        with pytest.raises(ConfigError, match=rf"^{key}=1: pretrain .*reads no such key; ") as said:
            prepare(cfg, PRETRAIN)
        assert re.search({**UNREAD, **OF_PRETRAIN}[key], str(said.value)), said.value


@pytest.mark.parametrize("key", [*UNREAD, *OF_LINEAR])
def test_a_probe_refuses_what_nothing_reads(key):
    cfg = load_config("digits/gedi", ["pretrained_feature_extractor=x"], kind="linear")
    OmegaConf.set_struct(cfg, False)
    if key.startswith("augmentations"):
        cfg.augmentations = [{"crop_size": 1}]
    else:
        OmegaConf.update(cfg, key, 1)
    with pytest.raises(ConfigError, match=rf"^{key}=1: linear reads no such key; ") as said:
        prepare(cfg, LINEAR)
    assert re.search({**UNREAD, **OF_LINEAR}[key], str(said.value)), said.value


@pytest.mark.parametrize(
    "override",
    [
        *("foo=1", "max_epochs=3", "optimizer.lr=1", "method_kwargs.temperature=2", "data.foo=1"),
        *("backbone.kwargs.width=3", "augmentations.0.crop_size=3", "checkpoint.dir=x"),
        *("probe.foo=1", "probe.optimizer.rate=1", "probe.data.no_labels=true", "wandb.enabled=1"),
    ],
)
def test_an_evaluation_refuses_what_it_would_read_past(override):
    key = override.partition("=")[0]
    with pytest.raises(ConfigError, match=rf"^{key}=\w+: evaluate reads no such key; "):
        Options(overrides=[override]).check()


def test_solo_learns_methods_take_their_own_settings_alone():
    register()
    for key in ("method_kwargs.foo", "method_kwargs.weights", "divergence.policy"):
        with pytest.raises(ConfigError, match=f"^{key}=1: pretrain with method=swav reads no"):
            prepare(load_config("digits/swav", [f"+{key}=1"]), PRETRAIN)
    prepare(load_config("digits/swav", ["+method_kwargs.sk_iters=1"]), PRETRAIN)
    assert hosts.method_keys("gedi") is None


def test_what_other_keys_refer_to_is_no_key_of_the_config():
    assert "paper" not in load_config("cifar/gedi")
    assert load_config("cifar/gedi", ["paper.width=16"]).backbone.kwargs.width == 16
    with pytest.raises(ConfigError, match=r"paper\.prior_weight: no key of cifar/swav refers"):
        load_config("cifar/swav", ["paper.prior_weight=3"])


def test_sgd_has_solo_learns_momentum_where_none_is_given():
    given = {"optimizer.name": "sgd", "optimizer.kwargs": {"nesterov": True}}
    prepare(changed(load_config("digits/gedi"), given), PRETRAIN)


def test_all_views_are_of_one_normalisation():
    cfg = changed(load_config("digits/gedi"), {"augmentations.0.mean": [0.1]})
    cfg.augmentations.append({**cfg.augmentations[0], "mean": [0.2]})
    with pytest.raises(ConfigError, match=r"augmentations\.1\.mean=\[0\.2\] differs from"):
        prepare(cfg, PRETRAIN)


@pytest.mark.parametrize(
    "override",
    [
        *("seed=3", "+gradient_clip_val=1", "precision=16-mixed", "knn_eval.enabled=true"),
        *("wandb.enabled=true", "data.train_path=x", "+divergence.check_every=3"),
        *("optimizer.classifier_lr=1", "+optimizer.exclude_bias_n_norm_wd=true"),
        *("checkpoint.dir=x", "resume_from_checkpoint=x", "+data.fraction=0.5"),
        *("accumulate_grad_batches=4", "+max_steps=7", "+optimizer.kwargs.eps=0.1"),
        *("augmentations.0.num_crops=3", "augmentations.0.crop_size=7"),
    ],
)
def test_the_toy_study_refuses_what_only_pretraining_reads(override):
    key = override.lstrip("+").partition("=")[0]
    with pytest.raises(ConfigError, match=rf"^{key}=\S+: the toy study does not read it; pretrain"):
        toy("out", "toy/gedi", overrides=[override])


@pytest.mark.parametrize("name", [name for name in list_configs() if name.startswith("toy")])
def test_the_toy_study_takes_its_shipped_configs(name):
    for dataset in ("moons", "circles"):
        check_read(load_config(name, [f"dataset={dataset}", "method_kwargs.input_noise_std=0"]))


@pytest.mark.parametrize("key", ["optimizer.exclude_bias_n_norm_wd", "optimizer.layer_decay"])
def test_a_frozen_backbone_has_no_settings(key):
    cfg = load_config("digits/gedi", ["pretrained_feature_extractor=x"], kind="linear")
    with pytest.raises(ConfigError, match=rf"{key}=True is for finetune=true"):
        prepare(changed(cfg, {key: True}), LINEAR)

"""Batches: from workers however they start, of a fraction, and with labels that mean the same."""

import pickle
import shutil
from pathlib import Path

import pytest
import torch

from solo_gedi import hosts
from solo_gedi.errors import ConfigError, DataError
from solo_gedi.methods import register
from solo_gedi.training import linear, loaders, pretrain
from solo_gedi.training.job import parse, refusals

FOLDERS = ("data.train_path=train", "data.val_path=val", "optimizer.batch_size=8")


@pytest.fixture
def parsed(load_config):
    """A parsed config."""

    def make(*overrides, suite="custom", kind="pretrain", **changes):
        register()
        cfg = load_config("gedi", *overrides, suite=suite, kind=kind, **changes)
        return parse(cfg, hosts.parse_linear if kind == "linear" else hosts.parse_pretrain)

    return make


@pytest.fixture
def folders(image_folder):
    for name in ("train", "val"):
        image_folder(name)


IMAGES = {
    "folder": ("custom", FOLDERS),
    "folder without labels": ("custom", (*FOLDERS, "data.no_labels=true")),
    "part of a folder": ("custom", (*FOLDERS, "+data.fraction=0.5")),
    "solo-learn's": ("custom", (*FOLDERS, "data.dataset=imagenet100")),
    "digits": ("digits", ()),
    "digits, augmented on the device": ("digits", ("+data.augment_on_device=true",)),
    "mnist": ("digits", ("data.dataset=mnist", "data.train_path=.", "data.val_path=.")),
    "points": ("toy", ()),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_every_data_set_can_be_sent_to_a_spawned_worker(parsed, folders, mnist_files, kind):
    suite, overrides = IMAGES[kind]
    mnist_files(Path(), "MNIST", train=200, test=200)
    cfg = parsed(*overrides, suite=suite)
    found = [loaders.pretrain_loader(cfg), loaders.validation_loader(cfg)]
    if kind != "folder without labels":
        found += [loaders.plain_loader(cfg, train=train) for train in (True, False)]
    if suite != "toy" and "labels" not in kind:
        given = [o for o in overrides if "augment" not in o]
        given.append("pretrained_feature_extractor=a.ckpt")
        found += loaders.probe_loaders(parsed(*given, suite=suite, kind="linear"))
    for loader in found:
        if loader is not None:
            again = pickle.loads(pickle.dumps(loader.dataset))
            item, expected = next(iter(again)), next(iter(loader.dataset))
            assert len(item) == len(expected)


def test_a_run_trains_with_spawned_workers(load_config, folders):
    before = torch.multiprocessing.get_start_method()
    torch.multiprocessing.set_start_method("spawn", force=True)
    try:
        given = [*FOLDERS, "data.val_path=null", "data.num_workers=1", "backbone.kwargs.width=8"]
        run = pretrain(load_config("gedi_nogen", *given, suite="custom"))
    finally:
        torch.multiprocessing.set_start_method(before, force=True)
    assert torch.load(run.checkpoint, weights_only=True)["global_step"] == 3


@pytest.mark.parametrize(
    ("suite", "overrides", "number"),
    [
        ("custom", FOLDERS, 12),
        ("custom", (*FOLDERS, "data.no_labels=true"), 12),
        ("custom", (*FOLDERS, "data.dataset=imagenet100"), 12),
        ("digits", ("optimizer.batch_size=8",), 538),
    ],
)
def test_a_fraction_is_taken_by_every_command(parsed, folders, suite, overrides, number):
    given = [*overrides, "+data.fraction=0.5"]
    cfg = parsed(*given, suite=suite)
    train = loaders.pretrain_loader(cfg).dataset
    assert len(train) == number
    if cfg.data.no_labels:
        return
    if suite == "custom":
        assert sorted(int(label) for *_, label in train) == [0] * 4 + [1] * 4 + [2] * 4
    assert len(loaders.plain_loader(cfg, train=True).dataset) == number
    assert len(loaders.plain_loader(cfg, train=False).dataset) == (24 if suite == "custom" else 360)
    probe = parsed(*given, "pretrained_feature_extractor=a", suite=suite, kind="linear")
    assert [len(loader.dataset) for loader in loaders.probe_loaders(probe)] == [
        number,
        24 if suite == "custom" else 360,
    ]


@pytest.mark.parametrize("kind", ["pretrain", "linear"])
def test_a_fraction_that_leaves_a_class_without_images_is_refused(parsed, folders, kind):
    given = [*FOLDERS, "+data.fraction=0.01"]
    if kind == "linear":
        given.append("pretrained_feature_extractor=a")
    cfg = parsed(*given, suite="custom", kind=kind)
    with pytest.raises(ConfigError, match=r"data\.fraction=0\.01 cannot be taken of 24 images"):
        loaders.probe_loaders(cfg) if kind == "linear" else loaders.pretrain_loader(cfg)


@pytest.mark.parametrize(
    ("suite", "override", "says"),
    [
        ("custom", "++data.format=h5", r"data\.format=h5 is for solo-learn's imagenet"),
        ("digits", "++data.format=h5", r"data\.format=h5 is for solo-learn's imagenet"),
        ("digits", "++data.format=dali", r"data\.format=dali: use solo-learn's own"),
    ],
)
def test_a_format_that_nothing_reads_is_refused(load_config, folders, suite, override, says):
    given = [*(FOLDERS if suite == "custom" else ()), override]
    with pytest.raises(ConfigError, match=says):
        pretrain(load_config("gedi", *given, suite=suite))
    extractor = "pretrained_feature_extractor=a"
    with pytest.raises(ConfigError, match=says):
        linear(load_config("gedi", *given, extractor, suite=suite, kind="linear"))


def test_there_is_no_fraction_of_endless_points(parsed):
    with pytest.raises(ConfigError, match=r"data\.fraction=0\.5: moons has no end of points"):
        loaders.pretrain_loader(parsed("+data.fraction=0.5", suite="toy"))


def test_labels_of_both_splits_are_the_same_classes(parsed, folders):
    shutil.rmtree("val/a")
    cfg = parsed(*FOLDERS)
    labels = [int(label) for _, label in loaders.plain_loader(cfg, train=False).dataset]
    assert labels == [1] * 8 + [2] * 8
    assert [*labels] == [int(label) for _, label in loaders.validation_loader(cfg).dataset]
    Path("val/b").rename("val/z")
    with pytest.raises(DataError, match=r"has the class folders \['c', 'z'\].*\['a', 'b', 'c'\]"):
        loaders.check_classes(cfg)


def test_the_first_error_of_a_worker_is_the_message():
    """Lightning's cleaning up stumbles over workers that have never been started."""
    stumble = "Please call `iter(combined_loader)` first."

    def fails(first):
        with refusals():
            error = RuntimeError(stumble)
            error.__context__ = first
            raise error

    with pytest.raises(DataError, match=r"^the workers .* cannot start: no lambdas$"):
        fails(AttributeError("no lambdas"))
    with pytest.raises(DataError, match="^image a$"):
        fails(DataError("image a"))
    with pytest.raises(RuntimeError, match="combined_loader"):
        fails(None)


def test_hidden_folders_are_no_classes(parsed, folders):
    Path("train/.ipynb_checkpoints").mkdir()
    assert parsed(*FOLDERS).data.num_classes == 3


def test_online_knn_takes_a_part_of_the_validation_set(load_config, folders):
    """The first batch, in the order of the classes, is of one class."""
    given = [*FOLDERS, "knn_eval.enabled=true", "backbone.kwargs.width=8", "data.num_workers=0"]
    run = pretrain(load_config("gedi_nogen", *given, "+limit_val_batches=1", suite="custom"))
    assert 0 <= run.metrics["val_knn_acc1"] <= 100

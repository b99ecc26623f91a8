"""Batches: from workers however they start, of a fraction, and with labels that mean the same."""

import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from solo_gedi import hosts
from solo_gedi.config import load_config as load_shipped
from solo_gedi.data import KNOWN
from solo_gedi.errors import ConfigError, DataError
from solo_gedi.methods import register
from solo_gedi.training import linear, loaders, pretrain
from solo_gedi.training import strategy as strategies
from solo_gedi.training.job import parse
from solo_gedi.training.loaders import batches, splits
from solo_gedi.training.refusals import refusals

FOLDERS = ("data.train_path=train", "data.val_path=val", "optimizer.batch_size=8")


@pytest.fixture
def parsed(load_config):
    """A parsed config."""

    def make(*overrides, suite="custom", kind="pretrain", **changes):
        register()
        cfg = load_config("gedi", *overrides, suite=suite, kind=kind, **changes)
        if kind == "linear":
            return parse(loaders.with_probe_augmentations(cfg), hosts.parse_linear)
        return parse(cfg, hosts.parse_pretrain)

    return make


@pytest.fixture
def folders(image_folder):
    for name in ("train", "val"):
        image_folder(name)


def test_processes_share_the_images_of_an_epoch(monkeypatch):
    dataset, seen = torch.arange(101), []
    monkeypatch.setattr(batches, "world_size", lambda: 2)
    for process in range(2):
        monkeypatch.setattr(batches, "rank", lambda process=process: process)
        loader = loaders.TrainingLoader(dataset, 5, seed=0, num_workers=0)
        seen.append([int(image) for batch in loader for image in batch])
    assert [len(own) for own in seen] == [50, 50]
    assert len({*seen[0], *seen[1]}) == 100, "none is seen twice"


def test_the_order_is_new_every_epoch_unless_it_is_to_be_the_same():
    for same in (False, True):
        loader = loaders.TrainingLoader(torch.arange(40), 5, seed=0, num_workers=0, same_order=same)
        orders = []
        for epoch in range(2):
            loader.position = lambda epoch=epoch: (epoch, 0)
            orders.append([int(image) for batch in loader for image in batch])
        assert (orders[0] == orders[1]) == same


def test_every_process_needs_a_batch(parsed):
    cfg = parsed("optimizer.batch_size=600", suite="digits")
    cfg.devices = 2
    message = "batch_size=600 for each of 2 processes is more than the 1077 training images"
    with pytest.raises(ConfigError, match=message):
        loaders.pretrain_loader(cfg)


@pytest.mark.parametrize(
    ("strategy", "says"), [("ddp_fork", "strategy=ddp_fork"), (None, "a note")]
)
def test_processes_that_do_not_come_back_are_refused(strategy, says, monkeypatch):
    monkeypatch.setattr(strategies, "_IS_INTERACTIVE", True)
    with pytest.raises(ConfigError, match=f"{says}.*: several processes need `solo-gedi pretrain`"):
        strategies.strategy_of(strategy, 2)
    assert strategies.strategy_of(None, 1) == "auto"


def test_knn_without_validation_images_is_refused(load_config, folders):
    missing = {"data.val_path": None, "data.no_labels": True, "limit_val_batches": 0}
    for key, value in missing.items():
        cfg = load_config("gedi", *FOLDERS, "knn_eval.enabled=true", suite="custom")
        OmegaConf.update(cfg, key, value, force_add=True)
        with pytest.raises(ConfigError, match=f"knn_eval.enabled=true needs .*: {key}={value}"):
            pretrain(cfg)


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

    with pytest.raises(DataError, match="^image a$"):
        fails(DataError("image a"))
    for other in (None, AttributeError("no lambdas")):
        with pytest.raises(RuntimeError, match="combined_loader"):
            fails(other)
    unpicklable = [lambda: 0]
    loader = loaders.WorkersLoader(unpicklable, num_workers=1, multiprocessing_context="spawn")
    with pytest.raises(DataError, match="^the workers of data.num_workers cannot start: "):
        next(iter(loader))


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """CIFAR-10 as torchvision keeps it, with four images of each class in every file."""
    folder = tmp_path / "cifar" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
        pixels = generator.integers(0, 256, (40, 3072), dtype=np.uint8)
        content = {"data": pixels, "labels": [k % 10 for k in range(40)]}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    return folder.parent


def test_solo_learns_own_data_are_read_by_it(cifar, parsed):
    given = (f"data.train_path={cifar}", "data.num_workers=0", "+data.fraction=0.5")
    cfg = parsed(*given, "optimizer.batch_size=20", suite="cifar")
    train = loaders.pretrain_loader(cfg)
    assert len(train.dataset) == 100
    indices, views, labels = next(iter(train))
    assert [tuple(view.shape) for view in views] == [(20, 3, 32, 32)] * 2
    assert len(set(indices.tolist())) == 20
    pickle.dumps(train.dataset)
    counts = torch.bincount(torch.cat([labels for *_, labels in train]), minlength=10)
    assert counts.tolist() == [10] * 10, "each class's share"
    assert len(loaders.validation_loader(cfg).dataset) == 40

    spec = KNOWN["cifar10"]
    stored = pickle.loads((cifar / "cifar-10-batches-py" / "test_batch").read_bytes())["data"]
    (images, labels), *_ = loaders.plain_loader(cfg, train=False)
    assert labels.tolist() == [k % 10 for k in range(40)]
    mean, std = (torch.tensor(x)[:, None, None] for x in (spec.mean, spec.std))
    pixels = torch.from_numpy(stored).view(-1, 3, 32, 32) / 255
    torch.testing.assert_close(images * std + mean, pixels, atol=1e-5, rtol=0)
    assert sum(len(y) for _, y in loaders.plain_loader(cfg, train=True)) == 100

    probe = (*given[:2], "pretrained_feature_extractor=x", "optimizer.batch_size=20")
    probe_train, probe_val = loaders.probe_loaders(parsed(*probe, suite="cifar", kind="linear"))
    assert (len(probe_train.dataset), len(probe_val.dataset)) == (200, 40)
    x, _ = probe_train.dataset[0]
    assert x.shape == (3, 32, 32)


def test_hidden_folders_are_no_classes(parsed, folders):
    Path("train/.ipynb_checkpoints").mkdir()
    assert parsed(*FOLDERS).data.num_classes == 3


def test_online_knn_takes_a_part_of_the_validation_set(load_config, folders):
    """The first batch, in the order of the classes, is of one class."""
    given = [*FOLDERS, "knn_eval.enabled=true", "backbone.kwargs.width=8", "data.num_workers=0"]
    run = pretrain(load_config("gedi_nogen", *given, "+limit_val_batches=1", suite="custom"))
    assert 0 <= run.metrics["val_knn_acc1"] <= 100


def normalization_of(loader):
    dataset = loader.dataset
    while not hasattr(dataset, "transform"):
        dataset = dataset.dataset
    return hosts.normalization(dataset.transform)


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "stl10", "imagenet100", "svhn"])
def test_the_normalisation_is_what_the_config_says_and_else_the_data_sets(dataset):
    suite = "svhn" if dataset == "svhn" else "cifar"
    (entry,) = load_shipped(f"{suite}/gedi").augmentations
    found = hosts.normalization(hosts.build_transform(dataset, entry))
    assert found == (KNOWN[dataset].mean, KNOWN[dataset].std)
    entry.mean, entry.std = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    found = hosts.normalization(hosts.build_transform(dataset, entry))
    assert found == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_other_data_is_seen_as_a_models_own(parsed, image_folder, monkeypatch):
    """Its mean and std are the model's, also where solo-learn has some for the other data set."""
    image_folder("train")
    cfg = loaders.with_normalization(parsed(*FOLDERS[::2], "data.val_path=train"))
    other = loaders.other_data(cfg, "cifar10:.")
    monkeypatch.setattr(hosts, "labelled_images", lambda cfg, *of: [*map(FakeImages, of)])
    assert normalization_of(loaders.plain_loader(other, train=False)) == ((0.5,) * 3, (0.5,) * 3)


class FakeImages:
    def __init__(self, transform):
        self.transform = transform

    def __len__(self):
        return 3


def test_a_probe_sees_images_as_its_config_says(parsed):
    """And not as their data set says, which a model may have been trained without."""
    given = ["+data.augmentations.mean=[0.1]", "+data.augmentations.std=[0.2]"]
    cfg = parsed(*given, "pretrained_feature_extractor=a", suite="digits", kind="linear")
    for loader in loaders.probe_loaders(cfg):
        assert normalization_of(loader) == ((0.1,), (0.2,))


@pytest.mark.parametrize("dataset", ["cifar10", "stl10", "imagenet", "digits", "custom"])
def test_a_probe_sees_images_as_their_data_set_says_else(dataset):
    cfg = OmegaConf.create({"data": {"dataset": dataset, "augmentations": {"crop_size": 20}}})
    found = loaders.with_probe_augmentations(cfg).data.augmentations
    spec = KNOWN[dataset]
    assert found == {"crop_size": 20, "mean": list(spec.mean), "std": list(spec.std)}
    del cfg.data["augmentations"]
    found = loaders.with_probe_augmentations(cfg).data.augmentations
    assert found.crop_size == (spec.size or 224)


def test_folders_of_imagenet_have_labels_by_name_and_no_more_classes(parsed, folders):
    given = [*FOLDERS, "data.dataset=imagenet100"]
    shutil.rmtree("val/a")
    Path("train/.ipynb_checkpoints").mkdir()
    cfg = parsed(*given)
    assert [int(y) for _, y in loaders.validation_loader(cfg).dataset] == [1] * 8 + [2] * 8
    assert sorted({int(y) for *_, y in loaders.pretrain_loader(cfg).dataset}) == [0, 1, 2]
    for i in range(98):
        shutil.copytree("train/a", f"train/a{i}")
    with pytest.raises(DataError, match=r"has 101 class folders, data\.dataset=imagenet100 100"):
        loaders.pretrain_loader(cfg)


def test_one_channel_of_a_folder_is_grey_in_training_and_validation(parsed, folders):
    cfg = parsed(*FOLDERS)
    cfg.augmentations[0].mean = cfg.augmentations[0].std = [0.5]
    _, views, _ = next(iter(loaders.pretrain_loader(cfg)))
    x, _ = next(iter(loaders.validation_loader(cfg)))
    assert {view.shape[1] for view in views} == {x.shape[1]} == {1}


def test_points_are_validated_on_the_same_ones_each_time(parsed):
    loader = loaders.validation_loader(parsed(suite="toy"))
    assert len(loader) == 5
    for (x, y), (again, labels) in zip(loader, loader, strict=True):
        assert torch.equal(x, again)
        assert torch.equal(y, labels)


def test_without_a_validation_path_a_hosts_data_are_looked_for_nowhere_else(monkeypatch, tmp_path):
    asked = []

    def images(cfg, *transforms):
        asked.append((cfg.data.train_path, cfg.data.val_path))
        return [SimpleNamespace(transform=transform) for transform in transforms]

    monkeypatch.setattr(hosts, "labelled_images", images)
    monkeypatch.setattr(splits, "loader_of", lambda images, cfg, **_: images)
    cfg = shipped("cifar/gedi", f"data.train_path={tmp_path}", "data.val_path=null")
    assert loaders.plain_loader(cfg, train=True).transform is not None
    cfg.data.train_path, cfg.data.val_path = None, str(tmp_path)  # as of an exported model
    assert loaders.plain_loader(cfg, train=False).transform is not None
    assert asked == [(str(tmp_path), str(tmp_path))] * 2


@pytest.mark.parametrize("shape", [(60, 40), (40, 60), (48, 48)])
def test_jems_whole_images_are_those_of_an_evaluation(shape):
    Path("photos").mkdir()
    for k in range(4):
        pixels = torch.randint(0, 256, (*shape, 3), generator=torch.Generator().manual_seed(k))
        Image.fromarray(pixels.to(torch.uint8).numpy()).save(f"photos/{k}.png")
    given = ("data.train_path=photos", "data.no_labels=true", "data.num_workers=0")
    cfg = shipped("custom/jem", *given, "optimizer.batch_size=4")
    indices, (view,), _ = next(iter(loaders.pretrain_loader(cfg)))
    (plain,) = [x for x, _ in loaders.plain_loader(cfg, train=True)]
    assert torch.equal(view, plain[indices])


def test_a_path_to_validate_on_without_labels_is_not_passed_over_in_silence(
    parsed, folders, caplog
):
    caplog.set_level("INFO", "solo_gedi")
    assert loaders.validation_loader(parsed(*FOLDERS, "data.no_labels=true")) is None
    assert "data.no_labels=true: nothing is validated on val" in caplog.text


def shipped(name, *overrides):
    register()
    return parse(load_shipped(name, overrides), hosts.parse_pretrain)

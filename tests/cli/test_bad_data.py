"""Small and odd data sets: every task gives its numbers or a reason, and none a traceback."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.cluster import KMeans

from solo_gedi.errors import ConfigError, DataError
from solo_gedi.evaluation.options import TASKS
from solo_gedi.report import evaluate
from solo_gedi.training import linear

SIZE = 16


def write(folder, classes, per_class, colour=None):
    """Images of noise, or of one colour, a folder for each class; always the same."""
    generator = np.random.default_rng(len(classes))
    for label in classes:
        Path(folder, label).mkdir(parents=True)
        for i in range(per_class):
            pixels = generator.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
            pixels = pixels if colour is None else np.full_like(pixels, colour)
            Image.fromarray(pixels).save(Path(folder, label, f"{i}.png"))


def copies(folder, classes, per_class):
    """The same image again and again."""
    write(folder, classes[:1], 1)
    first = Path(folder, classes[0], "0.png")
    for label in classes:
        Path(folder, label).mkdir(exist_ok=True)
        for i in range(per_class):
            if Path(folder, label, f"{i}.png") != first:
                shutil.copy(first, Path(folder, label, f"{i}.png"))


THOUSAND = [f"{i:04}" for i in range(1000)]

# What is written for training and validation, and what the tasks say that cannot be done.
DATA = {
    "1 image": (("a", 1), ("a", 1), {"clustering": "k-means", "fid": "two images or more"}),
    "1 class": (("a", 8), ("a", 8), {}),
    "2 classes": (("ab", 8), ("ab", 4), {}),
    "1 image a class": (("abcd", 1), ("abcd", 1), {}),
    "1,000 classes": ((THOUSAND, 1), (THOUSAND, 1), {}),
    "1 of each to validate on": (("abc", 8), ("abc", 1), {}),
    "a class less to validate on": (("abc", 8), ("ac", 4), {}),
    "a class more to validate on": (("ab", 8), ("abc", 4), {"knn": "not 'c'", "linear": "not 'c'"}),
    "nothing but copies": (("abc", 8), ("abc", 8), {}),
    "one colour": (("abc", 8), ("abc", 8), {}),
}
MAKERS = {"nothing but copies": copies, "one colour": lambda *a: write(*a, colour=70)}


@pytest.fixture
def model(trained_copy, tmp_path):
    """A run on three classes, which is evaluated on other data."""
    write("train", "abc", 4)
    given = [
        *("data.train_path=train", "data.val_path=null", "optimizer.batch_size=4"),
        *("data.num_workers=0", "backbone.kwargs.width=4", "method_kwargs.proj_hidden_dim=8"),
        *("method_kwargs.sgld.num_steps=1", "method_kwargs.sgld.buffer_size=8"),
        *("+limit_train_batches=1", f"augmentations.0.crop_size={SIZE}"),
    ]
    found = trained_copy("gedi", *given, suite="custom")
    shutil.rmtree("train")
    return found


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("solo_gedi.evaluation.sampling.IMAGE_STEPS", (0, 1))
    # Ten starts with a thousand clusters take ten seconds.
    once = lambda k, n_init, **how: KMeans(k, n_init=1, **how)  # noqa: E731
    monkeypatch.setattr("solo_gedi.evaluation.clustering.KMeans", once)
    steps = ("probe.max_epochs=1", "probe.optimizer.batch_size=1", "probe.limit_train_batches=8")
    return {"fid_features": "backbone", "num_samples": 8, "steps": 1}, steps


@pytest.mark.filterwarnings("ignore")  # of scikit-learn, about so few points
@pytest.mark.parametrize("kind", DATA)
def test_every_task_gives_numbers_or_a_reason(model, quick, kind):
    train, val, reasons = DATA[kind]
    for folder, (classes, number) in (("train", train), ("val", val)):
        MAKERS.get(kind, write)(folder, list(classes), number)
    options, probe = quick
    data = ("data.train_path=train", "data.val_path=val")
    # Of one everything is written: pictures take longer than the rest.
    written = kind == "1 image"
    result = evaluate(model, TASKS, **options, overrides=(*data, *probe), write=written)
    assert result.faults == {}
    done = {row["task"] for row in result.rows} | {"samples"}
    assert done | set(result.not_done) == set(TASKS)
    assert "samples_fresh" in result.figures
    for task, said in result.not_done.items():
        assert said.strip()
        assert len(said.splitlines()) == 1, (task, said)
    assert result.not_done.keys() >= reasons.keys(), result.not_done
    for task, says in reasons.items():
        assert says in result.not_done[task]
    assert all(math.isfinite(row["value"]) for row in result.rows), result.rows
    for row in result.rows:
        if row["metric"] in ("accuracy", "nmi", "cluster_acc", "auroc", "ami"):
            assert -1 <= row["value"] <= 1, row


EMPTY = {
    "no folder": (lambda: None, "is not a folder|holds no|cannot be read|No such"),
    "an empty folder": (lambda: Path("val").mkdir(), "contains no images"),
    "no image in a class": (lambda: Path("val/a").mkdir(parents=True), "no image"),
}


@pytest.mark.parametrize("kind", EMPTY)
def test_nothing_to_validate_on_is_a_reason(model, quick, kind):
    write("train", "abc", 4)
    make, says = EMPTY[kind]
    make()
    options, probe = quick
    data = ("data.train_path=train", "data.val_path=val")
    result = evaluate(model, TASKS, **options, overrides=(*data, *probe), write=False)
    assert result.faults == {}
    assert {"clustering", "triad", "linear", "knn", "ood", "fid"} <= result.not_done.keys()
    for task in ("clustering", "fid"):
        with pytest.raises(DataError, match=says):
            raise DataError(result.not_done[task])
    assert "samples_fresh" in result.figures


@pytest.mark.parametrize("kind", ["1 image", "1 class", "2 classes", "1,000 classes"])
def test_a_probe_is_trained_on_little_and_on_many_classes(model, load_config, kind):
    train, val, _ = DATA[kind]
    for folder, (classes, number) in (("train", train), ("val", val)):
        write(folder, list(classes), number)
    (checkpoint,) = model.glob("*.ckpt")
    given = [
        *(
            "data.train_path=train",
            "data.val_path=val",
            f"pretrained_feature_extractor={checkpoint}",
        ),
        *("optimizer.batch_size=1", "data.num_workers=0", "backbone.kwargs.width=4"),
        *("+limit_train_batches=2", f"data.augmentations.crop_size={SIZE}"),
    ]
    run = linear(
        load_config("gedi", *given, "check_val_every_n_epoch=1", suite="custom", kind="linear")
    )
    assert 0 <= run.metrics["val_acc1"] <= 100
    if "1" in kind.split(" ")[0] and kind != "1,000 classes":
        assert run.metrics["val_acc1"] == 100, "there is one class"


def test_a_probe_of_more_images_than_there_are_is_refused(model, load_config):
    write("train", "ab", 1), write("val", "ab", 1)
    (checkpoint,) = model.glob("*.ckpt")
    given = ["data.train_path=train", "data.val_path=val", "backbone.kwargs.width=4"]
    given += [f"pretrained_feature_extractor={checkpoint}", f"data.augmentations.crop_size={SIZE}"]
    with pytest.raises(ConfigError, match="batch_size=100 is more than the 2 training images"):
        linear(load_config("gedi", *given, suite="custom", kind="linear"))

"""Broken images and folders of them are named; unusual ones are trained on."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from solo_gedi.training import pretrain

QUICK = (
    *("enable_progress_bar=false", "+enable_model_summary=false", "auto_resume.enabled=false"),
    *("+limit_val_batches=2", "backbone.kwargs.width=8", "optimizer.batch_size=8"),
)
SAMPLER = ("method_kwargs.sgld.num_steps=2", "method_kwargs.sgld.buffer_size=50")


def cut(path):
    path.write_bytes(path.read_bytes()[:200])


def as_tiff(pixels):
    """Replaces an image by a TIFF, which Pillow tells by its content and not by its name."""
    return lambda path: Image.fromarray(pixels).save(path, format="TIFF")


IMAGES = {
    "text": lambda path: path.write_text("no image"),
    "empty": lambda path: path.write_bytes(b""),
    "cut short": cut,
    "NaN": as_tiff(np.full((32, 32), np.nan, np.float32)),
    "floats beyond 255": as_tiff(np.full((32, 32), 4000, np.float32)),
}


@pytest.fixture
def folders(image_folder):
    """Two image folders, and the options that name them."""
    for name in ("train", "val"):
        image_folder(name)
    return [*QUICK, "data.train_path=train", "data.val_path=val", "max_epochs=1"]


@pytest.mark.parametrize(
    ("damage", "where", "workers"),
    [
        *((damage, "train", 0) for damage in IMAGES),
        *(("cut short", *place) for place in (("train", 1), ("val", 0), ("val", 1))),
    ],
)
def test_an_image_that_cannot_be_read_is_named(refused, named, folders, damage, where, workers):
    IMAGES[damage](Path(where, "c", "7.png"))
    # All of both: the damaged image is the last one.
    given = [*folders, f"data.num_workers={workers}", "limit_val_batches=1.0"]
    message = refused("pretrain", *named("gedi_nogen", "custom"), *given)
    assert re.fullmatch(rf"image {where}/c/7\.png cannot be used: .*\S", message), message


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_without_a_label_is_named_too(refused, named, image_folder, workers):
    image_folder("train", classes=["."])
    Path("train", "7.png").write_text("no image")
    given = [*QUICK, "data.train_path=train", "data.no_labels=true", f"data.num_workers={workers}"]
    message = refused("pretrain", *named("gedi_nogen", "custom"), *given)
    assert message.startswith("image train/7.png cannot be used: ")


@pytest.mark.parametrize(("workers", "places"), [(0, ["train", "val"]), (1, ["val"])])
def test_an_image_is_named_by_probe_and_evaluation(
    refused, named, folders, load_config, workers, places
):
    given = [*folders, f"data.num_workers={workers}"]
    run = pretrain(load_config("gedi_nogen", *given, suite="custom"))
    (checkpoint,) = run.folder.glob("*.ckpt")
    probe = [
        *named(suite="custom"),
        *(*given, f"pretrained_feature_extractor={checkpoint}"),
        *("limit_val_batches=1.0", "check_val_every_n_epoch=1"),
    ]
    for where in places:
        path = Path(where, "c", "7.png")
        whole = path.read_bytes()
        cut(path)
        assert f"image {path} cannot be used" in refused("linear", *probe)
        task = {"train": "knn", "val": "clustering"}[where]
        assert f"image {path} cannot be used" in refused("evaluate", run.folder, "--tasks", task)
        path.write_bytes(whole)


FOLDERS = {
    "no folder": (lambda: shutil.rmtree("val"), r"data\.val_path=val is not a folder"),
    "file": (
        lambda: (shutil.rmtree("val"), Path("val").write_text("")),
        r"data\.val_path=val is not a folder",
    ),
    "no classes": (
        lambda: (shutil.rmtree("train"), Path("train").mkdir()),
        r"data\.train_path=train.*class folder",
    ),
    "an empty class": (lambda: Path("train", "d").mkdir(), r"data\.train_path=train.*class.*d"),
    "other classes": (
        lambda: Path("val", "c").rename("val/d"),
        r"data\.val_path=val has the class folders \['a', 'b', 'd'\].*\['a', 'b', 'c'\]",
    ),
    "too few images": (
        lambda: [Path("train", name, f"{i}.png").unlink() for name in "abc" for i in range(6)],
        r"batch_size=8 is more than the 6 training images in train",
    ),
}


@pytest.mark.parametrize("damage", FOLDERS)
def test_a_folder_that_cannot_be_used_is_named(refused, named, folders, damage):
    change, names = FOLDERS[damage]
    change()
    message = refused("pretrain", *named("gedi_nogen", "custom"), *folders)
    assert re.search(names, message), message
    assert len(message.splitlines()) == 1


def test_what_a_run_has_saved_stays_when_an_image_breaks_later(
    solo_gedi, named, folders, monkeypatch, tmp_path
):
    """Epoch 0 ends well; then the data breaks. The checkpoint is there to go on with."""
    from solo_gedi.training.callbacks import Checkpointer

    save = Checkpointer.on_train_epoch_end

    def save_and_break(self, trainer, pl_module):
        save(self, trainer, pl_module)
        cut(Path("train", "c", "7.png"))

    monkeypatch.setattr(Checkpointer, "on_train_epoch_end", save_and_break)
    given = [*folders, "max_epochs=3", "data.num_workers=0"]
    status, _, error = solo_gedi("pretrain", *named("gedi_nogen", "custom"), *given)
    assert status == 2
    assert "image train/c/7.png cannot be used" in error
    assert len(list(tmp_path.glob("trained_models/gedi/*/*-ep=0.ckpt"))) == 1


def every_image(change):
    """Changes the images of both folders."""

    def apply():
        for path in [*Path("train").rglob("*.png"), *Path("val").rglob("*.png")]:
            change(Image.open(path)).save(path)

    return apply


def one_class():
    for folder in ("train", "val"):
        for name in "bc":
            for path in Path(folder, name).iterdir():
                path.rename(Path(folder, "a", f"{name}{path.name}"))
            Path(folder, name).rmdir()


LEGAL = {
    "grey": every_image(lambda image: image.convert("L")),
    "RGBA": every_image(lambda image: image.convert("RGBA")),
    "16 bits": every_image(
        lambda image: Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257)
    ),
    "palette": every_image(lambda image: image.convert("P")),
    "smaller than the crop": every_image(lambda image: image.resize((7, 5))),
    "larger": every_image(lambda image: image.resize((50, 70))),
    "one class": one_class,
}


@pytest.mark.parametrize("kind", LEGAL)
def test_unusual_images_are_trained_on(load_config, folders, kind):
    LEGAL[kind]()
    given = [*folders, *SAMPLER, "data.num_workers=0"]
    run = pretrain(load_config("gedi", *given, suite="custom"))
    state = torch.load(run.checkpoint, weights_only=True)
    assert state["global_step"] == 3
    assert all(value.isfinite().all() for value in state["state_dict"].values())

"""Folders of images as people have them."""

from pathlib import Path

import pytest
from PIL import Image

from solo_gedi.data import FolderImages, class_folders, find_images
from solo_gedi.data.folders import SUFFIXES
from solo_gedi.errors import DataError

LEFTOVERS = (
    *("a/.DS_Store", "a/Thumbs.db", "a/notes.txt", ".ipynb_checkpoints/0-checkpoint.png"),
    *("__MACOSX/a/._0.png", "a/._0.png", "readme.md", "a/.hidden/0.png"),
)


@pytest.fixture
def littered(image_folder):
    folder = image_folder(classes="abc", per_class=2)
    for name in LEFTOVERS:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def test_what_is_left_behind_by_others_is_skipped_and_counted(littered):
    images = FolderImages(littered)
    assert images.targets == [0, 0, 1, 1, 2, 2]
    assert str(images) == "6 images, 3 classes: a, b, c; 8 other files and folders skipped"
    assert class_folders(littered) == ["a", "b", "c"]


def test_a_folder_without_labels_has_the_same_images(littered):
    images = FolderImages(littered, labelled=False)
    assert images.files == FolderImages(littered).files
    assert images.targets == [-1] * 6
    assert str(images) == "6 images; 8 other files and folders skipped"


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_images_of_every_name_are_found_and_read(tmp_path, suffix):
    (tmp_path / "a" / "deeper").mkdir(parents=True)
    path = tmp_path / "a" / "deeper" / f"x{suffix.upper()}"
    pixels = Image.new("1" if suffix == ".pbm" else "RGB", (16, 16), "white")
    pixels.save(path, format="PNG" if suffix == ".avif" else Image.registered_extensions()[suffix])
    images = FolderImages(tmp_path)
    assert images.files == [str(path)]
    assert images[0][0].getpixel((0, 0)) == (255, 255, 255)


def test_images_are_in_the_order_of_torchvision(littered):
    from torchvision.datasets import ImageFolder

    for name in (".ipynb_checkpoints", "__MACOSX"):
        (littered / name / "0.png").write_bytes(b"")
    theirs = [Path(file) for file, _ in ImageFolder(littered).samples]
    skipped = (".ipynb_checkpoints", "__MACOSX", ".hidden", "._0.png")
    theirs = [file for file in theirs if not set(file.parts) & set(skipped)]
    assert [Path(file) for file in FolderImages(littered).files] == theirs


def test_links_are_followed_and_end(littered):
    (littered / "d").symlink_to(littered / "a")
    (littered / "a" / "back").symlink_to(littered)
    found, _ = find_images(littered / "d")
    assert len([file for file in found if Path(file).parent.name == "d"]) == 2
    assert len(found) == 6


def test_classes_have_the_labels_of_their_names(image_folder):
    val = FolderImages(image_folder("val", classes="ac", per_class=1), classes=["a", "b", "c"])
    assert val.targets == [0, 2]
    assert val.classes == ["a", "b", "c"]
    assert str(val) == "2 images, 2 classes: a, c"


@pytest.mark.parametrize(
    ("change", "labelled", "says"),
    [
        (lambda: Path("images", "d").mkdir(), True, "images has the class folder d, which"),
        (lambda: None, True, "images has no class folders; data.no_labels=true takes"),
        (lambda: None, False, "images contains no images"),
    ],
)
def test_folders_without_images_are_named(image_folder, change, labelled, says):
    Path("images").mkdir()
    change()
    with pytest.raises(DataError, match=f"^{says}"):
        FolderImages("images", labelled=labelled)

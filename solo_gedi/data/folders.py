"""Folders of images: which files count, and of which class they are."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from solo_gedi.data.images import read_image
from solo_gedi.data.transforms import Transform
from solo_gedi.errors import DataError, reason

SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".dib", ".gif"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".pcx", ".sgi", ".ico"),
    *(".jp2", ".j2k", ".jpx", ".avif"),
}
"""Of names of images, in lower case: the formats of pixels that Pillow reads here."""


def is_skipped(name: str) -> bool:
    """Whether a file or folder is no data but what editors, notebooks and systems leave.

    Args:
        name: of it, without its folder.

    Example:
        >>> [is_skipped(name) for name in (".ipynb_checkpoints", "__MACOSX", "cats")]
        [True, True, False]
    """
    return name.startswith(".") or name == "__MACOSX"


def find_images(folder: str | Path) -> tuple[list[str], int]:
    """The images of a folder and those below it, told by their names; links are followed.

    Args:
        folder: to search.

    Returns:
        Their paths, sorted by folder and name, and how many other files and folders were skipped.

    Raises:
        DataError: for a folder that cannot be read.
    """
    files, skipped, seen = [], 0, set()
    for parent, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        if (real := os.path.realpath(parent)) in seen:  # a link back
            folders.clear()
            continue
        seen.add(real)
        images = [
            name
            for name in names
            if not is_skipped(name) and os.path.splitext(name)[1].lower() in SUFFIXES
        ]
        visible = [name for name in folders if not is_skipped(name)]
        skipped += len(names) - len(images) + len(folders) - len(visible)
        folders[:] = visible
        files += [(parent, name) for name in images]
    return [os.path.join(*file) for file in sorted(files)], skipped


def class_folders(folder: str | Path) -> list[str]:
    """The names of the folders in a folder, sorted, without those that `is_skipped` tells of.

    Args:
        folder: to look into, and no deeper.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if e.is_dir() and not is_skipped(e.name))
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {reason(error)}") from error


class FolderImages(Dataset):
    """(image, label) of the images in a folder, and what is below it.

    Args:
        folder: of images, or of a folder for each class.
        transform: from an image in RGB to an item.
        labelled: whether its folders are classes; else every label is -1.
        classes: names that come first, in this order, whether they are there or not: those of
            the training data.

    Attributes:
        files: of the images.
        targets: a label for each.
        classes: name of each label; none if not labelled.

    Raises:
        DataError: if there is no image, or none of a class.
    """

    def __init__(
        self,
        folder: str | Path,
        transform: Transform | None = None,
        *,
        labelled: bool = True,
        classes: Sequence[str] = (),
    ) -> None:
        self.folder, self.transform, self.classes = folder, transform, list[str]()
        self.files, self.targets, self.skipped = list[str](), list[int](), 0
        if not labelled:
            self._add(Path(folder), -1)
            if not self.files:
                raise DataError(f"{folder} contains no images")
            return
        names = class_folders(folder)
        self.classes = [*classes, *(name for name in names if name not in set(classes))]
        for name in names:
            if not self._add(Path(folder, name), self.classes.index(name)):
                raise DataError(f"{folder} has the class folder {name}, which contains no images")
        if not names:
            raise DataError(
                f"{folder} has no class folders; data.no_labels=true takes images without classes"
            )
        with os.scandir(folder) as entries:
            self.skipped += sum(entry.name not in names for entry in entries)

    def _add(self, folder: Path, label: int) -> int:
        files, skipped = find_images(folder)
        self.files += files
        self.targets += [label] * len(files)
        self.skipped += skipped
        return len(files)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = read_image(self.files[index])
        return self.transform(image) if self.transform else image, self.targets[index]

    def __str__(self) -> str:
        """What was found, for the log."""
        said = f"{len(self)} images"
        if self.classes:
            present = [self.classes[label] for label in dict.fromkeys(self.targets)]
            listed = ", ".join(present[:10]) + (", ..." if len(present) > 10 else "")
            said += f", {len(present)} class{'es' * (len(present) > 1)}: {listed}"
        if self.skipped:
            said += f"; {self.skipped} other files and folders skipped"
        return said


def _raise(error: OSError) -> None:
    raise DataError(f"{error.filename} cannot be read: {reason(error)}") from error

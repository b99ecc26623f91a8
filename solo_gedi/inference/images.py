"""Which images are meant by paths, folders and globs."""

import glob
from collections.abc import Sequence
from pathlib import Path

from solo_gedi.data import find_images
from solo_gedi.errors import DataError
from solo_gedi.files import given_path

Images = str | Path | Sequence[str | Path]


def image_files(images: Images) -> list[Path]:
    """The images that are meant, in the order given.

    Args:
        images: files; folders, for all images below them, sorted by folder and name; and globs,
            for all that they match, sorted.

    Raises:
        DataError: if a path does not exist, or there is no image.
    """
    given = [images] if isinstance(images, str | Path) else list(images)
    files = [file for path in given for file in _meant(given_path(path))]
    if not files:
        raise DataError(f"there is no image in {', '.join(map(str, given))}")
    return files


def _meant(path: Path) -> list[Path]:
    if path.is_dir():
        return [Path(file) for file in find_images(path)[0]]
    if path.exists():
        return [path]
    if glob.has_magic(str(path)):
        matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
        if matches:
            return list(dict.fromkeys(file for match in matches for file in _meant(match)))
    raise DataError(f"{path} does not exist (from {Path.cwd()})")

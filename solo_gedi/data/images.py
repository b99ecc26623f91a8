"""Image files, read so that one that cannot be used is named."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from solo_gedi.errors import DataError, reason

_WIDE = ("F", "I")  # of 32 bits, or 16: "I;16" and the like


def read_image(path: str | Path) -> Image.Image:
    """An image file in RGB.

    Raises:
        DataError: if it cannot be read, or has pixels that RGB would clip or make up.
    """
    try:
        with Image.open(path) as image:
            if image.mode.startswith(_WIDE):
                pixels = np.asarray(image)
                if not ((pixels >= 0) & (pixels <= 255)).all():
                    raise ValueError("it has pixels that are not from 0 to 255")
            return image.convert("RGB")
    except Exception as error:  # PIL raises a different class for every way to be broken
        raise DataError(f"image {path} cannot be used: {reason(error)}") from error


class UnlabelledImages(Dataset):
    """(index, views, -1) of image files, as solo-learn's data set of a folder without labels.

    Args:
        files: of the images.
        transform: from an image in RGB to its views.
    """

    def __init__(self, files: Sequence[Path], transform: Callable[[Image.Image], Any]) -> None:
        self.files, self.transform = files, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[int, Any, int]:
        return index, self.transform(read_image(self.files[index])), -1

"""Image files: reading them, so that one that cannot be used is named, and writing samples."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.utils import save_image

from solo_gedi.errors import DataError, reason

_WIDE = ("F", "I")  # of 32 bits, or 16: "I;16" and the like


def read_image(path: str | Path) -> Image.Image:
    """An image file in RGB, upright where a camera has noted how it was held.

    Raises:
        DataError: if it cannot be read, or has pixels that RGB would clip or make up.
    """
    try:
        with Image.open(path) as image:
            if image.mode.startswith(_WIDE):
                pixels = np.asarray(image)
                if not ((pixels >= 0) & (pixels <= 255)).all():
                    raise ValueError("it has pixels that are not from 0 to 255")
            return ImageOps.exif_transpose(image).convert("RGB")
    except Exception as error:  # PIL raises a different class for every way to be broken
        raise DataError(f"image {path} cannot be used: {reason(error)}") from error


def save_grid(samples: Tensor, path: Path, columns: int = 8) -> None:
    """Write images (n, channels, h, w), pixels in [-1, 1], as one PNG grid; small ones enlarged."""
    zoom = max(1, 32 // samples.shape[-1])
    samples = samples.repeat_interleave(zoom, -1).repeat_interleave(zoom, -2)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_image((samples.clamp(-1, 1) + 1) / 2, path, nrow=columns, pad_value=1.0)


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

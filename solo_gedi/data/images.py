"""Image files: reading them, so that one that cannot be used is named, and writing samples."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps
from torch import Tensor
from torchvision.utils import make_grid

from solo_gedi.errors import DataError, reason

_SIGNED, _WHITE_IS_0 = {339: 2}, {262: 0}  # TIFF's tags SampleFormat and PhotometricInterpretation


def read_image(path: str | Path) -> Image.Image:
    """An image file in RGB, as `to_rgb` has it, upright where a camera noted how it was held.

    Of several frames or pages the first.

    Raises:
        DataError: if it cannot be read, has more pixels than `PIL.Image.MAX_IMAGE_PIXELS`, or
            pixels without a meaning in RGB.
    """
    try:
        # Not by its name: Pillow maps grey TIFFs into memory, and garbles those that it then turns.
        with open(path, "rb") as file, Image.open(file) as image:
            _check_size(image)
            top = _top(image)  # in notes that do not survive the rest
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image), top)
    except Exception as error:  # PIL raises a different class for every way to be broken
        raise DataError(f"image {path} cannot be used: {reason(error)}") from error


def _check_size(image: Image.Image) -> None:
    """Refuse, before its memory is taken, what Pillow takes for an attack, and only warns of."""
    limit, pixels = Image.MAX_IMAGE_PIXELS, image.width * image.height
    if limit is not None and pixels > limit:
        raise ValueError(
            f"it has {image.width} x {image.height} pixels, more than the {limit} of "
            "PIL.Image.MAX_IMAGE_PIXELS"
        )


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any of Pillow's modes in RGB.

    What is transparent shows white. Integers are scaled by the full range of their type: those of
    16 bits by 65,535, of 12 by 4,095; those of 32 bits, which nobody fills, must be from 0 to 255,
    as must floats, of which images within [0, 1] are scaled by 255.

    Raises:
        ValueError: for pixels beyond these ranges, and 16 bits of which only the lower 8 are used.

    Example:
        >>> to_rgb(Image.new("LA", (1, 1), (0, 0))).getpixel((0, 0))
        (255, 255, 255)
        >>> to_rgb(Image.new("I;16", (1, 1), 32768)).getpixel((0, 0))
        (128, 128, 128)
        >>> to_rgb(Image.new("F", (1, 1), 0.5)).getpixel((0, 0))
        (128, 128, 128)
    """
    return _to_rgb(image, _top(image))


def _to_rgb(image: Image.Image, top: int) -> Image.Image:
    if abs(top) != 255 or image.mode[0] in "IF":
        image = _eight_bits(image, top)
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert converted is not None  # as it is when it works in place
        return converted
    if image.has_transparency_data:
        if image.mode in ("La", "RGBa"):
            image = image.convert(image.mode.upper())
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def _top(image: Image.Image) -> int:
    """The value of white; negative, where that of black is meant, and white is 0."""
    tags = getattr(image, "tag_v2", {})  # a TIFF's

    def has(tag: dict[int, int]) -> bool:
        ((key, value),) = tag.items()
        return np.ravel(tags.get(key, -1))[0] == value

    bits = 8
    if image.mode[0] == "I":
        narrow = ";16" in image.mode or image.format in ("PNG", "PPM")
        bits = int(np.ravel(tags.get(258, 16 if narrow else 32))[0])
    elif image.mode == "F":
        return -255 if has(_WHITE_IS_0) else 255
    top = 255 if bits == 32 else 2 ** (bits - has(_SIGNED)) - 1
    # Pillow has inverted 8 bits itself.
    return -top if bits > 8 and has(_WHITE_IS_0) else top


def _eight_bits(image: Image.Image, top: int) -> Image.Image:
    """An image of wide or signed integers or floats in grey of 8 bits; see `to_rgb`."""
    pixels = np.asarray(image)
    if image.mode == "F":
        top = top // 255 if (pixels <= 1).all() else top
    elif image.mode == "L":  # signed
        pixels = pixels.view(np.int8)
    low, high = pixels.min(), pixels.max()
    if not 0 <= low <= high <= abs(top):
        raise ValueError(
            f"its {pixels.dtype.name} pixels are from {low:g} to {high:g}, not from 0 to {abs(top)}"
        )
    if abs(top) > 4095 and 0 < high <= 255:
        raise ValueError(f"its {pixels.dtype.name} pixels, from 0 to {high}, would be black")
    grey = np.rint(pixels.astype(np.float64) * (255 / abs(top)))
    if isinstance(transparent := image.info.get("transparency"), int):
        grey[pixels == transparent] = 255
    return Image.fromarray((255 - grey if top < 0 else grey).astype(np.uint8))


def to_picture(sample: Tensor) -> Image.Image:
    """A sample (1 or 3, h, w), pixels in [-1, 1], as a picture.

    Example:
        >>> list(to_picture(torch.tensor([[[-1.0, 1.0]]])).tobytes())
        [0, 255]
    """
    pixels = ((sample.clamp(-1, 1) + 1) * 127.5).round().to("cpu", torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).squeeze(-1).numpy())


def grid_picture(samples: Tensor, columns: int = 8) -> Image.Image:
    """Samples (n, channels, h, w), pixels in [-1, 1], as a grid; small ones enlarged."""
    zoom = max(1, 32 // samples.shape[-1])
    samples = samples.repeat_interleave(zoom, -1).repeat_interleave(zoom, -2)
    return to_picture(make_grid(samples.clamp(-1, 1), columns, pad_value=1.0))


def save_grid(samples: Tensor, path: Path, columns: int = 8) -> None:
    """Write `grid_picture` as a PNG, in a folder that is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    grid_picture(samples, columns).save(path)

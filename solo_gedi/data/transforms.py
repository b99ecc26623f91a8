"""From an image to the tensor that a network takes."""

from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image
from torch import Tensor
from torchvision import transforms

from solo_gedi.data.images import to_rgb

Transform = Callable[[Any], Any]
BICUBIC = transforms.InterpolationMode.BICUBIC


class Channels:
    """A PIL image with one grey or three colour channels, whatever it has; see `to_rgb`.

    Args:
        channels: 1 or 3.
    """

    def __init__(self, channels: int) -> None:
        self.mode = "L" if channels == 1 else "RGB"

    def __call__(self, image: Image.Image) -> Image.Image:
        """Convert it."""
        return image if image.mode == self.mode == "L" else to_rgb(image).convert(self.mode)


class Shortened:
    """A PIL image without the ends of a line, which a resize would make as long as it is thin."""

    def __call__(self, image: Image.Image) -> Image.Image:
        """Cut out the middle where one side is over a hundred times the other."""
        longest = 100 * min(image.size)
        if max(image.size) <= longest:
            return image
        size = [min(image.height, longest), min(image.width, longest)]
        middle: Image.Image = transforms.functional.center_crop(image, size)
        return middle


def whole(size: int) -> list[Callable[[Image.Image], Image.Image]]:
    """The steps of a PIL image to a square: the shorter side becomes `size`, the middle is cut out.

    Args:
        size: pixels a side.
    """
    return [Shortened(), transforms.Resize(size, BICUBIC), transforms.CenterCrop(size)]


def plain(
    size: int, mean: Sequence[float], std: Sequence[float]
) -> Callable[[Image.Image], Tensor]:
    """PIL image -> (channels, size, size), without augmentation.

    The shorter side becomes `size`, the middle is cut out, pixels in [0, 1] are normalised.

    Args:
        size: pixels a side.
        mean: per channel.
        std: per channel.
    """
    steps = [Channels(len(mean)), *whole(size)]
    return transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(mean, std)])

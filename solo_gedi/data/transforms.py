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
    steps = [Channels(len(mean)), transforms.Resize(size, BICUBIC), transforms.CenterCrop(size)]
    return transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(mean, std)])

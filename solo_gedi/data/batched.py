"""solo-learn's augmentations for a whole batch on the device, to the arithmetic of Pillow.

kornia gives what it does as Pillow: where to crop, colour spaces, filters, equalization. Its own
augmentations draw one order of the jitters for a whole batch, and their bicubic kernel and their
blur are others than Pillow's.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from kornia.augmentation.random_generator import ResizedCropGenerator
from kornia.color import hsv_to_rgb, rgb_to_grayscale, rgb_to_hsv
from kornia.enhance import equalize
from kornia.filters import filter2d
from torch import Tensor
from torchvision.transforms import InterpolationMode

from solo_gedi.errors import ConfigError

# Pillow cuts the decimals of a blend off; the rest is for a level that float32 puts just below.
_CUT_OFF = 1e-3


class BatchedViews:
    """Views of a batch as solo-learn's pipelines draw them image by image.

    Each view of each image has its own parameters, from torch's global state on the CPU.

    Args:
        pipelines: solo-learn's, of torchvision's and its own steps.
        copies: views by each pipeline.

    Raises:
        ConfigError: for a step that has no batched form here.
    """

    def __init__(self, pipelines: Sequence[Any], copies: Sequence[int]) -> None:
        self.pipelines = [getattr(pipeline, "transform", pipeline) for pipeline in pipelines]
        self.copies = copies
        for i, pipeline in enumerate(self.pipelines):
            for step in _leaves(pipeline):
                if not _is_known(step):
                    raise ConfigError(f"augmentations[{i}]: data.augment_on_device has no {step}")

    def __call__(self, images: Tensor) -> list[Tensor]:
        """The views of square images.

        Args:
            images: uint8 (n, channels, size, size), of 1 or 3 channels.

        Returns:
            Tensors (n, channels, crop size, crop size), normalised, in the order of the pipelines.
        """
        views: list[Tensor] = []
        for pipeline, copies in zip(self.pipelines, self.copies, strict=True):
            x = images.repeat(copies, 1, 1, 1) / 255
            for step in pipeline.transforms:
                x = _STEPS[type(step).__name__](x, step)
            views += x.chunk(copies)
        return views

    def __repr__(self) -> str:
        pairs = zip(self.copies, self.pipelines, strict=True)
        return "\n".join(f"{copies} x [{pipeline}], batched" for copies, pipeline in pairs)


def _leaves(step: Any) -> list[Any]:
    inner = getattr(step, "transforms", None)
    return [step] if inner is None else [leaf for part in inner for leaf in _leaves(part)]


def _is_known(step: Any) -> bool:
    bicubic = getattr(step, "interpolation", InterpolationMode.BICUBIC) == InterpolationMode.BICUBIC
    return type(step).__name__ in _STEPS and bicubic


# Steps take and give images (n, channels, height, width) of levels k / 255, but for the last one.


def _levels(x: Tensor, bias: float = 0.5) -> Tensor:
    """Nearest levels in [0, 1], as an 8-bit image holds them; with `_CUT_OFF` those below."""
    return x.mul(255).add_(bias).floor_().clamp_(0, 255).div_(255)


def _drawn(n: int, prob: float) -> Tensor:
    """Indices that n draws with a probability choose."""
    return (torch.rand(n) < prob).nonzero().squeeze(1)


def _beside(x: Tensor, drawn: Tensor) -> Tensor:
    """What was drawn on the CPU, on the images' device, which is not waited for."""
    return drawn.to(x.device, non_blocking=True)


def _with(x: Tensor, chosen: Tensor, change: Callable[..., Tensor], *drawn: Tensor) -> Tensor:
    """Change the chosen images in place, each with its own of the drawn parameters (n,)."""
    if len(chosen):
        parameters = [_beside(x, each[chosen]) for each in drawn]
        chosen = _beside(x, chosen)
        x[chosen] = change(x[chosen], *parameters)
    return x


def _sometimes(x: Tensor, step: Any) -> Tensor:
    def inner(some: Tensor) -> Tensor:
        for part in step.transforms:
            some = _STEPS[type(part).__name__](some, part)
        return some

    return _with(x, _drawn(len(x), step.p), inner)


def _crop(x: Tensor, step: Any) -> Tensor:
    boxes = ResizedCropGenerator(tuple(step.size), step.scale, step.ratio)(x.shape)["src"]
    first, last = boxes[:, 0].long(), boxes[:, 2].long()
    return _resample(x, first, last - first + 1, step.size)


def _resize(x: Tensor, step: Any) -> Tensor:
    whole = torch.full((len(x), 2), x.shape[-1])
    return _resample(x, torch.zeros_like(whole), whole, (step.size, step.size))


def _resample(x: Tensor, first: Tensor, length: Tensor, size: Sequence[int]) -> Tensor:
    """Resize a box of each image.

    Args:
        x: images.
        first: column and row of the boxes' first pixels, (n, 2).
        length: columns and rows of the boxes, (n, 2).
        size: height and width that they get.
    """
    first, length = _beside(x, first), _beside(x, length)
    columns = _weights(first[:, 0], length[:, 0], x.shape[3], size[1])
    rows = _weights(first[:, 1], length[:, 1], x.shape[2], size[0])
    x = _levels(torch.einsum("nchw,nvw->nchv", x, columns))
    return _levels(torch.einsum("nchw,nvh->ncvw", x, rows))


def _weights(first: Tensor, length: Tensor, old: int, new: int) -> Tensor:
    """What each of `old` pixels gives to each of `new` ones, (n, new, old)."""
    table = _resizing(old, new, first.device)[length]
    # A row of the table is zero beyond the box, so turning it round moves the box.
    source = (torch.arange(old, device=first.device) - first[:, None]).remainder(old)
    return table.gather(2, source[:, None].expand_as(table))


@cache
def _resizing(old: int, new: int, device: torch.device) -> Tensor:
    """For the first 0, 1, ..., old pixels of a line, their weights in `new` ones.

    They come from torch's antialiased bicubic kernel, which is Pillow's.
    """
    table = torch.zeros(old + 1, new, old)
    for length in range(1, old + 1):
        identity = torch.eye(length)[None, None]
        table[length, :, :length] = F.interpolate(
            identity, (new, length), mode="bicubic", antialias=True
        )
    return table.to(device)


def _blend(base: Tensor, x: Tensor, factor: Tensor) -> Tensor:
    """`base` where the factors (n,) are 0, the images where they are 1, and beyond."""
    return _levels(base + factor.view(-1, 1, 1, 1) * (x - base), _CUT_OFF)


def _greys(x: Tensor) -> Tensor:
    return x if x.shape[1] == 1 else _levels(rgb_to_grayscale(x))


def _hue(x: Tensor, turns: Tensor) -> Tensor:
    """Turn hues, in the 256 of Pillow's HSV images."""
    hue, saturation, value = rgb_to_hsv(x).chunk(3, 1)
    steps = (turns * 255).trunc().view(-1, 1, 1, 1)
    hue = (hue * (255 / math.tau) + _CUT_OFF).floor_().add_(steps).remainder_(256) * (
        math.tau / 255
    )
    return _levels(hsv_to_rgb(torch.cat([hue, _levels(saturation, _CUT_OFF), value], 1)))


def _blends(x: Tensor, drawn: Tensor) -> Tensor:
    """Brightness, contrast or saturation, for each image its own.

    They differ in what an image is blended with: black, its mean grey or its grey self.

    Args:
        x: images.
        drawn: (n, 3): shares of the mean grey and of the grey self, 0 or 1, and the factor.
    """
    of_mean, of_grey, factor = drawn.unbind(1)
    grey = _greys(x)
    mean = _levels(grey.mean((1, 2, 3), keepdim=True))
    base = of_mean.view(-1, 1, 1, 1) * mean + of_grey.view(-1, 1, 1, 1) * grey
    return _blend(base, x, factor)


def _jitter(x: Tensor, step: Any) -> Tensor:
    """Each image's jitters in its own order: first what comes before its hue, then the rest."""
    known = ["brightness", "contrast", *([] if x.shape[1] == 1 else ["saturation", "hue"])]
    names = [name for name in known if getattr(step, name) is not None]
    if not names:
        return x
    factors = [torch.empty(len(x)).uniform_(*getattr(step, name)) for name in names]
    orders = torch.rand(len(x), len(names)).argsort(1)

    def is_(name: str, drawn: Tensor) -> Tensor:
        return drawn == (names.index(name) if name in names else -1)

    turns_hue = is_("hue", orders)
    kinds = orders[~turns_hue].view(len(x), -1)
    factor = torch.stack(factors, 1).gather(1, kinds)
    blends = torch.stack([is_("contrast", kinds), is_("saturation", kinds), factor], 2)
    places = torch.arange(blends.shape[1])
    before = places < turns_hue.float().argmax(1, keepdim=True)
    for place in places:
        x = _with(x, before[:, place].nonzero().squeeze(1), _blends, blends[:, place])
    if "hue" in names:
        x = _hue(x, _beside(x, factors[names.index("hue")]))
    for place in places:
        x = _with(x, (~before[:, place]).nonzero().squeeze(1), _blends, blends[:, place])
    return x


def _grey(x: Tensor, step: Any) -> Tensor:
    return _with(x, _drawn(len(x), step.p), _greys)


def _blur(x: Tensor, step: Any) -> Tensor:
    kernels = _beside(x, _boxes(torch.empty(len(x)).uniform_(*step.sigma)))
    for kernel in (kernels[:, None, :], kernels[:, :, None]):
        for _ in range(3):
            x = _levels(filter2d(x, kernel, "replicate"))
    return x


def _boxes(sigma: Tensor) -> Tensor:
    """Kernels (n, taps) of which three in a row are Pillow's Gaussian blur.

    They are boxes whose last pixel on each side counts for a part, so that the variance is right.

    Args:
        sigma: standard deviations of the blurs, (n,).
    """
    variance = sigma**2 / 3
    whole = (((12 * variance + 1).sqrt() - 1) / 2).floor()
    excess = (2 * whole + 1) * (3 * variance - whole * (whole + 1))
    radius = whole + excess / (6 * ((whole + 1) ** 2 - variance))
    taps = math.ceil(float(radius.max()))
    distance = torch.arange(-taps, taps + 1).abs()
    return (radius[:, None] + 1 - distance).clamp(0, 1) / (2 * radius[:, None] + 1)


def _solarize(x: Tensor, step: Any) -> Tensor:
    return torch.where(x < 0.5, x, 1 - x)


def _equalize(x: Tensor, step: Any) -> Tensor:
    return equalize(x)


def _flip(x: Tensor, step: Any) -> Tensor:
    return _with(x, _drawn(len(x), step.p), lambda some: some.flip(-1))


def _normalize(x: Tensor, step: Any) -> Tensor:
    mean, std = (_beside(x, torch.tensor(v).view(-1, 1, 1)) for v in (step.mean, step.std))
    return (x - mean) / std


_STEPS: dict[str, Callable[[Tensor, Any], Tensor]] = {
    "RandomApply": _sometimes,
    "RandomResizedCrop": _crop,
    "Resize": _resize,
    # Of squares, which they leave as they are.
    "CenterCrop": lambda x, step: x,
    "Shortened": lambda x, step: x,
    "ColorJitter": _jitter,
    "RandomGrayscale": _grey,
    "GaussianBlur": _blur,
    "Solarization": _solarize,
    "Equalization": _equalize,
    "RandomHorizontalFlip": _flip,
    "ToTensor": lambda x, step: x,
    "Normalize": _normalize,
}

"""The space that samples live in, and its map to what the network sees."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


def _per_channel(values: tuple[float, ...], like: Tensor) -> Tensor:
    return _constant(values, like.dim(), like.dtype, like.device)


# Made once: a copy to a GPU at every step of the sampler would wait for it every time.
_constants: dict[tuple, Tensor] = {}


def _constant(
    values: tuple[float, ...], dims: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    key = values, dims, dtype, device
    if key not in _constants:
        with torch.inference_mode(False):
            made = torch.tensor(values, dtype=dtype, device=device)
        _constants[key] = made.view(-1, *[1] * (dims - 2))
    return _constants[key]


@dataclass(frozen=True)
class SampleSpace:
    """The box [low, high] of samples, and the affine map per channel to network inputs.

    Chains live in this space, where step size and noise have the paper's meaning, and where the
    buffer can be looked at as it is; the network sees what the data pipeline gives it.

    Args:
        shift: per channel, the sample value that maps to input 0.
        scale: per channel, the sample distance that maps to input distance 1.
        low: smallest value of a fresh chain.
        high: largest value of a fresh chain.
    """

    shift: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)
    low: float = -1.0
    high: float = 1.0

    @classmethod
    def of_images(cls, mean: Sequence[float], std: Sequence[float]) -> "SampleSpace":
        """Samples in [-1, 1] for images that enter as (pixel - mean) / std, pixel in [0, 1]."""
        return cls(tuple(2 * m - 1 for m in mean), tuple(2 * s for s in std))

    @property
    def box(self) -> tuple[float, float]:
        """The smallest and the largest value of a sample."""
        return self.low, self.high

    def to_input(self, samples: Tensor) -> Tensor:
        """Samples (n, channels, ...) -> network inputs of the same shape."""
        scale = _per_channel(self.scale, samples)
        return (samples - _per_channel(self.shift, samples)) / scale

    def to_samples(self, inputs: Tensor) -> Tensor:
        """Network inputs (n, channels, ...) -> samples of the same shape."""
        scale = _per_channel(self.scale, inputs)
        return inputs * scale + _per_channel(self.shift, inputs)

    def add_noise(self, inputs: Tensor, std: float) -> Tensor:
        """Inputs plus Gaussian noise whose standard deviation is given in sample units.

        Of 0 the inputs themselves: no noise is drawn.
        """
        if std == 0:
            return inputs
        return inputs + torch.randn_like(inputs) * (std / _per_channel(self.scale, inputs))

    def uniform(self, shape: Sequence[int], **kwargs: Any) -> Tensor:
        """Fresh chains, uniform over the box; keywords as for `torch.rand`."""
        return torch.rand(*shape, **kwargs).mul_(self.high - self.low).add_(self.low)

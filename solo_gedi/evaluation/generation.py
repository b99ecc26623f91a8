"""Samples of a pretrained method, and how far they are from the data."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from solo_gedi.core import evaluation_mode, sample_sgld
from solo_gedi.data import SampleSpace
from solo_gedi.errors import ConfigError, reason
from solo_gedi.evaluation.features import log_density_of
from solo_gedi.hosts import BaseMethod


def draw_samples(
    model: BaseMethod,
    space: SampleSpace,
    chains: Tensor,
    steps: Sequence[int],
    step_size: float,
    noise_std: float,
    *,
    batch_size: int = 400,
    **sampler: Any,
) -> dict[int, Tensor]:
    """Move chains by SGLD and keep what they are after each of some numbers of steps.

    Args:
        model: a pretrained method; see `log_density_of` for one without an energy.
        space: the sample space.
        chains: (n, ...) where they start, in the sample space.
        steps: numbers of steps, ascending, 0 for the start.
        step_size: factor of the gradient.
        noise_std: standard deviation of the noise of a step.
        batch_size: chains moved at once.
        sampler: more of `sample_sgld`; a generator must be on the model's device.

    Returns:
        steps -> (n, ...) on the CPU.
    """
    drawn: dict[int, list[Tensor]] = {count: [] for count in steps}
    density = log_density_of(model, space)
    with evaluation_mode(model):
        for x in chains.split(batch_size):
            x, done = x.to(model.device), 0
            for count in steps:
                x = sample_sgld(density, x, count - done, step_size, noise_std, **sampler)
                drawn[count].append(x.cpu())
                done = count
    return {count: torch.cat(parts) for count, parts in drawn.items()}


class SampleFeatures(nn.Module):
    """A network's features of samples.

    Args:
        network: takes what `convert` gives.
        convert: from the sample space to the network's inputs.
        num_features: size of its features.
    """

    def __init__(
        self, network: nn.Module, convert: Callable[[Tensor], Tensor], num_features: int
    ) -> None:
        super().__init__()
        self.network, self.convert, self.num_features = network, convert, num_features

    def forward(self, samples: Tensor) -> Tensor:
        """Samples (n, ...) -> features (n, num_features)."""
        return self.network(self.convert(samples))


def _bytes(samples: Tensor) -> Tensor:
    """Images in [-1, 1], of one or three channels, as Inception takes them."""
    return ((samples.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).expand(-1, 3, -1, -1)


def inception_features(weights: str | None = None) -> SampleFeatures:
    """The Inception network of FID: samples (n, 1 or 3, h, w) in [-1, 1] -> (n, 2048).

    Args:
        weights: file of torch-fidelity's converted weights; its normal download when None.

    Raises:
        ConfigError: if they cannot be had.
    """
    if weights is not None and not Path(weights).is_file():
        raise ConfigError(f"--inception-weights={weights} is not a file (from {Path.cwd()})")
    try:
        metric = FrechetInceptionDistance(2048, feature_extractor_weights_path=weights)
    except ModuleNotFoundError as error:
        raise ConfigError("FID needs torch-fidelity: pip install torch-fidelity") from error
    except (URLError, OSError, RuntimeError, KeyError, EOFError, UnpicklingError) as error:
        raise ConfigError(
            f"the Inception weights of FID could not be loaded ({reason(error)}): give "
            "their file with --inception-weights, or take another network with --fid-features"
        ) from error
    return SampleFeatures(metric.inception, _bytes, 2048)


def frechet_distance(
    features: SampleFeatures, real: Iterable[Tensor], fake: Iterable[Tensor], device: Any = "cpu"
) -> float:
    """Fréchet distance between Gaussians fitted to features of two sets; FID with Inception's.

    ||m_r - m_f||^2 + tr(C_r + C_f - 2 (C_r C_f)^(1/2)).

    Args:
        features: whose features are compared.
        real: batches of samples.
        fake: batches of samples.
        device: where to compute.
    """
    metric = FrechetInceptionDistance(features).to(device)
    with evaluation_mode(features), torch.inference_mode():
        for batches, is_real in ((real, True), (fake, False)):
            for x in batches:
                metric.update(x.to(device), real=is_real)
    return float(metric.compute())

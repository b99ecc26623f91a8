"""Samples of a trained model, and how far they are from the data."""

from collections.abc import Callable, Iterable
from pathlib import Path
from pickle import UnpicklingError
from urllib.error import URLError

import torch
from torch import Generator, Tensor, nn

from solo_gedi.core import evaluation_mode
from solo_gedi.errors import DataError, MissingPackageError, reason
from solo_gedi.inference import Model


def draw_samples(
    model: Model, chains: Tensor, steps: Iterable[int], *, generator: Generator | None = None
) -> dict[int, Tensor]:
    """Move chains by the model's sampler and keep what they are after some numbers of steps.

    Args:
        model: the trained model.
        chains: (n, ...) where they start, in the sample space.
        steps: numbers of steps, ascending, 0 for the start.
        generator: source of the noise, on the model's device.

    Returns:
        steps -> (n, ...) in the sample space, on the CPU.
    """
    drawn, done = {}, 0
    for count in steps:
        chains = model.sample(steps=count - done, start=chains, generator=generator)
        drawn[count], done = chains, count
    return drawn


class SampleFeatures(nn.Module):
    """A network's features of samples.

    Args:
        network: takes what `convert` gives; a module, or a method of one.
        convert: from the sample space to the network's inputs.
        num_features: size of its features.
    """

    def __init__(
        self,
        network: Callable[[Tensor], Tensor],
        convert: Callable[[Tensor], Tensor],
        num_features: int,
    ) -> None:
        super().__init__()
        self.network, self.convert, self.num_features = network, convert, num_features

    def forward(self, samples: Tensor) -> Tensor:
        """Samples (n, ...) -> features (n, num_features), on their device."""
        return self.network(self.convert(samples)).to(samples.device)


def _bytes(samples: Tensor) -> Tensor:
    """Images in [-1, 1], of one or three channels, as Inception takes them."""
    return ((samples.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).expand(-1, 3, -1, -1)


def inception_features(weights: str | Path | None = None) -> SampleFeatures:
    """The Inception network of FID: samples (n, 1 or 3, h, w) in [-1, 1] -> (n, 2048).

    Args:
        weights: file of torch-fidelity's converted weights; its normal download when None.

    Raises:
        DataError: if the weights cannot be had.
        MissingPackageError: if torch-fidelity is not installed.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    if weights is not None and not Path(weights).is_file():
        raise DataError(f"--inception-weights={weights} is not a file (from {Path.cwd()})")
    path = None if weights is None else str(weights)
    try:
        metric = FrechetInceptionDistance(2048, feature_extractor_weights_path=path)
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "FID needs torch-fidelity: pip install 'solo-gedi[fid]'; or take another network with "
            "--fid-features"
        ) from error
    except (URLError, OSError, RuntimeError, KeyError, EOFError, UnpicklingError) as error:
        raise DataError(
            f"the Inception weights of FID could not be loaded ({reason(error)}): give "
            "their file with --inception-weights, or take another network with --fid-features"
        ) from error
    return SampleFeatures(metric.inception, _bytes, 2048)


def frechet_distance(
    features: SampleFeatures,
    real: Iterable[Tensor],
    fake: Iterable[Tensor],
    device: torch.device | str = "cpu",
) -> float:
    """Fréchet distance between Gaussians fitted to features of two sets; FID with Inception's.

    ||m_r - m_f||^2 + tr(C_r + C_f - 2 (C_r C_f)^(1/2)), with means m and covariances C (Heusel et
    al., "GANs Trained by a Two Time-Scale Update Rule", 2017).

    Args:
        features: whose features are compared.
        real: batches of samples (n, ...).
        fake: batches of samples, at least two in all, as of the real ones.
        device: where to compute.

    Returns:
        At least 0, up to rounding.

    Raises:
        DataError: for a single sample, which has no covariance.

    >>> itself = SampleFeatures(nn.Identity(), lambda x: x, 2)
    >>> x = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    >>> round(frechet_distance(itself, [x], [x + 3]), 3)
    18.0
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(features).to(device)
    with evaluation_mode(features), torch.inference_mode():
        for batches, is_real in ((real, True), (fake, False)):
            for x in batches:
                metric.update(x.to(device), real=is_real)
    if min(metric.real_features_num_samples, metric.fake_features_num_samples) < 2:
        raise DataError("the Fréchet distance needs two images or more of either kind")
    return float(metric.compute())

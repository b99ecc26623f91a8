"""Out-of-distribution scores; higher means in-distribution."""

from collections.abc import Callable

import torch
from sklearn.metrics import roc_auc_score
from torch import Generator, Tensor

from solo_gedi.core import evaluation_mode, input_gradient
from solo_gedi.data import SampleSpace
from solo_gedi.evaluation.features import Batches
from solo_gedi.inference import Model


def ood_scores(model: Model, batches: Batches) -> dict[str, Tensor]:
    """Scores of every input.

    The gradient is that of the samples, in [-1, 1] for images, rather than of the network's inputs.

    Args:
        model: the trained model.
        batches: of (network inputs, labels).

    Returns:
        (n,) each, on the CPU: `neg_grad_norm`, -||grad_x log p(x)||_2, the paper's score
        (Appendix G); `log_density`, log p(x) up to a constant; `max_softmax`, the largest cluster
        probability.
    """
    found: dict[str, list[Tensor]] = {"neg_grad_norm": [], "log_density": [], "max_softmax": []}
    with evaluation_mode(model):
        for x, _ in batches:
            x = x.to(model.device)
            samples = model.space.to_samples(x)
            log_p, grad = input_gradient(model.log_density_of_samples, samples)
            with torch.inference_mode():
                top = model(x).scores.softmax(-1).amax(-1)
            found["neg_grad_norm"].append(-grad.flatten(1).norm(dim=1).cpu())
            found["log_density"].append(log_p.cpu())
            found["max_softmax"].append(top.cpu())
    return {name: torch.cat(parts) for name, parts in found.items()}


def auroc(in_scores: Tensor, out_scores: Tensor) -> float:
    """Probability that an in-distribution point scores above another; 0.5 is chance.

    Args:
        in_scores: (n,) of the in-distribution points.
        out_scores: (m,) of the others.

    Returns:
        In [0, 1]; a tie counts one half.

    >>> auroc(torch.tensor([0.9, 0.4]), torch.tensor([0.5, 0.1]))
    0.75
    """
    labels = torch.cat([torch.ones(len(in_scores)), torch.zeros(len(out_scores))])
    return float(roc_auc_score(labels.numpy(), torch.cat([in_scores, out_scores]).numpy()))


def uniform_noise(inputs: Tensor, space: SampleSpace) -> Tensor:
    """Noise, uniform over the sample space: an out-set that needs no files.

    Args:
        inputs: (n, ...) network inputs, whose shape the noise takes.
        space: of the samples.
    """
    return space.to_input(space.uniform(inputs.shape, generator=_generator()))


def shuffled_pixels(inputs: Tensor, space: SampleSpace) -> Tensor:
    """The inputs with the pixels of each in an order of its own.

    The hardest of the out-sets that need no files: every image keeps its colours.

    Args:
        inputs: (n, channels, h, w) network inputs.
        space: not used; out-sets are called alike.
    """
    pixels = inputs.flatten(2)
    order = torch.rand(len(pixels), 1, pixels.shape[2], generator=_generator()).argsort(-1)
    return pixels.gather(2, order.expand_as(pixels)).view_as(inputs)


def _generator() -> Generator:
    return torch.Generator().manual_seed(0)


SYNTHETIC: dict[str, Callable[[Tensor, SampleSpace], Tensor]] = {
    "uniform": uniform_noise,
    "shuffled": shuffled_pixels,
}

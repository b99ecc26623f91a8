"""Out-of-distribution scores; higher means in-distribution."""

from collections.abc import Callable

import torch
from sklearn.metrics import roc_auc_score
from torch import Generator, Tensor

from solo_gedi.core import evaluation_mode, input_gradient
from solo_gedi.data import SampleSpace
from solo_gedi.evaluation.features import Batches, log_density_of, scores
from solo_gedi.hosts import BaseMethod


def ood_scores(model: BaseMethod, space: SampleSpace, batches: Batches) -> dict[str, Tensor]:
    """Scores of every input, (n,) each, on the CPU.

    Args:
        model: a pretrained method; see `log_density_of` for one without an energy.
        space: where the gradient is taken: [-1, 1] for images.
        batches: of (inputs, labels).

    Returns:
        `neg_grad_norm`, -||grad_x log p(x)||_2, the paper's score (Appendix G); `log_density`,
        log p(x) up to a constant; `max_softmax`, the largest cluster probability.
    """
    log_p_of = log_density_of(model, space)
    found: dict[str, list[Tensor]] = {"neg_grad_norm": [], "log_density": [], "max_softmax": []}
    with evaluation_mode(model):
        for x, _ in batches:
            log_p, grad = input_gradient(log_p_of, space.to_samples(x.to(model.device)))
            with torch.no_grad():
                top = scores(model(x.to(model.device)), model).softmax(-1).amax(-1)
            found["neg_grad_norm"].append(-grad.flatten(1).norm(dim=1).cpu())
            found["log_density"].append(log_p.cpu())
            found["max_softmax"].append(top.cpu())
    return {name: torch.cat(parts) for name, parts in found.items()}


def auroc(in_scores: Tensor, out_scores: Tensor) -> float:
    """Probability that an in-distribution point scores above another; 0.5 is chance."""
    labels = torch.cat([torch.ones(len(in_scores)), torch.zeros(len(out_scores))])
    return float(roc_auc_score(labels.numpy(), torch.cat([in_scores, out_scores]).numpy()))


def uniform_noise(inputs: Tensor, space: SampleSpace) -> Tensor:
    """As many inputs (n, ...), uniform over the sample space: an out-set that needs no files."""
    return space.to_input(space.uniform(inputs.shape, generator=_generator()))


def shuffled_pixels(inputs: Tensor, space: SampleSpace) -> Tensor:
    """The inputs (n, channels, ...) with each one's pixels in an order of its own.

    The hardest of the out-sets that need no files: every image keeps its colours.
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

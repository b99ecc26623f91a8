"""Out-of-distribution scores; higher means in-distribution."""

from collections.abc import Iterable

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from solo_gedi.core import evaluation_mode, input_gradient, log_density
from solo_gedi.data import SampleSpace
from solo_gedi.evaluation.features import cluster_output
from solo_gedi.hosts import BaseMethod


def ood_scores(
    model: BaseMethod, space: SampleSpace, loader: Iterable[tuple[Tensor, Tensor]]
) -> dict[str, Tensor]:
    """Scores of every input, (n,) each, on the CPU.

    For a method without an energy, log p(x) is the logsumexp of the output that its clusters are
    the argmax of, as in the paper.

    Args:
        model: a pretrained method.
        space: where the gradient is taken: [-1, 1] for images.
        loader: batches of (inputs, labels).

    Returns:
        `neg_grad_norm`, -||grad_x log p(x)||_2, the paper's score (Appendix G); `log_density`,
        log p(x) up to a constant; `max_softmax`, the largest cluster probability.
    """
    output = cluster_output(model)
    scores: dict[str, list[Tensor]] = {"neg_grad_norm": [], "log_density": [], "max_softmax": []}
    with evaluation_mode(model):
        for x, _ in loader:
            samples = space.to_samples(x.to(model.device))
            log_p, grad = input_gradient(
                lambda s: log_density(model(space.to_input(s))[output]), samples
            )
            with torch.no_grad():
                top = model(x.to(model.device))[output].softmax(-1).amax(-1)
            scores["neg_grad_norm"].append(-grad.flatten(1).norm(dim=1).cpu())
            scores["log_density"].append(log_p.cpu())
            scores["max_softmax"].append(top.cpu())
    return {name: torch.cat(parts) for name, parts in scores.items()}


def auroc(in_scores: Tensor, out_scores: Tensor) -> float:
    """Probability that an in-distribution point scores above another; 0.5 is chance."""
    labels = torch.cat([torch.ones(len(in_scores)), torch.zeros(len(out_scores))])
    return float(roc_auc_score(labels.numpy(), torch.cat([in_scores, out_scores]).numpy()))

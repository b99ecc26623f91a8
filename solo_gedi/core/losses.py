"""The three terms of the GEDI objective (Eq. 5), and two that steady it, each to be minimised.

Logits are (n, c) and already divided by the temperature.
"""

import math

import torch
import torch.distributed as dist
from torch import Tensor

from solo_gedi.core.processes import distributed, rank, world_size


def generative_loss(data_log_density: Tensor, sample_log_density: Tensor) -> Tensor:
    """L_GEN: raises the density of the data over that of the model's samples (Eq. 11, negated).

    Args:
        data_log_density: (n,) log p of data, up to the constant.
        sample_log_density: (m,) log p of samples from the model, which carry no gradient.

    Returns:
        Scalar whose parameter gradient estimates that of CE(p, p_Theta).
    """
    return sample_log_density.mean() - data_log_density.mean()


def invariance_loss(logits: Tensor, view_logits: Tensor) -> Tensor:
    """L_INV: both views of a point should fall, with confidence, into the same cluster (Eq. 3).

    Args:
        logits: (n, c) of the points x.
        view_logits: (n, c) of their transformed versions x'.

    Returns:
        Scalar CE(p(y|x'), p(y|x)) >= 0, mean over the batch; gradients flow through both.
    """
    return -(view_logits.softmax(-1) * logits.log_softmax(-1)).sum(-1).mean()


def prior_loss(logits: Tensor, prior: Tensor | None = None) -> Tensor:
    """L_PRIOR: the clusters should be used as often as the prior says (Eq. 3).

    Args:
        logits: (n, c).
        prior: (c,) probabilities p(y); uniform when None.

    Returns:
        Scalar CE(p(y), q(y)) >= H(p(y)), with q(y) the mean prediction of the batch; under
        several processes, of the global batch (which needs the same n in each).
    """
    log_q = _log_mean_prediction(logits)
    return -log_q.mean() if prior is None else -(prior.to(log_q) * log_q).sum()


def energy_l2(data_log_density: Tensor, sample_log_density: Tensor) -> Tensor:
    """Mean square of the log-densities of data (n,) and samples (m,). Not in the paper.

    The generative term compares energies and leaves them without a scale; this one keeps them
    from running away.
    """
    return data_log_density.square().mean() + sample_log_density.square().mean()


def gradient_penalty(data_score: Tensor) -> Tensor:
    """Mean squared norm of grad_x log p(x) at the data, (n, ...). Not in the paper.

    Args:
        data_score: with the graph that leads to the parameters.
    """
    return data_score.flatten(1).square().sum(1).mean()


def _log_mean_prediction(logits: Tensor) -> Tensor:
    """Log q(y), (c,); kept in the log domain, since q(y) of an empty cluster underflows to 0."""
    log_mean = logits.log_softmax(-1).logsumexp(0) - math.log(len(logits))
    if not distributed():
        return log_mean
    processes = world_size()
    means = [torch.empty_like(log_mean) for _ in range(processes)]
    dist.all_gather(means, log_mean.detach())
    # Each process differentiates its own share of the global mean; since DDP averages the
    # gradients that are to be summed, the share counts once for every process.
    means[rank()] = log_mean.detach() + processes * (log_mean - log_mean.detach())
    return torch.stack(means).logsumexp(0) - math.log(processes)

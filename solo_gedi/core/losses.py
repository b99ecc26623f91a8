"""The three terms of the GEDI objective (Eq. 5) and two that stabilise it, each to be minimised.

Logits are (n, c) for n points and c clusters, already divided by the temperature.
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
        sample_log_density: (m,) log p of samples from the model; the samples carry no gradient.

    Returns:
        Scalar whose parameter gradient estimates that of CE(p, p_Theta).

    Example:
        >>> generative_loss(torch.tensor([2.0, 4.0]), torch.tensor([1.0, 0.0, 2.0]))
        tensor(-2.)
    """
    return sample_log_density.mean() - data_log_density.mean()


def invariance_loss(logits: Tensor, view_logits: Tensor) -> Tensor:
    """L_INV: both views of a point should fall, with confidence, into the same cluster (Eq. 3).

    Args:
        logits: (n, c) of the points x.
        view_logits: (n, c) of their transformed versions x'.

    Returns:
        Scalar CE(p(y|x'), p(y|x)) >= 0 in nats, mean over the batch; gradients flow through both.

    Example:
        >>> certain = torch.tensor([[50.0, 0.0], [0.0, 50.0]])
        >>> round(invariance_loss(certain, certain).item(), 4)
        0.0
        >>> round(invariance_loss(torch.zeros(2, 2), certain).item(), 4)  # log 2
        0.6931
    """
    return -(view_logits.softmax(-1) * logits.log_softmax(-1)).sum(-1).mean()


def prior_loss(
    logits: Tensor, prior: Tensor | None = None, *, gather_distributed: bool = False
) -> Tensor:
    """L_PRIOR: the clusters should be used as often as the prior says (Eq. 3).

    Args:
        logits: (n, c).
        prior: (c,) probabilities p(y); uniform when None.
        gather_distributed: take the mean prediction over the batches of all processes, which must
            then all call this, with the same n. Without a process group it changes nothing.

    Returns:
        Scalar CE(p(y), q(y)) >= H(p(y)) in nats, with q(y) the mean prediction of the batch.

    Example:
        >>> one_cluster_each = torch.tensor([[50.0, 0.0], [0.0, 50.0]])
        >>> round(prior_loss(one_cluster_each).item(), 4)  # log 2, the minimum
        0.6931
        >>> one_cluster_for_all = torch.tensor([[50.0, 0.0], [50.0, 0.0]])
        >>> round(prior_loss(one_cluster_for_all).item(), 4)
        25.0
    """
    log_q = _log_mean_prediction(logits, gather_distributed)
    if prior is None:
        return -log_q.mean()
    return -(prior.to(log_q, non_blocking=True) * log_q).sum()


def energy_l2(data_log_density: Tensor, sample_log_density: Tensor) -> Tensor:
    """Mean squares of the log-densities of data and samples, added. Not in the paper.

    The generative term compares energies and leaves their scale open; this one bounds it.

    Args:
        data_log_density: (n,) log p of data, up to the constant.
        sample_log_density: (m,) log p of samples.

    Returns:
        Scalar, at least 0.

    Example:
        >>> energy_l2(torch.tensor([1.0, 3.0]), torch.tensor([2.0]))
        tensor(9.)
    """
    return data_log_density.square().mean() + sample_log_density.square().mean()


def gradient_penalty(data_score: Tensor) -> Tensor:
    """Mean squared norm of the score grad_x log p(x) at the data. Not in the paper.

    Args:
        data_score: (n, ...), with the graph that leads to the parameters; see `input_score`.

    Returns:
        Scalar, at least 0.

    Example:
        >>> gradient_penalty(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
        tensor(13.)
    """
    return data_score.flatten(1).square().sum(1).mean()


def _log_mean_prediction(logits: Tensor, gather_distributed: bool) -> Tensor:
    """Log q(y), (c,); kept in the log domain, since q(y) of an empty cluster underflows to 0."""
    log_mean = logits.log_softmax(-1).logsumexp(0) - math.log(len(logits))
    if not (gather_distributed and distributed()):
        return log_mean
    processes = world_size()
    means = [torch.empty_like(log_mean) for _ in range(processes)]
    dist.all_gather(means, log_mean.detach())
    # Each process differentiates its own share of the global mean; since DDP averages the
    # gradients that are to be summed, the share counts once for every process.
    means[rank()] = log_mean.detach() + processes * (log_mean - log_mean.detach())
    return torch.stack(means).logsumexp(0) - math.log(processes)

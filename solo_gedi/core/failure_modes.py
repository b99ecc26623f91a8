"""The triad of failure modes, measured."""

import torch
from torch import Tensor


def cluster_entropy(logits: Tensor) -> Tensor:
    """Entropy of the mean prediction q(y), in nats: 0 is cluster collapse, log c even use.

    Args:
        logits: (n, c).

    Returns:
        Scalar in [0, log c].
    """
    return torch.special.entr(logits.softmax(-1).mean(0)).sum()


def clusters_used(logits: Tensor) -> Tensor:
    """Number of clusters that are the argmax of some point, as a scalar tensor.

    Args:
        logits: (n, c).
    """
    used = torch.zeros(logits.shape[-1], device=logits.device)
    return used.index_fill(0, logits.argmax(-1), 1.0).sum()

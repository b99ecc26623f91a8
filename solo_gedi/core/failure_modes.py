"""The triad of failure modes (Definitions 1 to 3), measured.

1. Representation collapse, the encoder gives every input the same features: `feature_std` and
   `effective_rank` fall to 0 and 1.
2. Cluster collapse, every input falls into one cluster: `cluster_entropy` falls to 0 and
   `largest_cluster_share` rises to 1.
3. Permutation invariance of the assignments, the loss does not tell which cluster belongs to
   which input: `permutation_gap` falls to 0, `view_agreement` to chance.
"""

import torch
from torch import Generator, Tensor

from solo_gedi.core.losses import invariance_loss


def feature_std(features: Tensor) -> Tensor:
    """Standard deviation of the features (n, h) over the points, mean over h; 0 when collapsed."""
    return features.std(0, unbiased=False).mean()


def effective_rank(features: Tensor) -> Tensor:
    """Number of directions that centred features (n, h) spread over, in [1, min(n, h)].

    The exponential of the entropy of their normalised singular values (Roy and Vetterli, "The
    effective rank", 2007); 1 for features that do not vary, NaN for some that are not finite.
    """
    if not features.isfinite().all():
        return features.new_tensor(float("nan"))
    singular = torch.linalg.svdvals(features - features.mean(0))
    total = singular.sum()
    shares = torch.where(total > 0, singular / total, torch.zeros_like(singular))
    return torch.special.entr(shares).sum().exp()


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


def largest_cluster_share(logits: Tensor) -> Tensor:
    """Share of the points (n, c) whose argmax is the most frequent one, in [1/c, 1]."""
    counts = torch.bincount(logits.argmax(-1), minlength=logits.shape[-1])
    return counts.max() / len(logits)


def view_agreement(logits: Tensor, view_logits: Tensor) -> Tensor:
    """Share of the points whose two views (n, c) fall into the same cluster, in [0, 1]."""
    return (logits.argmax(-1) == view_logits.argmax(-1)).float().mean()


def permutation_gap(
    logits: Tensor, view_logits: Tensor, generator: Generator | None = None
) -> Tensor:
    """How much the invariance loss rises when the pairs of views are shuffled (Definition 3).

    0 says that the assignments carry nothing of the points: any permutation is as good.

    Args:
        logits: (n, c) of the points.
        view_logits: (n, c) of their second views.
        generator: source of the permutation.
    """
    order = torch.randperm(len(logits), generator=generator, device=logits.device)
    return invariance_loss(logits[order], view_logits) - invariance_loss(logits, view_logits)


def triad(
    features: Tensor,
    logits: Tensor,
    view_logits: Tensor | None = None,
    generator: Generator | None = None,
) -> dict[str, Tensor]:
    """All measures of the three failure modes, as scalars.

    Args:
        features: (n, h) of the points.
        logits: (n, c) of the points.
        view_logits: (n, c) of their second views; without them, nothing is said of the third mode.
        generator: source of the permutation.
    """
    measures = {
        "feature_std": feature_std(features),
        "effective_rank": effective_rank(features),
        "cluster_entropy": cluster_entropy(logits),
        "largest_cluster_share": largest_cluster_share(logits),
    }
    if view_logits is not None:
        measures["view_agreement"] = view_agreement(logits, view_logits)
        measures["permutation_gap"] = permutation_gap(logits, view_logits, generator)
    return measures

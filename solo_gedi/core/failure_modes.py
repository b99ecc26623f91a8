"""Measures of the triad of failure modes (Definitions 1 to 3).

1. Representation collapse, the encoder maps every input to the same features: `feature_std` falls
   to 0 and `effective_rank` to 1.
2. Cluster collapse, every input falls into one cluster: `cluster_entropy` falls to 0 and
   `largest_cluster_share` rises to 1.
3. Permutation invariance of the assignments, the loss cannot tell which cluster belongs to which
   input: `permutation_gap` falls to 0 and `view_agreement` to chance. Both look at a point and its
   view alone. Where whole parts of a manifold have swapped clusters, as SwAV's half rings in the
   paper's Figure 3, every view agrees; then `neighbour_cut` is above what the data allow.

Features are (n, h), logits (n, c), for n points; every measure is a scalar tensor.
"""

import torch
from torch import Generator, Tensor

from solo_gedi.core.losses import invariance_loss


def feature_std(features: Tensor) -> Tensor:
    """Standard deviation of the features over the points, averaged over h.

    Args:
        features: (n, h).

    Returns:
        Scalar, at least 0; 0 is representation collapse.

    Example:
        >>> feature_std(torch.tensor([[1.0, 0.0], [3.0, 0.0]]))
        tensor(0.5000)
    """
    return features.std(0, unbiased=False).mean()


def effective_rank(features: Tensor) -> Tensor:
    """Number of directions that the centred features spread over.

    The exponential of the entropy of their normalised singular values (Roy and Vetterli, "The
    effective rank", 2007).

    Args:
        features: (n, h).

    Returns:
        Scalar in [1, min(n, h)]; 1 for features that do not vary, NaN if some are not finite.

    Example:
        >>> corners = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> round(effective_rank(corners).item(), 4)
        2.0
        >>> round(effective_rank(corners[:, :1].expand(4, 2)).item(), 4)
        1.0
    """
    if not features.isfinite().all():
        return features.new_tensor(float("nan"))
    singular = torch.linalg.svdvals(features - features.mean(0))
    total = singular.sum()
    shares = torch.where(total > 0, singular / total, torch.zeros_like(singular))
    entropy: Tensor = torch.special.entr(shares).sum()
    return entropy.exp()


def cluster_entropy(logits: Tensor) -> Tensor:
    """Entropy of the mean prediction q(y), in nats.

    Args:
        logits: (n, c).

    Returns:
        Scalar in [0, log c]: 0 is cluster collapse, log c is even use of all clusters.

    Example:
        >>> cluster_entropy(torch.zeros(5, 2))  # log 2
        tensor(0.6931)
    """
    entropy: Tensor = torch.special.entr(logits.softmax(-1).mean(0)).sum()
    return entropy


def clusters_used(logits: Tensor) -> Tensor:
    """Number of clusters that are the argmax of some point.

    Args:
        logits: (n, c).

    Returns:
        Scalar in [1, min(n, c)], of a floating-point type.

    Example:
        >>> clusters_used(torch.eye(5)[[0, 3, 3]])
        tensor(2.)
    """
    used = torch.zeros(logits.shape[-1], device=logits.device)
    return used.index_fill(0, logits.argmax(-1), 1.0).sum()


def largest_cluster_share(logits: Tensor) -> Tensor:
    """Share of the points that fall into the most frequent cluster.

    Args:
        logits: (n, c).

    Returns:
        Scalar in [1/c, 1]; 1 is cluster collapse.

    Example:
        >>> largest_cluster_share(torch.eye(5)[[0, 3, 3, 3]])
        tensor(0.7500)
    """
    counts = torch.bincount(logits.argmax(-1), minlength=logits.shape[-1])
    return counts.max() / len(logits)


def view_agreement(logits: Tensor, view_logits: Tensor) -> Tensor:
    """Share of the points whose two views fall into the same cluster.

    Args:
        logits: (n, c) of the points.
        view_logits: (n, c) of their second views.

    Returns:
        Scalar in [0, 1].

    Example:
        >>> view_agreement(torch.eye(3)[[0, 1, 2, 2]], torch.eye(3)[[0, 1, 2, 0]])
        tensor(0.7500)
    """
    return (logits.argmax(-1) == view_logits.argmax(-1)).float().mean()


def permutation_gap(
    logits: Tensor, view_logits: Tensor, generator: Generator | None = None
) -> Tensor:
    """How much the invariance loss rises when the pairs of views are shuffled (Definition 3).

    Args:
        logits: (n, c) of the points.
        view_logits: (n, c) of their second views.
        generator: source of the permutation, on the logits' device.

    Returns:
        Scalar in nats; 0 if the assignments say nothing about the points, so that any permutation
        is as good.

    Example:
        >>> round(permutation_gap(torch.zeros(4, 2), torch.zeros(4, 2)).item(), 4)
        0.0
    """
    order = torch.randperm(len(logits), generator=generator, device=logits.device)
    return invariance_loss(logits[order], view_logits) - invariance_loss(logits, view_logits)


def neighbour_cut(clusters: Tensor, neighbours: Tensor) -> Tensor:
    """Share of the edges of a nearest-neighbour graph that clusters cut, over its chance level.

    Needs no labels. Clusters that part what lies apart cut few edges; those that swap halfway along
    a manifold cut it there. How few is few depends on the data: compare it with another partition
    of the same graph, as by spectral clustering, which looks for the least cut. On the two rings
    that one has 0, and a cut by angle a few hundredths.

    It sees no more than the graph does. Nearest neighbours by the pixels of images have little to
    do with what they show, so that clusters of meaning may cut more than clusters of brightness;
    and clusters that merge or leave out whole parts cut nothing: see `largest_cluster_share`.

    Args:
        clusters: (n,) whole numbers from 0.
        neighbours: (n, k) indices of each point's nearest neighbours, without itself.

    Returns:
        Scalar, at least 0: the share of the n k edges between two clusters, over 1 - sum_y q_y^2,
        what it is for clusters of the same sizes q that know nothing of the points. NaN for a
        single cluster.

    Example:
        >>> pairs = torch.tensor([[1], [0], [3], [2]])  # two pairs, far from each other
        >>> neighbour_cut(torch.tensor([0, 0, 1, 1]), pairs)
        tensor(0.)
        >>> neighbour_cut(torch.tensor([0, 1, 1, 1]), pairs)
        tensor(1.3333)
    """
    between = (clusters[neighbours] != clusters[:, None]).float().mean()
    shares = torch.bincount(clusters) / len(clusters)
    chance = 1 - shares.square().sum()
    return torch.where((shares > 0).sum() > 1, between / chance, torch.full_like(chance, torch.nan))


def triad(
    features: Tensor,
    logits: Tensor,
    view_logits: Tensor | None = None,
    generator: Generator | None = None,
) -> dict[str, Tensor]:
    """All measures of the three failure modes.

    Args:
        features: (n, h) of the points.
        logits: (n, c) of the points.
        view_logits: (n, c) of their second views; without them the third mode is left out.
        generator: source of the permutation, see `permutation_gap`.

    Returns:
        Name of the measure -> scalar.

    Example:
        >>> list(triad(torch.zeros(4, 3), torch.zeros(4, 2)))
        ['feature_std', 'effective_rank', 'cluster_entropy', 'largest_cluster_share']
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

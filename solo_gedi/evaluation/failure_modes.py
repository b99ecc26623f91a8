"""The three failure modes of a model on a data set."""

import warnings

import numpy as np
import torch
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import spectral_clustering
from sklearn.neighbors import kneighbors_graph
from torch import Tensor

from solo_gedi.core import evaluation_mode, failure_modes
from solo_gedi.evaluation.features import Batches
from solo_gedi.inference import Model


def failure_modes_of(model: Model, batches: Batches, noise_std: float) -> dict[str, float]:
    """The measures of `core.failure_modes` over a whole set; its second views are noisy copies.

    Args:
        model: the trained model.
        batches: of (network inputs, labels).
        noise_std: standard deviation of the noise, in units of the sample space.

    Returns:
        `feature_std`, `effective_rank`, `cluster_entropy` (nats), `largest_cluster_share`,
        `view_agreement` and `permutation_gap`, see `core.failure_modes`.
    """
    generator = torch.Generator().manual_seed(0)
    parts = []
    with evaluation_mode(model), torch.inference_mode():
        for x, _ in batches:
            noise = torch.randn(x.shape, generator=generator) * noise_std
            view = model.space.to_input(model.space.to_samples(x) + noise)
            own, other = (model(points.to(model.device)) for points in (x, view))
            parts.append([part.cpu() for part in (*own, other.scores)])
    features, logits, view_logits = (torch.cat(part) for part in zip(*parts, strict=True))
    measures = failure_modes.triad(features, logits, view_logits, generator)
    return {name: float(value) for name, value in measures.items()}


def neighbour_cuts(points: Tensor, clusters: Tensor, k: int = 10) -> dict[str, float]:
    """`core.failure_modes.neighbour_cut` of clusters, and of spectral clustering into as many.

    Args:
        points: (n, ...) in whose space neighbours are near, on the CPU.
        clusters: (n,) whole numbers from 0.
        k: neighbours of a point.

    Returns:
        `model` and `spectral`; empty where all points are in one cluster, or each in its own.

    >>> line = torch.arange(20.0)[:, None] + torch.tensor([0.0] * 10 + [50.0] * 10)[:, None]
    >>> parted, halved = torch.arange(20) // 10, torch.arange(20) % 10 // 5
    >>> neighbour_cuts(line, parted, k=2)
    {'model': 0.0, 'spectral': 0.0}
    >>> neighbour_cuts(line, halved, k=2)["model"] > 0
    True
    """
    number = len(clusters.unique())
    if not 2 <= number < len(clusters):
        return {}
    graph = kneighbors_graph(points.flatten(1).numpy(), k, include_self=False)
    neighbours = torch.from_numpy(graph.indices.reshape(len(points), k)).long()
    either = graph.maximum(graph.T)
    components, parts = connected_components(either, directed=False)
    if components >= number:
        spectral = np.minimum(parts, number - 1)
    else:
        with warnings.catch_warnings():  # of a graph that falls into fewer parts than clusters
            warnings.simplefilter("ignore", UserWarning)
            spectral = spectral_clustering(
                either, n_clusters=number, assign_labels="cluster_qr", random_state=0
            )
    cuts = {"model": clusters, "spectral": torch.from_numpy(spectral).long()}
    return {
        source: float(failure_modes.neighbour_cut(partition, neighbours))
        for source, partition in cuts.items()
    }

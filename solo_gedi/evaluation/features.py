"""What a model says of a data set."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from solo_gedi.core import evaluation_mode, log_density
from solo_gedi.inference import Model

Batches = Iterable[tuple[Tensor, Tensor]]  # of (network inputs, labels)


class Features(NamedTuple):
    """A model's outputs for n points, on the CPU.

    Attributes:
        features: (n, h) of the backbone.
        clusters: (n,) argmax of the model's scores.
        labels: (n,); -1 where there is none.
        confidence: (n,) shares p(y|x) of these clusters.
        log_density: (n,) log p up to a constant.
    """

    features: Tensor
    clusters: Tensor
    labels: Tensor
    confidence: Tensor
    log_density: Tensor


def extract(model: Model, batches: Batches) -> Features:
    """Run a model in evaluation mode over a data set.

    Args:
        model: the trained model.
        batches: of (network inputs, labels).

    Returns:
        What it says of each point, in their order.
    """
    parts = []
    with evaluation_mode(model), torch.inference_mode():
        for x, labels in batches:
            features, scores = model(x.to(model.device))
            confidence, clusters = scores.softmax(-1).max(1)
            found = (features, clusters, labels, confidence, log_density(scores))
            parts.append([part.cpu() for part in found])
    return Features(*(torch.cat(part) for part in zip(*parts, strict=True)))

"""A model's features and clusters of a data set."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from solo_gedi.core import evaluation_mode
from solo_gedi.inference import Model

Batches = Iterable[tuple[Tensor, Tensor]]  # of (network inputs, labels)


class Features(NamedTuple):
    """A model's outputs for n points, on the CPU.

    Attributes:
        features: (n, h) of the backbone.
        clusters: (n,) argmax of the model's scores.
        labels: (n,).
    """

    features: Tensor
    clusters: Tensor
    labels: Tensor


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
            out = model(x.to(model.device))
            parts.append((out.features.cpu(), out.scores.argmax(1).cpu(), labels))
    return Features(*(torch.cat(part) for part in zip(*parts, strict=True)))

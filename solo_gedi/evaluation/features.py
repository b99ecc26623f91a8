"""What a pretrained method says of a data set."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from solo_gedi.core import evaluation_mode
from solo_gedi.hosts import BaseMethod


def cluster_output(model: BaseMethod) -> str:
    """Name of the output whose argmax is the cluster: SwAV's prototype scores, else `z`."""
    return "p" if model.cfg.method == "swav" else "z"


class Features(NamedTuple):
    """Outputs for n points, on the CPU.

    Attributes:
        feats: (n, h) of the backbone.
        clusters: (n,) argmax of the cluster head (GEDI, JEM), of the prototype scores (SwAV) or
            of the projector's output (Barlow Twins and others, as in the paper).
        labels: (n,).
    """

    feats: Tensor
    clusters: Tensor
    labels: Tensor


def extract(model: BaseMethod, loader: Iterable[tuple[Tensor, Tensor]]) -> Features:
    """Run a method in evaluation mode over batches of (inputs, labels)."""
    output = cluster_output(model)
    batches = []
    with evaluation_mode(model), torch.inference_mode():
        for x, labels in loader:
            out = model(x.to(model.device))
            batches.append((out["feats"].cpu(), out[output].argmax(1).cpu(), labels))
    return Features(*(torch.cat(parts) for parts in zip(*batches, strict=True)))

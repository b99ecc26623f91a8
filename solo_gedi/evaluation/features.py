"""What a pretrained method says of a data set."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from solo_gedi.core import evaluation_mode, log_density
from solo_gedi.core.energy import LogDensity
from solo_gedi.data import SampleSpace
from solo_gedi.errors import ConfigError
from solo_gedi.hosts import BaseMethod, cluster_output

Batches = Iterable[tuple[Tensor, Tensor]]  # of (network inputs, labels)


def scores(out: dict[str, Tensor], model: BaseMethod) -> Tensor:
    """The output (n, c) of a method whose argmax is the cluster.

    Raises:
        ConfigError: for a method without one.
    """
    name = cluster_output(model)
    if name not in out:
        raise ConfigError(f"{model.cfg.method} has no output {name!r} to take clusters from")
    return out[name]


def log_density_of(model: BaseMethod, space: SampleSpace) -> LogDensity:
    """Log p up to a constant (Eq. 6) of points in the sample space, (n, ...) -> (n,).

    For a method without an energy it is the logsumexp of the output that its clusters are the
    argmax of, as the paper has it for SwAV and Barlow Twins.
    """
    return lambda samples: log_density(scores(model(space.to_input(samples)), model))


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


def extract(model: BaseMethod, batches: Batches) -> Features:
    """Run a method in evaluation mode over batches."""
    parts = []
    with evaluation_mode(model), torch.inference_mode():
        for x, labels in batches:
            out = model(x.to(model.device))
            parts.append((out["feats"].cpu(), scores(out, model).argmax(1).cpu(), labels))
    return Features(*(torch.cat(part) for part in zip(*parts, strict=True)))

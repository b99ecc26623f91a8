"""What turns a backbone's features into scores whose argmax is the cluster."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solo_gedi.core import EnergyHead
from solo_gedi.core.checkpoints import check_state, part_of
from solo_gedi.errors import CheckpointError


class Prototypes(nn.Module):
    """SwAV's U^T g / tau: of a projector's direction g and unit prototypes U, over the temperature.

    Args:
        projector: features (n, h) -> (n, d).
        directions: (c, d), of any length.
        temperature: tau; SwAV's p(y|x) is the softmax of what it divides.
    """

    def __init__(self, projector: nn.Module, directions: Tensor, temperature: float) -> None:
        super().__init__()
        self.projector, self.temperature = projector, temperature
        # In single precision, as all else here: of "64-true" and "bf16-true" they are not.
        self.prototypes = nn.Parameter(F.normalize(directions.float(), dim=1))

    def forward(self, features: Tensor) -> Tensor:
        """Features (n, h) -> scores in [-1 / tau, 1 / tau], (n, c)."""
        cosines = F.normalize(self.projector(features), dim=-1) @ self.prototypes.T
        return cosines / self.temperature


def build_head(
    state: Mapping[str, Tensor], kwargs: Mapping[str, Any], path: Path
) -> tuple[nn.Module, str]:
    """The head of a method, with its weights, and what it is called.

    That of GEDI and JEM, SwAV's prototypes, or the projector of another method.

    Args:
        state: all weights of the checkpoint.
        kwargs: `method_kwargs` of its config.
        path: of the checkpoint, for messages.

    Raises:
        CheckpointError: if there is no head, or one that this package cannot build.
    """
    projector = part_of(dict(state), "projector")
    if not projector:
        raise CheckpointError(f"checkpoint {path} has no projector to take clusters from")
    if energy := part_of(projector, "layers"):
        hidden, in_dim = energy["0.weight"].shape
        batch_norm = "1.running_mean" in energy
        clusters = len(energy["3.weight" if batch_norm else "2.weight"])
        temperature = float(kwargs.get("temperature", 1.0))
        head = EnergyHead(in_dim, hidden, clusters, temperature, batch_norm=batch_norm)
        check_state(projector, head.state_dict(), path)
        head.load_state_dict(projector)
        return head, "cluster head"
    network = _perceptron(projector, path)
    prototypes = part_of(dict(state), "prototypes")
    directions = prototypes.get("weight_v", prototypes.get("weight"))
    if directions is not None:
        temperature = float(kwargs.get("temperature", 0.1))  # solo-learn's default
        return Prototypes(network, directions, temperature), "prototypes"
    return network, "projector"


def _perceptron(state: dict[str, Tensor], path: Path) -> nn.Sequential:
    """Linear layers, batch norms and, wherever neither is, ReLUs, as solo-learn's projectors are.

    Raises:
        CheckpointError: for weights of anything else.
    """
    named = {key.partition(".")[0] for key in state}
    if not all(name.isdecimal() for name in named):
        raise CheckpointError(
            f"checkpoint {path} has a projector of parts {sorted(named)}, which only the "
            "solo-learn that trained it can build"
        )
    layers: list[nn.Module] = []
    for index in range(max(map(int, named)) + 1):
        own = part_of(state, str(index))
        weight, mean = own.get("weight"), own.get("running_mean")
        if mean is not None:
            layers.append(nn.BatchNorm1d(len(mean), affine=weight is not None))
        elif weight is not None:
            out_dim, in_dim = weight.shape
            layers.append(nn.Linear(in_dim, out_dim, bias="bias" in own))
        else:
            layers.append(nn.ReLU())
    network = nn.Sequential(*layers)
    check_state(state, network.state_dict(), path)
    network.load_state_dict(state)
    return network


def size_of(head: nn.Module, in_dim: int) -> int:
    """How many scores a head gives for features of size `in_dim`."""
    with torch.no_grad():
        scores: Tensor = head.eval()(torch.zeros(1, in_dim))
    return scores.shape[1]

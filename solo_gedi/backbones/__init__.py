"""The paper's own networks, and the backbones that need no solo-learn to be built."""

from solo_gedi.backbones.build import (
    BACKBONES,
    FACTORIES,
    BackboneFactory,
    build_backbone,
    features_dim,
)
from solo_gedi.backbones.energy_resnet8 import EnergyResNet8
from solo_gedi.backbones.mlp import MLP

__all__ = [
    "FACTORIES",
    "MLP",
    "BACKBONES",
    "BackboneFactory",
    "EnergyResNet8",
    "build_backbone",
    "features_dim",
]

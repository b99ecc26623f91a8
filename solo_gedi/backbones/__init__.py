"""The paper's own networks, with the attributes that solo-learn expects of a backbone."""

from solo_gedi.backbones.energy_resnet8 import EnergyResNet8
from solo_gedi.backbones.mlp import MLP

# Not named `resnet*`: solo-learn replaces the stem and the last layer of backbones so named.
BACKBONES = {"energy_resnet8": EnergyResNet8, "mlp": MLP}

__all__ = ["BACKBONES", "MLP", "EnergyResNet8"]

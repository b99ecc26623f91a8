"""Makes the installed solo-learn know this package's methods and backbones."""

from collections.abc import Callable
from typing import Any

from torch import nn


def register() -> None:
    """Add `gedi`, `jem`, `energy_resnet8` and `mlp` to solo-learn; may run any number of times.

    Raises:
        ConfigError: if no solo-learn is installed.
    """
    from solo_gedi import hosts
    from solo_gedi.backbones import BACKBONES
    from solo_gedi.methods import METHODS

    hosts.mend()
    for name, method in METHODS.items():
        hosts.add_method(name, method)
    for name, backbone in BACKBONES.items():
        hosts.add_backbone(name, _factory(backbone))


def _factory(backbone: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """solo-learn passes the method's name to every backbone's factory."""

    def build(method: str | None = None, **kwargs: Any) -> nn.Module:
        return backbone(**kwargs)

    return build

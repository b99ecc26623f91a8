"""Building the backbone that a config names, as solo-learn builds it."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from solo_gedi.backbones.energy_resnet8 import EnergyResNet8
from solo_gedi.backbones.mlp import MLP
from solo_gedi.errors import ConfigError, reason

# Called as factory(method, **kwargs): solo-learn passes the method's name to every backbone.
BackboneFactory = Callable[..., nn.Module]

_SIZES = ("tiny", "small", "base", "large")
_OF_TIMM = {
    **{f"vit_{size}": f"vit_{size}_patch16_224" for size in _SIZES},
    **{f"swin_{size}": f"swin_{size}_patch4_window7_224" for size in _SIZES},
    **{f"convnext_{size}": f"convnext_{size}" for size in _SIZES},
}
_SMALL_IMAGES = ("cifar10", "cifar100")  # for which solo-learn replaces a ResNet's stem


def _own(build: Callable[..., nn.Module]) -> BackboneFactory:
    return lambda method=None, **kwargs: build(**kwargs)


def _of_torchvision(name: str) -> BackboneFactory:
    def build(method: str | None = None, **kwargs: Any) -> nn.Module:
        from torchvision import models

        return getattr(models, name)(**kwargs)

    return build


def _of_timm(name: str) -> BackboneFactory:
    def build(method: str | None = None, **kwargs: Any) -> nn.Module:
        from timm import models

        if name.startswith(("vit_tiny", "vit_small")) and method == "mocov3":
            kwargs.setdefault("num_heads", 12)  # as solo-learn has it
        # Not by timm.create_model: solo-learn puts networks of its own in the place of some names.
        return getattr(models, name)(pretrained=False, num_classes=0, **kwargs)

    return build


# Those that can be built without solo-learn. Ours are not named `resnet*`: solo-learn replaces the
# stem and the last layer of backbones so named.
BACKBONES: dict[str, BackboneFactory] = {
    "energy_resnet8": _own(EnergyResNet8),
    "mlp": _own(MLP),
}
FACTORIES: dict[str, BackboneFactory] = {
    **BACKBONES,
    **{name: _of_torchvision(name) for name in ("resnet18", "resnet50")},
    **{name: _of_timm(of_timm) for name, of_timm in _OF_TIMM.items()},
}


def build_backbone(
    name: str,
    kwargs: Mapping[str, Any] | None = None,
    *,
    method: str | None = None,
    dataset: str | None = None,
    factories: Mapping[str, BackboneFactory] = FACTORIES,
) -> nn.Module:
    """A backbone with random weights and no classifier on top.

    solo-learn takes the last layer off `resnet*` backbones and, for CIFAR, replaces their stem.

    Args:
        name: a key of `factories`, as `backbone.name` of a config.
        kwargs: of the factory, as `backbone.kwargs`.
        method: the method's name, which some of solo-learn's factories ask for.
        dataset: as `data.dataset`.
        factories: name -> factory.

    Raises:
        ConfigError: for an unknown name, or arguments that the backbone refuses.

    Example:
        >>> build_backbone("energy_resnet8", {"width": 8}).num_features
        8
    """
    if name not in factories:
        raise ConfigError(f"backbone.name={name!r} does not exist; choose from {sorted(factories)}")
    given = dict(kwargs or {})
    try:
        backbone = factories[name](method, **given)
    except (ArithmeticError, AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"backbone.kwargs={given} does not fit {name}: {reason(error)}"
        ) from error
    if name.startswith("resnet"):
        backbone.fc = nn.Identity()
        if dataset in _SMALL_IMAGES:
            backbone.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=2, bias=False)
            backbone.maxpool = nn.Identity()
    return backbone


def features_dim(backbone: nn.Module) -> int:
    """Size of a backbone's features, `inplanes` of torchvision's ResNets or else `num_features`.

    Args:
        backbone: as `build_backbone` returns it.

    Example:
        >>> features_dim(MLP(num_features=5))
        5
    """
    return int(getattr(backbone, "inplanes", None) or backbone.num_features)  # type: ignore[arg-type]

"""solo-learn 1.0.2's methods, built from a config."""

import inspect
from argparse import ArgumentParser
from typing import Any

from omegaconf import DictConfig

from solo_gedi.errors import ConfigError
from solo_gedi.hosts.pypi import solo
from solo_gedi.hosts.pypi.base import BaseMethod

# Those that run without a momentum network, whose hooks Lightning 2 calls in another way.
NAMES = ("barlow_twins", "nnclr", "nnsiam", "simclr", "simsiam", "swav", "vicreg")


def _arguments(method: type, cfg: DictConfig) -> dict[str, Any]:
    """A method's own keyword arguments: from `method_kwargs`, else its command line's defaults.

    Raises:
        ConfigError: for an unknown key, or a missing one without a default.
    """
    given = dict(cfg.method_kwargs)
    # The callback that adds noise to any method's views reads its setting from here.
    given.pop("input_noise_std", None)
    known = _parameters(method)
    if unknown := sorted(set(given) - set(known)):
        raise ConfigError(f"method_kwargs of {cfg.method} has no {unknown}; it takes {known}")
    parser = method.add_model_specific_args(ArgumentParser())  # type: ignore[attr-defined]
    defaults = {name: parser.get_default(name) for name in known}
    values = {**defaults, **given}
    if missing := [name for name in known if values[name] is None]:
        raise ConfigError(f"method_kwargs of {cfg.method} needs {missing}")
    return values


def _parameters(method: type) -> list[str]:
    parameters = inspect.signature(method.__init__).parameters  # type: ignore[misc]
    return [name for name, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD][1:]


def method_keys(name: str) -> frozenset[str] | None:
    """The keys of a config that a method of solo-learn's reads itself; None of other methods."""
    if name not in NAMES:
        return None
    known = (*_parameters(solo.METHODS[name]), "input_noise_std")
    return frozenset(f"method_kwargs.{key}" for key in known)


def adapt(method: type) -> type:
    """A method of 1.0.2 between which and its base class 1.0.6's config-built one stands."""

    def __init__(self: Any, cfg: DictConfig) -> None:
        cfg = self.add_and_assert_specific_cfg(cfg)
        method.__init__(self, cfg=cfg, **_arguments(method, cfg))  # type: ignore[misc]
        if isinstance(self, solo.SwAV):
            # Prototypes of unit norm, as in 1.0.6 and in SwAV's paper.
            self.prototypes.weight_g.data.fill_(1)
            self.prototypes.weight_g.requires_grad = False

    own = {
        "__init__": __init__,
        "__doc__": method.__doc__,
        # These methods run their projectors in training_step, on the features.
        "_base_shared_step": solo.base.BaseMethod._base_shared_step,
    }
    return type(method.__name__, (method, BaseMethod), own)


METHODS: dict[str, type] = {name: adapt(solo.METHODS[name]) for name in NAMES}

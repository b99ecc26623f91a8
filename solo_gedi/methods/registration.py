"""Registers this package's methods, backbones and data sets with the installed solo-learn."""

import warnings
from collections.abc import Mapping
from typing import Any

_datasets: set[str] = set()  # the names that `register` has added


def register() -> None:
    """Add this package's methods, backbones and data sets to solo-learn.

    It may be called again. Warns before it replaces a method, backbone or data set of the
    same name that is not this package's.

    Raises:
        ConfigError: if no solo-learn is installed.
    """
    from solo_gedi import hosts
    from solo_gedi.backbones import BACKBONES
    from solo_gedi.data import DATASETS
    from solo_gedi.methods import METHODS

    hosts.mend()
    _add("method", METHODS, hosts.METHODS)
    _add("backbone", BACKBONES, hosts.BACKBONES)
    for name, spec in DATASETS.items():
        if name not in _datasets:
            theirs = {name: None} if hosts.has_dataset(name) else {}
            _warn_before_replacing("data set", name, theirs, spec)
            hosts.add_dataset(name, spec.num_classes)
            _datasets.add(name)


def _add(kind: str, ours: Mapping[str, Any], theirs: dict[str, Any]) -> None:
    for name, own in ours.items():
        _warn_before_replacing(kind, name, theirs, own)
        theirs[name] = own


def _warn_before_replacing(kind: str, name: str, theirs: Mapping[str, Any], ours: Any) -> None:
    if name in theirs and theirs[name] is not ours:
        warnings.warn(
            f"solo-learn already has a {kind} {name!r}; solo-gedi replaces it", stacklevel=3
        )

"""Configs in solo-learn's schema: the shipped ones, composing them, and what they may hold.

Importing this package costs neither Hydra nor torch: what needs them is imported when it is asked
for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from solo_gedi.config.shipped import KINDS as KINDS
from solo_gedi.config.shipped import Kind as Kind
from solo_gedi.config.shipped import copy_configs as copy_configs
from solo_gedi.config.shipped import find_config as find_config
from solo_gedi.config.shipped import list_configs as list_configs
from solo_gedi.config.shipped import shipped_configs as shipped_configs

if TYPE_CHECKING:
    from solo_gedi.config.checks import LINEAR as LINEAR
    from solo_gedi.config.checks import PRETRAIN as PRETRAIN
    from solo_gedi.config.checks import check as check
    from solo_gedi.config.checks import check_choice as check_choice
    from solo_gedi.config.checks import prepare as prepare
    from solo_gedi.config.compose import as_config as as_config
    from solo_gedi.config.compose import load_config as load_config
    from solo_gedi.config.compose import read_overrides as read_overrides
    from solo_gedi.config.keys import EVALUATE_KEYS as EVALUATE_KEYS
    from solo_gedi.config.keys import LINEAR_KEYS as LINEAR_KEYS
    from solo_gedi.config.keys import PRETRAIN_KEYS as PRETRAIN_KEYS
    from solo_gedi.config.keys import check_keys as check_keys

_LATE = {
    **dict.fromkeys(("LINEAR", "PRETRAIN", "check", "check_choice", "prepare"), "checks"),
    **dict.fromkeys(("as_config", "load_config", "read_overrides"), "compose"),
    **dict.fromkeys(("EVALUATE_KEYS", "LINEAR_KEYS", "PRETRAIN_KEYS", "check_keys"), "keys"),
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)

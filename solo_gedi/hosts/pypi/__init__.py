"""solo-learn 1.0.2, the only release on PyPI, on today's Lightning and from 1.0.6's configs.

It was written for torch 1.9 and Lightning 1.4 and builds its methods from keyword arguments. No
class of it is patched: `BaseMethod` stands between its methods and its own base class, and what
no longer works there is done anew. Method by method, what is missing names the GitHub version.
"""

from solo_gedi.hosts.pypi.base import BACKBONES, BaseMethod, WeightedKNN
from solo_gedi.hosts.pypi.config import add_dataset, has_dataset, parse_linear, parse_pretrain
from solo_gedi.hosts.pypi.images import (
    build_transform,
    labelled_images,
    labelled_transforms,
    multi_view,
    pretrain_images,
)
from solo_gedi.hosts.pypi.linear import LinearModel
from solo_gedi.hosts.pypi.methods import METHODS, method_keys
from solo_gedi.hosts.pypi.solo import SinkhornKnopp
from solo_gedi.hosts.pypi.solo import barlow_loss_func as barlow_loss
from solo_gedi.hosts.pypi.solo import swav_loss_func as swav_loss


def mend() -> None:
    """Nothing to do: `BaseMethod` is mended from the start."""


__all__ = [
    "BACKBONES",
    "METHODS",
    "BaseMethod",
    "LinearModel",
    "SinkhornKnopp",
    "WeightedKNN",
    "add_dataset",
    "barlow_loss",
    "build_transform",
    "has_dataset",
    "labelled_images",
    "labelled_transforms",
    "mend",
    "method_keys",
    "multi_view",
    "parse_linear",
    "parse_pretrain",
    "pretrain_images",
    "swav_loss",
]

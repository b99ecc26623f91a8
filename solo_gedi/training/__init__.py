"""Pretraining and the linear probe, by configs in solo-learn's schema."""

from solo_gedi.training.job import Run
from solo_gedi.training.linear import linear
from solo_gedi.training.pretrain import pretrain

__all__ = ["Run", "linear", "pretrain"]

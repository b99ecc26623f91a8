"""Data sets that solo-learn does not have, and the map from its pixels to those of the chains."""

from solo_gedi.data.datasets import (
    DATASETS,
    KNOWN,
    DatasetSpec,
    FreshPoints,
    fixed_points,
    spec_of,
)
from solo_gedi.data.images import UnlabelledImages, read_image, save_grid
from solo_gedi.data.sample_space import SampleSpace

__all__ = [
    "DATASETS",
    "KNOWN",
    "DatasetSpec",
    "FreshPoints",
    "SampleSpace",
    "UnlabelledImages",
    "fixed_points",
    "read_image",
    "save_grid",
    "spec_of",
]

"""Data sets that solo-learn does not have, and the map from its pixels to those of the chains."""

from solo_gedi.data.datasets import (
    DATASETS,
    DOWNLOAD,
    KNOWN,
    DatasetSpec,
    FreshPoints,
    fixed_points,
    spec_of,
)
from solo_gedi.data.folders import FolderImages, class_folders, find_images
from solo_gedi.data.images import grid_picture, read_image, save_grid, to_picture, to_rgb
from solo_gedi.data.sample_space import SampleSpace

__all__ = [
    "DATASETS",
    "DOWNLOAD",
    "KNOWN",
    "DatasetSpec",
    "FolderImages",
    "FreshPoints",
    "SampleSpace",
    "class_folders",
    "find_images",
    "fixed_points",
    "grid_picture",
    "read_image",
    "save_grid",
    "spec_of",
    "to_picture",
    "to_rgb",
]

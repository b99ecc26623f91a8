"""The installed solo-learn, whichever generation it is, behind one set of names.

`GENERATION` is "github" (1.0.5 and later) or "pypi" (1.0.2), found in `SOLO_FOLDER`.
Nothing outside this package imports solo-learn. What the names below mean:

- `BaseMethod`, `LinearModel`, `METHODS`: solo-learn's, built from a config as in 1.0.6;
- `WeightedKNN`: its kNN metric;
- `barlow_loss`, `swav_loss`, `SinkhornKnopp`: its baselines' losses;
- `BACKBONES`: name -> factory(method, **kwargs), which the methods build from;
- `method_keys(name)`: what a method of its own reads of a config;
- `add_dataset`, `has_dataset`: the names of its data sets;
- `mend()`: repairs what keeps it from running on today's libraries;
- `build_transform(dataset, augmentation)`, `multi_view(transforms, copies)`: its augmentations;
- `pretrain_images(cfg, transform)`, `labelled_images(cfg, train, val)`: its data sets;
- `labelled_transforms(dataset)`: the fixed pipelines of its linear probe;
- `parse_pretrain(cfg)`, `parse_linear(cfg)`: its defaults, filled into a config.

Their types are in `__init__.pyi`.
"""

from solo_gedi.hosts._detect import GENERATION as GENERATION
from solo_gedi.hosts._detect import SOLO_FOLDER as SOLO_FOLDER
from solo_gedi.hosts._detect import describe as describe
from solo_gedi.hosts._shared import build_backbone as build_backbone
from solo_gedi.hosts._shared import cluster_scores as cluster_scores
from solo_gedi.hosts._shared import features_dim as features_dim
from solo_gedi.hosts._shared import normalization as normalization
from solo_gedi.hosts._shared import pipelines as pipelines
from solo_gedi.hosts._shared import renormalize as renormalize

if GENERATION == "github":
    from solo_gedi.hosts.github import *  # noqa: F403
else:
    from solo_gedi.hosts.pypi import *  # noqa: F403

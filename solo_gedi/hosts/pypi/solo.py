"""solo-learn 1.0.2's modules, imported with stand-ins for what it cannot find today."""

import sys
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import lightning.pytorch
import lightning.pytorch.callbacks


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Let old names lead to today's modules, only while solo-learn is being imported.

    `pytorch_lightning` must be `lightning.pytorch`, or a Trainer of the latter would not know
    its modules; lightning-bolts does not import beside Lightning 2, and its one scheduler that
    is asked for is never called; `distutils`, imported and not used, left Python in 3.12.
    """
    bolts = types.ModuleType("pl_bolts.optimizers.lr_scheduler")
    bolts.LinearWarmupCosineAnnealingLR = None  # type: ignore[attr-defined]
    modules = {
        "pytorch_lightning": lightning.pytorch,
        "pytorch_lightning.callbacks": lightning.pytorch.callbacks,
        "pl_bolts": types.ModuleType("pl_bolts"),
        "pl_bolts.optimizers": types.ModuleType("pl_bolts.optimizers"),
        "pl_bolts.optimizers.lr_scheduler": bolts,
        "distutils": types.ModuleType("distutils"),
    }
    found = {name: sys.modules[name] for name in modules if name in sys.modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]
        sys.modules.update(found)


with _stand_ins(), warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from solo.losses.barlow import barlow_loss_func as barlow_loss_func
    from solo.losses.swav import swav_loss_func as swav_loss_func
    from solo.methods import METHODS as METHODS
    from solo.methods import base as base
    from solo.methods import linear as linear
    from solo.methods.swav import SwAV as SwAV
    from solo.utils import classification_dataloader as classification_dataloader
    from solo.utils import pretrain_dataloader as pretrain_dataloader
    from solo.utils.knn import WeightedKNNClassifier as WeightedKNNClassifier
    from solo.utils.sinkhorn_knopp import SinkhornKnopp as SinkhornKnopp

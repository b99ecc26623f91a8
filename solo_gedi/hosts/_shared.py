"""What both generations need in the same form."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from torchmetrics import Metric
from torchvision import transforms

from solo_gedi.data import DATASETS
from solo_gedi.errors import ConfigError, reason

BackboneFactory = Callable[..., nn.Module]  # called as factory(method, **kwargs)


def build_backbone(factories: Mapping[str, BackboneFactory], cfg: DictConfig) -> nn.Module:
    """The backbone that a config names, built as solo-learn builds it.

    solo-learn takes the last layer off `resnet*` backbones and, for CIFAR, replaces their stem.

    Args:
        factories: name -> factory.
        cfg: needs `backbone.name`, `backbone.kwargs`, `data.dataset` and `method` or
            `pretrain_method`.

    Raises:
        ConfigError: for an unknown name, or arguments that the backbone refuses.
    """
    name, kwargs = cfg.backbone.name, dict(cfg.backbone.get("kwargs") or {})
    if name not in factories:
        raise ConfigError(f"backbone.name={name!r} does not exist; choose from {sorted(factories)}")
    try:
        backbone = factories[name](cfg.get("method") or cfg.get("pretrain_method"), **kwargs)
    except (ArithmeticError, AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"backbone.kwargs={kwargs} does not fit {name}: {reason(error)}"
        ) from error
    if name.startswith("resnet"):
        backbone.fc = nn.Identity()
        if cfg.data.dataset in ("cifar10", "cifar100"):
            backbone.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=2, bias=False)
            backbone.maxpool = nn.Identity()
    return backbone


def features_dim(backbone: nn.Module) -> int:
    """Size of a backbone's features: torchvision's ResNets say `inplanes`, the others so."""
    return int(getattr(backbone, "inplanes", None) or backbone.num_features)  # type: ignore[arg-type]


def with_normalization(dataset: str, augmentation: DictConfig) -> dict[str, Any]:
    """An augmentation config with mean and std filled in: our data set's, else ImageNet's."""
    mean, std = (
        (DATASETS[dataset].mean, DATASETS[dataset].std)
        if dataset in DATASETS
        else (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    )
    return {"mean": mean, "std": std, **dict(augmentation)}


def normalization(transform: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std per channel of the Normalize step inside a pipeline that a host built."""
    steps = getattr(transform, "transform", transform).transforms
    step = next(step for step in steps if isinstance(step, transforms.Normalize))
    return tuple(map(float, step.mean)), tuple(map(float, step.std))


def cluster_output(model: Any) -> str:
    """Name of the output whose argmax is the cluster.

    SwAV's prototype scores; else `z`, which is the cluster head's of GEDI and JEM and the
    projector's of Barlow Twins and others, as in the paper.
    """
    return "p" if model.cfg.method == "swav" else "z"


class WeightedKNNMixin:
    """Mends solo-learn's weighted kNN: today's torchmetrics know no `compute_on_step`.

    Put before it among the bases. Unlabelled training points (target -1) are left out.
    """

    def __init__(
        self,
        k: int = 20,
        T: float = 0.07,
        max_distance_matrix_size: int = 5_000_000,
        distance_fx: str = "euclidean",
        epsilon: float = 1e-5,
    ) -> None:
        Metric.__init__(self)  # type: ignore[arg-type]
        self.k, self.T, self.epsilon = k, T, epsilon
        self.max_distance_matrix_size, self.distance_fx = max_distance_matrix_size, distance_fx
        for state in ("train_features", "train_targets", "test_features", "test_targets"):
            self.add_state(state, default=[], persistent=False)  # type: ignore[attr-defined]

    def forward(self, **batch: Tensor) -> None:
        """Collect a batch; torchmetrics' own forward would compute the metric at each one."""
        if "train_targets" in batch:
            labelled = batch["train_targets"] != -1
            batch = {name: value[labelled] for name, value in batch.items()}
        self.update(**batch)  # type: ignore[attr-defined]


class FewClassesMixin:
    """Mends solo-learn's linear probe, which asks for the top five of fewer than five classes.

    Put before it among the bases.
    """

    def forward(self, X: Tensor) -> dict[str, Tensor]:
        """Logits and features; absent classes are filled up to five with probability 0."""
        out = super().forward(X)  # type: ignore[misc]
        missing = max(0, 5 - out["logits"].size(1))
        out["logits"] = F.pad(out["logits"], (0, missing), value=torch.finfo(X.dtype).min)
        return out

"""What both generations need in the same form."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from torch import Tensor, nn
from torchmetrics import Metric
from torchvision import transforms

from solo_gedi import backbones
from solo_gedi.backbones import BackboneFactory as BackboneFactory
from solo_gedi.backbones import features_dim as features_dim
from solo_gedi.data import spec_of
from solo_gedi.data.transforms import whole
from solo_gedi.errors import DataError


def build_backbone(factories: Mapping[str, BackboneFactory], cfg: DictConfig) -> nn.Module:
    """The backbone that a config names; see `backbones.build_backbone`.

    Args:
        factories: name -> factory.
        cfg: needs `backbone.name`, `backbone.kwargs`, `data.dataset` and `method` or
            `pretrain_method`.

    Raises:
        ConfigError: for an unknown name, or arguments that the backbone refuses.
    """
    return backbones.build_backbone(
        cfg.backbone.name,
        cfg.backbone.get("kwargs"),
        method=cfg.get("method") or cfg.get("pretrain_method"),
        dataset=cfg.data.dataset,
        factories=factories,
    )


def with_normalization(dataset: str, augmentation: DictConfig) -> dict[str, Any]:
    """An augmentation config with the data set's mean and std where it has none."""
    mean, std = spec_of(dataset).normalization(augmentation)
    given = {str(key): value for key, value in augmentation.items() if value is not None}
    return {**given, "mean": mean, "std": std}


def renormalize(transform: Any, mean: Any, std: Any) -> Any:
    """A pipeline that a host built, with this mean and std in its Normalize step."""
    step = _normalize_step(transform)
    step.mean, step.std = tuple(map(float, mean)), tuple(map(float, std))
    return transform


def whole_image(transform: Any, size: int) -> Any:
    """A pipeline that a host built, with the image as evaluation takes it in place of a crop.

    The shorter side becomes `size`, the middle is cut out.
    """
    steps = getattr(transform, "transform", transform).transforms
    cropping = (transforms.RandomResizedCrop, transforms.Resize)
    kept = [step for step in steps if not isinstance(step, cropping)]
    steps[:] = [*whole(size), *kept]
    return transform


def normalization(transform: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std per channel of the Normalize step inside a pipeline that a host built."""
    step = _normalize_step(transform)
    return tuple(map(float, step.mean)), tuple(map(float, step.std))


def pipelines(loader: Any) -> list[Any]:
    """The pipelines of views in a host's own loader of training data; none of ours."""
    made = getattr(getattr(loader, "dataset", None), "transform", None)
    return [part for part in getattr(made, "transforms", ()) if hasattr(part, "transform")]


def _normalize_step(transform: Any) -> transforms.Normalize:
    steps = getattr(transform, "transform", transform).transforms
    return next(step for step in steps if isinstance(step, transforms.Normalize))


def cluster_scores(model: Any, outputs: Mapping[str, Tensor]) -> Tensor | None:
    """Scores (n, c) whose argmax is the cluster and whose softmax is p(y|x).

    Those of a layer of prototypes over the temperature, as SwAV has them; else `z`, which is the
    cluster head's of GEDI and JEM and the projector's of Barlow Twins and others, as in the paper.

    Args:
        model: the method.
        outputs: what it says of n inputs.

    Returns:
        None of a method without a projector, as MAE.
    """
    if isinstance(getattr(model, "prototypes", None), nn.Linear):
        return outputs["p"] / model.temperature
    return outputs.get("z")


class WeightedKNNMixin:
    """Mends solo-learn's weighted kNN: today's torchmetrics know no `compute_on_step`.

    Put before it among the bases. Unlabelled training points (target -1) are left out; test points
    may be of some of the classes.
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
        """Collect a batch; torchmetrics' own forward would compute the metric at each one.

        In single precision at least: distances between features of 16 bits are mostly rounding.
        """
        for name in {"train_features", "test_features"} & batch.keys():
            least = torch.promote_types(batch[name].dtype, torch.float32)
            batch[name] = batch[name].to(least)
        if "train_targets" in batch:
            labelled = batch["train_targets"] != -1
            batch |= {name: batch[name][labelled] for name in ("train_features", "train_targets")}
        self.update(**batch)  # type: ignore[attr-defined]

    @torch.no_grad()
    def compute(self) -> tuple[float, float]:
        """Top-1 and top-5 accuracy in percent.

        As solo-learn computes them, which needs test points of every class: a part of a validation
        set, in the order of its classes, has not got them.

        Raises:
            DataError: if no training point has a label.
        """
        collected = ("train_features", "train_targets", "test_features", "test_targets")
        train, targets, test, labels = (torch.cat(getattr(self, name)) for name in collected)
        if not len(targets):
            raise DataError("kNN needs training data with labels")
        if self.distance_fx == "cosine":
            train, test = F.normalize(train), F.normalize(test)
        k, classes = min(self.k, len(targets)), int(torch.cat([targets, labels]).max()) + 1
        at_once = max(1, self.max_distance_matrix_size // len(targets))
        hits = torch.zeros(classes, device=test.device)
        for features, wanted in zip(test.split(at_once), labels.split(at_once), strict=True):
            if self.distance_fx == "cosine":
                similarity, neighbours = (features @ train.T).topk(k)
                weights = (similarity / self.T).exp()
            else:
                weights, neighbours = (1 / (torch.cdist(features, train) + self.epsilon)).topk(k)
            votes = weights.new_zeros(len(features), classes)
            votes.scatter_add_(1, targets[neighbours], weights)
            hits += (votes.sort(1, descending=True).indices == wanted[:, None]).sum(0)
        self.reset()  # type: ignore[attr-defined]
        top1, top5 = hits[0].item(), hits[: min(5, k)].sum().item()
        return top1 * 100 / len(labels), top5 * 100 / len(labels)


class FewClassesMixin:
    """Mends solo-learn's linear probe, which asks for the top five of fewer than five classes.

    Put before it among the bases.
    """

    def forward(self, X: Tensor) -> dict[str, Tensor]:
        """Logits and features; absent classes are filled up to five with probability 0."""
        out = super().forward(X)  # type: ignore[misc]
        missing = max(0, 5 - out["logits"].size(1))
        out["logits"] = F.pad(
            out["logits"], (0, missing), value=torch.finfo(out["logits"].dtype).min
        )
        return out

"""The names of `solo_gedi.hosts` for type checkers: solo-learn itself has no types.

One declaration for both generations. It holds only what both have, in the form that 1.0.6's have.
"""

from collections.abc import Callable, Sequence
from typing import Any

from lightning.pytorch import LightningModule
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchmetrics import Metric

from solo_gedi.hosts._detect import GENERATION as GENERATION
from solo_gedi.hosts._detect import SOLO_FOLDER as SOLO_FOLDER
from solo_gedi.hosts._detect import describe as describe
from solo_gedi.hosts._shared import BackboneFactory
from solo_gedi.hosts._shared import build_backbone as build_backbone
from solo_gedi.hosts._shared import cluster_scores as cluster_scores
from solo_gedi.hosts._shared import features_dim as features_dim
from solo_gedi.hosts._shared import normalization as normalization
from solo_gedi.hosts._shared import pipelines as pipelines
from solo_gedi.hosts._shared import renormalize as renormalize

class BaseMethod(LightningModule):
    cfg: DictConfig
    backbone: nn.Module
    backbone_name: str
    features_dim: int
    classifier: nn.Module
    num_classes: int

    max_epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    classifier_lr: float
    min_lr: float
    warmup_start_lr: float

    num_large_crops: int
    num_small_crops: int
    num_crops: int
    multicrop: bool
    knn_eval: bool
    validation_step_outputs: list[Any]

    def __init__(self, cfg: DictConfig) -> None: ...
    @staticmethod
    def add_and_assert_specific_cfg(cfg: DictConfig) -> DictConfig: ...
    @property
    def learnable_params(self) -> list[dict[str, Any]]: ...
    def forward(self, X: Tensor) -> dict[str, Any]: ...
    # A dict with "loss" of this class, the loss alone of its methods.
    def training_step(self, batch: Sequence[Any], batch_idx: int) -> Any: ...

class LinearModel(LightningModule):
    backbone: nn.Module
    classifier: nn.Module

    def __init__(self, backbone: nn.Module, cfg: DictConfig) -> None: ...
    def forward(self, X: Tensor) -> dict[str, Tensor]: ...

class WeightedKNN(Metric):
    def __init__(
        self,
        k: int = 20,
        T: float = 0.07,
        max_distance_matrix_size: int = 5_000_000,
        distance_fx: str = "euclidean",
        epsilon: float = 1e-5,
    ) -> None: ...
    def update(
        self,
        train_features: Tensor | None = None,
        train_targets: Tensor | None = None,
        test_features: Tensor | None = None,
        test_targets: Tensor | None = None,
    ) -> None: ...
    def compute(self) -> tuple[float, float]: ...

class SinkhornKnopp(nn.Module):
    def __init__(self, num_iters: int = 3, epsilon: float = 0.05, world_size: int = 1) -> None: ...
    def forward(self, Q: Tensor) -> Tensor: ...

METHODS: dict[str, type[BaseMethod]]
BACKBONES: dict[str, BackboneFactory]

def swav_loss(
    preds: Sequence[Tensor], assignments: Sequence[Tensor], temperature: float = 0.1
) -> Tensor: ...
def barlow_loss(
    z1: Tensor, z2: Tensor, lamb: float = 5e-3, scale_loss: float = 0.025
) -> Tensor: ...
def mend() -> None: ...
def add_dataset(name: str, num_classes: int) -> None: ...
def has_dataset(name: str) -> bool: ...
def method_keys(name: str) -> frozenset[str] | None: ...
def parse_pretrain(cfg: DictConfig) -> DictConfig: ...
def parse_linear(cfg: DictConfig) -> DictConfig: ...
def build_transform(dataset: str, augmentation: DictConfig) -> Callable[[Any], Any]: ...
def multi_view(
    transforms: Sequence[Callable[[Any], Any]], copies: Sequence[int]
) -> Callable[[Any], list[Any]]: ...
def pretrain_images(cfg: DictConfig, transform: Callable[[Any], Any]) -> Dataset[Any]: ...
def labelled_images(
    cfg: DictConfig, train: Callable[[Any], Any], val: Callable[[Any], Any]
) -> tuple[Dataset[Any], Dataset[Any]]: ...
def labelled_transforms(dataset: str) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]: ...

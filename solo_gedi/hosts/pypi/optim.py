"""Optimisers and learning-rate schedules by the names that 1.0.6's configs use."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR

from solo_gedi.errors import ConfigError

Groups = list[dict[str, Any]]


def split_off_vectors(groups: Groups, **for_vectors: Any) -> Groups:
    """Put biases and norm weights (one-dimensional) into groups of their own."""
    split = []
    for group in groups:
        params = list(group["params"])
        matrices = [p for p in params if p.ndim > 1]
        vectors = [p for p in params if p.ndim <= 1]
        if matrices:
            split.append({**group, "params": matrices})
        if vectors:
            split.append({**group, "params": vectors, **for_vectors})
    return split


def build_optimizer(
    name: str, groups: Groups, lr: float, weight_decay: float, kwargs: dict[str, Any]
) -> torch.optim.Optimizer:
    """The optimiser that `optimizer.name` names.

    LARS is timm's: 1.0.2's wrapper scales the gradients before Lightning's closure computes them.

    Raises:
        ConfigError: for arguments that the optimiser refuses.
    """
    kwargs = dict(kwargs)
    classes: dict[str, Any] = {
        "sgd": torch.optim.SGD,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
    }
    if name == "lars":
        from timm.optim.lars import Lars  # all of timm, for one optimiser

        classes["lars"] = Lars
        kwargs["trust_coeff"] = kwargs.pop("eta", 1e-3)
        kwargs["trust_clip"] = kwargs.pop("clip_lr", False)
        kwargs["always_adapt"] = True
        if kwargs.pop("exclude_bias_n_norm", False):
            groups = split_off_vectors(groups, weight_decay=0, always_adapt=False)
    try:
        return classes[name](groups, lr=lr, weight_decay=weight_decay, **kwargs)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"optimizer.kwargs={kwargs} does not fit {name}: {error}") from error


class WarmupCosine(LRScheduler):
    """Linear warm-up to each group's rate, then half a cosine down to `min_lr`.

    Args:
        optimizer: as usual.
        warmup: steps until the full rate is reached.
        total: steps until `min_lr` is reached.
        start_lr: rate at step 0, where there is a warm-up.
        min_lr: rate at the end.
        static_groups: indices of parameter groups whose rate stays as it is.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        warmup: float,
        total: float,
        start_lr: float = 0.0,
        min_lr: float = 0.0,
        static_groups: Sequence[int] = (),
    ) -> None:
        self.warmup, self.total = warmup, total
        self.start_lr, self.min_lr = start_lr, min_lr
        self.static_groups = list(static_groups)
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """The rate of each group at the current step."""
        return [
            base if i in self.static_groups else self._scheduled(float(base))
            for i, base in enumerate(self.base_lrs)
        ]

    def _scheduled(self, base: float) -> float:
        step = self.last_epoch
        if step < self.warmup:
            return self.start_lr + step * (base - self.start_lr) / max(1, self.warmup - 1)
        progress = (step - self.warmup) / max(1, self.total - self.warmup)
        return self.min_lr + (base - self.min_lr) * (1 + math.cos(math.pi * min(1, progress))) / 2


def build_scheduler(
    optimizer: torch.optim.Optimizer,
    scheduler: DictConfig,
    *,
    max_epochs: int,
    total_steps: int,
    start_lr: float,
    min_lr: float,
    static_groups: Sequence[int] = (),
) -> Any:
    """What Lightning's `configure_optimizers` returns for a config's `scheduler`."""
    if scheduler.name == "none":
        return optimizer
    if scheduler.name == "step":
        return [optimizer], [MultiStepLR(optimizer, list(scheduler.lr_decay_steps))]
    per_epoch = total_steps / max_epochs if scheduler.interval == "step" else 1
    schedule = WarmupCosine(
        optimizer,
        warmup=scheduler.warmup_epochs * per_epoch,
        total=max_epochs * per_epoch,
        start_lr=start_lr,
        min_lr=min_lr,
        static_groups=static_groups,
    )
    return [optimizer], [{"scheduler": schedule, "interval": scheduler.interval, "frequency": 1}]

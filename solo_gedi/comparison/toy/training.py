"""The toy study (Table 2): one method on moons or circles, all seeds as one stacked network.

The same configs, objective, sampler, buffer and networks as under `solo-gedi pretrain`, in a bare
loop: at this size a Trainer's bookkeeping would cost more than the training.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.func import vmap
from torch.optim.lr_scheduler import CosineAnnealingLR

from solo_gedi import hosts
from solo_gedi.comparison.toy.stacking import StackedLinear, stack, unstack
from solo_gedi.core import (
    ReplayBuffer,
    evaluation_mode,
    limit_spectral_norm,
    log_density,
    sample_sgld,
)
from solo_gedi.data import spec_of
from solo_gedi.errors import ConfigError
from solo_gedi.methods import GEDI, sample_space
from solo_gedi.training.callbacks.divergence_guard import LIMIT

CHECK_EVERY = 1000  # iterations

POINTS_AHEAD = 50  # iterations whose points are drawn at once: scikit-learn's calls are slow

# Settings that only `solo-gedi pretrain` can change.
_FIXED = {
    "precision": "32-true",
    "accumulate_grad_batches": 1,
    "gradient_clip_val": 0,
    "max_steps": -1,
    "optimizer.kwargs": {},
}

# (outputs of the views, each (k, n, c); what else the objective takes of k networks) -> (k,)
Loss = Callable[[list[Tensor], dict[str, Tensor]], Tensor]


class _UnitLength(nn.Module):
    """SwAV compares directions with its prototypes."""

    def forward(self, z: Tensor) -> Tensor:
        return F.normalize(z, dim=-1)


def scorer(model: hosts.BaseMethod) -> nn.Module:
    """The part of a method between points and the scores whose argmax is the cluster.

    It shares the method's own layers.
    """
    layers = [model.backbone, model.projector]
    if model.cfg.method == "swav":
        layers += [_UnitLength(), model.prototypes]
    return nn.Sequential(*layers)


def loss_of(model: Any) -> tuple[Loss, int]:
    """A method's loss for k networks at once, and how many views it looks at.

    Raises:
        ConfigError: for a method that the toy study does not have.
    """
    if isinstance(model, GEDI):
        objective = model.objective

        def gedi(views: list[Tensor], densities: dict[str, Tensor]) -> Tensor:
            given = {"logits": views[0], **densities}
            if objective.needs_view:
                given["view_logits"] = views[1]
            return vmap(lambda one: objective(**one)["loss"])(given)

        return gedi, 2 if objective.needs_view else 1
    if model.cfg.method == "swav":
        assign = hosts.SinkhornKnopp(model.sk_iters, model.sk_epsilon)

        def swav(views: list[Tensor]) -> Tensor:
            return hosts.swav_loss(views, [assign(scores) for scores in views], model.temperature)

        return lambda views, _: vmap(swav)(views), 2
    if model.cfg.method == "barlow_twins":

        def barlow(views: list[Tensor], _: dict[str, Tensor]) -> Tensor:
            # solo-learn's loss has a batch norm inside, which vmap does not take.
            pairs = zip(*views, strict=True)
            losses = [hosts.barlow_loss(*pair, model.lamb, model.scale_loss) for pair in pairs]
            return torch.stack(losses)

        return barlow, 2
    raise ConfigError(f"the toy study has no method={model.cfg.method!r}; pretrain can run it")


class ToyTraining:
    """Trains one network a seed.

    The seeds share one stream of random numbers after the networks' initialisation, so that the
    same seeds together give the same numbers.

    Args:
        cfg: parsed config of a pretraining run on points.
        seeds: one network each.

    Attributes:
        models: the methods, one a seed, with what was learned once `run` has returned.
        chains: (chains, k, 2) of the replay buffer; None without the generative term.
        seconds: where the time went.
        diverged: seed -> what was found to have run away, and when. Unlike `solo-gedi pretrain`,
            the toy study does not recover; with `divergence.policy=ignore` energies may be of any
            size that is finite.

    Raises:
        ConfigError: if the config is not one of points, or has a setting that is left to
            `solo-gedi pretrain`.
    """

    def __init__(self, cfg: DictConfig, seeds: Sequence[int]) -> None:
        points = spec_of(cfg.data.dataset).points
        if points is None:
            raise ConfigError(f"data.dataset={cfg.data.dataset} is not a toy set: moons, circles")
        scheduler = cfg.scheduler
        cosine = scheduler.name == "warmup_cosine" and scheduler.warmup_epochs == 0
        if cfg.optimizer.name != "adam" or not (cosine or scheduler.name == "none"):
            raise ConfigError(
                "the toy study runs optimizer.name=adam with scheduler.name=none, or with "
                "warmup_cosine and scheduler.warmup_epochs=0"
            )
        for key, only in _FIXED.items():
            if (given := OmegaConf.select(cfg, key, default=only)) not in (only, None):
                raise ConfigError(f"the toy study has {key}={only}, got {given}; pretrain has it")
        self.cfg, self.seeds, self.points = cfg, list(seeds), points
        self.models = []
        for seed in seeds:
            torch.manual_seed(seed)
            self.models.append(hosts.METHODS[cfg.method](cfg))
        self.network = stack([scorer(model) for model in self.models]).train()
        self.mixes_batch = any("BatchNorm" in type(m).__name__ for m in self.network.modules())
        self.loss, self.num_views = loss_of(self.models[0])
        optimizer = cfg.optimizer
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), optimizer.lr, weight_decay=optimizer.weight_decay
        )
        self.iterations = cfg.limit_train_batches * cfg.max_epochs
        self.schedule = (
            CosineAnnealingLR(self.optimizer, self.iterations, scheduler.min_lr) if cosine else None
        )
        self.space = sample_space(cfg)
        self.buffer: ReplayBuffer | None = None
        first = self.models[0]
        self.needs_score = isinstance(first, GEDI) and first.objective.needs_score
        if isinstance(first, GEDI) and first.objective.needs_samples:
            self.sgld = first.sgld
            # One slot holds a chain of every network.
            self.buffer = ReplayBuffer(
                self.sgld.buffer_size,
                (len(seeds), 2),
                self.sgld.reinit_prob,
                self.space.uniform,
            )
        self._ahead: list[Tensor] = []
        self.seconds: dict[str, float] = defaultdict(float)
        self.diverged: dict[int, str] = {}
        divergence = cfg.get("divergence") or {}
        ignored = divergence.get("policy") == "ignore"
        self.limit = math.inf if ignored else divergence.get("limit", LIMIT)
        self._data_logits: Tensor | None = None  # (k, n, c) of the last step, with the energy

    @property
    def chains(self) -> Tensor | None:
        """The replay buffer's, (chains, k, 2)."""
        return None if self.buffer is None else self.buffer.chains

    def run(self, report: Callable[[int], None] = lambda iteration: None) -> None:
        """Train for as many iterations as the config's epochs have.

        Args:
            report: called every 1,000 iterations with how many are done.
        """
        frozen_epochs = getattr(self.models[0], "freeze_prototypes_epochs", 0)
        frozen = self.cfg.limit_train_batches * frozen_epochs
        for iteration in range(1, self.iterations + 1):
            self.step(freeze_prototypes=iteration <= frozen)
            if iteration % CHECK_EVERY == 0 or iteration == self.iterations:
                self._check(iteration)
                report(iteration)
        unstack(self.network, [scorer(model) for model in self.models])

    def step(self, freeze_prototypes: bool = False) -> None:
        """One iteration of Algorithm 1, or of a baseline's, for every network."""
        batch_size, noise = self.cfg.optimizer.batch_size, self.cfg.method_kwargs.input_noise_std
        with self._clock("data"):
            x = self._fresh_points(batch_size)
            views = [self.space.add_noise(x, noise) for _ in range(self.num_views)]
        with self._clock("sampler"):
            samples = [self._draw(batch_size)] if self.buffer is not None else []
        with self._clock("forward"):
            if self.needs_score:
                views[0].requires_grad_()
            outputs = self._forward([*views, *samples])
            densities = {}
            if samples:
                densities["sample_log_density"] = log_density(outputs.pop())
                self._data_logits = outputs[0].detach()
            if self.needs_score:
                log_p = log_density(outputs[0]).sum()
                (score,) = torch.autograd.grad(log_p, views[0], create_graph=True)
                densities["data_score"] = score
            loss = self.loss(outputs, densities).sum()
        with self._clock("backward"):
            self.optimizer.zero_grad()
            loss.backward()
        with self._clock("optimizer"):
            if freeze_prototypes and self.cfg.method == "swav":
                for parameter in self.network[-1].parameters():  # type: ignore[index]
                    parameter.grad = None
            self.optimizer.step()
            if limit := self.cfg.method_kwargs.get("max_spectral_norm"):
                for layer in self.network.modules():
                    if isinstance(layer, StackedLinear):
                        limit_spectral_norm(layer.weight, limit)
            if self.schedule is not None:
                self.schedule.step()

    def _fresh_points(self, n: int) -> Tensor:
        """New points for every network, (k, n, 2)."""
        if not self._ahead:
            batches = POINTS_AHEAD * len(self.seeds)
            points, labels = self.points(n * batches)
            # Sorted by class before they are dealt out: every batch gets as many of each class
            # as one that is drawn alone.
            dealt = points[labels.argsort(stable=True)].view(n, batches, -1).transpose(0, 1)
            self._ahead = list(dealt.contiguous().split(len(self.seeds)))
        return self._ahead.pop()

    def _forward(self, batches: list[Tensor]) -> list[Tensor]:
        """Scores of batches (k, n, 2): in one pass, unless batch norm would mix them."""
        if self.mixes_batch:
            return [self.network(batch) for batch in batches]
        return list(self.network(torch.cat(batches, 1)).chunk(len(batches), 1))

    def _draw(self, n: int) -> Tensor:
        """Move n chains of every network, (k, n, 2)."""
        assert self.buffer is not None
        chains, slots = self.buffer.draw(n)
        chains = chains.transpose(0, 1)

        def density(x: Tensor) -> Tensor:
            return log_density(self.network(x.view(chains.shape))).flatten()

        with evaluation_mode(self.network):
            samples = sample_sgld(
                density,
                chains.flatten(0, 1),
                self.sgld.num_steps,
                self.sgld.step_size,
                self.sgld.noise_std,
                max_grad_norm=self.sgld.max_grad_norm,
                box=self.space.box if self.sgld.clip_samples else None,
            ).view(chains.shape)
        self.buffer.write(slots, samples.transpose(0, 1))
        return samples

    def _check(self, iteration: int) -> None:
        """Note the networks that have diverged; the others are not touched by them."""
        logits = self._data_logits
        for k, seed in enumerate(self.seeds):
            problem = None
            log_p = 0.0 if logits is None else float(log_density(logits[k]).mean())
            if not all(bool(p[k].isfinite().all()) for p in self.network.parameters()):
                problem = "weights not finite"
            elif not abs(log_p) <= self.limit:
                problem = f"log p of the data at {log_p:.3g}"
            if problem is not None:
                self.diverged.setdefault(seed, f"{problem} after iteration {iteration}")

    @contextmanager
    def _clock(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[part] += time.perf_counter() - start

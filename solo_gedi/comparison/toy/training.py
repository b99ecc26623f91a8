"""The toy study (Table 2): one method on moons or circles, all seeds as one stacked network.

The configs, objective, sampler and networks are those of `solo_gedi.training.pretrain`, in a bare
loop: at this size a Trainer's bookkeeping would cost more than the training.
"""

import copy
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.func import vmap
from torch.optim.lr_scheduler import CosineAnnealingLR

from solo_gedi import hosts
from solo_gedi.comparison.toy.stacking import stack, unstack
from solo_gedi.core import (
    ReplayBuffer,
    Sampler,
    SpectralBound,
    evaluation_mode,
    input_score,
    kept_statistics,
    log_density,
    mixes_batch,
)
from solo_gedi.data import spec_of
from solo_gedi.errors import ConfigError
from solo_gedi.methods import sample_space
from solo_gedi.training.callbacks.divergence_guard import LIMIT, beyond, broken_weight
from solo_gedi.training.strategy import num_processes

CHECK_EVERY = 1000  # iterations

BATCHES_AHEAD = 50  # iterations whose points are drawn at once: scikit-learn's calls are slow

# Settings that only `pretrain` can change.
_FIXED = {
    "method_kwargs.sgld.compile": False,
    "method_kwargs.queue_size": 0,
}

# Outputs of the views, each (k, n, c) -> loss of each network (k,).
Loss = Callable[[list[Tensor]], Tensor]


class _UnitLength(nn.Module):
    """SwAV compares directions with its prototypes."""

    def forward(self, z: Tensor) -> Tensor:
        return F.normalize(z, dim=-1)


def scorer(model: hosts.BaseMethod) -> nn.Module:
    """The part of a method that maps points to the scores whose argmax is the cluster.

    Args:
        model: with a backbone and a projector, perhaps prototypes; its layers are shared.
    """
    layers = [model.backbone, model.get_submodule("projector")]
    if hasattr(model, "prototypes"):
        layers += [_UnitLength(), model.get_submodule("prototypes")]
    return nn.Sequential(*layers)


def baseline_loss(model: Any) -> Loss:
    """The loss that solo-learn's SwAV or Barlow Twins has on two views, for k networks at once.

    Args:
        model: the method; `prototypes` and `sk_iters` mark SwAV's loss, `lamb` Barlow Twins'.

    Raises:
        ConfigError: for a method with another loss.
    """
    if hasattr(model, "prototypes") and hasattr(model, "sk_iters"):
        assign = hosts.SinkhornKnopp(model.sk_iters, model.sk_epsilon)

        def swav(views: list[Tensor]) -> Tensor:
            return hosts.swav_loss(views, [assign(scores) for scores in views], model.temperature)

        return vmap(swav)
    if hasattr(model, "lamb"):

        def barlow(views: list[Tensor]) -> Tensor:
            # solo-learn's loss has a batch norm inside, which vmap does not take.
            pairs = zip(*views, strict=True)
            losses = [hosts.barlow_loss(a, b, model.lamb, model.scale_loss) for a, b in pairs]
            return torch.stack(losses)

        return barlow
    raise ConfigError(f"the toy study has no method={model.cfg.method!r}; pretrain can run it")


def deal(points: Tensor, labels: Tensor, batches: int) -> Tensor:
    """Deal points out to batches, each with equal numbers of every class up to one.

    So does scikit-learn for a batch that it draws alone.

    Args:
        points: (batches * n, d).
        labels: (batches * n,) classes.
        batches: how many.

    Returns:
        (batches, n, d).
    """
    by_class = points[labels.argsort(stable=True)]
    return by_class.view(-1, batches, points.shape[1]).transpose(0, 1).contiguous()


class ToyTraining:
    """Trains one network per seed.

    The seeds share one stream of random numbers after the networks' initialisation, so that the
    same seeds together give the same numbers.

    Args:
        cfg: parsed config of a pretraining run on points; not changed.
        seeds: one network each.

    Attributes:
        cfg: the config with the method's defaults.
        models: the methods, one per seed; they hold the trained weights once `run` has returned.
        sampler: one slot holds a chain of every network; None without the generative term.
        seconds: time spent, by part of a step.
        diverged: seed -> when its network diverged, and how. Unlike `pretrain`, the toy study does
            not recover; with `divergence.policy=ignore` energies may be of any finite size.

    Raises:
        ConfigError: if the config is not one of points, or has a sampler, schedule or number of
            processes that only `pretrain` supports; `study.check_read` refuses the rest.
    """

    def __init__(self, cfg: DictConfig, seeds: Sequence[int]) -> None:
        points = spec_of(cfg.data.dataset).points
        if points is None:
            raise ConfigError(f"data.dataset={cfg.data.dataset} is not a toy set: moons, circles")
        self.seeds, self.points = list(seeds), points
        self.models: list[Any] = []
        for seed in seeds:
            torch.manual_seed(seed)
            self.models.append(hosts.METHODS[cfg.method](copy.deepcopy(cfg)))
        first = self.models[0]
        self.cfg = cfg = first.cfg
        scheduler = cfg.scheduler
        cosine = scheduler.name == "warmup_cosine" and scheduler.warmup_epochs == 0
        if cfg.optimizer.name != "adam" or not (cosine or scheduler.name == "none"):
            raise ConfigError(
                "the toy study runs optimizer.name=adam with scheduler.name=none, or with "
                "warmup_cosine and scheduler.warmup_epochs=0"
            )
        for key, only in _FIXED.items():
            if (value := OmegaConf.select(cfg, key, default=only)) not in (only, None):
                raise ConfigError(f"the toy study has {key}={only}, got {value}; pretrain has it")
        if num_processes(cfg) > 1:
            raise ConfigError(
                f"the toy study trains in one process, got devices={cfg.devices}, "
                f"num_nodes={cfg.get('num_nodes') or 1}; pretrain has more"
            )
        self.network = stack([scorer(model) for model in self.models]).train()
        self.mixes_batch = mixes_batch(self.network)
        limit = cfg.method_kwargs.get("max_spectral_norm")
        self.spectral_bound = SpectralBound([self.network], limit) if limit else None
        self.objective = first.objective if getattr(first, "has_energy", False) else None
        self.space = sample_space(cfg)
        self.sampler: Sampler | None = None
        self.num_views = 2
        if self.objective is None:
            self.loss = baseline_loss(first)
        else:
            self.num_views = first.num_views
            if self.objective.needs_samples:
                self.sampler = self._new_sampler()
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), cfg.optimizer.lr, weight_decay=cfg.optimizer.weight_decay
        )
        self.iterations = cfg.limit_train_batches * cfg.max_epochs
        self.schedule = (
            CosineAnnealingLR(self.optimizer, self.iterations, scheduler.min_lr) if cosine else None
        )
        self._ahead: Iterator[Tensor] = iter(())
        self.seconds: dict[str, float] = defaultdict(float)
        self.diverged: dict[int, str] = {}
        divergence = cfg.get("divergence") or {}
        ignored = divergence.get("policy") == "ignore"
        self.limit = math.inf if ignored else divergence.get("limit", LIMIT)
        self._data_log_density: Tensor | None = None  # (k, n) of the last step

    def _new_sampler(self) -> Sampler:
        settings = self.models[0].sgld
        if settings.precision == "auto":  # networks this small gain nothing from bf16
            settings = replace(settings, precision="fp32")
        shape = (len(self.seeds), 2)
        size, restart = settings.buffer_size, settings.reinit_prob
        buffer = ReplayBuffer(size, shape, restart, self.space.uniform)
        return Sampler(settings, buffer, self.space.box)

    @property
    def chains(self) -> Tensor | None:
        """The replay buffer's, (chains, k, 2)."""
        return None if self.sampler is None else self.sampler.buffer.chains

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
        """One iteration of Algorithm 1, or of a baseline's, for every network.

        Args:
            freeze_prototypes: leave the last layer, SwAV's prototypes, as it is.
        """
        kwargs, n = self.cfg.method_kwargs, self.cfg.optimizer.batch_size
        with self._clock("data"):
            x, noise = self.fresh_points(n), kwargs.input_noise_std
            views = [self.space.add_noise(x, noise) for _ in range(self.num_views)]
        with self._clock("sampler"):
            samples = self._draw(n)
        with self._clock("forward"):
            loss = self._losses(views, samples).sum()
        with self._clock("backward"):
            self.optimizer.zero_grad()
            loss.backward()
        with self._clock("optimizer"):
            if freeze_prototypes:
                for parameter in self.network[-1].parameters():  # type: ignore[index]
                    parameter.grad = None
            self.optimizer.step()
            if self.spectral_bound is not None:
                self.spectral_bound.apply()
            if self.schedule is not None:
                self.schedule.step()

    def fresh_points(self, n: int) -> Tensor:
        """New points for every network, (k, n, 2)."""
        batch = next(self._ahead, None)
        if batch is None:
            batches = BATCHES_AHEAD * len(self.seeds)
            dealt = deal(*self.points(n * batches), batches)
            self._ahead = iter(dealt.split(len(self.seeds)))
            batch = next(self._ahead)
        return batch

    def _draw(self, n: int) -> list[Tensor]:
        """Samples of every network, (k, n, 2), if the method needs them."""
        if self.sampler is None:
            return []

        def density(x: Tensor) -> Tensor:  # (n, k, 2) -> (n, k)
            return log_density(self.network(x.transpose(0, 1))).T

        with evaluation_mode(self.network):
            return [self.sampler.draw(density, n).transpose(0, 1)]

    def _losses(self, views: list[Tensor], samples: list[Tensor]) -> Tensor:
        """The loss of each network (k,), from views and samples (k, n, 2)."""
        objective = self.objective
        if objective is None:
            return self.loss([self.network(view) for view in views])
        score = None
        if objective.needs_score:  # as in `methods.gedi`
            x = views[0].detach().requires_grad_()
            with evaluation_mode(self.network):
                score = input_score(log_density(self.network(x)), x)
        of_data = of_samples = None
        if samples and self.mixes_batch:
            logits = self._in_one_pass(views)
            with kept_statistics(self.network):  # as in `methods.gedi`
                both = log_density(self.network(torch.cat([views[0], *samples], 1)))
            of_data, of_samples = both.chunk(2, 1)
        else:
            logits = self._in_one_pass([*views, *samples])
            of_samples = log_density(logits.pop()) if samples else None
        if samples:
            of_data = log_density(logits[0]) if of_data is None else of_data
            self._data_log_density = of_data.detach()
        given = {"sample_log_density": of_samples, "data_log_density": of_data, "data_score": score}
        given = {name: value for name, value in given.items() if value is not None}
        return vmap(lambda views, given: objective(*views, **given)["loss"])(logits, given)

    def _in_one_pass(self, batches: list[Tensor]) -> list[Tensor]:
        """Scores of batches (k, n, 2)."""
        return list(self.network(torch.cat(batches, 1)).chunk(len(batches), 1))

    def _check(self, iteration: int) -> None:
        """Note the networks that have diverged, which leaves the others unaffected."""
        log_p = self._data_log_density
        for k, seed in enumerate(self.seeds):
            weights = ((name, p[k]) for name, p in self.network.named_parameters())
            sizes = {} if log_p is None else {"log p of the data": abs(float(log_p[k].mean()))}
            problem = broken_weight(weights) or beyond(sizes, self.limit)
            if problem is not None:
                self.diverged.setdefault(seed, f"{problem} after iteration {iteration}")

    @contextmanager
    def _clock(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[part] += time.perf_counter() - start

"""Detects divergence of energy-based training and returns to the last good state."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from solo_gedi.core import Sampler
from solo_gedi.core.processes import distributed, get_logger
from solo_gedi.errors import ConfigError, DivergenceError

logger = get_logger(__name__)

POLICIES = ("recover", "raise", "ignore")
LIMIT = 1e6  # larger sizes count as divergence: learned energies stay far below


class _Snapshot(NamedTuple):
    """A state to go back to."""

    step: int
    model: dict[str, Any]
    optimizers: list[dict[int, Any]]  # without their rates
    chains: Tensor | None


class DivergenceGuard(Callback):
    """Stops or undoes divergence of a method with an energy.

    Every `check_every` steps it looks at the method's `watched`: the loss, the energies of data
    and samples, the chains' range and the norm of their gradient. Training has diverged when one
    of them is not finite, exceeds `limit`, or has jumped to `jump` times its running mean.

    Recovering restores the weights, the optimizer and the chains of one to two `snapshot_every`
    steps ago and gives the chains new randomness; from the second time on, each time also with
    half the learning rate and half the sampler's step size. After `max_recoveries` recoveries the
    guard raises.

    Args:
        policy: "recover", "raise" or "ignore". Under every policy a run whose weights are not
            finite ends with an error.
        max_recoveries: how often to recover, at least 0.
        limit: largest size of anything watched.
        jump: largest ratio of a size to its running mean, which counts as at least 1.
        check_every: steps between checks, each of which waits for the device.
        snapshot_every: steps between the states that are kept.

    Attributes:
        events: when training diverged, and how; their number is logged as `divergence_events`.

    Raises:
        ConfigError: for an unknown policy.
    """

    def __init__(
        self,
        policy: str = "recover",
        max_recoveries: int = 5,
        limit: float = LIMIT,
        jump: float = 1e3,
        check_every: int = 10,
        snapshot_every: int = 200,
    ) -> None:
        if policy not in POLICIES:
            raise ConfigError(f"divergence.policy={policy!r}; choose from {list(POLICIES)}")
        self.policy, self.max_recoveries = policy, max_recoveries
        self.limit, self.jump = limit, jump
        self.check_every, self.snapshot_every = check_every, snapshot_every
        self.events: list[str] = []
        self._seen = 0  # the last step that was checked, or passed over
        self._means: dict[str, float] = {}
        self._snapshots: list[_Snapshot] = []  # the last two

    def state_dict(self) -> dict[str, Any]:
        """The events and the running means, for a resumed run."""
        return {"events": self.events, "means": self._means}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the events and the running means."""
        self.events, self._means = list(state_dict["events"]), dict(state_dict["means"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the state that training starts from."""
        self._snapshots = [_snapshot(trainer, pl_module)]
        self._seen = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check the step; then keep its state, or recover."""
        step = trainer.global_step
        # Within accumulated batches the step does not advance, and half a gradient is waiting.
        if self.policy == "ignore" or step == self._seen:
            return
        self._seen = step
        self._keep_first_chains(pl_module)
        due = step % self.snapshot_every == 0
        if not (due or step % self.check_every == 0 or trainer.is_last_batch):
            return
        problem = self._problem(pl_module)
        if problem is not None:
            self._diverged(trainer, pl_module, problem)
        elif due:
            self._snapshots = [*self._snapshots[-1:], _snapshot(trainer, pl_module)]
        events = float(len(self.events))
        pl_module.log(
            *("divergence_events", events),
            on_step=False,
            on_epoch=True,
            reduce_fx="max",
            sync_dist=True,
        )

    def _keep_first_chains(self, pl_module: LightningModule) -> None:
        """Chains are made in the first step, after the first state was kept."""
        first = self._snapshots[0]
        if first.chains is not None:  # to look at those of now may mean to wait for them
            return
        chains = _chains(pl_module)
        if chains is not None and bool(chains.isfinite().all()):
            self._snapshots[0] = first._replace(chains=_on_cpu(chains))

    def _problem(self, pl_module: Any) -> str | None:
        """What is wrong with the last step; if nothing is, update the running means."""
        broken, sizes = _look(pl_module)
        if broken:
            return (
                broken_weight(pl_module.named_parameters())
                or "another process's weights are not finite"
            )
        if (problem := beyond(sizes, self.limit)) is not None:
            return problem
        for name, size in sizes.items():
            mean = max(1.0, self._means.get(name, size))
            if size > self.jump * mean:
                return f"{name} has jumped from about {mean:.3g} to {size:.3g} in size"
        for name, size in sizes.items():
            self._means[name] = 0.9 * self._means.get(name, size) + 0.1 * size
        return None

    def _diverged(self, trainer: Trainer, pl_module: Any, problem: str) -> None:
        self.events.append(f"step {trainer.global_step}: {problem}")
        what = f"training diverged at {self.events[-1]}"
        if self.policy == "raise" or len(self.events) > self.max_recoveries:
            tried = f", and again after {self.max_recoveries} recoveries"
            raise DivergenceError(
                f"{what}{tried if self.policy == 'recover' else ''}. Try a method_kwargs.energy_l2 "
                "above 0, a smaller optimizer.lr or a smaller method_kwargs.sgld.step_size"
            )
        snapshot = self._snapshots[0]
        self._snapshots = [snapshot]
        pl_module.load_state_dict(snapshot.model)
        for optimizer, state in zip(trainer.optimizers, snapshot.optimizers, strict=True):
            # The schedule goes on, so the rates stay those of now.
            rates = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": copy.deepcopy(state), "param_groups": rates})
        sampler: Sampler | None = pl_module.sampler
        if sampler is not None:
            sampler.restart(snapshot.chains)
        gentler = ""
        if len(self.events) > 1:
            _halve_rates(trainer)
            if sampler is not None:
                sampler.scale_step(0.5)
            gentler = " with half the learning rate and step size"
        logger.warning("%s. Continuing from step %d%s.", what, snapshot.step, gentler)


def _look(pl_module: Any) -> tuple[bool, dict[str, float]]:
    """Whether weights are broken and the largest size of what is watched, over all processes.

    All of it in one tensor, which is copied from the device once.
    """
    watched: dict[str, Tensor] = pl_module.watched
    finite = _finite([weight for _, weight in pl_module.named_parameters()])
    look = torch.stack([(~finite.all()).float(), *(v.float().abs() for v in watched.values())])
    if distributed():
        # The largest of a number and NaN need not be NaN.
        look = look.nan_to_num(torch.inf, torch.inf)
        dist.all_reduce(look, dist.ReduceOp.MAX)
    broken, *sizes = look.tolist()
    return bool(broken), dict(zip(watched, sizes, strict=True))


def _finite(weights: Iterable[Tensor]) -> Tensor:
    return torch.stack([weight.detach().isfinite().all() for weight in weights])


def broken_weight(named: Iterable[tuple[str, Tensor]]) -> str | None:
    """Which weights are not finite, if any.

    Args:
        named: names and weights, all on one device.

    Returns:
        A phrase that names the first of them.
    """
    names, weights = zip(*named, strict=True)
    finite = _finite(weights)
    if bool(finite.all()):
        return None
    return f"the weights {names[int((~finite).nonzero()[0])]} are not finite"


def beyond(sizes: Mapping[str, float], limit: float) -> str | None:
    """Which size is not finite or exceeds the limit, if any.

    Args:
        sizes: by name, at least 0.
        limit: the largest allowed.

    Returns:
        A phrase that names the first of them.
    """
    for name, size in sizes.items():
        if not size <= limit:
            return f"{name} is {size:.3g} in size, beyond {limit:.3g}"
    return None


def refuse_broken_weights(pl_module: LightningModule, step: int) -> None:
    """Check that all weights are finite.

    Args:
        pl_module: whose weights.
        step: how many steps it was trained for.

    Raises:
        DivergenceError: if they are not.
    """
    if problem := broken_weight(pl_module.named_parameters()):
        raise DivergenceError(
            f"training diverged before step {step}: {problem}. Try a smaller optimizer.lr"
        )


def _chains(pl_module: Any) -> Tensor | None:
    sampler: Sampler | None = pl_module.sampler
    return None if sampler is None else sampler.buffer.chains


def _on_cpu(state: Any) -> Any:
    """A copy of tensors, also in dicts, off the device that trains: of chains above all."""
    if isinstance(state, Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, Mapping):
        return {key: _on_cpu(value) for key, value in state.items()}
    return copy.deepcopy(state)


def _snapshot(trainer: Trainer, pl_module: LightningModule) -> _Snapshot:
    chains = _chains(pl_module)
    return _Snapshot(
        step=trainer.global_step,
        model=_on_cpu(pl_module.state_dict()),
        optimizers=[_on_cpu(o.state_dict()["state"]) for o in trainer.optimizers],
        chains=None if chains is None else _on_cpu(chains),
    )


def _halve_rates(trainer: Trainer) -> None:
    """Halve the rates of the optimizers and of their schedules."""
    for optimizer in trainer.optimizers:
        for group in optimizer.param_groups:
            group["lr"] *= 0.5
            if "initial_lr" in group:
                group["initial_lr"] *= 0.5
    for config in trainer.lr_scheduler_configs:
        config.scheduler.base_lrs = [rate * 0.5 for rate in config.scheduler.base_lrs]

"""Watches energy-based training for divergence, and goes back to the last good state."""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from solo_gedi.core.processes import gather
from solo_gedi.errors import DivergenceError

POLICIES = ("recover", "raise", "ignore")
LIMIT = 1e6  # sizes beyond are divergence: far more than an energy that has been learned


class _Snapshot(NamedTuple):
    """A state to go back to."""

    step: int
    model: dict[str, Any]
    optimizers: list[dict[int, Any]]  # without their rates
    chains: torch.Tensor | None


class DivergenceGuard(Callback):
    """Ends, or undoes, what an energy does when nothing bounds it.

    After every `check_every` steps it looks at what a method puts into its `watched`: the loss,
    the energies of data and samples, the chains' range and the norm of their gradient. It takes
    training to have diverged when one of them is not finite, is beyond `limit`, or has jumped to
    `jump` times its running mean.

    To recover is to go back to the weights, the optimizer and the chains of one to two
    `snapshot_every` steps ago, with new randomness of the chains; from the second time on, each
    time also with half the learning rate and half the sampler's step size. After `max_recoveries`
    it gives up with the error of `raise`.

    Args:
        policy: "recover", "raise" or "ignore". Whatever it is, a run whose weights are not finite
            ends with an error.
        max_recoveries: before giving up.
        limit: largest size of anything watched; of log p, say, far beyond what can be learned.
        jump: largest ratio to the running mean of sizes, which counts as at least 1.
        check_every: steps between looks, each of which waits for the device.
        snapshot_every: steps between the states that are kept.

    Attributes:
        events: what ran away each time, and when; their number is logged as `divergence_events`.

    Raises:
        DivergenceError: for an unknown policy.
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
            raise DivergenceError(f"divergence.policy={policy!r}; choose from {list(POLICIES)}")
        self.policy, self.max_recoveries = policy, max_recoveries
        self.limit, self.jump = limit, jump
        self.check_every, self.snapshot_every = check_every, snapshot_every
        self.events: list[str] = []
        self._seen = 0  # the last step that was looked at, or passed over
        self._means: dict[str, float] = {}
        self._snapshots: list[_Snapshot] = []  # the last two

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to know."""
        return {"events": self.events, "means": self._means}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.events, self._means = list(state_dict["events"]), dict(state_dict["means"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the state that training starts from."""
        # A resumed optimizer knows its halved rate, the sampler's config does not.
        _scale_steps(pl_module, step_size_factor(self.events))
        self._snapshots = [_snapshot(trainer, pl_module)]
        self._seen = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look, and keep the state or go back."""
        step = trainer.global_step
        # Within accumulated batches the step stands still, and half a gradient is waiting.
        if self.policy == "ignore" or step == self._seen:
            return
        self._seen = step
        self._keep_first_chains(pl_module)
        due = step % self.snapshot_every == 0
        if not (due or step % self.check_every == 0 or trainer.is_last_batch):
            return
        problem = next(filter(None, gather(self._problem(pl_module))), None)
        if problem is not None:
            self._diverged(trainer, pl_module, problem)
        elif due:
            self._snapshots = [*self._snapshots[-1:], _snapshot(trainer, pl_module)]
        events = float(len(self.events))
        pl_module.log("divergence_events", events, on_step=False, on_epoch=True, reduce_fx="max")

    def _keep_first_chains(self, pl_module: LightningModule) -> None:
        """Chains are made in the first step, after the first state was kept."""
        first, buffer = self._snapshots[0], getattr(pl_module, "replay_buffer", None)
        if first.chains is None and buffer is not None and bool(buffer.chains.isfinite().all()):
            self._snapshots[0] = first._replace(chains=buffer.chains.clone())

    def _problem(self, pl_module: Any) -> str | None:
        """What is wrong with the last step, if anything; else take note of its sizes."""
        if name := _broken_weight(pl_module):
            return f"the weights {name} are not finite"
        sizes = {name: abs(float(value)) for name, value in pl_module.watched.items()}
        for name, size in sizes.items():
            mean = max(1.0, self._means.get(name, size))
            if not size <= self.limit:
                return f"{name} is {size:.3g} in size, beyond {self.limit:.3g}"
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
        if (buffer := pl_module.replay_buffer) is not None:
            seed = buffer.generator.initial_seed() + 7919 * len(self.events)
            buffer.generator.manual_seed(seed)
            if snapshot.chains is None:
                buffer.restart()
            else:
                buffer.chains = snapshot.chains.clone()
        gentler = ""
        if len(self.events) > 1:
            _halve(trainer, pl_module)
            gentler = " at half the learning rate and step size"
        print(f"{what}. Going on from step {snapshot.step}{gentler}.", flush=True)


def step_size_factor(events: Sequence[str]) -> float:
    """What the sampler's step size is multiplied by after these events."""
    return 0.5 ** max(0, len(events) - 1)


def refuse_broken_weights(pl_module: LightningModule, step: int) -> None:
    """Raise a DivergenceError if a weight is not finite."""
    if name := _broken_weight(pl_module):
        raise DivergenceError(
            f"training diverged before step {step}: the weights {name} are not finite. "
            "Try a smaller optimizer.lr"
        )


def _broken_weight(pl_module: LightningModule) -> str | None:
    named = list(pl_module.named_parameters())
    finite = torch.stack([parameter.detach().isfinite().all() for _, parameter in named])
    return None if bool(finite.all()) else named[int((~finite).nonzero()[0])][0]


def _snapshot(trainer: Trainer, pl_module: Any) -> _Snapshot:
    buffer = getattr(pl_module, "replay_buffer", None)
    return _Snapshot(
        step=trainer.global_step,
        model={name: value.detach().clone() for name, value in pl_module.state_dict().items()},
        optimizers=[copy.deepcopy(o.state_dict()["state"]) for o in trainer.optimizers],
        chains=None if buffer is None else buffer.chains.clone(),
    )


def _halve(trainer: Trainer, pl_module: Any) -> None:
    """Half the rates of the optimizers, of their schedules and of the sampler."""
    for optimizer in trainer.optimizers:
        for group in optimizer.param_groups:
            group["lr"] *= 0.5
            if "initial_lr" in group:
                group["initial_lr"] *= 0.5
    for config in trainer.lr_scheduler_configs:
        config.scheduler.base_lrs = [rate * 0.5 for rate in config.scheduler.base_lrs]
    _scale_steps(pl_module, 0.5)


def _scale_steps(pl_module: Any, factor: float) -> None:
    pl_module.sgld.step_size *= factor

"""Lets a resumed run follow the schedule of its own config."""

import copy
import warnings
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

# What a schedule's state says of the moment, and not of its shape.
_OF_THE_MOMENT = ("last_epoch", "base_lrs")


class Schedule(Callback):
    """Gives a resumed run the rates that its config has at the step where it goes on.

    Lightning brings back the schedule of the checkpoint, shape and all. Where the config's has
    another shape, as with more epochs, this goes through it up to that step. Rates that were
    halved to recover from divergence stay halved.

    Args:
        factor: the config's learning rate over that of the checkpoint, which differ where the
            number of devices does.
        of_classifiers: the same of the online classifiers, whose rate solo-learn multiplies by the
            devices only where there is validation data.
    """

    def __init__(self, factor: float = 1.0, of_classifiers: float = 1.0) -> None:
        self.factor, self.of_classifiers = factor, of_classifiers
        self._own: list[dict[str, Any]] = []
        self._own_rates: list[list[float]] = []
        self._epoch_before: float | None = None  # batches of an epoch, in the checkpoint
        self._max_steps = -1

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Note how long an epoch was."""
        self._epoch_before = checkpoint.get("batches_per_epoch")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the config's own schedule, before the checkpoint's is brought back."""
        loop = trainer.fit_loop.epoch_loop
        # With a limit, Lightning takes an epoch that is done for one to go on with, and skips it.
        self._max_steps, loop.max_steps = loop.max_steps, -1
        for config in trainer.lr_scheduler_configs:
            state = config.scheduler.state_dict()
            # Where solo-learn hangs a function on it, a copy would be of another schedule's.
            plain = {key: value for key, value in state.items() if not callable(value)}
            self._own.append(copy.deepcopy(plain))
            groups = config.scheduler.optimizer.param_groups
            self._own_rates.append([float(group["lr"]) for group in groups])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Follow the config's schedule, if it is another than the checkpoint's."""
        trainer.fit_loop.epoch_loop.max_steps = self._max_steps
        if trainer.ckpt_path is None:
            return
        if not trainer.lr_scheduler_configs and self.factor != 1:
            for optimizer in trainer.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] *= self._factor_of(group)
        configs = zip(trainer.lr_scheduler_configs, self._own, self._own_rates, strict=True)
        for config, own, rates in configs:
            changed = _shape(config.scheduler.state_dict()) != _shape(own)
            if not config.reduce_on_plateau and (changed or self.factor != 1):
                step = config.scheduler.last_epoch
                if config.interval == "step" and self._epoch_before:
                    # Rounded down, as the place in the epoch is: the end is not run over.
                    step = int(step * trainer.num_training_batches // self._epoch_before)
                groups = config.scheduler.optimizer.param_groups
                factors = [self._factor_of(group) for group in groups]
                _go_through(config.scheduler, own, rates, step, factors)

    def _factor_of(self, group: dict[str, Any]) -> float:
        # solo-learn's names: classifier, momentum_classifier, classifier_no_decay
        return self.of_classifiers if "classifier" in str(group.get("name")) else self.factor


def _shape(state: dict[str, Any]) -> dict[str, Any]:
    """What makes a schedule: its numbers and lists, but for those of the moment."""
    return {
        key: value
        for key, value in state.items()
        if not key.startswith("_") and key not in _OF_THE_MOMENT and not callable(value)
    }


def _go_through(
    scheduler: Any, own: dict[str, Any], rates: list[float], steps: int, factors: list[float]
) -> None:
    """Bring a schedule to a step in its own shape, with the full rates times what recovery left."""
    halved = [
        saved / full * factor if full else 1.0
        for saved, full, factor in zip(scheduler.base_lrs, own["base_lrs"], factors, strict=True)
    ]
    scheduler.load_state_dict(own)
    groups = scheduler.optimizer.param_groups
    for group, rate, full, share in zip(groups, rates, own["base_lrs"], halved, strict=True):
        group["lr"] = rate * share if rate == full else rate  # a warm-up begins below the full one
        group["initial_lr"] = full * share
    scheduler.base_lrs = [group["initial_lr"] for group in groups]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the optimizer has made no step in between
        for _ in range(steps):
            scheduler.step()

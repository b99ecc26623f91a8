"""Lets a signal or a time limit end a run between two steps, from where it can go on exactly."""

import math
import os
import signal
import threading
from datetime import timedelta
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer

from solo_gedi.core.processes import gather, world_size
from solo_gedi.training.callbacks.checkpointer import Checkpointer
from solo_gedi.training.callbacks.divergence_guard import broken_weight

# Queues send SIGUSR1 before a time limit, and Windows has none.
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)
)
AGREE_EVERY = 10  # batches between two looks at each other, for several processes


class GracefulStop(Callback):
    """Ends a run after the step in which a signal comes or its time is over; saves within epochs.

    A second signal ends it at once, without a checkpoint. Put before all callbacks that change a
    batch: what a checkpoint holds is the state before it.

    Args:
        checkpointer: of the run; None if nothing is to be saved.
        max_time: that the run may take from its start, as Lightning's Trainer takes it.

    Attributes:
        received: the signal; None if there was none.
        why: what ended the run, for a person; None if nothing did.
        first: the epoch that this start began with; infinite until then.
        done: epochs and batches of the next one, when it was ended.
    """

    def __init__(
        self,
        checkpointer: Checkpointer | None = None,
        max_time: str | timedelta | dict[str, int] | None = None,
    ) -> None:
        self.checkpointer, self.max_time = checkpointer, max_time
        self.received: int | None = None
        self.why: str | None = None
        self.first = math.inf
        self.done = 0, 0
        self._clock = Timer(max_time, verbose=False)
        self._moved = False
        self._before: dict[int, Any] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note who has the signals before Lightning takes them."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in SIGNALS}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals over from Lightning, which would end the run in the middle of a step."""
        self.first = trainer.current_epoch
        self._clock.on_train_start(trainer, pl_module)
        for number in self._before:
            signal.signal(number, self._receive)

    def teardown(self, *_: object, **__: object) -> None:
        """Let the signals do again what they did before."""
        for number in list(self._before):
            signal.signal(number, self._before.pop(number))

    on_exception = teardown

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.received = number
        name = signal.Signals(number).name
        # A handler may run in the middle of another log call, so it takes no lock.
        os.write(2, f"{name}: stopping after this step; send it again to stop at once\n".encode())

    def on_train_batch_end(self, *_: Any) -> None:
        """Note that this start has got somewhere: a short `max_time` must not keep it from that."""
        self._moved = True

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Between two steps, save what is due; end the run if that is wished."""
        between = batch_idx > 0 and batch_idx % trainer.accumulate_grad_batches == 0
        if not between or not self._moved or (world_size() > 1 and batch_idx % AGREE_EVERY):
            return
        stop, save = self._agree()
        # Weights that are broken can wait: the divergence guard looks at them soon.
        save = save and broken_weight(pl_module.named_parameters()) is None
        if self.checkpointer is not None and (stop or save):
            self.checkpointer.save_within(trainer, pl_module, batch_idx)
        if stop:
            self.done = trainer.current_epoch, batch_idx
            self._end(trainer)
            raise StopIteration  # Lightning's own way to leave an epoch: nothing is validated

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the run at the end of an epoch, which `Checkpointer` saves."""
        if self.why is None and self._agree()[0]:
            self.done = trainer.current_epoch + 1, 0
            self._end(trainer)

    def _agree(self) -> tuple[bool, bool]:
        """Whether to stop, and whether to save, on every process if on one."""
        left = self._clock.time_remaining()
        due = self.checkpointer is not None and self.checkpointer.is_due()
        wishes = gather((self.received, left is not None and left <= 0, due))
        received = [number for number, _, _ in wishes if number is not None]
        over = any(over for _, over, _ in wishes)
        if received:
            self.received = received[0]
            self.why = signal.Signals(self.received).name
        elif over:
            self.why = f"max_time={self.max_time}"
        return bool(received) or over, any(due for _, _, due in wishes)

    def _end(self, trainer: Trainer) -> None:
        trainer.fit_loop.min_epochs = 0
        trainer.fit_loop.epoch_loop.min_steps = None
        trainer.should_stop = True

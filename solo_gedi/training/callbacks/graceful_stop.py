"""Lets a signal end a run at the end of an epoch, from where it can go on exactly."""

import os
import signal
import threading
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from solo_gedi.core.processes import gather

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class GracefulStop(Callback):
    """After SIGINT or SIGTERM, lets the epoch come to its end, and the run with it.

    `Checkpointer` saves when a run stops. A second signal ends it at once, without a checkpoint.

    Attributes:
        received: the signal; None if there was none.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals over from Lightning, which would end the run in the middle."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._receive)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number in list(self._before):
            signal.signal(number, self._before.pop(number))

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.received = number
        name = signal.Signals(number).name
        # A handler may run in the middle of another log call, so it takes no lock.
        os.write(2, f"{name}: stopping after this epoch; once more to stop at once\n".encode())

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop on every process if the signal has reached one of them."""
        received = [number for number in gather(self.received) if number is not None]
        if received:
            self.received = received[0]
            trainer.should_stop = True

"""How a training gets on: a bar in a terminal, a line an epoch elsewhere."""

import sys
from time import monotonic

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from torch import Tensor
from tqdm import tqdm

from solo_gedi.core.processes import get_logger

logger = get_logger(__name__)

REFRESH = 0.5  # seconds between two looks at what the device has computed
ACCURACIES = {"val_acc1": "val acc", "val_knn_acc1": "knn acc"}  # in percent
# Of solo-learn's online classifier, beside a method's own.
_CLASSIFIERS = ("train_class_loss", "train_acc1", "train_acc5")


class Progress(ProgressBar):
    """Shows the losses, the clusters in use, the accuracies and the time that is left.

    One bar for the whole training where a person looks on, a line an epoch in the log elsewhere.
    What it shows is logged anyway: for a module with `shown`, these metrics by these labels; else
    the losses that are not the online classifier's. The bar reads the values of the last step
    every `REFRESH` seconds, both read the means of an epoch at its end, and nothing else waits for
    the device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_enabled = True
        self._bar: tqdm | None = None
        self._start = self._looked = 0.0
        self._before = 0  # steps of the run that this one goes on with

    def disable(self) -> None:
        """Show nothing, as in all processes but the first."""
        self.is_enabled = False

    def enable(self) -> None:
        """Show something again."""
        self.is_enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what is trained, where and for how long; begin to count."""
        self._start = self._looked = monotonic()
        self._before = trainer.global_step
        if not self.is_enabled:
            return
        network = getattr(pl_module, "backbone", pl_module)
        weights = sum(p.numel() for p in pl_module.parameters() if p.requires_grad)
        device = trainer.strategy.root_device.type
        logger.info(
            "%s, %s weights to train, on %s, %.0f batches an epoch",
            type(network).__name__,
            f"{weights:,}",
            f"{trainer.world_size} x {device}" if trainer.world_size > 1 else device,
            trainer.num_training_batches,
        )
        if watched():
            self._bar = tqdm(
                desc=f"{_epoch(trainer, '/')} ",
                total=int(trainer.estimated_stepping_batches),
                initial=self._before,
                file=sys.stdout,
                dynamic_ncols=True,
                bar_format="{desc}|{bar}| {remaining} left{postfix}",
            )

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        """Move the bar, now and then."""
        if self._bar is not None and monotonic() - self._looked >= REFRESH:
            self._show(trainer, self._values(trainer, pl_module))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the epoch's means and the last accuracies."""
        values = self._values(trainer, pl_module)  # on every process, since they are reduced
        if not self.is_enabled:
            return
        if self._bar is not None:
            self._show(trainer, values)
            return
        done = trainer.fit_loop.epoch_loop.batch_progress.current.completed
        if done < trainer.num_training_batches:
            return  # stopped within the epoch
        now, steps = monotonic(), trainer.estimated_stepping_batches
        a_step = (now - self._start) / max(1, trainer.global_step - self._before)
        time = f"{now - self._looked:.1f} s"
        left = tqdm.format_interval(a_step * (steps - trainer.global_step))
        logger.info("%s: %s; %s, %s left", _epoch(trainer, " of "), _text(values), time, left)
        self._looked = now

    def teardown(self, *_: object, **__: object) -> None:
        """Leave the bar as it is; what is said next begins a line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    on_exception = teardown

    def _show(self, trainer: Trainer, values: dict[str, float]) -> None:
        assert self._bar is not None
        self._looked = monotonic()
        self._bar.n = trainer.global_step
        self._bar.set_description_str(f"{_epoch(trainer, '/')} ", refresh=False)
        self._bar.set_postfix_str(_text(values))

    def _values(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, float]:
        """What is shown, by its labels."""
        metrics = trainer.callback_metrics
        shown = getattr(pl_module, "shown", None) or _losses(metrics)
        labels = {**shown, **ACCURACIES}
        return {label: float(metrics[name]) for name, label in labels.items() if name in metrics}


def watched() -> bool:
    """Whether a person looks at the output, in a terminal or a notebook."""
    return sys.stdout.isatty() or hasattr(sys, "ps1")


def _losses(metrics: dict[str, Tensor]) -> dict[str, str]:
    """The names and labels of a method's own losses; one alone is "loss"."""
    names = [name for name in metrics if name.startswith("train_") and name not in _CLASSIFIERS]
    own = [name for name in names if not name.endswith(("_step", "_epoch"))]
    if len(own) == 1:
        return {own[0]: "loss"}
    return {name: name.removeprefix("train_").removesuffix("_loss") for name in own}


def _epoch(trainer: Trainer, of: str) -> str:
    return f"epoch {trainer.current_epoch + 1}{of}{trainer.max_epochs}"


def _text(values: dict[str, float]) -> str:
    return ", ".join(f"{label} {_number(label, value)}" for label, value in values.items())


def _number(label: str, value: float) -> str:
    if label in ACCURACIES.values():
        return f"{value:.1f} %"
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"

"""What was logged while a run trained, as curves."""

import csv
import math
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import FigureBase
from matplotlib.ticker import MaxNLocator

from solo_gedi.report.plots import Panel

_NAMES = {
    "acc1": "online accuracy, %",
    "loss": "online classifier's loss",
    "gedi loss": "loss",
    "inv loss": "invariance loss",
    "gen loss": "generative loss",
    "energy l2 loss": "L2 of the energies",
    "chain grad norm": "gradients of the chains",
}
_LEFT_OUT = ("acc5", "class loss", "divergence events")
Curve = list[tuple[float, float]]


def read_curves(folder: Path) -> dict[str, Curve]:
    """What a run's `logs/version_*/metrics.csv` have of each epoch.

    Args:
        folder: the run's.

    Returns:
        Column -> (epoch, value) in the order of the epochs; a resumed run's later file wins. Values
        that are not finite are left out.

    Raises:
        ValueError: for a file that is not of numbers.
    """
    found: dict[str, dict[float, float]] = {}
    files = folder.glob("logs/version_*/metrics.csv")
    for path in sorted(files, key=lambda path: int(path.parent.name.rpartition("_")[2])):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                epoch = row.pop("epoch", None)
                for column, text in row.items():
                    if epoch and text and column and not column.endswith("_step"):
                        found.setdefault(column, {})[float(epoch)] = float(text)
    found.pop("step", None)
    return {
        column: kept
        for column, values in found.items()
        if (kept := sorted((e, value) for e, value in values.items() if math.isfinite(value)))
    }


def curve_panels(folder: Path) -> list[Panel]:
    """A small panel for each quantity that training logged by epoch.

    Args:
        folder: the run's.
    """
    together: dict[str, dict[str, Curve]] = {}
    for column, curve in read_curves(folder).items():
        split, _, name = column.removesuffix("_epoch").partition("_")
        name = name.replace("_", " ")
        if split in ("train", "val", "triad") and name not in _LEFT_OUT:
            together.setdefault(name, {})[split] = curve
    return [Panel(_NAMES.get(n, n), _drawing(curves), (2.4, 1.7)) for n, curves in together.items()]


def _drawing(curves: dict[str, Curve]) -> Callable[[FigureBase], object]:
    def draw(figure: FigureBase) -> None:
        axis = figure.subplots()
        for split, curve in curves.items():
            epochs, values = zip(*curve, strict=True)
            axis.plot(epochs, values, label=split, marker="." if len(curve) == 1 else "")
        axis.set_xlabel("epoch", fontsize=8)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.tick_params(labelsize=8)
        axis.spines[["right", "top"]].set_visible(False)
        if len(curves) > 1:
            axis.legend(fontsize=8)

    return draw

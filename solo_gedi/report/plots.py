"""Pictures of what a method has learned, as matplotlib figures.

A picture is a few panels. `draw` puts them into one figure, for a file or a notebook; a page shows
each alone, so that they flow around on a narrow screen. Figures are made without pyplot: drawing
neither chooses matplotlib's backend nor keeps the figure.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, singledispatch
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import TABLEAU_COLORS, to_rgb
from matplotlib.figure import Figure, FigureBase
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from PIL import Image
from sklearn.metrics import auc, roc_curve
from torch import Tensor
from torchvision.utils import make_grid

from solo_gedi.evaluation.pictures import (
    ClusterMap,
    ClusterSizes,
    Confusion,
    FeatureMap,
    ImageChains,
    Picture,
    PointChains,
    RocCurves,
    ScoreSets,
)
from solo_gedi.evaluation.rows import SCORES
from solo_gedi.files import write_atomically

CLUSTER_COLOURS = torch.tensor([to_rgb(colour) for colour in TABLEAU_COLORS.values()])
_MUTED, _STRONG = "#8a94a6", "#1f5fbf"


@dataclass(frozen=True)
class Panel:
    """A part of a picture.

    Attributes:
        title: above it.
        draw: draws it into a figure, or a part of one.
        size: width and height in inches.
    """

    title: str
    draw: Callable[[FigureBase], object]
    size: tuple[float, float] = (3.6, 3.6)

    def figure(self) -> Figure:
        """It alone, without its title."""
        figure = Figure(self.size, layout="constrained")
        self.draw(figure)
        return figure


def save_figure(figure: Figure, path: Path, title: str = "", note: str = "") -> None:
    """Write a figure as PNG; title and note go into the file, see `described`.

    Args:
        figure: what to write.
        path: the file; its folder is made where it is missing.
        title: what the picture is called in a report.
        note: what stands below it there.
    """
    about = {"Title": title, "Description": note}
    save = partial(figure.savefig, format="png", dpi=110, metadata=about)
    write_atomically(path, save)


def described(path: Path) -> tuple[str, str]:
    """Title and note in a PNG that `save_figure` wrote; of another, its name.

    Args:
        path: the file.
    """
    with Image.open(path) as image:
        return image.info.get("Title") or path.stem, image.info.get("Description", "")


def panels(draw_in: Mapping[str, Callable[[Axes], object]], side: float = 3.2) -> Figure:
    """Square panels side by side, each under its title.

    Args:
        draw_in: title -> what draws into the panel's axis.
        side: width of a panel, in inches.
    """
    return together([_square(title, draw_panel, side) for title, draw_panel in draw_in.items()])


def together(parts: Sequence[Panel], columns: int = 5) -> Figure:
    """Panels in one figure, each under its title.

    Args:
        parts: in their order.
        columns: panels in a row, at most.
    """
    columns = min(columns, len(parts))
    rows = math.ceil(len(parts) / columns)
    width, height = (max(part.size[k] for part in parts) for k in (0, 1))
    figure = Figure((columns * width, rows * (height + 0.3)), layout="constrained")
    places = figure.subfigures(rows, columns, squeeze=False).flat
    for place, part in zip(places, parts, strict=False):
        if part.title:
            place.suptitle(part.title, fontsize=min(11.0, 3 * width))
        part.draw(place)
    return figure


def draw(picture: Picture) -> Figure:
    """Draw what a task has to show.

    Args:
        picture: one of the classes of `evaluation.pictures`, but for `Gallery`.

    Raises:
        TypeError: for another.
    """
    return together(panels_of(picture))


@singledispatch
def panels_of(picture: Picture) -> list[Panel]:
    """The panels of what a task has to show.

    Args:
        picture: as that of `draw`.

    Raises:
        TypeError: for another.
    """
    raise TypeError(f"no drawing for {type(picture).__name__}")


@panels_of.register(RocCurves)
def _roc_curves(picture: RocCurves) -> list[Panel]:
    """A panel for each other data set, a curve for each score."""
    own, *others = picture.scores

    def panel(figure: FigureBase, other: str) -> None:
        axis = figure.subplots()
        axis.plot([0, 1], [0, 1], color=_MUTED, linewidth=0.8, linestyle=":")
        for score, inside in picture.scores[own].items():
            outside = picture.scores[other][score]
            is_own = np.repeat([1, 0], [len(inside), len(outside)])
            kept, found, _ = roc_curve(is_own, torch.cat([inside, outside]).numpy())
            axis.plot(kept, found, label=f"{SCORES.get(score, score)}: {auc(kept, found):.3f}")
        axis.set(xlabel=f"share of {other} kept", ylabel=f"share of {own} kept", aspect="equal")
        axis.legend(fontsize=7, loc="lower right", title="AUROC", title_fontsize=7)

    return [
        Panel(f"Against {other}", partial(panel, other=other), (3.25, 3.25)) for other in others
    ]


@panels_of.register(ScoreSets)
def _score_sets(picture: ScoreSets) -> list[Panel]:
    """A panel for each score, in it an axis for each data set."""

    def panel(figure: FigureBase, score: str) -> None:
        sets = {name: values[score] for name, values in picture.scores.items()}
        everything = torch.cat(list(sets.values()))
        # Without the most extreme hundredth on each side, which would squeeze all the rest.
        low, high = np.quantile(everything.numpy(), [0.01, 0.99]).tolist()
        axes = figure.subplots(len(sets), 1, sharex=True, squeeze=False)[:, 0]
        for number, (axis, (name, values)) in enumerate(zip(axes, sets.items(), strict=True)):
            clipped = values.clamp(low, high).numpy()
            axis.hist(clipped, 40, (low, high), color=_MUTED if number else _STRONG)
            axis.set_yticks([])
            axis.spines[["left", "right", "top"]].set_visible(False)
            axis.set_title(name, fontsize=9, loc="left", pad=2)
        axes[-1].xaxis.set_major_locator(MaxNLocator(4))
        axes[-1].set_xlabel("higher: in-distribution")

    names = next(iter(picture.scores.values()))
    size = (2.4, 0.8 * len(picture.scores) + 0.6)
    return [Panel(SCORES.get(name, name), partial(panel, score=name), size) for name in names]


@panels_of.register(ClusterSizes)
def _cluster_sizes(picture: ClusterSizes) -> list[Panel]:
    sizes, many = picture.sizes, len(picture.sizes) > 40

    def panel(axis: Axes) -> None:
        if many:
            axis.stairs(sizes.sort(descending=True).values, fill=True, color=_STRONG)
        else:
            axis.bar(range(len(sizes)), sizes, color=_STRONG)
            axis.set_xticks(range(len(sizes)))
        even = float(sizes.sum()) / len(sizes)
        axis.axhline(even, color=_MUTED, linestyle="--", label=f"evenly: {even:.4g}")
        axis.set(xlabel="clusters, by size" if many else "cluster", ylabel="points")
        axis.spines[["right", "top"]].set_visible(False)
        axis.legend(fontsize=8)

    return [Panel("", _in_axis(panel), (4.6, 2.8))]


@panels_of.register(Confusion)
def _confusion(picture: Confusion) -> list[Panel]:
    """Rows are clusters, whose colours are the shares of their points in each class."""
    rows, columns = picture.table.shape
    shares = picture.table / picture.table.sum(1, keepdim=True)

    def panel(axis: Axes) -> None:
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axis.set(xlabel="class", ylabel="cluster")
        if columns <= 40:
            longest = max(map(len, picture.classes))
            axis.set_xticks(range(columns), picture.classes, rotation=90 if longest > 4 else 0)
        if rows <= 40:
            axis.set_yticks(range(rows), picture.clusters)
        if rows * columns <= 400:
            for i in range(rows):
                for j in range(columns):
                    if count := int(picture.table[i, j]):
                        colour = "white" if shares[i, j] > 0.6 else "black"
                        text = axis.text(j, i, str(count), fontsize=8, color=colour)
                        text.set(ha="center", va="center")

    size = (min(max(0.38 * columns + 0.9, 3), 9), min(max(0.36 * rows + 1, 2.5), 9))
    return [Panel("", _in_axis(panel), size)]


@panels_of.register(FeatureMap)
def _feature_map(picture: FeatureMap) -> list[Panel]:
    """A panel for each kind of colour, every colour named where the middle of its points is."""

    def panel(axis: Axes, names: Sequence[str]) -> None:
        kinds = sorted(set(names), key=lambda name: (len(name), name))
        few = len(kinds) <= 10
        numbers = np.array([kinds.index(name) for name in names])
        colours = colormaps["tab10" if few else "nipy_spectral"](
            numbers if few else numbers / len(kinds)
        )
        axis.scatter(picture.places[:, 0], picture.places[:, 1], s=5, c=colours, linewidths=0)
        for number, kind in enumerate(kinds if len(kinds) <= 20 else ()):
            x, y = picture.places[numbers == number].median(0).values.tolist()
            text = axis.text(x, y, kind, ha="center", weight="bold", fontsize=9)
            text.set_path_effects([withStroke(linewidth=3, foreground="white")])
        axis.set(xticks=[], yticks=[])

    return [
        _square(f"By {kind}", partial(panel, names=names), 4.2)
        for kind, names in picture.kinds.items()
    ]


@panels_of.register(ImageChains)
def _image_chains(picture: ImageChains) -> list[Panel]:
    def panel(axis: Axes, images: Tensor) -> None:
        grid = make_grid((images.clamp(-1, 1) + 1) / 2, nrow=8, padding=1, pad_value=1.0)
        axis.imshow(grid.permute(1, 2, 0), interpolation="nearest")
        axis.axis("off")

    shown = {} if picture.real is None else {"Real images": picture.real}
    shown |= {f"{number} steps": images for number, images in picture.chains.items()}
    return [_square(title, partial(panel, images=images)) for title, images in shown.items()]


@panels_of.register(PointChains)
def _point_chains(picture: PointChains) -> list[Panel]:
    """Chains on the landscape of log p, bright where it is high."""
    box, log_p = picture.box, picture.log_density
    line = torch.linspace(-box, box, len(log_p))

    def panel(axis: Axes, points: Tensor) -> None:
        axis.contourf(line, line, log_p - log_p.max(), levels=30, cmap="viridis")
        axis.plot(points[:, 0], points[:, 1], "w.", markersize=1, alpha=0.6)
        axis.set(xlim=(-box, box), ylim=(-box, box), xticks=[], yticks=[])

    return [
        _square(f"{number} steps", partial(panel, points=points))
        for number, points in picture.chains.items()
    ]


@panels_of.register(ClusterMap)
def _cluster_map(picture: ClusterMap) -> list[Panel]:
    """Points in the colour of their cluster, over the regions of the plane in a paler one."""
    colours, box = CLUSTER_COLOURS, picture.box

    def panel(axis: Axes) -> None:
        regions = colours[picture.regions % len(colours)]
        axis.imshow(regions, extent=(-box, box, -box, box), origin="lower", alpha=0.2)
        points, clusters = picture.points, colours[picture.clusters % len(colours)]
        axis.scatter(points[:, 0], points[:, 1], s=1, c=clusters)
        axis.set(xlim=(-box, box), ylim=(-box, box), xticks=[], yticks=[])

    return [_square("", panel)]


def _in_axis(draw_panel: Callable[[Axes], object]) -> Callable[[FigureBase], object]:
    return lambda figure: draw_panel(figure.subplots())


def _square(title: str, draw_panel: Callable[[Axes], object], side: float = 3.2) -> Panel:
    return Panel(title, _in_axis(draw_panel), (side, side))

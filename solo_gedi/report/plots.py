"""Pictures of what a method has learned, as matplotlib figures.

Figures are made without pyplot: drawing neither chooses matplotlib's backend nor keeps the figure.
"""

from collections.abc import Callable, Mapping
from functools import partial, singledispatch
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.colors import TABLEAU_COLORS, to_rgb
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from solo_gedi.evaluation.pictures import ClusterMap, ImageChains, Picture, PointChains, ScoreSets
from solo_gedi.evaluation.rows import SCORES
from solo_gedi.files import write_atomically

CLUSTER_COLOURS = torch.tensor([to_rgb(colour) for colour in TABLEAU_COLORS.values()])


def save_figure(figure: Figure, path: Path, title: str = "", note: str = "") -> None:
    """Write a figure as PNG; title and note go into the file, see `described`.

    Args:
        figure: what to write.
        path: the file; its folder is made where it is missing.
        title: what the picture is called in a report.
        note: what stands below it there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
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
    """Panels side by side, each under its title.

    Args:
        draw_in: title -> what draws into the panel's axis.
        side: width of a panel, in inches.
    """
    figure = Figure((side * len(draw_in), side + 0.3), layout="tight")
    axes = figure.subplots(1, len(draw_in), squeeze=False)
    for axis, (title, draw_panel) in zip(axes[0], draw_in.items(), strict=True):
        axis.set_title(title, fontsize=3 * side)
        draw_panel(axis)
    return figure


@singledispatch
def draw(picture: Picture) -> Figure:
    """Draw what a task has to show.

    Args:
        picture: one of the classes of `evaluation.pictures`.

    Raises:
        TypeError: for another.
    """
    raise TypeError(f"no drawing for {type(picture).__name__}")


@draw.register(ScoreSets)
def _score_sets(picture: ScoreSets) -> Figure:
    """Histograms, one panel a score, one colour a data set."""

    def panel(axis: Axes, score: str) -> None:
        sets = {name: values[score] for name, values in picture.scores.items()}
        everything = torch.cat(list(sets.values()))
        # Without the most extreme hundredth on each side, which would squeeze all the rest.
        low, high = everything.quantile(0.01).item(), everything.quantile(0.99).item()
        for name, values in sets.items():
            clipped = values.clamp(low, high).numpy()
            axis.hist(clipped, bins=50, range=(low, high), density=True, alpha=0.5, label=name)
        axis.set_xlabel("higher: in-distribution")
        axis.legend()

    names = next(iter(picture.scores.values()))
    return panels({SCORES.get(n, n): partial(panel, score=n) for n in names}, side=4.0)


@draw.register(ImageChains)
def _image_chains(picture: ImageChains) -> Figure:
    def panel(axis: Axes, images: Tensor) -> None:
        grid = make_grid((images.clamp(-1, 1) + 1) / 2, nrow=8, padding=1, pad_value=1.0)
        axis.imshow(grid.permute(1, 2, 0), interpolation="nearest")
        axis.axis("off")

    return panels({f"{n} steps": partial(panel, images=x) for n, x in picture.chains.items()})


@draw.register(PointChains)
def _point_chains(picture: PointChains) -> Figure:
    """Chains on the landscape of log p, bright where it is high."""
    box, log_p = picture.box, picture.log_density
    line = torch.linspace(-box, box, len(log_p))

    def panel(axis: Axes, points: Tensor) -> None:
        axis.contourf(line, line, log_p - log_p.max(), levels=30, cmap="viridis")
        axis.plot(points[:, 0], points[:, 1], "w.", markersize=1, alpha=0.6)
        axis.set(xlim=(-box, box), ylim=(-box, box), xticks=[], yticks=[])

    return panels({f"{n} steps": partial(panel, points=x) for n, x in picture.chains.items()})


@draw.register(ClusterMap)
def _cluster_map(picture: ClusterMap) -> Figure:
    """Points in the colour of their cluster, over the regions of the plane in a paler one."""
    colours, box = CLUSTER_COLOURS, picture.box

    def panel(axis: Axes) -> None:
        regions = colours[picture.regions % len(colours)]
        axis.imshow(regions, extent=(-box, box, -box, box), origin="lower", alpha=0.2)
        points, clusters = picture.points, colours[picture.clusters % len(colours)]
        axis.scatter(points[:, 0], points[:, 1], s=1, c=clusters)
        axis.set(xlim=(-box, box), ylim=(-box, box), xticks=[], yticks=[])

    return panels({"": panel})

"""Pictures of what a method has learned."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no window: these run on servers

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.utils import make_grid

from solo_gedi.core.energy import LogDensity

CLUSTER_COLOURS = plt.get_cmap("tab10")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG and let go of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def save_panels(
    panels: Mapping[str, Callable[[Axes], object]], path: Path, side: float = 3.2
) -> None:
    """Draw panels side by side, each under its title.

    Args:
        panels: title -> what draws into the panel's axis.
        path: the PNG to write.
        side: width of a panel, in inches.
    """
    figure, axes = plt.subplots(
        1, len(panels), figsize=(side * len(panels), side + 0.3), squeeze=False
    )
    for axis, (title, draw) in zip(axes[0], panels.items(), strict=True):
        axis.set_title(title, fontsize=3 * side)
        draw(axis)
    save_figure(figure, path)


def score_histograms(scores: dict[str, dict[str, Tensor]], path: Path) -> None:
    """Histograms of OOD scores, one panel a score, one colour a data set.

    Args:
        scores: data set -> score -> values (n,); the first data set is the in-distribution one.
        path: the PNG to write.
    """

    def draw(axis: Axes, name: str) -> None:
        everything = torch.cat([values[name] for values in scores.values()])
        # Without the most extreme hundredth on each side, which would squeeze all the rest.
        low, high = everything.quantile(0.01).item(), everything.quantile(0.99).item()
        for dataset, values in scores.items():
            clipped = values[name].clamp(low, high).numpy()
            label = Path(dataset).name  # of custom:FOLDER the folder's name
            axis.hist(clipped, bins=50, range=(low, high), density=True, alpha=0.5, label=label)
        axis.set_xlabel("higher: in-distribution")
        axis.legend()

    names = next(iter(scores.values()))
    save_panels({name: partial(draw, name=name) for name in names}, path, side=4.0)


def draw_images(axis: Axes, samples: Tensor) -> None:
    """A grid of images (n, channels, h, w), pixels in [-1, 1], eight in a row."""
    grid = make_grid((samples.clamp(-1, 1) + 1) / 2, nrow=8, padding=1, pad_value=1.0)
    axis.imshow(grid.permute(1, 2, 0), interpolation="nearest")
    axis.axis("off")


def _mesh(box: float, side: int = 200) -> tuple[Tensor, Tensor, Tensor]:
    line = torch.linspace(-box, box, side)
    x, y = torch.meshgrid(line, line, indexing="xy")
    return x, y, torch.stack([x.flatten(), y.flatten()], 1)


def draw_clusters(
    axis: Axes, cluster_of: Callable[[Tensor], Tensor], points: Tensor, box: float
) -> None:
    """Decision regions over [-box, box]^2 and points in the colour of their cluster (Figure 3).

    Args:
        axis: where to draw.
        cluster_of: points (n, 2) -> clusters (n,).
        points: (n, 2).
        box: half the side of the square.
    """
    x, y, mesh = _mesh(box)
    regions = cluster_of(mesh).view(x.shape)
    axis.contourf(x, y, regions, levels=[-0.5, 0.5, 1.5], colors=["C0", "C1"], alpha=0.2)
    clusters = cluster_of(points)
    for cluster in clusters.unique().tolist():
        chosen = points[clusters == cluster]
        axis.plot(chosen[:, 0], chosen[:, 1], ".", markersize=2, color=CLUSTER_COLOURS(cluster))
    axis.set_xticks([])
    axis.set_yticks([])


def draw_energy(axis: Axes, samples: Tensor, density: LogDensity, box: float) -> None:
    """The landscape of log p over [-box, box]^2, bright where it is high, and samples (Figure 4).

    Args:
        axis: where to draw.
        samples: (n, 2).
        density: points (n, 2) -> log p up to a constant (n,).
        box: half the side of the square.
    """
    x, y, mesh = _mesh(box)
    with torch.no_grad():
        log_p = density(mesh).view(x.shape)
    axis.contourf(x, y, log_p - log_p.max(), levels=30, cmap="viridis")
    axis.plot(samples[:, 0], samples[:, 1], "w.", markersize=1, alpha=0.6)
    axis.set(xlim=(-box, box), ylim=(-box, box), xticks=[], yticks=[])

"""A suite's report: tables, settings and figures of all its cells."""

import math
import statistics
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from solo_gedi.comparison import tables
from solo_gedi.comparison.measures import NMI
from solo_gedi.comparison.plan import Cell
from solo_gedi.comparison.tables import Results, Row
from solo_gedi.report.page import Figure, Part, Section, Table, write_report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CLUSTER_MAP = "clusters"  # the picture of an evaluation that shows the plane
_SHOWN = ("feature_map", "ood_roc", "samples_fresh", "samples_buffer")  # of each method

_NOTES = {
    "NMI": "NMI is that of the whole test set. The paper does not say how it computes its NMI; as "
    "means over mini-batches its values on SVHN and CIFAR-100 would be at most those of chance. "
    "The full table has such means, with their chance level, beside the whole set's. ",
    "OOD AUROC": "AUROC is that of the paper's score, the norm of the gradient of log p; the full "
    "table has the other scores. ",
}


def write(title: str, cells: Sequence[Cell], out: Path, commands: str) -> list[Row]:
    """Write `tables.*`, `results.*` and `report.html` of what has been run so far.

    Args:
        title: of the page.
        cells: all, done or not.
        out: folder of the files.
        commands: what has been run, in a sentence.

    Returns:
        The rows of the comparison.
    """
    results = tables.read(cells)
    rows, everything = tables.comparison(results), tables.everything(results)
    tables.write(rows, out, "tables")
    tables.write(everything, out, "results")
    done = sum(cell.state != "to do" for cell in cells)
    about = f"{done} of {len(cells)} cells have been run. {commands}"
    note = "".join(n for name, n in _NOTES.items() if any(name in row["measure"] for row in rows))
    note += "Mean ± standard deviation over the seeds; the paper's values: Tables 2 and 6 to 10."
    parts: list[Part] = [
        Section("The suite", (), about),
        Table("Beside the paper", [tables.shown(row) for row in rows], note),
    ]
    if remarks := tables.remarks(results):
        parts.append(Table("Not done, or not at once", remarks))
    for dataset in dict.fromkeys(dataset for dataset, _ in results):
        parts += _settings(results, dataset)
        parts += _figures(results, dataset, out)
        weights = {c.method: c.weights for c in cells if c.dataset == dataset and c.weights}
        if weights:
            nmi = {w: _nmi(results[dataset, method]) for method, w in weights.items()}
            parts.append(sensitivity(nmi, dataset, out))
    parts.append(Table("Where the time went, seconds", _seconds(results)))
    parts.append(Table("Everything that was measured", [tables.shown(r) for r in everything]))
    write_report(out / "report.html", title, parts)
    return rows


def _settings(results: dict[tuple[str, str], Results], dataset: str) -> list[Part]:
    ours, kwargs = tables.settings(results, dataset)
    same = "Budget, data, augmentations, optimizer and backbone are the same for every method."
    title = f"Settings on {dataset}"
    first = Table(f"{title}: what differs", ours) if ours else Section(title, (), same)
    return [first, Table(f"{title}: method_kwargs", kwargs)]


def _figures(results: dict[tuple[str, str], Results], dataset: str, out: Path) -> list[Figure]:
    """The pictures of each method's first seed; maps of clusters side by side (Figure 3)."""
    from solo_gedi.report.plots import described, panels, save_figure

    figures: list[Figure] = []
    maps: dict[str, Path] = {}
    for (name, method), found in results.items():
        if name != dataset or not found.finished:
            continue
        first = found.finished[0]
        paths = [Path(first["folder"]) / figure for figure in first["figures"]]
        for path in filter(Path.exists, paths):
            title, note = described(path)
            if path.stem == CLUSTER_MAP:
                maps[method] = path
            elif path.stem in _SHOWN:
                about = f"{dataset}, {method}, seed {first['seed']}: {title}"
                figures.append(Figure(about, path, note))
    if maps:
        path = out / f"clusters_{dataset}.png"
        shown = {method: partial(_show, picture=picture) for method, picture in maps.items()}
        save_figure(panels(shown, side=2.0), path)
        figures.insert(0, Figure(f"Clusters and their regions on {dataset} (Figure 3)", path))
    return figures


def _show(axis: "Axes", picture: Path) -> None:
    from matplotlib.image import imread

    axis.imshow(imread(picture))
    axis.axis("off")


def _nmi(results: Results) -> float:
    values = [v for found in NMI.values(results.finished).values() for v in found]
    return statistics.fmean(values) if values else math.nan


def sensitivity(nmi: dict[tuple[int, int], float], dataset: str, out: Path) -> Figure:
    """Figure 2: mean NMI over the weights of the invariance and the prior term.

    Args:
        nmi: by these two weights, in this order; places that are missing or NaN stay empty.
        dataset: in the title and the file's name.
        out: folder of the picture, `sensitivity_<dataset>.png`.
    """
    from matplotlib.figure import Figure as Canvas

    from solo_gedi.report.plots import save_figure

    figure = Canvas((4.5, 4), layout="tight")
    axis = figure.subplots()
    weights = [sorted(set(values)) for values in zip(*nmi, strict=True)]
    grid = [[nmi.get((inv, prior), math.nan) for prior in weights[1]] for inv in weights[0]]
    image = axis.imshow(grid, origin="lower", vmin=0, vmax=1)
    axis.set(xlabel="weight of the prior term", ylabel="weight of the invariance term")
    axis.set_xticks(range(len(weights[1])), list(map(str, weights[1])))
    axis.set_yticks(range(len(weights[0])), list(map(str, weights[0])))
    figure.colorbar(image, label="NMI")
    path = out / f"sensitivity_{dataset}.png"
    save_figure(figure, path)
    return Figure(f"Sensitivity to the loss weights on {dataset} (Figure 2)", path)


def _seconds(results: dict[tuple[str, str], Results]) -> list[Row]:
    rows = []
    for (dataset, method), found in results.items():
        if found.finished:
            seconds: dict[str, Any] = found.finished[0].get("seconds", {})
            rows.append({"data set": dataset, "method": method, **seconds})
    return rows

"""GEDI beside SwAV and Barlow Twins on digits, in minutes on two CPU cores."""

import json
from copy import deepcopy
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchvision.utils import make_grid

from solo_gedi import __version__
from solo_gedi.comparison import tables
from solo_gedi.core.processes import get_logger
from solo_gedi.errors import Interrupted
from solo_gedi.files import check_folder, given_path, write_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from solo_gedi.training import Run

logger = get_logger(__name__)

METHODS = ("gedi", "swav", "barlow")  # config names
SHOWN = "gedi"  # whose clusters and samples are drawn
DIGITS = 3  # of its table, on the console as in the files


def demo(
    *, out: str | Path = "runs/demo", epochs: int | None = None, seed: int | None = None
) -> list[dict[str, Any]]:
    """Pretrain, probe and evaluate three methods on scikit-learn's digits.

    `table.csv`, `.md` and `.tex` hold the comparison, `samples.png` what GEDI draws, and
    `gedi.png` that and how it clusters the test digits. `demo.json` keeps what is done: a demo that
    was stopped goes on with the next method, and one that is done is not done again.

    Args:
        out: folder of the results.
        epochs: of pretraining and probes, for a try; the configs' when None.
        seed: the configs' when None.

    Returns:
        A row a method: its name, the NMI of its own clusters, the accuracies of the linear probe
        and of kNN, all on the test split, and the seconds it took; and `run`, its folder.

    Raises:
        GEDIError: before training starts, if an argument cannot work.
        Interrupted: after a signal.

    Example:
        demo(out="runs/try", epochs=2)
    """
    folder = given_path(out)
    check_folder(folder, "--out")
    settings = {"version": __version__, "epochs": epochs, "seed": seed}
    rows = _done(folder / "demo.json", settings)
    for method in METHODS[len(rows) :]:
        done, about = len(rows), ""
        if rows:
            left = (len(METHODS) - done) * fmean(row["seconds"] for row in rows)
            about = f", about {left:.0f} s left"
        logger.info("%d of %d: %s%s", done + 1, len(METHODS), method, about)
        rows.append(_compare(method, folder, epochs, seed))
        tables.write([shown(row) for row in rows], folder, "table", DIGITS)
        write_json(folder / "demo.json", {**settings, "rows": rows})
    return rows


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `demo` as its table shows it, without the folder of the run."""
    return {name: value for name, value in row.items() if name != "run"}


def _done(path: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a demo with the same settings whose runs still lie there."""
    if not path.exists():
        return []
    before = json.loads(path.read_text())
    rows: list[dict[str, Any]] = before.pop("rows")
    if before != settings or not all(Path(row["run"]).exists() for row in rows):
        return []
    logger.info(
        "%d of %d methods were done before; without %s they run again",
        len(rows),
        len(METHODS),
        path,
    )
    return rows


def _compare(method: str, out: Path, epochs: int | None, seed: int | None) -> dict[str, Any]:
    """Pretrain, probe and evaluate one method: a row of the table."""
    from solo_gedi.config import load_config
    from solo_gedi.report import evaluate
    from solo_gedi.training import pretrain

    start = perf_counter()
    shorter = [] if epochs is None else [f"max_epochs={epochs}"]
    overrides = [
        f'checkpoint.dir="{out}"',
        "auto_resume.enabled=false",
        *shorter,
        *([] if seed is None else [f"seed={seed}"]),
    ]
    config = f"digits/{method}"
    run = pretrain(load_config(config, overrides))
    if run.interrupted is not None:
        raise Interrupted(run.interrupted)
    result = evaluate(
        run,
        ("clustering", "linear", "knn"),
        linear_config=config,
        overrides=[f"probe.{override}" for override in shorter],
    )
    if method == SHOWN:
        _draw(run, out)
    return {
        "method": run.config.method,
        "NMI": result.value(task="clustering", metric="nmi", source="model"),
        "linear acc": result.value(task="linear", metric="accuracy"),
        "kNN acc": result.value(task="knn", metric="accuracy"),
        "seconds": round(perf_counter() - start),
        "run": str(run.folder),
    }


def _draw(run: "Run", out: Path) -> None:
    """The chains as `samples.png`; they and the test digits by cluster as `gedi.png`."""
    from matplotlib.figure import Figure

    from solo_gedi.data import save_grid
    from solo_gedi.inference import load
    from solo_gedi.report.plots import save_figure
    from solo_gedi.training import loaders

    model = load(run)
    assert model.chains is not None  # SHOWN has a generative term
    chains = model.chains[:100]
    save_grid(chains[:64], out / "samples.png")
    cfg = deepcopy(run.config)
    cfg.data.val_path = cfg.data.test_path
    x = torch.cat([x for x, _ in loaders.plain_loader(cfg, train=False)])
    images, clusters = model.space.to_samples(x), model.cluster_logits(x).argmax(1).cpu()
    by_cluster = [_ten(images[clusters == cluster]) for cluster in range(model.num_clusters)]
    figure = Figure((10, 5.4), layout="tight")
    left, right = figure.subplots(1, 2)
    _show(left, chains, "What it draws: chains of the replay buffer")
    _show(right, torch.cat(by_cluster), "How it clusters: test digits, one row a cluster")
    save_figure(figure, out / "gedi.png")


def _ten(images: Tensor) -> Tensor:
    """The first ten images, filled up with black ones."""
    blank = images.new_full((10, *images.shape[1:]), -1.0)
    return torch.cat([images[:10], blank])[:10]


def _show(axis: "Axes", images: Tensor, title: str) -> None:
    grid = make_grid(images, nrow=10, padding=1, pad_value=-1.0)[0]
    axis.imshow(grid, cmap="gray", vmin=-1, vmax=1)
    axis.set_title(title)
    axis.axis("off")

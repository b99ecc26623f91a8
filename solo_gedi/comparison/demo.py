"""`solo-gedi demo`: GEDI beside SwAV and Barlow Twins on digits, in minutes on two CPU cores."""

import argparse
import logging
import time
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from tabulate import tabulate
from torch import Tensor
from torchvision.utils import make_grid

from solo_gedi import evaluation
from solo_gedi.comparison import tables
from solo_gedi.config import compose as config
from solo_gedi.errors import ConfigError
from solo_gedi.evaluation import evaluate
from solo_gedi.files import check_folder
from solo_gedi.report.plots import save_figure
from solo_gedi.training import loaders
from solo_gedi.training.callbacks.sample_grid import save_grid
from solo_gedi.training.pretrain import pretrain

METHODS = ("gedi", "swav", "barlow")  # config names


def main(arguments: list[str]) -> None:
    """Run the command."""
    parser = config.Parser("solo-gedi demo", description=__doc__)
    parser.add_argument("--scripts", type=Path, default=Path("scripts"), help="configs' folder")
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="results' folder")
    parser.add_argument("--epochs", type=int, help="shorten pretraining and probes, for a try")
    parser.add_argument("--seed", type=int, help="another than the configs'")
    given = parser.parse_args(arguments)
    for kind, method in product(("pretrain", "linear"), METHODS):
        if not (given.scripts / kind / "digits" / f"{method}.yaml").is_file():
            raise ConfigError(
                f"--scripts={given.scripts} has no {kind}/digits/{method}.yaml: run the demo from "
                "a checkout of solo-gedi, or give the path of its scripts"
            )
    check_folder(given.out, "--out")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    start = time.perf_counter()
    rows = []
    for method in METHODS:
        rows.append(_compare(method, given))
        tables.write(rows, given.out, "table")
    print("\nNMI of the cluster head; linear probe and kNN offline; all on digits' test split")
    print(tabulate(rows, headers="keys", floatfmt=".3f"))
    print(f"\n{time.perf_counter() - start:.0f} s in all. Tables and pictures: {given.out}/")


def _compare(method: str, given: argparse.Namespace) -> dict[str, Any]:
    """Pretrain, probe and evaluate one method: a row of the table."""
    start = time.perf_counter()
    shorter = [f"max_epochs={given.epochs}"] if given.epochs is not None else []
    overrides = [
        f"checkpoint.dir={given.out}",
        "auto_resume.enabled=false",
        "+enable_model_summary=false",
        *shorter,
        *([f"seed={given.seed}"] if given.seed is not None else []),
    ]
    model, run = pretrain(config.load(given.scripts / "pretrain" / "digits", method, overrides))
    probe = given.scripts / "linear" / "digits" / f"{method}.yaml"
    options = evaluate.options(
        *("--tasks", "clustering,linear,knn", "--linear-config", str(probe)),
        overrides=[f"probe.{override}" for override in shorter],
    )
    results = evaluate.evaluate(run.folder, options)["results"]
    if method == "gedi":
        _draw(model, given.out)
    # The first clusters are those of the method's own head.
    nmi = next(row["value"] for row in results if row["metric"] == "nmi")
    accuracy = {row["task"]: row["value"] for row in results if row["metric"] == "accuracy"}
    return {
        "method": model.cfg.method,
        "NMI": nmi,
        "linear acc": accuracy["linear"],
        "kNN acc": accuracy["knn"],
        "seconds": round(time.perf_counter() - start),
    }


def _draw(model: Any, out: Path) -> None:
    """The chains as `samples.png`; they and the test digits by cluster as `gedi.png`."""
    chains = model.replay_buffer.chains[:100].cpu()
    save_grid(chains[:64], out / "samples.png")
    model.cfg.data.val_path = model.cfg.data.test_path
    test = loaders.plain_loader(model.cfg, train=False)
    images = model.sample_space.to_samples(torch.cat([x for x, _ in test]))
    clusters = evaluation.extract(model, test).clusters
    num_clusters = model.cfg.method_kwargs.num_clusters
    by_cluster = [_ten(images[clusters == cluster]) for cluster in range(num_clusters)]
    figure, axes = plt.subplots(1, 2, figsize=(10, 5.4))
    _show(axes[0], chains, "What it draws: chains of the replay buffer")
    _show(axes[1], torch.cat(by_cluster), "How it clusters: test digits, one row a cluster")
    save_figure(figure, out / "gedi.png")


def _ten(images: Tensor) -> Tensor:
    """The first ten images, filled up with black ones."""
    blank = images.new_full((10, *images.shape[1:]), -1.0)
    return torch.cat([images[:10], blank])[:10]


def _show(axis: Axes, images: Tensor, title: str) -> None:
    grid = make_grid(images, nrow=10, padding=1, pad_value=-1.0)[0]
    axis.imshow(grid, cmap="gray", vmin=-1, vmax=1)
    axis.set_title(title)
    axis.axis("off")

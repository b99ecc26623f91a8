"""`solo-gedi demo`: GEDI beside SwAV and Barlow Twins on digits, in minutes on two CPU cores."""

import argparse
import csv
import logging
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from omegaconf import DictConfig, OmegaConf
from tabulate import tabulate
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.utils import make_grid

from solo_gedi import evaluation
from solo_gedi.callbacks.sample_grid import save_grid
from solo_gedi.cli import config, loaders
from solo_gedi.cli.linear import linear
from solo_gedi.cli.pretrain import pretrain
from solo_gedi.errors import ConfigError

METHODS = ("gedi", "swav", "barlow")  # config names
SPLIT = "test"


def main(arguments: list[str]) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser("solo-gedi demo", description=__doc__)
    parser.add_argument("--scripts", type=Path, default=Path("scripts"), help="configs' folder")
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="results' folder")
    parser.add_argument("--epochs", type=int, help="shorten pretraining and probes, for a try")
    parser.add_argument("--seed", type=int, help="another than the configs'")
    given = parser.parse_args(arguments)
    if not (given.scripts / "pretrain" / "digits").is_dir():
        raise ConfigError(
            f"--scripts={given.scripts} has no pretrain/digits: run the demo from a checkout of "
            "solo-gedi, or give the path of its scripts"
        )
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    start = time.perf_counter()
    rows = []
    for method in METHODS:
        rows.append(_compare(method, given))
        _write_tables(rows, given.out)
    print("\nNMI of the cluster head; linear probe and kNN offline; all on digits' test split")
    print(tabulate(rows, headers="keys", floatfmt=".3f"))
    print(f"\n{time.perf_counter() - start:.0f} s in all. Tables and pictures: {given.out}/")


def _compare(method: str, given: argparse.Namespace) -> dict[str, Any]:
    """Pretrain, probe and evaluate one method: a row of the table."""
    start = time.perf_counter()
    common = [
        f"checkpoint.dir={given.out}",
        "auto_resume.enabled=false",
        "+enable_model_summary=false",
        *([f"max_epochs={given.epochs}"] if given.epochs else []),
        *([f"seed={given.seed}"] if given.seed is not None else []),
    ]
    cfg = config.load(given.scripts / "pretrain" / "digits", method, common)
    model, run = pretrain(cfg)
    (checkpoint,) = run.folder.glob("*.ckpt")
    probe = config.load(given.scripts / "linear" / "digits", method, common)
    OmegaConf.update(probe, "pretrained_feature_extractor", str(checkpoint))
    OmegaConf.update(probe, "data.val_path", SPLIT)
    linear_accuracy = linear(probe)
    test = _loader(model.cfg, SPLIT)
    train_features = evaluation.extract(model, _loader(model.cfg, "train"))
    test_features = evaluation.extract(model, test)
    if method == "gedi":
        _draw(model, test, test_features.clusters, given.out)
    clustering = evaluation.clustering_metrics(test_features.labels, test_features.clusters)
    return {
        "method": cfg.method,
        "NMI": clustering["nmi"],
        "linear acc": linear_accuracy,
        "kNN acc": evaluation.knn_accuracy(train_features, test_features),
        "seconds": round(time.perf_counter() - start),
    }


def _loader(cfg: DictConfig, split: str) -> DataLoader:
    """A split of digits, in order and without augmentation."""
    cfg = cfg.copy()
    cfg.data.val_path = split
    loader = loaders.validation_loader(cfg)
    assert loader is not None
    return loader


def _write_tables(rows: list[dict[str, Any]], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with (out / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    table = tabulate(rows, headers="keys", floatfmt=".3f", tablefmt="github")
    (out / "table.md").write_text(table + "\n")


def _draw(model: Any, test: DataLoader, clusters: Tensor, out: Path) -> None:
    """The chains as `samples.png`; they and the test digits by cluster as `gedi.png`."""
    chains = model.replay_buffer.chains[:100].cpu()
    save_grid(chains[:64], out / "samples.png")
    images = model.sample_space.to_samples(torch.cat([x for x, _ in test]))
    num_clusters = model.cfg.method_kwargs.num_clusters
    by_cluster = [_ten(images[clusters == cluster]) for cluster in range(num_clusters)]
    figure, axes = plt.subplots(1, 2, figsize=(10, 5.4))
    _show(axes[0], chains, "What it draws: chains of the replay buffer")
    _show(axes[1], torch.cat(by_cluster), "How it clusters: test digits, one row a cluster")
    figure.tight_layout()
    figure.savefig(out / "gedi.png", dpi=100)
    plt.close(figure)


def _ten(images: Tensor) -> Tensor:
    """The first ten images, filled up with black ones."""
    blank = images.new_full((10, *images.shape[1:]), -1.0)
    return torch.cat([images[:10], blank])[:10]


def _show(axis: Axes, images: Tensor, title: str) -> None:
    grid = make_grid(images, nrow=10, padding=1, pad_value=-1.0)[0]
    axis.imshow(grid, cmap="gray", vmin=-1, vmax=1)
    axis.set_title(title)
    axis.axis("off")

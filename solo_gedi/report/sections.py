"""The page of an evaluation: what its numbers and pictures are called, and said of them."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from omegaconf import OmegaConf

from solo_gedi.evaluation.rows import Row, describe, select
from solo_gedi.report.page import Card, Cards, Code, Part, Section, Table

TASKS = {
    "clustering": (
        "Clustering",
        "How evenly the clusters are used and, where there are labels, whether they follow the "
        "classes: NMI, AMI and ARI are 1 where they do, and near 0 by chance. K-means on the "
        "pixels needs no network.",
    ),
    "linear": ("Linear probe", "What a linear classifier reads off the frozen features."),
    "logistic": (
        "Logistic regression",
        "What a linear classifier reads off the frozen features once it has converged.",
    ),
    "knn": (
        "Nearest neighbours",
        "How often the nearest training images, by features, vote for the right class.",
    ),
    "ood": (
        "Out-of-distribution detection",
        "How well each score tells the model's own images from others. AUROC is the chance that "
        "one of its own scores higher than one of the others; 0.5 is guessing.",
    ),
    "fid": (
        "Distance of samples to data",
        "The Fréchet distance between features of samples and of real images; 0 at best.",
    ),
    "samples": (
        "Samples",
        "What the model draws: chains of its sampler at several steps.",
    ),
    "triad": (
        "Failure modes",
        "The three ways in which such a model fails: features that do not vary, one cluster that "
        "takes everything, and clusters that do not depend on the input.",
    ),
}
METRICS = {
    "nmi": "NMI",
    "ami": "AMI",
    "ari": "ARI",
    "cluster_acc": "accuracy",
    "clusters_used": "clusters used",
    "largest_cluster": "largest",
    "smallest_cluster": "smallest",
    "assignment_entropy": "entropy of sizes",
    "minibatch_nmi": "mini-batch NMI",
    "minibatch_nmi_chance": "by chance",
    "feature_std": "spread of the features",
    "effective_rank": "effective rank",
    "cluster_entropy": "entropy of the mean prediction",
    "largest_cluster_share": "share of the largest cluster",
    "view_agreement": "agreement of views",
    "permutation_gap": "permutation gap",
    "log_density": "log p",
    "neighbour_cut": "neighbours cut",
    "accuracy": "accuracy",
    "fid": "FID",
    "frechet_distance": "Fréchet distance",
}
MEANINGS = {
    "feature_std": "standard deviation over the points; 0 is representation collapse",
    "effective_rank": "directions that the features spread over; 1 is representation collapse",
    "cluster_entropy": "in nats; 0 is cluster collapse, the logarithm of their number even use",
    "largest_cluster_share": "1 is cluster collapse",
    "view_agreement": "share of points whose noisy copy, the view, has the same cluster",
    "permutation_gap": "rise of the loss when views are permuted; 0 if any permutation is as good",
}
_OF_VIEWS = ("view_agreement", "permutation_gap")
_COUNTS = ("clusters_used", "largest_cluster", "smallest_cluster")


def sections(metrics: Mapping[str, Any], parts: Mapping[str, Sequence[Part]]) -> list[Part]:
    """What a page has to say of an evaluation.

    Args:
        metrics: what `metrics.json` holds.
        parts: task -> its pictures; "training" -> those of the training.
    """
    rows = metrics["results"]
    page: list[Part] = [Cards("At a glance", cards)] if (cards := _cards(rows)) else []
    done = {row["task"] for row in rows} | parts.keys()
    for task in (*TASKS, *sorted(done - TASKS.keys() - {"training"})):
        if task not in done:
            continue
        title, text = TASKS.get(task, (task, ""))
        own = select(rows, task=task)
        tables: list[Part] = []
        for split, of_split in groupby(sorted(own, key=_split), _split):
            tables += _tables(task, list(of_split), f"Measured on: {split}")
        page.append(Section(title, [*tables, *parts.get(task, ())], text))
    if curves := parts.get("training"):
        text = "What was logged by epoch: train over the batches, val and triad on validation data."
        page.append(Section("Training", curves, text))
    if events := metrics["divergence"]:
        undone = [{"undone by the divergence guard": event} for event in events]
        page.append(Table("Divergence", undone))
    if not_done := metrics["not_done"].items():
        reasons = [{"task": TASKS.get(k, (k,))[0], "why": why} for k, why in not_done]
        page.append(Table("Not done", reasons))
    return [*page, Section("Settings and environment", _origin(metrics))]


def _cards(rows: Sequence[Row]) -> list[Card]:
    """The numbers that the paper reports, as far as they were measured."""
    wanted: list[tuple[str, dict[str, Any]]] = [
        ("NMI of the clusters", {"task": "clustering", "metric": "nmi", "source": "model"}),
        ("Clusters used", {"task": "clustering", "metric": "clusters_used", "source": "model"}),
        ("Linear accuracy", {"task": "linear", "metric": "accuracy"}),
        ("Logistic accuracy", {"task": "logistic", "metric": "accuracy"}),
        ("kNN accuracy", {"task": "knn", "metric": "accuracy"}),
        ("AUROC", {"task": "ood", "metric": "auroc", "score": "neg_grad_norm"}),
        ("FID", {"task": "fid", "metric": "fid"}),
        ("Fréchet distance", {"task": "fid", "metric": "frechet_distance"}),
    ]
    return [
        Card(
            f"{name} against {row['against']}" if "against" in row else name,
            _value(row),
            f"{_how(row)}; on {row['split']}",
        )
        for name, keys in wanted
        for row in select(rows, **keys)
    ]


def _how(row: Row) -> str:
    """How it was measured, but for the other set that a card's name has."""
    how = describe(row)
    return how.partition(", against")[0] if "against" in row else how


def _tables(task: str, rows: Sequence[Row], title: str) -> list[Part]:
    """A task's rows of one split, with a plain sentence for each."""
    if task == "clustering":
        whole = [row for row in rows if "batch" not in row]
        tables: list[Part] = [Table(title, _pivot(whole, "clusters", describe, _name), digits=4)]
        batches = [row for row in rows if "batch" in row]
        if batches:
            note = "The smaller the batches, the higher the NMI of random clusters."
            by_batch = _pivot(batches, "mini-batches of", lambda row: row["batch"], _name)
            tables.append(
                Table("NMI over mini-batches, beside its chance level", by_batch, note, 4)
            )
        return tables
    if task == "ood":

        def score(row: Row) -> str:
            return describe(row).partition(", against")[0]

        def against(row: Row) -> str:
            path = f":{row['path']}" if "path" in row else ""
            return f"AUROC against {row['against']}{path}"

        return [Table(title, _pivot(rows, "score", score, against), digits=4)]
    said = [
        {"measure": _name(row), "value": _value(row), "what it is": _meaning(row)} for row in rows
    ]
    return [Table(title, said, digits=4)]


def _pivot(rows: Sequence[Row], head: str, row_of: Any, column_of: Any) -> list[dict[str, Any]]:
    table: dict[Any, dict[str, Any]] = {}
    for row in rows:
        key = row_of(row)
        table.setdefault(key, {head: key})[column_of(row)] = _value(row)
    return list(table.values())


def _origin(metrics: Mapping[str, Any]) -> list[Part]:
    about = {
        "method": metrics["method"],
        "data set": metrics["dataset"],
        "checkpoint": metrics["checkpoint"],
        "epochs": metrics["epochs"],
        "seed": metrics["seed"],
        "solo-learn": metrics["host"],
        **metrics.get("environment", {}),
    }
    known = [{"what": key, "which": str(v)} for key, v in about.items() if v is not None]
    return [
        Table("Environment of the evaluation", known),
        Code("Hyper-parameters", OmegaConf.to_yaml(OmegaConf.create(metrics["config"]))),
    ]


def _split(row: Row) -> str:
    return str(row["split"])


def _name(row: Row) -> str:
    metric: str = row["metric"]
    return METRICS.get(metric, metric)


def _value(row: Row) -> float | int:
    return round(row["value"]) if row["metric"] in _COUNTS else row["value"]


def _meaning(row: Row) -> str:
    meaning = MEANINGS.get(row["metric"]) or describe(row)
    return f"{meaning}; noise of std {row['noise']}" if row["metric"] in _OF_VIEWS else meaning

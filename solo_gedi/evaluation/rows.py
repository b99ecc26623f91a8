"""Result rows: one number each, with keys that say what was measured, how, and on what.

Every row has `task`, `metric`, `split` and `value`; the further keys are the task's own, as `k` and
`distance` of `knn`. Programs look results up by these keys; the sentence that a person reads is
made from them.
"""

from collections.abc import Iterable
from typing import Any

Row = dict[str, Any]

FORMAT = 2  # of metrics.json; before it, rows had a sentence in place of keys

SCORES = {
    "neg_grad_norm": "-||grad_x log p||",
    "log_density": "log p",
    "max_softmax": "max p(y|x)",
    "knn_distance": "-distance to the training features",
    "mahalanobis": "-Mahalanobis distance",
}
_STARTS = {"fresh": "fresh chains", "buffer": "the buffer"}
_OF_ALL = ("task", "metric", "split", "value", "changed")


def describe(row: Row) -> str:
    """How a row was measured, as a sentence's part.

    Args:
        row: with the keys of its task; of an unknown task, the keys are given as they are.

    >>> describe({"task": "knn", "metric": "accuracy", "k": 20, "distance": "euclidean"})
    'weighted kNN on the features, k=20, euclidean distance'
    >>> describe({"task": "ood", "metric": "auroc", "score": "log_density", "against": "uniform"})
    'log p, against uniform'
    """
    sentence = _SENTENCES.get(row["task"], _keys)(row)
    if "changed" not in row:
        return sentence
    how, against, other = sentence.partition(", against")
    return f"{how}, with {row['changed']}{against}{other}"


def say(row: Row) -> str:
    """A row as a line of text.

    >>> row = {"task": "triad", "metric": "log_density", "of": "data", "split": "test"}
    >>> say({**row, "value": -1.5})
    'log_density -1.5000  [mean log p of the data; test]'
    """
    return f"{row['metric']} {row['value']:.4f}  [{describe(row)}; {row['split']}]"


def identity(row: Row) -> frozenset[tuple[str, Any]]:
    """What tells a row from others: everything but its value.

    >>> one = {"task": "fid", "metric": "fid", "steps": 20, "value": 31.0}
    >>> identity(one) == identity({**one, "value": 29.0})
    True
    """
    return frozenset((key, value) for key, value in row.items() if key != "value")


def merge(old: Iterable[Row], new: Iterable[Row]) -> list[Row]:
    """The old rows, those that were measured again replaced, then the rest of the new ones.

    >>> old = [{"metric": "nmi", "value": 0.1}, {"metric": "ari", "value": 0.2}]
    >>> merge(old, [{"metric": "nmi", "value": 0.3}])
    [{'metric': 'nmi', 'value': 0.3}, {'metric': 'ari', 'value': 0.2}]
    """
    return list({identity(row): row for row in (*old, *new)}.values())


def select(rows: Iterable[Row], **keys: Any) -> list[Row]:
    """The rows that have all of these keys with these values.

    >>> rows = [{"task": "knn", "value": 0.9}, {"task": "linear", "value": 0.8}]
    >>> select(rows, task="knn")
    [{'task': 'knn', 'value': 0.9}]
    """
    return [row for row in rows if keys.items() <= row.items()]


def _clustering(row: Row) -> str:
    if row["source"] == "model":
        clusters = f"argmax of the {row['output']}"
    else:
        on = "pixels" if row["source"] == "pixels" else "features"
        clusters = f"k-means (k={row['k']}) on the {on}"
    if "batch" in row:
        clusters += f", mean over mini-batches of {row['batch']}"
    if row["metric"].endswith("_chance"):
        clusters += ", clusters permuted over the points"
    return clusters


def _triad(row: Row) -> str:
    if "of" in row:
        return f"mean log p of the {row['of']}"
    if row["metric"] == "neighbour_cut":
        whose = "clusters" if row["source"] == "model" else "as many by spectral clustering"
        return (
            f"{whose}: edges cut of the graph of {row['k']} nearest neighbours in the "
            f"{row['space']}, {row['points']} points, over chance"
        )
    return f"features and clusters; views by noise of std {row['noise']}"


def _linear(row: Row) -> str:
    return (
        f"offline linear probe: {row['optimizer']}, learning rate {row['lr']:.3g}, "
        f"{row['epochs']} epochs, batch {row['batch']}"
    )


def _logistic(row: Row) -> str:
    return f"logistic regression on the standardized features, C={row['C']}"


def _knn(row: Row) -> str:
    return f"weighted kNN on the features, k={row['k']}, {row['distance']} distance"


def _ood(row: Row) -> str:
    path = f":{row['path']}" if "path" in row else ""
    nearest = f" (unit length, k={row['k']})" if "k" in row else ""
    return f"{SCORES[row['score']]}{nearest}, against {row['against']}{path}"


def _fid(row: Row) -> str:
    samples = (
        f"{row['samples']} samples after {row['steps']} SGLD steps from {_STARTS[row['start']]}, "
        "against real images"
    )
    if row["features"] == "inception":
        return samples
    whose = "the model's own" if row["features"] == "backbone" else f"{row['features']}'s"
    return f"{samples}, by {whose} features"


def _keys(row: Row) -> str:
    return ", ".join(f"{key}={value}" for key, value in row.items() if key not in _OF_ALL)


_SENTENCES = {
    "clustering": _clustering,
    "triad": _triad,
    "linear": _linear,
    "logistic": _logistic,
    "knn": _knn,
    "ood": _ood,
    "fid": _fid,
}

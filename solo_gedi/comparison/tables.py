"""From the results of cells to tables: means over seeds beside the paper's values."""

import csv
import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf
from tabulate import tabulate

from solo_gedi.comparison.measures import NMI, PIXELS, alike, measures
from solo_gedi.comparison.plan import Cell
from solo_gedi.config.keys import leaves
from solo_gedi.errors import ConfigError
from solo_gedi.evaluation.rows import FORMAT, Row, describe, select


class Results(NamedTuple):
    """What the seeds of a method on a data set have left.

    Attributes:
        finished: metrics of the seeds that were successful.
        failed: seed -> reason.
    """

    finished: list[dict[str, Any]]
    failed: dict[int, str]


def read(cells: Sequence[Cell]) -> dict[tuple[str, str], Results]:
    """(data set, method) -> results of the seeds that have been run.

    Args:
        cells: done or not.

    Raises:
        ConfigError: for results of an earlier version, whose rows cannot be told apart.
    """
    found: dict[tuple[str, str], Results] = {}
    for cell in cells:
        results = found.setdefault((cell.dataset, cell.method), Results([], {}))
        for seed in cell.seeds:
            path = cell.results_of(seed)
            if not path.exists():
                continue
            metrics = {**json.loads(path.read_text()), "folder": str(path.parent)}
            if metrics["status"] == "failed":
                results.failed[seed] = metrics["reason"]
            elif metrics.get("format") != FORMAT:
                raise ConfigError(
                    f"{path} was written by another version of solo-gedi: evaluate the run again, "
                    "or run the suite with --rerun all"
                )
            elif metrics["status"] == "finished":
                results.finished.append(metrics)
    return found


def comparison(results: dict[tuple[str, str], Results]) -> list[Row]:
    """One row for each data set, measure and method: ours, the paper's, the difference.

    On images k-means on the pixels is one of NMI's methods.

    `std` is that of a sample; a method whose seeds all failed has its reason in place of numbers;
    `recovered` counts the seeds that the divergence guard had to bring back.

    Args:
        results: of `read`.
    """
    rows = []
    for dataset in dict.fromkeys(dataset for dataset, _ in results):
        runs = [run for (d, _), of in results.items() if d == dataset for run in of.finished]
        for measure in measures(runs):
            theirs, of_measure = measure.papers(dataset), []
            for method in [m for d, m in results if d == dataset]:
                finished, failed = results[dataset, method]
                for how, values in (measure.values(finished) or {"": []}).items():
                    of_measure.append(
                        {
                            "data set": dataset,
                            "measure": f"{measure.name} ({how})" if how else measure.name,
                            "method": method,
                            **_mean_std(values),
                            **_beside(values, theirs.get(method)),
                            "seeds": len(values),
                            "recovered": sum(bool(run.get("divergence")) for run in finished),
                            "failed": _failures(failed),
                        }
                    )
            if measure is NMI:
                of_measure += _trivial(runs, of_measure[0])
            if any(row["seeds"] for row in of_measure) or measure is NMI:
                rows += of_measure
    return rows


def _trivial(runs: Sequence[dict[str, Any]], like: Row) -> list[Row]:
    """The row of k-means on the pixels, if any run has it, with the keys of another."""
    values = [row["value"] for run in runs for row in select(run["results"], **PIXELS)]
    if not values:
        return []
    what = {key: like[key] for key in ("data set", "measure")}
    numbers = {"mean": statistics.fmean(values), "std": None, **_beside(values, None)}
    rest = {"seeds": 1, "recovered": 0, "failed": ""}  # it has no seeds
    return [{**what, "method": "k-means on the pixels", **numbers, **rest}]


def _mean_std(values: list[float]) -> Row:
    return {
        "mean": statistics.fmean(values) if values else None,
        "std": statistics.stdev(values) if len(values) > 1 else None,
    }


def _beside(values: list[float], theirs: float | list[float] | None) -> Row:
    mean, std = theirs if isinstance(theirs, list) else (theirs, None)
    difference = statistics.fmean(values) - mean if values and mean is not None else None
    return {"paper": mean, "paper std": std, "difference": difference}


def _failures(failed: dict[int, str]) -> str:
    by_reason: dict[str, list[int]] = defaultdict(list)
    for seed, reason in failed.items():
        by_reason[reason].append(seed)
    return "; ".join(
        f"seed {', '.join(map(str, seeds))}: {reason}" for reason, seeds in by_reason.items()
    )


def remarks(results: dict[tuple[str, str], Results]) -> list[Row]:
    """One row for each task that could not be done and each divergence that was undone.

    Args:
        results: of `read`.
    """
    rows = []
    for (dataset, method), (finished, _) in results.items():
        for run in finished:
            about = {"data set": dataset, "method": method, "seed": run["seed"]}
            for task, reason in run.get("not_done", {}).items():
                rows.append({**about, "remark": f"{task} not done: {reason}"})
            for event in run.get("divergence", []):
                rows.append({**about, "remark": f"went back after it diverged at {event}"})
    return rows


def everything(results: dict[tuple[str, str], Results]) -> list[Row]:
    """One row for each number that was measured, with how and on what.

    Args:
        results: of `read`.
    """
    table = []
    for (dataset, method), (finished, _) in results.items():
        for same in alike(row for run in finished for row in run["results"]).values():
            row, values = same[0], [row["value"] for row in same]
            what = {"data set": dataset, "method": method, "task": row["task"]}
            how = {"protocol": describe(row), "split": row["split"], "seeds": len(values)}
            table.append({**what, "metric": row["metric"], **_mean_std(values), **how})
    return table


def settings(results: dict[tuple[str, str], Results], dataset: str) -> tuple[list[Row], list[Row]]:
    """What the configs of a data set's methods differ in.

    Args:
        results: of `read`.
        dataset: name.

    Returns:
        Rows of the budget, the data, the network and so on, one a key, a column a method; and the
        same for `method_kwargs`, which belong to a method.
    """
    flat = {
        method: dict(leaves(OmegaConf.create(found.finished[0]["config"])))
        for (name, method), found in results.items()
        if name == dataset and found.finished
    }
    keys = sorted({key for config in flat.values() for key in config})
    ours: list[Row] = []
    kwargs: list[Row] = []
    for key in keys:
        row = {method: config.get(key, "") for method, config in flat.items()}
        section = key.partition(".")[0]
        if section == "method_kwargs":
            kwargs.append({"key": key.partition(".")[2], **row})
        elif section not in _OWN and len({str(value) for value in row.values()}) > 1:
            ours.append({"key": key, **row})
    return ours, kwargs


# What differs between any two runs.
_OWN = ("name", "method", "seed", "checkpoint", "resume_from_checkpoint")


def write(rows: list[Row], out: Path, name: str, digits: int = 2) -> None:
    """Write rows as `<name>.csv`, `.md` and `.tex`.

    Args:
        rows: with the same keys, which head the columns.
        out: folder; made where it is missing.
        name: of the files.
        digits: decimals in the tables of text.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0] if rows else [])
        writer.writeheader()
        writer.writerows(rows)
    for suffix, style in (("md", "github"), ("tex", "latex_booktabs")):
        (out / f"{name}.{suffix}").write_text(show(rows, style, digits) + "\n")


def show(rows: list[Row], style: str = "simple", digits: int = 2) -> str:
    """Rows as a table of text; see `shown`.

    Args:
        rows: with the same keys.
        style: of tabulate.
        digits: decimals.
    """
    texts = [shown(row, digits) for row in rows]
    return tabulate(texts, headers="keys", tablefmt=style, disable_numparse=True)


def shown(row: Row, digits: int = 2) -> Row:
    """A row as text: mean and standard deviation in one column.

    Args:
        row: of a table.
        digits: decimals.

    >>> shown({"mean": 0.8764, "std": 0.0123, "seeds": 5}, digits=3)
    {'mean': '0.876 ± 0.012', 'seeds': '5'}
    """
    texts: Row = {}
    for key, value in row.items():
        if key.endswith("std"):
            continue
        std = row.get({"mean": "std", "paper": "paper std"}.get(key, ""))
        sign = "+" if key == "difference" else ""
        text = f"{value:{sign}.{digits}f}" if isinstance(value, float) else str(value)
        if value is None:
            text = ""
        texts[key] = text if std is None else f"{text} ± {std:.{digits}f}"
    return texts

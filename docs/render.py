"""The tables of README.md and docs/*.md, from the results that are stored in docs/results.

    python -m docs.render            renews every table from its JSON
    python -m docs.render --check    names the pages that differ from it
    python -m docs.render collect runs/toy --name toy --title "Moons and circles" \
        --command "solo-gedi benchmark toy --seeds 10"

The last one writes docs/results/toy.json from what `solo-gedi benchmark` has left in a folder. A
page shows it between `<!-- results: toy -->` and `<!-- end -->`; what follows the name chooses a
layout and changes it: `<!-- results: fashion images score=mahalanobis -->`. No part of solo_gedi is
imported, so that tables are rendered in a moment, wherever Python is.
"""

import argparse
import json
import os
import platform
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
PAPER = ROOT / "solo_gedi" / "comparison" / "paper.json"

Row = dict[str, Any]

# What a stored result must say of itself.
FIELDS = ("title", "command", "commit", "date", "host", "versions", "processor", "rows", "seconds")

VERSIONS = ("python", "torch", "torchvision", "lightning", "scikit-learn", "numpy", "solo-gedi")
NAMES = {
    "jem": "JEM",
    "swav": "SwAV",
    "barlow": "Barlow Twins",
    "gedi_nounif": "GEDI, no uniformity",
    "gedi_noinv": "GEDI, no invariance",
    "gedi_nogen": "GEDI, no GEN",
    "gedi": "GEDI",
    "gedi_fast": "GEDI, fast",
    "gedi_paper": "GEDI, paper's settings",
    "pixels": "k-means on the pixels",
}
SCORES = {
    "neg_grad_norm": "-‖∇ₓ log p‖",
    "log_density": "log p",
    "max_softmax": "max p(y\\|x)",
    "knn_distance": "kNN distance",
    "mahalanobis": "Mahalanobis",
}
_NMI = {"task": "clustering", "metric": "nmi", "source": "model"}
_BATCHED = {"task": "clustering", "source": "model", "batch": 64}


# --- From a benchmark's folder to a result ---


def collect(folders: Sequence[Path], **about: Any) -> dict[str, Any]:
    """What a benchmark's cells have left, as a result.

    What `solo-gedi evaluate` has added to a cell's run since counts too. Of folders on the machine
    the last part of the name is kept.

    Args:
        folders: of the benchmark, `<folder>/<data set>/<method>/seed=K/metrics.json`.
        about: title, command, commit (the cells' own when None), date, processor and seconds.

    Returns:
        `FIELDS`; a row holds what was measured of one method in one way: its keys, `values` and
        `seeds`. The rows of k-means on the pixels are one method's, which has no seeds.

    Raises:
        ValueError: if there are no results, of another format, or two of one seed.
    """
    rows: dict[frozenset[tuple[str, Any]], Row] = {}
    failed: list[Row] = []
    notes: list[Row] = []
    hosts: set[str] = set()
    environments: list[dict[str, str]] = []
    cells = sorted(path for folder in folders for path in folder.glob("*/*/seed=*/metrics.json"))
    for path in sorted(cells, key=lambda path: int(path.parent.name.partition("=")[2])):
        run = _read(path)
        dataset, method = path.parts[-4], path.parts[-3]
        of_run = {"data set": dataset, "method": method, "seed": run["seed"]}
        if run["status"] == "failed":
            failed.append({**of_run, "reason": _without_paths(run["reason"])})
        if run["status"] != "finished":
            continue
        hosts.add(run["host"].partition(" (")[0])  # then comes where it lies
        environments.append(run.get("environment", {}))
        not_done = run["not_done"].items()
        notes += [{**of_run, "not done": _without_paths(f"{k}: {v}")} for k, v in not_done]
        notes += [{**of_run, "undone": event} for event in run["divergence"]]
        spent = [
            {"task": "time", "metric": part, "value": value}
            for part, value in run.get("seconds", {}).items()
        ]
        later = [_read(more) for more in path.parent.glob("*/*/metrics.json")]
        environments += [added.get("environment", {}) for added in later]
        every = (*run["results"], *(row for added in later for row in added["results"]), *spent)
        measured = {frozenset(_keys(row).items()): row for row in every}
        for found in measured.values():
            keys = _keys(found)
            trivial = keys.get("source") == "pixels"
            keys = {"data set": dataset, "method": "pixels" if trivial else method, **keys}
            row = rows.setdefault(frozenset(keys.items()), {**keys, "values": [], "seeds": []})
            if trivial:
                row["values"] = [_rounded(found["value"])]
            elif run["seed"] in row["seeds"]:
                raise ValueError(f"{path} is the second with seed {run['seed']} of {method}")
            else:
                row["values"].append(_rounded(found["value"]))
                row["seeds"].append(run["seed"])
    if not rows:
        raise ValueError(f"no finished cell in {', '.join(map(str, folders))}")
    named = {name: _named(environments, name) for name in ("commit", *VERSIONS)}
    return {
        **about,
        "commit": about.get("commit") or named["commit"],
        "host": "; ".join(sorted(hosts)),
        "versions": {name: named[name] for name in VERSIONS if named[name]},
        "failed": failed,
        "notes": notes,
        "rows": list(rows.values()),
    }


def _read(path: Path) -> dict[str, Any]:
    run = json.loads(path.read_text())
    if run.get("format") != 2 and run.get("status") != "failed":  # which has a reason alone
        raise ValueError(f"{path} is not of this version: evaluate the run again")
    return run


def _keys(row: Row) -> Row:
    """What was measured and how, without where on the machine it lay."""
    keys = {key: value for key, value in row.items() if key not in ("value", "path")}
    if row.get("against") == "custom":
        keys["against"] = Path(row["path"]).name
    for key in ("split", "features"):
        if key in keys:
            keys[key] = Path(keys[key]).name
    if "changed" in keys:
        keys["changed"] = _without_paths(keys["changed"])
    return keys


def _without_paths(text: str) -> str:
    return re.sub(r"(?<![:/\w.])(?:/[\w.+=-]+)+/", "", text)  # but for addresses


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _named(environments: Iterable[Mapping[str, str]], name: str) -> str:
    """What the cells ran with, all of it where they differ."""
    return "; ".join(sorted({found[name] for found in environments if name in found}))


def processor() -> str:
    """Model and number of cores of this machine's processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores"


def store(result: Mapping[str, Any], path: Path) -> None:
    """Write a result, one row a line, so that a change of a number is a change of a line.

    Args:
        result: with `FIELDS`.
        path: the file.
    """
    lines = []
    for key, value in result.items():
        if isinstance(value, list):
            items = ",\n".join(f"  {json.dumps(item, ensure_ascii=False)}" for item in value)
            lines.append(f" {json.dumps(key)}: [\n{items}\n ]" if value else f' "{key}": []')
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


# --- From results to tables ---


def select(rows: Iterable[Row], **keys: Any) -> list[Row]:
    """The rows that have all of these keys with these values."""
    return [row for row in rows if keys.items() <= row.items()]


def one(rows: Iterable[Row], **keys: Any) -> Row | None:
    """The one row that has these keys, if any.

    Raises:
        ValueError: if several have, whose numbers may not stand in one column.
    """
    found = select(rows, **keys)
    if len(found) > 1:
        raise ValueError(f"{len(found)} rows have {keys}: {found[:2]}")
    return found[0] if found else None


def shown(row: Row | None, digits: int = 2, of: int = 0) -> str:
    """Mean and standard deviation (that of a sample) of a row's values.

    Args:
        row: a row of a result.
        digits: after the point.
        of: the number of seeds that others of its line have; another is said.
    """
    if row is None or not row["values"]:
        return ""
    text, number = f"{statistics.fmean(row['values']):.{digits}f}", len(row["values"])
    if number > 1:
        text = f"{text} ± {statistics.stdev(row['values']):.{digits}f}"
    return text if not of or number == of else f"{text} ({number} seed{'s' * (number > 1)})"


def papers(table: str, dataset: str, method: str) -> str:
    """The paper's value, if it has one."""
    value = json.loads(PAPER.read_text())[table].get(dataset, {}).get(method)
    if isinstance(value, list):
        return f"{value[0]:.2f} ± {value[1]:.2f}"
    return "" if value is None else f"{value:.2f}"


def toy(result: Mapping[str, Any], methods: Sequence[str], **_: str) -> list[Row]:
    """Table 2: NMI of every method, the paper's beside ours."""
    table = []
    for method in methods:
        line: Row = {"method": NAMES.get(method, method)}
        for dataset in _datasets(result):
            found = one(result["rows"], **{"data set": dataset, "method": method}, **_NMI)
            line[dataset] = shown(found)
            line[f"{dataset}, paper"] = papers("nmi", dataset, method)
        table.append({**line, "seeds": _seeds(result, None, method)})
    return table


def images(
    result: Mapping[str, Any], methods: Sequence[str], score: str = "neg_grad_norm", **_: str
) -> list[Row]:
    """What a method does on images: clusters, features, samples, out-sets, time."""
    rows = result["rows"]
    columns: dict[str, tuple[dict[str, Any], int]] = {
        "NMI": (_NMI, 3),
        "accuracy": ({**_NMI, "metric": "cluster_acc"}, 3),
        "NMI, batches of 64": ({**_BATCHED, "metric": "minibatch_nmi"}, 3),
        "its chance level": ({**_BATCHED, "metric": "minibatch_nmi_chance"}, 3),
        "clusters used": ({**_NMI, "metric": "clusters_used"}, 1),
        "linear": ({"task": "linear"}, 3),
        "logistic": ({"task": "logistic"}, 3),
        "kNN": ({"task": "knn"}, 3),
    }
    whose = {row["features"] for row in select(rows, task="fid")}
    for row in select(rows, task="fid"):
        name = {"fid": "FID"}.get(row["metric"], "Fréchet distance")
        which = ("task", "metric", "start", "steps", "samples", "features")
        start = "fresh chains" if row["start"] == "fresh" else "chains of the buffer"
        head = f"{name}, {row['samples']:,} {start}, {row['steps']} steps"
        by = f", by {row['features']}'s features" if len(whose) > 1 else ""
        columns.setdefault(f"{head}{by}", ({key: row[key] for key in which}, 2))
    for against in _against(rows):
        keys = {"task": "ood", "score": score, "against": against}
        columns[f"AUROC, {against}"] = (keys, 2)
    columns["seconds"] = ({"task": "time", "metric": "pretrain"}, 0)
    table = []
    for dataset in _datasets(result):
        for method in (*methods, "pixels"):
            own = select(rows, **{"data set": dataset, "method": method})
            if not own:
                continue
            source = {"source": "pixels"} if method == "pixels" else {}
            seeds = len({seed for row in own for seed in row["seeds"]})
            line = {"data set": dataset, "method": NAMES.get(method, method)}
            for name, (keys, digits) in columns.items():
                wanted = {**keys, **source} if "source" in keys else keys
                line[name] = shown(one(own, **wanted), digits, seeds)
                if name == "NMI":
                    line["NMI, paper"] = papers("nmi", dataset, method)
            table.append({**line, "seeds": _seeds(result, dataset, method)})
    return _without_empty(table)


def ood(result: Mapping[str, Any], methods: Sequence[str], **_: str) -> list[Row]:
    """AUROC by every score against every out-set."""
    table = []
    for dataset in _datasets(result):
        for method in methods:
            own = select(result["rows"], **{"data set": dataset, "method": method, "task": "ood"})
            for score in dict.fromkeys(row["score"] for row in own):
                line = {"data set": dataset, "method": NAMES.get(method, method)}
                line["score"] = SCORES.get(score, score)
                for against in _against(own):
                    line[against] = shown(one(own, score=score, against=against))
                table.append(line)
    return _without_empty(table)


def plain(result: Mapping[str, Any], methods: Sequence[str], **_: str) -> list[Row]:
    """A line for what has the same keys, a column for each `metric`, as a study may store it."""
    lines: dict[tuple[Any, ...], Row] = {}
    for row in result["rows"]:
        keys = {k: v for k, v in row.items() if k not in ("metric", "values", "seeds", "digits")}
        line = lines.setdefault(tuple(keys.items()), dict(keys))
        line[row["metric"]] = shown(row, row.get("digits", 2))
        if row.get("seeds"):
            line["seeds"] = len(row["seeds"])
    metrics = dict.fromkeys(row["metric"] for row in result["rows"])
    heads = dict.fromkeys(key for row in lines.values() for key in row)
    order = [*(head for head in heads if head not in (*metrics, "seeds")), *metrics, "seeds"]
    return _without_empty([{head: line.get(head, "") for head in order} for line in lines.values()])


def alive(result: Mapping[str, Any], methods: Sequence[str], **_: str) -> list[Row]:
    """How many seeds came to their end and the NMI of these, of cells `METHOD-TERM-lr=FACTORx`."""
    lines: dict[str, Row] = {}
    for dataset in dict.fromkeys(row["data set"] for row in (*result["rows"], *_failed(result))):
        for name in sorted(methods, key=_method_and_rate):
            method, term, rate = name.split("-")
            of_cell = {"data set": dataset, "method": name}
            nmi = one(result["rows"], **of_cell, **_NMI)
            done = len(nmi["seeds"]) if nmi else 0
            number = done + len(select(_failed(result), **of_cell))
            head = f"{NAMES.get(method, method)}, {dataset}, {rate.removeprefix('lr=')}"
            line = lines.setdefault(term, {"term": term})
            if number:
                line[head] = f"{done} of {number}" + (f": {shown(nmi)}" if nmi else "")
    return _without_empty(list(lines.values()))


def _method_and_rate(name: str) -> tuple[str, float]:
    method, _, rate = name.split("-")
    return method, float(rate.removeprefix("lr=").rstrip("x"))


LAYOUTS = {"toy": toy, "images": images, "ood": ood, "plain": plain, "alive": alive}


def _datasets(result: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(row["data set"] for row in result["rows"]))


def _methods(result: Mapping[str, Any]) -> list[str]:
    """In the order of `NAMES`, then as they come; without the trivial baseline."""
    found = dict.fromkeys(row.get("method", "") for row in (*result["rows"], *_failed(result)))
    known = [name for name in NAMES if name in found]
    return [name for name in (*known, *(f for f in found if f not in known)) if name != "pixels"]


def _failed(result: Mapping[str, Any]) -> list[Row]:
    return result.get("failed", [])


def _against(rows: Iterable[Row]) -> list[str]:
    """The out-sets, those of files first."""
    found = dict.fromkeys(row["against"] for row in rows if row.get("task") == "ood")
    return sorted(found, key=lambda name: name in ("uniform", "shuffled"))


def _seeds(result: Mapping[str, Any], dataset: str | None, method: str) -> str:
    """How many seeds a method has, and how many of them failed, on the data set that has most."""
    counts = []
    for name in _datasets(result) if dataset is None else [dataset]:
        of_method = {"data set": name, "method": method}
        done = {seed for row in select(result["rows"], **of_method) for seed in row["seeds"]}
        failed = len(select(_failed(result), **of_method))
        counts.append((len(done) + failed, f" ({failed} failed)" if failed else ""))
    number, failures = max(counts)
    return f"{number or ''}{failures}"


def _without_empty(table: list[Row]) -> list[Row]:
    """A table without columns that say nothing, or one and the same data set."""
    found = dict.fromkeys(head for row in table for head in row)
    heads = [head for head in found if any(row.get(head, "") != "" for row in table)]
    if len({row.get("data set") for row in table}) == 1 and "data set" in heads:
        heads.remove("data set")
    return [{head: row.get(head, "") for head in heads} for row in table]


def provenance(result: Mapping[str, Any]) -> str:
    """Where the numbers come from, in a line."""
    found = [f"{name} {version}" for name, version in result["versions"].items()]
    spent = f", {result['seconds'] / 60:.0f} min" if result.get("seconds") else ""
    return (
        f"{result['title']}: `{result['command']}`{spent}. Commit {result['commit']}, "
        f"{result['date']}, {result['host']}, {', '.join(found)}; {result['processor']}."
    )


def table_of(instruction: str, folder: Path | None = None) -> str:
    """The table that a marker asks for, with its provenance.

    Args:
        instruction: name of a result; perhaps a layout, `toy`, `images`, `ood`, `plain` or
            `alive`; and `score=NAME`.
        folder: of the results; docs/results when None.

    Raises:
        ValueError: for a result or layout that does not exist.
    """
    name, *words = instruction.split()
    path = (folder or RESULTS) / f"{name}.json"
    if not path.exists():
        raise ValueError(f"<!-- results: {instruction} -->: there is no {path}")
    result = json.loads(path.read_text())
    if missing := [field for field in FIELDS if field not in result]:
        raise ValueError(f"{path} lacks {', '.join(missing)}")
    options = dict(word.split("=", 1) for word in words if "=" in word)
    layout = next((word for word in words if "=" not in word), name)
    if layout not in LAYOUTS:
        raise ValueError(f"<!-- results: {instruction} -->: choose from {', '.join(LAYOUTS)}")
    rows = LAYOUTS[layout](result, _methods(result), **options)
    table = tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)
    return f"{table}\n\n*{provenance(result)}*"


# --- From tables to pages ---

_MARKED = re.compile(r"(<!-- results: (.+?) -->\n)(.*?)(<!-- end -->)", re.S)


def render(page: str, folder: Path | None = None) -> str:
    """A page with every marked table as its result has it.

    Args:
        page: its text.
        folder: of the results; docs/results when None.

    Raises:
        ValueError: for a marker that asks for what does not exist, or has no end.
    """
    if page.count("<!-- results:") != len(_MARKED.findall(page)):
        raise ValueError("a <!-- results: NAME --> has no <!-- end -->")
    return _MARKED.sub(lambda m: f"{m[1]}\n{table_of(m[2], folder)}\n\n{m[4]}", page)


def pages() -> list[Path]:
    """The pages that may hold tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser("python -m docs.render", description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing, name what differs")
    commands = parser.add_subparsers(dest="action")
    add = commands.add_parser("collect", help="store what a benchmark has left").add_argument
    add("folders", nargs="+", type=Path, help="of the benchmark, as runs/toy")
    add("--name", required=True, help="of the result")
    add("--title", required=True)
    add("--command", required=True, help="that made it")
    add("--commit", default=None, help="of the code; the cells' if not given")
    add("--date", default=None, help="today if not given")
    add("--processor", default=None, help="this machine's if not given")
    add("--seconds", type=float, default=None, help="that the command took")
    given = parser.parse_args(arguments)
    try:
        if given.action == "collect":
            about = {
                "title": given.title,
                "command": given.command,
                "commit": given.commit,
                "date": given.date or datetime.now(timezone.utc).date().isoformat(),
                "processor": given.processor or processor(),
                "seconds": given.seconds,
            }
            store(collect(given.folders, **about), RESULTS / f"{given.name}.json")
        stale = []
        for page in pages():
            before = page.read_text()
            after = render(before)
            if after != before:
                stale.append(str(page.relative_to(ROOT)))
                if not given.check:
                    page.write_text(after)
    except ValueError as error:
        raise SystemExit(f"docs.render: {error}") from error
    if stale and given.check:
        raise SystemExit(f"{', '.join(stale)}: not as docs/results has it; run `make results`")
    print(f"renewed: {', '.join(stale) or 'nothing'}")


if __name__ == "__main__":
    main()

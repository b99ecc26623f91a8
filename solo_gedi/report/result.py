"""Evaluating a model, and what is kept of it: metrics.json, pictures and a page."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from solo_gedi.core.processes import get_logger
from solo_gedi.errors import Interrupted
from solo_gedi.evaluation.findings import Findings, measure
from solo_gedi.evaluation.options import OOD, TASKS, Options
from solo_gedi.evaluation.pictures import ImageChains
from solo_gedi.evaluation.reference import write_reference
from solo_gedi.evaluation.rows import FORMAT, Row, merge, say, select
from solo_gedi.evaluation.subject import Source, Subject, subject_of
from solo_gedi.files import check_folder, write_json
from solo_gedi.inference import Model
from solo_gedi.report import page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = get_logger(__name__)

_TITLES = {
    "clustering": "Clustering",
    "triad": "Failure modes",
    "linear": "Linear probe",
    "knn": "Nearest neighbours",
    "ood": "Out-of-distribution detection",
    "fid": "Fréchet distance",
}


@dataclass(frozen=True, repr=False)
class Result:
    """What an evaluation found.

    Attributes:
        rows: the numbers, see `evaluation.rows`.
        figures: name -> matplotlib figure.
        not_done: task -> why it, or a part of it, could not be done.
        metrics: what `metrics.json` holds: earlier evaluations of the same checkpoint included.
        folder: of the files; None where none were written.
    """

    rows: list[Row]
    figures: "dict[str, Figure]"
    not_done: dict[str, str]
    metrics: dict[str, Any]
    folder: Path | None

    def value(self, **keys: Any) -> float:
        """The one number whose row has these keys.

        Args:
            keys: as `task="clustering", metric="nmi", source="model"`.

        Raises:
            LookupError: if no row has them, or several have.
        """
        found = select(self.rows, **keys)
        if len(found) != 1:
            raise LookupError(f"{len(found)} rows have {keys}: {found}")
        return found[0]["value"]

    def __repr__(self) -> str:
        about, where = self.metrics, f", in {self.folder}" if self.folder else ""
        lines = [
            f"Result of {about['method']} on {about['dataset']}, {about['epochs']} epochs{where}:",
            *(f"  {row['task']}: {say(row)}" for row in self.rows),
            *(f"  not done: {task}: {why}" for task, why in self.not_done.items()),
        ]
        if self.figures:
            lines.append(f"  figures: {', '.join(self.figures)}")
        return "\n".join(lines)


def evaluate(
    model: Source,
    tasks: str | Sequence[str] = TASKS,
    *,
    ood: str | Sequence[str] = OOD,
    linear_config: str | Path | None = None,
    num_samples: int = 10000,
    steps: int = 500,
    start: str = "fresh",
    fid_features: str | Path = "inception",
    inception_weights: str | Path | None = None,
    overrides: Sequence[str] = (),
    write: bool = True,
) -> Result:
    """Measure what a pretrained model clusters, generates and detects.

    `metrics.json`, pictures and `report.html` go into the run's folder. A second evaluation of the
    same checkpoint adds to them, and replaces what it measured again. A task that cannot be done
    (no labels, no Inception weights, ...) is named with its reason; the others go on. Whatever ends
    the evaluation before its end, what was done is written.

    Args:
        model: what `load` gives, or takes: a run, a checkpoint, or the folder of a run or cell.
        tasks: any of clustering, triad (the failure modes), linear (offline probe), knn, ood
            (AUROC), fid (Fréchet distance), samples (pictures of chains).
        ood: data sets to tell from the model's own: solo-learn's or ours, NAME[:PATH], or
            custom:FOLDER; without files uniform (noise) and shuffled (the test set's own pixels).
        linear_config: the probe's config, a path or a shipped one's name; the paper's when None.
        num_samples: samples of the Fréchet distance, at most.
        steps: SGLD steps of these samples.
        start: of their chains, "fresh" or "buffer".
        fid_features: whose features the distance compares: "inception" (FID), "backbone" (the
            model's own) or the path of another run.
        inception_weights: file of FID's network; torch-fidelity's download when None.
        overrides: changes "key=value" to the run's config, as of data that have moved;
            "probe.key=value" to the probe's.
        write: whether to write anything.

    Returns:
        Rows, figures, and what could not be done.

    Raises:
        ConfigError: if an option cannot work.
        CheckpointError: if the model cannot be read.
        GEDIError: the first task's reason, if nothing could be done.
        Interrupted: after SIGTERM or SIGINT, when what was done has been written.

    Example:
        result = evaluate("trained_models/gedi/20260102-030405", "clustering,ood")
        result.value(task="clustering", metric="nmi", source="model")
    """
    options = Options(
        tasks=tasks,
        ood=ood,
        linear_config=linear_config,
        num_samples=num_samples,
        steps=steps,
        start=start,
        fid_features=fid_features,
        inception_weights=inception_weights,
        overrides=overrides,
    )
    options.check()
    with TemporaryDirectory() as scratch:
        subject = subject_of(model, options, None if write else Path(scratch))
        folder = subject.folder if write else None
        if folder is not None:
            check_folder(folder, "the run's folder")
        findings = Findings()
        try:
            failed = measure(subject, findings)
        except Exception as error:
            if findings:
                _conclude(subject, findings, folder)
            if isinstance(error, Interrupted) and findings and folder is not None:
                message = f"{error}; what was done before is in {folder}"
                raise Interrupted(error.signal, message) from error
            raise
        if failed and not findings:
            raise type(failed[0])(f"nothing could be done: {failed[0]}") from failed[0]
        if folder is not None and subject.model.reference is None:
            write_reference(subject)
        return _conclude(subject, findings, folder)


def _conclude(subject: Subject, findings: Findings, folder: Path | None) -> Result:
    """Draw the pictures and, into a folder, write everything; `metrics.json` last."""
    from solo_gedi.report import plots

    earlier = {} if folder is None else _earlier(folder, subject.model)
    metrics = _metrics(subject, findings, earlier)
    figures: dict[str, Figure] = {}
    try:
        for picture in findings.pictures:
            figures[picture.name] = figure = plots.draw(picture)
            if folder is not None:
                path = folder / f"{picture.name}.png"
                plots.save_figure(figure, path, picture.title, picture.note)
                if isinstance(picture, ImageChains):
                    _save_grids(picture, folder / "samples")
        if folder is not None:
            _write_page(subject, metrics, folder)
    finally:  # a picture that cannot be drawn loses no number
        if folder is not None:
            write_json(folder / "metrics.json", metrics)
    return Result(findings.rows, figures, findings.not_done, metrics, folder)


def _earlier(folder: Path, model: Model) -> dict[str, Any]:
    """What `metrics.json` has of the same checkpoint; a file of another format is kept aside."""
    path = folder / "metrics.json"
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text())
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        path.replace(path.with_name("metrics-1.json"))
        logger.info("%s is of an earlier version: it is kept as metrics-1.json", path)
        return {}
    if not _state(model).items() <= found.items():
        return {}
    figures = [name for name in found.get("figures", ()) if (folder / name).is_file()]
    return {**found, "figures": figures}


def _state(model: Model) -> dict[str, Any]:
    checkpoint = None if model.checkpoint is None else model.checkpoint.name
    return {"checkpoint": checkpoint, "epochs": model.epochs}


def _metrics(subject: Subject, findings: Findings, earlier: dict[str, Any]) -> dict[str, Any]:
    """What `metrics.json` is to hold."""
    from solo_gedi import hosts

    model, cfg, tasks = subject.model, subject.cfg, subject.options.tasks
    not_done = {k: v for k, v in earlier.get("not_done", {}).items() if k not in tasks}
    figures = [f"{picture.name}.png" for picture in findings.pictures]
    return {
        "format": FORMAT,
        "status": findings.status,
        **({"reason": findings.reason} if findings.reason else {}),
        "method": cfg.method,
        "dataset": cfg.data.dataset,
        "seed": cfg.get("seed"),
        "host": hosts.describe(),
        **_state(model),
        "divergence": model.events,
        "config": OmegaConf.to_container(cfg),
        "results": merge(earlier.get("results", ()), findings.rows),
        "not_done": {**not_done, **findings.not_done},
        "figures": list(dict.fromkeys((*earlier.get("figures", ()), *figures))),
        **{key: value for key, value in earlier.items() if key == "seconds"},
    }


def _write_page(subject: Subject, metrics: dict[str, Any], folder: Path) -> None:
    from solo_gedi.report.plots import described

    about = (
        "{method} on {dataset}, {epochs} epochs, seed {seed}, with {host}; "
        "checkpoint {checkpoint}. Everything is measured offline."
    ).format(**metrics)
    parts: list[page.Text | page.Table | page.Figure] = [page.Text("The run", about)]
    for task in dict.fromkeys(row["task"] for row in metrics["results"]):
        parts.append(_table(task, select(metrics["results"], task=task)))
    if events := metrics["divergence"]:
        undone = [{"undone by the divergence guard": event} for event in events]
        parts.append(page.Table("Divergence", undone))
    if not_done := metrics["not_done"].items():
        parts.append(page.Table("Not done", [{"task": k, "reason": v} for k, v in not_done]))
    for path in [folder / name for name in metrics["figures"]]:
        title, note = described(path)
        parts.append(page.Figure(title, path, note))
    page.write_report(folder / "report.html", subject.cfg.name, parts)
    logger.info("Report: %s", folder / "report.html")


def _table(task: str, rows: Sequence[Row]) -> page.Table:
    """A task's rows under their keys, the value last."""
    keys = dict.fromkeys(key for row in rows for key in row)
    columns = [key for key in keys if key not in ("task", "split", "value")]
    table = [{key: row.get(key) for key in (*columns, "split", "value")} for row in rows]
    return page.Table(_TITLES.get(task, task), table)


def _save_grids(picture: ImageChains, folder: Path) -> None:
    """The chains pixel by pixel, beside those that training has written."""
    from solo_gedi.data import save_grid

    for count, images in picture.chains.items():
        save_grid(images, folder / f"{picture.start}-steps={count}.png")

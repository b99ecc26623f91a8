"""What is kept of an evaluation: metrics.json, pictures, and a page made from both.

`report.json` has the pictures that the page shows by task, so that a second evaluation of the same
checkpoint adds to the page as it adds to the numbers.
"""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path
from traceback import format_exception
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from solo_gedi.core.processes import get_logger
from solo_gedi.errors import ConfigError
from solo_gedi.evaluation.findings import Findings
from solo_gedi.evaluation.pictures import Gallery, ImageChains, Picture
from solo_gedi.evaluation.rows import FORMAT, merge
from solo_gedi.evaluation.subject import Subject
from solo_gedi.files import alone_in, write_json
from solo_gedi.inference import Model
from solo_gedi.report import page
from solo_gedi.report.environment import environment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = get_logger(__name__)

METRICS, PARTS, PAGE, FAULTS = "metrics.json", "report.json", "report.html", "faults.txt"
_Parts = dict[str, list[page.Panels | page.Gallery]]  # by task


def check_same_model(folder: Path, subject: Subject, *, given: bool) -> None:
    """Check that a folder's results may be added to.

    Args:
        folder: where results are to go; it need not exist.
        subject: the model.
        given: whether it is another folder than the model's own.

    Raises:
        ConfigError: if they are another model's, or say that the training failed.
    """
    found = _read_json(folder / METRICS)
    if found is None:
        return
    if found.get("status") == "failed":
        raise ConfigError(
            f"{folder} holds a training that failed ({found.get('reason')}): to measure it "
            "nevertheless, give another folder with --out"
        )
    about = (found.get("method"), found.get("config", {}).get("name"))
    own = (subject.cfg.method, subject.cfg.name)
    same = about == own and _state(subject.model).items() <= found.items()
    if given and not same:
        raise ConfigError(
            f"--out={folder} has the evaluation of another model, or of another checkpoint: give "
            "another folder"
        )


def conclude(
    subject: Subject, findings: Findings, folder: Path | None
) -> tuple["dict[str, Figure]", dict[str, Any]]:
    """Draw the pictures and, into a folder, write everything; `metrics.json` last.

    What cannot be drawn or put on the page is a bug, and loses no number.

    Args:
        subject: what was measured.
        findings: what was found; gets the faults.
        folder: of the files; nothing is written when None.

    Returns:
        Figures by name, and what `metrics.json` holds.
    """
    if folder is None:
        figures, _ = _shown(findings, None)
        return figures, _metrics(subject, findings, list(figures), {})
    keep_numbers(subject, findings, folder)  # should something end the drawing
    with _alone(folder):
        earlier = _earlier(folder, subject.model)
        figures, parts = _shown(findings, folder)
        metrics = _metrics(subject, findings, list(figures), earlier)
        try:
            _write_page(subject, metrics, parts, folder)
        except Exception as error:
            findings.fail("report", error)
            metrics["not_done"]["report"] = findings.not_done["report"]
            metrics["faults"].append("report")
        _write_faults(findings, metrics["faults"], folder / FAULTS)
        write_json(folder / METRICS, metrics)
    return figures, metrics


def keep_numbers(subject: Subject, findings: Findings, folder: Path) -> None:
    """Write the numbers found so far, as those of an evaluation that did not come to its end.

    Args:
        subject: what is measured.
        findings: what was found.
        folder: of `metrics.json`.
    """
    with _alone(folder):
        numbers = _metrics(subject, findings, [], _earlier(folder, subject.model))
        unfinished = {"status": "interrupted", "reason": "it did not come to its end"}
        write_json(folder / METRICS, {**numbers, **unfinished})


def _alone(folder: Path) -> AbstractContextManager[None]:
    """Another evaluation may write at the same time."""
    return alone_in(folder, ".evaluation.lock")


def _shown(findings: Findings, folder: Path | None) -> tuple["dict[str, Figure]", _Parts]:
    """The figures by name, also as files where there is a folder, and what the page shows."""
    figures: dict[str, Figure] = {}
    parts: _Parts = {}
    for picture in findings.pictures:
        try:
            _show(picture, figures, parts, folder)
        except Exception as error:
            findings.fail(picture.task, error)
    return figures, parts


def _show(
    picture: Picture, figures: "dict[str, Figure]", parts: _Parts, folder: Path | None
) -> None:
    """Add a picture to the figures, the files and the page."""
    from solo_gedi.report import plots
    from solo_gedi.report.thumbnails import figure_uri, thumbnail

    shown = parts.setdefault(picture.task, [])
    if isinstance(picture, Gallery):
        if folder is not None:
            groups = [
                page.Panels(
                    group.title,
                    [
                        page.Image(caption, thumbnail(image))
                        for caption, image in zip(group.captions, group.images, strict=True)
                    ],
                    group.note,
                )
                for group in picture.groups
            ]
            shown.append(page.Gallery(picture.title, groups, picture.note))
        return
    figure = plots.draw(picture)
    if folder is not None:
        path = folder / f"{picture.name}.png"
        plots.save_figure(figure, path, picture.title, picture.note)
        if isinstance(picture, ImageChains):
            _save_grids(picture, folder / "samples")
        panels = plots.panels_of(picture)
        images = [page.Image(panel.title, figure_uri(panel.figure())) for panel in panels]
        shown.append(page.Panels(picture.title, images, picture.note))
    figures[picture.name] = figure


def _save_grids(picture: ImageChains, folder: Path) -> None:
    """The chains pixel by pixel, beside those that training has written."""
    from solo_gedi.data import save_grid

    for steps, images in picture.chains.items():
        save_grid(images, folder / f"{picture.start}-steps={steps}.png")


def _earlier(folder: Path, model: Model) -> dict[str, Any]:
    """What `metrics.json` has of the same checkpoint; where there is nothing, no pictures stay."""
    found = _of_same_checkpoint(folder, model)
    if not found:
        (folder / PARTS).unlink(missing_ok=True)
    return found


def _of_same_checkpoint(folder: Path, model: Model) -> dict[str, Any]:
    """What `metrics.json` has; one of another format or checkpoint is kept aside."""
    path = folder / METRICS
    if not path.exists():
        return {}
    found = _read_json(path)
    if found is None or found.get("format") != FORMAT:
        what, name = "an earlier version", "metrics-1"
    elif not _state(model).items() <= found.items():
        what, name = "another checkpoint", f"metrics-epochs={found.get('epochs')}"
    else:
        figures = [name for name in found.get("figures", ()) if (folder / name).is_file()]
        return {**found, "figures": figures}
    # One that is there already may have measured more.
    names = (path.with_name(f"{name}{f'-{k}' * (k > 1)}.json") for k in count(1))
    kept = next(place for place in names if not place.exists())
    path.replace(kept)
    logger.info("%s is of %s: it is kept as %s", path, what, kept.name)
    return {}


def _read_json(path: Path) -> dict[str, Any] | None:
    """What a JSON file has; None if that is no section, or there is no such file."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _state(model: Model) -> dict[str, Any]:
    checkpoint = None if model.checkpoint is None else model.checkpoint.name
    return {"checkpoint": checkpoint, "epochs": model.epochs}


def _metrics(
    subject: Subject, findings: Findings, figures: list[str], earlier: dict[str, Any]
) -> dict[str, Any]:
    """What `metrics.json` is to hold."""
    from solo_gedi import hosts

    model, cfg, tasks = subject.model, subject.cfg, (*subject.options.tasks, "report")
    not_done = {k: v for k, v in earlier.get("not_done", {}).items() if k not in tasks}
    faults = [task for task in earlier.get("faults", ()) if task in not_done]
    names = [f"{name}.png" for name in figures]
    return {
        "format": FORMAT,
        "status": findings.status,
        **({"reason": findings.reason} if findings.reason else {}),
        "method": cfg.method,
        "dataset": cfg.data.dataset,
        "seed": cfg.get("seed"),
        "host": hosts.describe(),
        "environment": environment(model.device),
        **_state(model),
        "divergence": model.events,
        "config": OmegaConf.to_container(cfg),
        "results": merge(earlier.get("results", ()), findings.rows),
        "not_done": {**not_done, **findings.not_done},
        "faults": [*faults, *findings.faults],
        "figures": list(dict.fromkeys((*earlier.get("figures", ()), *names))),
        **{key: value for key, value in earlier.items() if key == "seconds"},
    }


def _write_page(subject: Subject, metrics: dict[str, Any], parts: _Parts, folder: Path) -> None:
    from solo_gedi.report.curves import curve_panels
    from solo_gedi.report.sections import sections
    from solo_gedi.report.thumbnails import figure_uri

    parts = _kept(folder / PARTS) | {task: found for task, found in parts.items() if found}
    plain = {task: [page.plain(part) for part in found] for task, found in parts.items()}
    write_json(folder / PARTS, {"parts": plain})

    shown: dict[str, list[page.Part]] = {task: [*found] for task, found in parts.items()}
    run = subject.model.folder
    if run is not None and (curves := curve_panels(run)):
        images = [page.Image(curve.title, figure_uri(curve.figure())) for curve in curves]
        shown["training"] = [page.Panels("Curves", images)]
    model, epochs = subject.model, metrics["epochs"]
    about = (
        f"{metrics['method']} on {metrics['dataset']}, {epochs} epoch{'s' * (epochs != 1)}, "
        f"{model.num_clusters} clusters by the {model.output}. Everything here was measured after "
        "training, without augmentation."
    )
    page.write_report(folder / PAGE, subject.cfg.name, sections(metrics, shown), about)
    logger.info("Report: %s", folder / PAGE)


def _kept(path: Path) -> _Parts:
    """The pictures of earlier evaluations; none of a file that is broken."""
    try:
        kept = json.loads(path.read_text())["parts"]
        return {task: [page.read(part) for part in found] for task, found in kept.items()}
    except (AttributeError, KeyError, OSError, TypeError, ValueError):
        return {}


def _write_faults(findings: Findings, tasks: Sequence[str], path: Path) -> None:
    """The tracebacks of our faults; no file where none is left, of this evaluation or earlier."""
    if not tasks:
        path.unlink(missing_ok=True)
    if not findings.faults:
        return
    texts = [f"{task}\n{''.join(format_exception(e))}" for task, e in findings.faults.items()]
    path.write_text("\n".join(texts))
    logger.error("Tracebacks: %s", path)

"""Evaluating a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from solo_gedi.core.processes import get_logger
from solo_gedi.errors import GEDIError, Interrupted, reason
from solo_gedi.evaluation.findings import Findings, measure
from solo_gedi.evaluation.options import OOD, TASKS, Options
from solo_gedi.evaluation.reference import write_reference
from solo_gedi.evaluation.rows import Row, say, select
from solo_gedi.evaluation.subject import Source, subject_of
from solo_gedi.files import check_folder, given_path
from solo_gedi.report.folder import check_same_model, conclude, keep_numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = get_logger(__name__)


@dataclass(frozen=True, repr=False)
class Result:
    """What an evaluation found.

    Attributes:
        rows: the numbers, see `evaluation.rows`.
        figures: name -> matplotlib figure.
        not_done: task -> why it, or a part of it, could not be done.
        faults: task -> what was raised that nobody foresaw; it is in `not_done` as well.
        metrics: what `metrics.json` holds: earlier evaluations of the same checkpoint included.
        folder: of the files; None where none were written.
    """

    rows: list[Row]
    figures: "dict[str, Figure]"
    not_done: dict[str, str]
    faults: dict[str, Exception]
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
    out: str | Path | None = None,
    write: bool = True,
) -> Result:
    """Measure what a pretrained model clusters, generates and detects.

    `metrics.json`, pictures and `report.html` go into the run's folder. A second evaluation of the
    same checkpoint adds to them, and replaces what it measured again. A task that cannot be done
    (no labels, no Inception weights, ...) is named with its reason; the others go on, as they do
    after a fault of this package's, whose traceback is in `faults.txt`. Whatever ends the
    evaluation before its end, what was done is written.

    Where the data have no test images, the training images are measured, 10,000 of them at most;
    the rows' `split` says so. Labels are needed by linear, logistic and knn, and for a part of
    clustering.

    Args:
        model: what `load` gives, or takes: a run, a checkpoint, the folder of a run or cell, or the
            name of a shipped model, which needs `out`.
        tasks: any of clustering, triad (the failure modes), linear (offline probe), logistic
            (logistic regression), knn, ood (AUROC), fid (Fréchet distance), samples (pictures of
            chains).
        ood: data sets to tell from the model's own: solo-learn's or ours, NAME[:PATH], or
            custom:FOLDER, with or without classes; without files uniform (noise) and shuffled (the
            test set's own pixels).
        linear_config: the probe's config, a path or a shipped one's name; the paper's when None.
        num_samples: samples of the Fréchet distance, at most.
        steps: SGLD steps of these samples.
        start: of their chains, "fresh" or "buffer".
        fid_features: whose features the distance compares: "inception" (FID), "backbone" (the
            model's own) or the path of another run.
        inception_weights: file of FID's network; torch-fidelity's download when None.
        overrides: changes "key=value" to the run's config, as of data that have moved;
            "probe.key=value" to the probe's.
        out: folder of the files; the run's when None.
        write: whether to write anything.

    Returns:
        Rows, figures, and what could not be done.

    Raises:
        ConfigError: if an option cannot work, or `out` has an evaluation of another model.
        CheckpointError: if the model cannot be read.
        GEDIError: the first task's reason, if nothing could be done; its fault, if it had one.
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
        place = None if out is None else given_path(out)
        subject = subject_of(model, options, place if write else Path(scratch))
        folder = subject.folder if write else None
        if folder is not None:
            check_folder(folder, "the run's folder" if place is None else "--out")
            check_same_model(folder, subject, given=place is not None)
        findings = Findings()

        def keep() -> None:
            if folder is None:
                return
            try:
                keep_numbers(subject, findings, folder)
            except (GEDIError, OSError) as error:  # there is time until the end
                logger.warning("the numbers so far could not be written: %s", reason(error))

        try:
            failed = measure(subject, findings, keep)
        except Interrupted as error:
            if not findings or folder is None:
                raise
            conclude(subject, findings, folder)
            message = f"{error}; what was done before is in {folder}"
            raise Interrupted(error.signal, message) from error
        if failed and not findings:
            first = next(iter(findings.faults.values()), failed[0])
            if isinstance(first, GEDIError):
                raise type(first)(f"nothing could be done: {first}") from first
            raise first
        figures, metrics = conclude(subject, findings, folder)
        if folder is not None and subject.model.reference is None:
            write_reference(subject)
        found = (findings.rows, figures, findings.not_done, findings.faults)
        return Result(*found, metrics, folder)

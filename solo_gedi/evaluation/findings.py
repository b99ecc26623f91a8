"""Doing the tasks of an evaluation, so that nothing done is lost."""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from solo_gedi.core import evaluation_mode
from solo_gedi.core.processes import get_logger
from solo_gedi.errors import GEDIError, Interrupted, is_of_disk
from solo_gedi.evaluation.pictures import Picture
from solo_gedi.evaluation.rows import Row, say
from solo_gedi.evaluation.subject import Subject
from solo_gedi.evaluation.tasks import TASKS

logger = get_logger(__name__)


@dataclass
class Findings:
    """What tasks have found so far.

    Attributes:
        rows: the numbers.
        pictures: what is to be drawn.
        not_done: task -> why it, or a part of it, could not be done.
        faults: task -> what nobody foresaw, a bug.
        status: "finished", or "interrupted" by a signal.
        reason: of the latter.
    """

    rows: list[Row] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    not_done: dict[str, str] = field(default_factory=dict)
    faults: dict[str, Exception] = field(default_factory=dict)
    status: str = "finished"
    reason: str = ""

    def __bool__(self) -> bool:
        return bool(self.rows or self.pictures)

    def interrupt(self, reason: str, tasks: Sequence[str]) -> None:
        """Note that a signal has ended the tasks.

        Args:
            reason: why.
            tasks: the one that was being done, and those that were not reached.
        """
        self.status, self.reason = "interrupted", reason
        self.not_done |= dict.fromkeys(tasks, f"not reached: {tasks[0]} interrupted")
        self.not_done[tasks[0]] = reason

    def fail(self, task: str, error: Exception) -> None:
        """Note a bug, which is no reason to lose what else is found.

        Args:
            task: that could not be done, or the picture of which could not be drawn.
            error: what was raised.
        """
        whose = "" if is_of_disk(error) else " (a bug of solo-gedi, not of the settings)"
        why = f"{type(error).__name__}: {error}{whose}"
        self.not_done[task] = "; ".join(filter(None, (self.not_done.get(task), why)))
        self.faults[task] = error
        logger.error("%s failed: %s", task, why)
        logger.debug("%s failed", task, exc_info=error)


def measure(
    subject: Subject, findings: Findings, keep: Callable[[], object] = lambda: None
) -> list[Exception]:
    """Let the tasks that a subject's options name add to the findings, one after the other.

    Args:
        subject: what is measured.
        findings: gets rows, pictures and reasons as they come; whatever happens, it has what was
            done before.
        keep: called where there are findings and a task follows, which may take long.

    Returns:
        What was raised by the tasks that could not be done.

    Raises:
        Interrupted: by SIGINT or SIGTERM.
    """
    tasks = subject.options.tasks
    failed: list[Exception] = []
    with _sigterm_interrupts() as signals, evaluation_mode(subject.model):
        for number, task in enumerate(tasks):
            try:
                if findings:
                    keep()
                logger.info("%s ...", task)
                for found in TASKS[task](subject):
                    if isinstance(found, Picture):
                        findings.pictures.append(found)
                    else:
                        findings.rows.append(found)
                        logger.info("  %s", say(found))
            except Interrupted as error:
                findings.interrupt(str(error), tasks[number:])
                raise
            except (KeyboardInterrupt, SystemExit) as error:  # Lightning makes one of the other
                ended = Interrupted(signals[0] if signals else signal.SIGINT)
                findings.interrupt(str(ended), tasks[number:])
                raise ended from error
            except GEDIError as error:
                failed.append(error)
                findings.not_done[task] = str(error)
                logger.info("  not done: %s", error)
            except Exception as error:
                failed.append(error)
                findings.fail(task, error)
    return failed


@contextmanager
def _sigterm_interrupts() -> Iterator[list[int]]:
    """Let SIGTERM raise what SIGINT does, and nothing that an `except Exception` would catch.

    Yields:
        What has come, in the thread that Python gives signals to.
    """
    came: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        came.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, before)

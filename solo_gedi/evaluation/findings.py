"""Doing the tasks of an evaluation, so that nothing done is lost."""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from solo_gedi.core.processes import get_logger
from solo_gedi.errors import GEDIError, Interrupted
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
        status: "finished"; "interrupted" by a signal, or "failed" by a fault of ours.
        reason: of another status than "finished".
    """

    rows: list[Row] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    not_done: dict[str, str] = field(default_factory=dict)
    status: str = "finished"
    reason: str = ""

    def __bool__(self) -> bool:
        return bool(self.rows or self.pictures)

    def end(self, status: str, reason: str, tasks: Sequence[str]) -> None:
        """Note that the tasks have ended early.

        Args:
            status: how.
            reason: why.
            tasks: the one that was being done, and those that were not reached.
        """
        self.status, self.reason = status, reason
        self.not_done |= dict.fromkeys(tasks, f"not reached: {tasks[0]} {status}")
        self.not_done[tasks[0]] = reason


def measure(subject: Subject, findings: Findings) -> list[GEDIError]:
    """Let the tasks that a subject's options name add to the findings, one after the other.

    Args:
        subject: what is measured.
        findings: gets rows, pictures and reasons as they come; whatever is raised, it has what was
            done before.

    Returns:
        The errors of the tasks that could not be done.

    Raises:
        Interrupted: by SIGINT or SIGTERM.
    """
    tasks, failed = subject.options.tasks, []
    with _sigterm_interrupts():
        for number, task in enumerate(tasks):
            logger.info("%s ...", task)
            try:
                for found in TASKS[task](subject):
                    if isinstance(found, Picture):
                        findings.pictures.append(found)
                    else:
                        findings.rows.append(found)
                        logger.info("  %s", say(found))
            except Interrupted as error:
                findings.end("interrupted", str(error), tasks[number:])
                raise
            except KeyboardInterrupt as error:
                ended = Interrupted(signal.SIGINT)
                findings.end("interrupted", str(ended), tasks[number:])
                raise ended from error
            except GEDIError as error:
                failed.append(error)
                findings.not_done[task] = str(error)
                logger.info("  not done: %s", error)
            except Exception as error:
                findings.end("failed", f"{type(error).__name__}: {error}", tasks[number:])
                raise
    return failed


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM raise, as SIGINT does, in the thread that Python gives signals to."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

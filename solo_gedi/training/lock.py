"""A run's folder belongs to one run at a time."""

from contextlib import suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

# Workers of a run that was killed hold its lock for as long as they take to notice: five seconds.
PATIENCE = 10


def lock_folder(
    folder: Path, name: str = ".lock", patience: float | None = None
) -> BaseFileLock | None:
    """Take a folder for this process, until it releases the lock or dies.

    Args:
        folder: of a run; it exists.
        name: of the lock's file.
        patience: seconds to wait for another process, `PATIENCE` when None; -1: without end.

    Returns:
        The lock; None if another process has it.
    """
    try:
        # The system's own, by which the machines of a network file system see each other's.
        return _acquired(FileLock(folder / name), patience)
    except OSError:  # of a file system that has none: a file that names the process
        return _acquired(SoftFileLock(folder / f".process{name}"), patience)


def release(lock: BaseFileLock) -> None:
    """Give a folder back, with nothing of the lock left in it.

    Args:
        lock: as `lock_folder` gave it.
    """
    with suppress(OSError):  # of systems that remove nothing that is open
        Path(lock.lock_file).unlink()
    lock.release()


def _acquired(lock: BaseFileLock, patience: float | None) -> BaseFileLock | None:
    try:
        lock.acquire(timeout=PATIENCE if patience is None else patience)
    except Timeout:
        return None
    return lock


def new_folder(parent: Path, name: str) -> Path:
    """Make a folder that nobody else has made.

    Args:
        parent: of it; made where it is missing.
        name: of it, with a number if that is taken.
    """
    parent.mkdir(parents=True, exist_ok=True)
    folder, n = parent / name, 1
    while True:
        try:
            folder.mkdir()
        except FileExistsError:
            folder, n = parent / f"{name}-{n}", n + 1
        else:
            return folder

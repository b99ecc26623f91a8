"""A run's folder belongs to one run at a time."""

from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

# Workers of a run that was killed hold its lock for as long as they take to notice: five seconds.
PATIENCE = 10


def lock_folder(folder: Path) -> BaseFileLock | None:
    """Take a folder for this process, until it releases the lock or dies.

    Args:
        folder: of a run; it exists.

    Returns:
        The lock; None if another process has it.
    """
    try:
        # The system's own, by which the machines of a network file system see each other's.
        return _acquired(FileLock(folder / ".lock"))
    except OSError:  # of a file system that has none: a file that names the process
        return _acquired(SoftFileLock(folder / ".process.lock"))


def _acquired(lock: BaseFileLock) -> BaseFileLock | None:
    try:
        lock.acquire(timeout=PATIENCE)
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

"""Files that are never half written."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from filelock import BaseFileLock, FileLock

from solo_gedi.errors import ConfigError, reason


def given_path(path: str | Path) -> Path:
    """A path that a user gives; `~` is the home folder, as a shell has it.

    Raises:
        ConfigError: for the home of a user who does not exist.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{path}: {reason(error)}") from error


@contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """A place beside a file's, for what is renamed to it at the end, unless an error comes."""
    # A leading dot and another suffix: no search takes the unfinished file for a finished one. The
    # process's number: another that writes the same file has a place of its own.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
        with partial.open("rb+") as written:
            os.fsync(written.fileno())  # else a machine that stops may leave only the name
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` write beside a file's place, then rename it there."""
    with written_atomically(path) as partial:
        write(partial)


def write_json(path: Path, content: Any) -> None:
    """Write JSON; what was there before stays until it is whole."""
    write_atomically(path, lambda partial: partial.write_text(json.dumps(content, indent=2) + "\n"))


@contextmanager
def written_folder(folder: Path) -> Iterator[Path]:
    """A place for files, which are moved into a folder at the end, unless an error comes.

    What else the folder holds stays.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Within a folder that exists: it may be on another disk than its parent.
    beside = folder if folder.is_dir() else folder.parent
    with TemporaryDirectory(dir=beside, prefix=f".{folder.name}.", suffix=".partial") as new:
        yield Path(new)
        for path in sorted(Path(new).rglob("*")):
            if path.is_file():
                place = folder / path.relative_to(new)
                place.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, place)


@contextmanager
def alone_in(folder: Path, name: str) -> Iterator[None]:
    """Within, other processes wait that would do the same in a folder.

    Nobody waits where a file system has no locks, or nothing can be written.

    Args:
        folder: made where it is missing.
        name: of the lock's file, which is gone afterwards.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Not by a file that names the process: nobody would remove that of another machine's.
    lock = FileLock(folder / name, fallback_to_soft=False)
    with suppress(OSError):
        lock.acquire()
    try:
        yield
    finally:
        if lock.is_locked:
            release(lock)


def release(lock: BaseFileLock) -> None:
    """Give a lock back, with nothing left of it.

    Args:
        lock: that this process has.
    """
    with suppress(OSError):  # of systems that remove nothing that is open
        Path(lock.lock_file).unlink()
    lock.release()


def check_output(path: Path, setting: str, overwrite: bool, *, folder: bool = False) -> None:
    """Check that a file or a folder of files may be written.

    Args:
        path: what is to be written.
        setting: what it is called in the message.
        overwrite: whether it may replace what exists.
        folder: whether it is to be a folder.

    Raises:
        ConfigError: if it exists, but for an empty folder, or cannot be written.
    """
    # os.path's: they say False, and not PermissionError, where nothing may be looked at.
    is_folder, exists = os.path.isdir(path), os.path.exists(path)
    if folder and exists and not is_folder:
        raise ConfigError(f"{setting}={path} is not a folder: give another name")
    check_folder(path if is_folder else path.parent, setting)
    if (any(path.iterdir()) if is_folder else exists) and not overwrite:
        raise ConfigError(f"{setting}={path} exists: give another name, or --overwrite it")


def check_folder(folder: Path, setting: str) -> None:
    """Check that a folder, which need not be there yet, can be written to.

    Args:
        folder: where files are to go.
        setting: what it is called in the message.

    Raises:
        ConfigError: if it, or what is there of its parents, is no folder or read-only.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))
    try:
        with TemporaryDirectory(dir=there):
            pass
    except OSError as error:
        raise ConfigError(f"{setting}: cannot write to {folder}: {error.strerror}") from error

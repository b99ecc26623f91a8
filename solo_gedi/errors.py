"""What can go wrong for a user, each kind with a class of its own.

The message names the setting, file or package, says what was given and what would be right. The
command line prints it without a traceback. Every other exception is a bug.
"""

import errno
import signal

# What a disk says that is full, read-only or broken: nobody's bug.
_OF_DISKS = {getattr(errno, name, None) for name in ("ENOSPC", "EDQUOT", "EROFS", "EIO")}


class GEDIError(Exception):
    """The base of all errors that this package raises on purpose.

    Args:
        message: one that a person can act on.
    """

    def __init__(self, message: str) -> None:
        # A DataLoader raises its worker's error anew, with the worker's traceback for a message.
        _, _, own = message.rpartition(f"{type(self).__module__}.{type(self).__qualname__}: ")
        super().__init__(own.strip())


class ConfigError(GEDIError, ValueError):
    """A setting, option or argument that cannot work."""


class DataError(GEDIError, ValueError):
    """Data that is missing, unreadable or does not fit."""


class CheckpointError(GEDIError, ValueError):
    """A checkpoint that is missing, unreadable or of another network."""


class MissingPackageError(GEDIError, ImportError):
    """An optional package that is not installed."""


class DivergenceError(GEDIError, RuntimeError):
    """Training diverged; the message says what did, when, and what to change."""


class ProcessLostError(GEDIError, RuntimeError):
    """Another process of this training has ended.

    Args:
        message: which, and how.
        said: whether that process has said why, so that nobody need repeat it.
    """

    def __init__(self, message: str, said: bool = False) -> None:
        self.said = said
        super().__init__(message)


class Interrupted(GEDIError):
    """A signal ended the work; what was done up to then is saved.

    Args:
        number: the signal's.
        message: what was saved, and where.
    """

    def __init__(self, number: int, message: str = "") -> None:
        self.signal = number
        super().__init__(message or f"interrupted by {signal.Signals(number).name}")

    def __reduce__(self) -> tuple[type["Interrupted"], tuple[int, str]]:
        """So that it passes between processes."""
        return type(self), (self.signal, str(self))


def is_of_disk(error: BaseException) -> bool:
    """Whether an error is that of a disk which is full, over its quota, read-only or broken.

    >>> is_of_disk(OSError(errno.ENOSPC, "No space left on device")), is_of_disk(ValueError())
    (True, False)
    """
    return isinstance(error, OSError) and error.errno in _OF_DISKS


def reason(error: BaseException) -> str:
    """The first line of another library's error, to be given as the reason of ours."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__

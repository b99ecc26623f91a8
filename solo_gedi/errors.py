"""The one error that a user's input can cause."""


class ConfigError(ValueError):
    """A setting, a file or a path that cannot work.

    The message names the key or file, says what was given and what would be right. The command
    line prints it without a traceback and exits with status 2.

    Args:
        message: as above.
    """

    def __init__(self, message: str) -> None:
        # A DataLoader raises its worker's error anew, with the worker's traceback for a message.
        _, _, own = message.rpartition(f"{type(self).__module__}.{type(self).__qualname__}: ")
        super().__init__(own.strip())


class DivergenceError(ConfigError):
    """Training ran away; the message says what did, when, and what to change."""


def reason(error: BaseException) -> str:
    """The first line of another library's error, which a ConfigError can give as the reason."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__

"""The one error that a user's input can cause."""


class ConfigError(ValueError):
    """A setting, a file or a path that cannot work.

    The message names the key or file, says what was given and what would be right. The command
    line prints it without a traceback and exits with status 2.
    """


class DivergenceError(ConfigError):
    """Training ran away; the message says what did, when, and what to change."""

"""What Lightning refuses, as errors of ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb

from solo_gedi.errors import ConfigError, GEDIError, reason


@contextmanager
def refusals(*kinds: type[Exception]) -> Iterator[None]:
    """What Lightning raises for a setting, as an error of ours; and ours that it hides.

    Args:
        kinds: of its exceptions, wherever they are raised; others are by its own code alone.
    """
    try:
        yield
    except GEDIError:
        raise
    except RuntimeError as error:
        # Its cleaning up stumbles over workers that have never been started.
        if isinstance(error.__context__, GEDIError) and "combined_loader" in str(error):
            raise error.__context__ from None
        raise
    except kinds as error:
        raise ConfigError(f"Lightning refuses a setting: {reason(error)}") from error
    except (TypeError, ValueError) as error:
        *_, (frame, _) = walk_tb(error.__traceback__)
        if not frame.f_globals.get("__name__", "").startswith("lightning."):
            raise
        raise ConfigError(f"Lightning refuses a setting: {reason(error)}") from error

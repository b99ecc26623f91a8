"""Leaves out what Lightning and solo-learn say of themselves; what they say of a run stays."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch.utilities.warnings import PossibleUserWarning


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without Lightning's adverts, its list of absent hardware and its guesses at settings."""
    loggers = [logging.getLogger(f"lightning.{name}") for name in ("pytorch", "fabric")]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=PossibleUserWarning)
        # A name that torch has changed, and a danger that the toy sets keep clear of.
        warnings.filterwarnings("ignore", message=".*(LeafSpec|`IterableDataset` has `__len__`).*")
        for logger in loggers:
            logger.setLevel(max(logger.level, logging.WARNING))
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)


@contextmanager
def quiet_solo() -> Iterator[None]:
    """Without solo-learn's words, through the root logger, while it builds a network.

    Among them the doubt that a run with a rate for every step can be resumed, as it is here.
    """
    root, silent = logging.getLogger(), logging.NullHandler()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*weight_norm` is deprecated.*")
        root.addFilter(_nothing)
        root.addHandler(silent)  # with no handler at all, logging would give it one for ever
        try:
            yield
        finally:
            root.removeHandler(silent)
            root.removeFilter(_nothing)


def _nothing(record: logging.LogRecord) -> bool:
    return False

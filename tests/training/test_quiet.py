"""What is left out of a user's sight, and what is not."""

import logging
import warnings

import pytest
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from lightning.pytorch.utilities.warnings import PossibleUserWarning

from solo_gedi.training.quiet import quiet_lightning, quiet_solo


@pytest.fixture
def lightning(caplog):
    """Lightning's logger, whose messages `caplog` sees."""
    logger = logging.getLogger("lightning.pytorch")
    before = logger.level
    logger.addHandler(caplog.handler)
    yield logger
    logger.removeHandler(caplog.handler)
    logger.setLevel(before)


@pytest.mark.parametrize("level", [logging.INFO, logging.ERROR])
def test_adverts_go_and_warnings_stay(lightning, caplog, level):
    lightning.setLevel(level)
    with warnings.catch_warnings(record=True) as warned, quiet_lightning():
        rank_zero_info("Tip: buy our cloud")
        lightning.warning("the disk is full")
        warnings.warn("perhaps more workers", PossibleUserWarning, stacklevel=1)
        warnings.warn("the disk is slow", stacklevel=1)
    assert "Tip" not in caplog.text
    assert ("the disk is full" in caplog.text) == (level == logging.INFO)
    assert [str(w.message) for w in warned] == ["the disk is slow"]
    assert lightning.level == level


def test_solo_learns_doubts_go_and_the_root_logger_is_as_before(capfd):
    root = logging.getLogger()
    before = root.level, list(root.handlers), list(root.filters)
    with quiet_solo():
        logging.warning("this might generate issues")
        logging.getLogger("mine").warning("this does")
    assert (root.level, list(root.handlers), list(root.filters)) == before
    assert "might" not in capfd.readouterr().err

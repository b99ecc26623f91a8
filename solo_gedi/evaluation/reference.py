"""The reference of a model that was trained without one."""

from pathlib import Path

from solo_gedi.core import evaluation_mode
from solo_gedi.core.processes import get_logger
from solo_gedi.errors import GEDIError
from solo_gedi.evaluation.subject import Subject

logger = get_logger(__name__)


def write_reference(subject: Subject) -> Path | None:
    """Measure log p over a model's training images, and keep its quantiles with the model.

    The model has them from then on, and `predict` its column `typicality`.

    Args:
        subject: a model that was read from a checkpoint.

    Returns:
        The file; None for a model of points, without a checkpoint, or whose training images cannot
        be read, which is logged.
    """
    from solo_gedi.training.reference import measure_reference

    model = subject.model
    if model.checkpoint is None:
        return None
    try:
        with evaluation_mode(model):
            model.reference = measure_reference(model.log_density, subject.cfg, model.device)
    except GEDIError as error:
        logger.info("no reference for `typicality`: %s", error)
    if model.reference is None:
        return None
    return model.reference.write(model.checkpoint.parent, model.checkpoint.name, model.epochs)

"""The reference of a model that was trained without one."""

from pathlib import Path

from solo_gedi.core import evaluation_mode
from solo_gedi.core.processes import get_logger
from solo_gedi.core.reference import checkpoint_of
from solo_gedi.errors import GEDIError
from solo_gedi.evaluation.subject import Subject

logger = get_logger(__name__)


def write_reference(subject: Subject) -> Path | None:
    """Measure log p over a model's training images, and keep its quantiles with the model.

    The model has them from then on, and `predict` its column `typicality`.

    Args:
        subject: a model that was read from a checkpoint.

    Returns:
        The file; None for a model of points, without a checkpoint, or evaluated with other training
        images; and, which is logged, whose training images cannot be read, whose folder cannot be
        written to, or has the reference of another checkpoint that is still there.
    """
    from solo_gedi.training.reference import measure_reference

    model = subject.model
    if model.checkpoint is None or subject.other_data:
        return None
    try:
        with evaluation_mode(model):
            model.reference = measure_reference(model.log_density, subject.cfg, model.device)
    except GEDIError as error:
        logger.info("no reference for `typicality`: %s", error)
    if model.reference is None:
        return None
    folder = model.checkpoint.parent
    if (other := checkpoint_of(folder)) is not None and other != model.checkpoint.name:
        logger.info("%s keeps the reference of %s", folder, other)
        return None
    try:
        return model.reference.write(folder, model.checkpoint.name, model.epochs)
    except OSError as error:
        logger.info("no reference for `typicality` in %s: %s", folder, error.strerror)
        return None

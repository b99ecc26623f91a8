"""Evaluations, pictures and pages."""

from solo_gedi.report.explore import explore
from solo_gedi.report.result import Result, evaluate

__all__ = ["Result", "evaluate", "explore"]

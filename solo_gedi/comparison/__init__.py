"""Suites of runs, their tables and reports."""

from solo_gedi.comparison.benchmark import Comparison, benchmark

__all__ = ["Comparison", "benchmark"]

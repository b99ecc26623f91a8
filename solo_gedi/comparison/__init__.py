"""Suites of runs, their tables and reports."""

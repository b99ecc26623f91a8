"""Timings: `python -m benchmarks.NAME`, from the project's root.

NAME is sgld, step, buffer, augment, scaling or counts; gpu has all that a GPU is to be asked.

Each prints a table of medians of interleaved runs and their ratios, writes it with the machine it
was measured on to `benchmarks/results/`, and renews `benchmarks/RESULTS.md`.
"""

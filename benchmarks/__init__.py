"""Timings: `python -m benchmarks.{sgld,step,buffer,augment,scaling}`, from the project's root.

Each prints a table of medians of interleaved runs and their ratios, writes it with the machine it
was measured on to `benchmarks/results/`, and renews `benchmarks/RESULTS.md`.
"""

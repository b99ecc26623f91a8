"""`solo-gedi benchmark`: methods and seeds side by side, beside the paper's values."""

import argparse
import shlex
import signal
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from solo_gedi.comparison import overview, scheduler, tables
from solo_gedi.comparison.suites import SUITES, Cell, Suite, cells_of
from solo_gedi.config import compose as config
from solo_gedi.errors import ConfigError
from solo_gedi.evaluation import evaluate
from solo_gedi.files import check_folder


def main(arguments: list[str]) -> None:
    """Run the command."""
    given = _parse(arguments)
    suite = SUITES[given.suite]
    out = given.out or Path("runs") / given.suite
    methods = list(dict.fromkeys(name for name in given.methods.split(",") if name))
    options = shlex.split(given.evaluate)
    cells = cells_of(suite, methods, given.seeds, out, given.scripts, given.overrides, options)
    _check(suite, methods, given, options)
    check_folder(out, "--out")
    if given.dry_run:
        for cell in cells:
            print(f"{cell.command}  # {_state(cell)}")
        return
    to_do = scheduler.prepare(cells, given.rerun)
    print(f"{len(cells)} cells, {len(cells) - len(to_do)} of them done before: {out}/", flush=True)
    # So that `kill` ends the cells as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _run(to_do, given, out)
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on from here.", file=sys.stderr)
        sys.exit(130)
    finally:
        rows = overview.write(
            f"solo-gedi benchmark {given.suite}", cells, out, _about(given, cells)
        )
        print(tables.show(rows))
        print(f"Tables and report: {out}/tables.csv, .md, .tex, {out}/report.html", flush=True)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = config.Parser("solo-gedi benchmark", description=__doc__)
    add = parser.add_argument
    add("suite", choices=SUITES)
    add("--methods", default="", help="comma-separated; all of the suite's if not given")
    add("--seeds", type=_seeds, default="5", help="how many, or which: 5, or 0,1,2, or 3,")
    add("--jobs", type=int, default=2, help="cells at once on this machine")
    add("--out", type=Path, help="folder of the results; runs/SUITE if not given")
    add("--scripts", type=Path, default=Path("scripts"), help="folder of the configs")
    add("--dry-run", action="store_true", help="print each cell's command, run none")
    add("--rerun", choices=("failed", "all"), help="run these again")
    add("--evaluate", default="", metavar='"OPTIONS"', help="options of solo-gedi evaluate")
    add("--cluster", choices=("slurm", "local", "debug"), help="run cells through submitit")
    add("--partition", help="of the cluster")
    add("--gpus", type=int, default=1, help="of a cell on the cluster")
    add("--cpus", type=int, default=8, help="of a cell on the cluster")
    add("--time", type=int, default=24 * 60, help="minutes for a cell on the cluster")
    add("overrides", nargs="*", metavar="key=value", help="of every cell's config")
    given = parser.parse_intermixed_args(arguments)
    if given.jobs < 1:
        raise ConfigError(f"--jobs must be at least 1, got {given.jobs}")
    if not given.seeds:
        raise ConfigError("--seeds must be at least 1, or a list as 0,1,2 or 0, alone: got no seed")
    return given


def _check(suite: Suite, methods: list[str], given: argparse.Namespace, options: list[str]) -> None:
    """Check what would end every cell before the first one runs."""
    overrides, probe = evaluate.split_overrides(given.overrides)
    evaluate.check_options(evaluate.options(*options, overrides=probe))
    dataset = next(iter(suite.datasets.values()))
    for name in dict.fromkeys(suite.methods[method][0] for method in methods or suite.methods):
        folder = given.scripts / "pretrain" / suite.folder
        cfg = config.load(folder, name, [*dataset, *overrides])
        config.prepare(cfg, required=config.PRETRAIN)


def _seeds(text: str) -> list[int]:
    seeds = config.numbers(text)
    return seeds if "," in text else list(range(*seeds))


def _state(cell: Cell) -> str:
    if not cell.is_done:
        return "to do"
    failed = any(scheduler.is_failed(cell.results_of(seed)) for seed in cell.seeds)
    return "failed" if failed else "done"


def _run(cells: list[Cell], given: argparse.Namespace, out: Path) -> None:
    parameters: dict[str, Any] = {}
    if given.cluster is not None:
        # submitit's local executor hides every GPU from a job that asks for none.
        parameters.update(timeout_min=given.time, gpus_per_node=given.gpus)
        parameters.update(cpus_per_task=given.cpus)
    if given.cluster == "slurm":
        parameters.update(slurm_partition=given.partition)
    start = time.perf_counter()
    running = scheduler.run(cells, given.jobs, given.cluster, out / "submitit", **parameters)
    with closing(running):
        for number, (cell, seconds) in enumerate(running, 1):
            since = time.perf_counter() - start
            state = f"{_state(cell)} in {seconds:.0f} s"
            print(f"[{number}/{len(cells)}, {since:.0f} s] {cell}: {state}", flush=True)


def _about(given: argparse.Namespace, cells: list[Cell]) -> str:
    overrides = " ".join(given.overrides)
    changed = f" with {overrides}" if overrides else ""
    return (
        f"Suite {given.suite}{changed}; seeds {', '.join(map(str, given.seeds))}. "
        f"A cell is one command, as: {cells[0].command}"
    )

"""Methods and seeds side by side, beside the paper's values."""

import logging
import signal
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from time import perf_counter
from typing import Any, get_args

from solo_gedi.comparison.plan import Cell, Cluster, Rerun, cells_of
from solo_gedi.comparison.suites import SUITES
from solo_gedi.errors import ConfigError, Interrupted
from solo_gedi.files import check_folder, given_path

logger = logging.getLogger(__name__)  # one process compares; its cells may have several


@dataclass(frozen=True)
class Comparison:
    """What a suite has found.

    Attributes:
        folder: of the tables, the report and the cells.
        cells: all of the suite's that were asked for.
        rows: one for each data set, measure and method, as in `tables.csv`; none of a dry run.
        script: what a dry run would hand to Slurm for each cell; None without `cluster="slurm"`.
    """

    folder: Path
    cells: list[Cell] = field(repr=False)
    rows: list[dict[str, Any]] = field(repr=False)
    script: str | None = field(default=None, repr=False)


def benchmark(
    suite: str,
    *,
    methods: str | Sequence[str] = (),
    seeds: int | Sequence[int] = 5,
    jobs: int = 2,
    out: str | Path | None = None,
    scripts: str | Path | None = None,
    dry_run: bool = False,
    rerun: Rerun | None = None,
    evaluate: Mapping[str, Any] | None = None,
    cluster: Cluster | None = None,
    partition: str | None = None,
    gpus: int = 1,
    cpus: int = 8,
    time: int = 24 * 60,
    overrides: Sequence[str] = (),
) -> Comparison:
    """Train and evaluate the methods of a suite, and compare them with the paper's values.

    A cell, one method with one seed, is a command of its own in a process of its own. What is done
    is not done again, so that a suite which was stopped goes on where it was. A cell that fails
    has its reason in the table, and the others go on.

    Args:
        suite: a key of `suites.SUITES`.
        methods: names, in a sequence or with commas; all of the suite's when empty.
        seeds: how many, or which.
        jobs: cells at once on this machine.
        out: folder of the results; `runs/<suite>` when None.
        scripts: folder of configs, laid out as the shipped ones, which are taken when None.
        dry_run: name the cells and run none; with "slurm", the script of its jobs too.
        rerun: drop the results of failed cells, or of all, and run them again.
        evaluate: keyword arguments of the evaluation, as `{"tasks": "clustering,linear"}`.
        cluster: "slurm" runs the cells as its jobs, through submitit.
        partition: of the cluster.
        gpus: of a cell on the cluster, which `devices` says how to use.
        cpus: of a cell on the cluster.
        time: minutes for a cell on the cluster.
        overrides: `key=value` of every cell's config, `probe.key=value` of its probe's.

    Returns:
        The comparison, which is also in `tables.{csv,md,tex}` and `report.html` of its folder.

    Raises:
        ConfigError: before anything runs, if an argument or a config cannot work, or the folder
            holds results of something else.
        MissingPackageError: without the packages of `solo-gedi[benchmark]`.
        Interrupted: after Ctrl-C or SIGTERM has ended the cells; what is done is in the tables.

    Example:
        benchmark("digits", methods=("gedi", "swav"), seeds=3).rows
    """
    _check_choice("suite", suite, SUITES)
    _check_choice("--rerun", rerun, (None, *get_args(Rerun)))
    _check_choice("--cluster", cluster, (None, *get_args(Cluster)))
    if jobs < 1:
        raise ConfigError(f"--jobs must be at least 1, got {jobs}")
    which = list(dict.fromkeys(range(seeds) if isinstance(seeds, int) else seeds))
    if not which or min(which) < 0:
        raise ConfigError(f"--seeds must be at least 1, or a list as 0,1,2 or 3, got {seeds}")
    names = methods.split(",") if isinstance(methods, str) else methods
    names = list(dict.fromkeys(filter(None, names)))
    folder = given_path(out or Path("runs") / suite)
    configs = None if scripts is None else given_path(scripts)
    cells = cells_of(SUITES[suite], names, which, folder, configs, overrides, evaluate)
    if partition is not None and cluster is None:
        raise ConfigError(f"--partition={partition} is one of Slurm's: add --cluster slurm")
    parameters = {"timeout_min": time, "gpus_per_node": gpus, "cpus_per_task": cpus}
    queue = {} if partition is None else {"slurm_partition": partition}
    if dry_run and cluster != "slurm":
        return Comparison(folder, cells, [])

    from solo_gedi.comparison import scheduler

    if dry_run:
        script = scheduler.sbatch_script(folder / "submitit", **parameters, **queue)
        return Comparison(folder, cells, [], script)

    from solo_gedi.comparison import overview, tables

    _check_options(evaluate or {}, overrides)
    _check_configs(cells, SUITES[suite].stacked, jobs if cluster is None else 1)
    check_folder(folder, "--out")
    executor = scheduler.connect(cluster, folder / "submitit", **parameters, **queue)
    if rerun != "all":
        tables.read(cells)  # what cannot be read is refused before anything is dropped
    to_do = scheduler.prepare(cells, rerun)
    done = len(cells) - len(to_do)
    logger.info("%d cells, %d of them done before: %s/", len(cells), done, folder)
    changed = f" with {' '.join(overrides)}" if overrides else ""
    about = (
        f"Suite {suite}{changed}; seeds {', '.join(map(str, which))}. "
        f"A cell is one command, as: {cells[0].command}"
    )
    running = scheduler.run(to_do, jobs, executor)
    try:
        with _interruptible(), closing(running):
            _follow(running, len(to_do))
    finally:
        rows = overview.write(f"solo-gedi benchmark {suite}", cells, folder, about)
        logger.info("%s", tables.show(rows))
        logger.info("Tables and report: %s/tables.csv, .md, .tex, %s/report.html", folder, folder)
    return Comparison(folder, cells, rows)


def _check_choice(argument: str, given: Any, choices: Collection[Any]) -> None:
    if given not in choices:
        known = ", ".join(str(choice) for choice in choices if choice is not None)
        raise ConfigError(f"{argument}={given!r} does not exist; choose from {known}")


def _check_options(evaluate: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Check the evaluation's options before the first cell trains for hours."""
    from solo_gedi.evaluation.options import Options, split_overrides

    known = [option.name for option in fields(Options) if option.name != "overrides"]
    for name in evaluate:
        _check_choice("--evaluate", name, known)
    Options(**evaluate, overrides=split_overrides(overrides)[1]).check()


def _check_configs(cells: Sequence[Cell], stacked: bool, jobs: int) -> None:
    """Check the configs that the cells train with, one cell's of each."""
    from solo_gedi.comparison.toy import study, training
    from solo_gedi.config import PRETRAIN, load_config, prepare
    from solo_gedi.methods import register
    from solo_gedi.training.strategy import num_devices

    register()
    for cell in {cell.config: cell for cell in cells}.values():
        if stacked:
            training.ToyTraining(study.configured(cell.config, cell.overrides), cell.seeds[:1])
            continue
        cfg = load_config(cell.config, cell.overrides)
        prepare(cfg, PRETRAIN)
        alone = str(cfg.devices) in ("auto", "-1")  # then what there is, and that is one GPU
        if jobs > 1 and not alone and num_devices(cfg) > 1:
            raise ConfigError(
                f"devices={cfg.devices} with --jobs {jobs}: cells at once have one device each; "
                "take --jobs 1"
            )


def _follow(running: Iterator[tuple[Cell, float]], number: int) -> None:
    """Say of each cell that it has ended, and how."""
    start = perf_counter()
    for count, (cell, seconds) in enumerate(running, 1):
        since = perf_counter() - start
        logger.info(
            "[%d/%d, %.0f s] %s: %s in %.0f s", count, number, since, cell, cell.state, seconds
        )


@contextmanager
def _interruptible() -> Iterator[None]:
    """Within, other signals end the cells as Ctrl-C does; all come out as `Interrupted`."""
    received: list[int] = [signal.SIGINT]
    before: dict[int, Any] = {}

    def stop(number: int, _: Any) -> None:
        received.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        for end in (signal.SIGTERM, signal.SIGHUP):  # the latter when a terminal is closed
            if signal.getsignal(end) is not signal.SIG_IGN:  # as nohup has it
                before[end] = signal.signal(end, stop)
    try:
        yield
    except KeyboardInterrupt as error:
        message = "Interrupted; run the same command again to continue."
        raise Interrupted(received[-1], message) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

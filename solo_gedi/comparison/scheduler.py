"""Runs cells: side by side on this machine with joblib, or as jobs of Slurm with submitit."""

import importlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from solo_gedi.comparison.plan import Cell, Cluster, Rerun
from solo_gedi.errors import ConfigError, MissingPackageError
from solo_gedi.files import write_atomically, write_json

PROGRAM = [sys.executable, "-m", "solo_gedi"]

LAUNCHER = [sys.executable, "-I", "-S", str(Path(__file__).with_name("launcher.py"))]

# Lightning starts a cell's processes itself, where a job has one task for several GPUs.
IN_A_JOB = {"SLURM_JOB_NAME": "interactive"}
_ERROR = re.compile(r"solo-gedi \w+: error: ")  # as `cli.main` says it
_TIME_IS_UP = "timed-out too many times"  # submitit's reason not to go on in another job


def prepare(cells: Sequence[Cell], rerun: Rerun | None = None) -> list[Cell]:
    """The cells that are still to be run.

    Args:
        cells: all.
        rerun: drop the results of failed seeds, or of all, first.

    Raises:
        ConfigError: if a folder holds the results of another command.
    """
    # All are looked at before anything is dropped: what is refused stays as it was.
    for cell in cells if rerun != "all" else ():
        noted = cell.folder / "command.txt"
        if noted.exists() and noted.read_text() != cell.identity:
            raise ConfigError(
                f"{cell.folder} holds the results of another command, or of configs that have "
                f"changed since ({noted}): take another --out, or --rerun all to drop them and "
                "what was trained"
            )
    for cell in cells:
        if rerun == "all":
            shutil.rmtree(cell.folder, ignore_errors=True)
        elif rerun == "failed":
            for seed in cell.seeds:
                if cell.state_of(seed) == "failed":
                    cell.results_of(seed).unlink()
    return [cell for cell in cells if cell.state == "to do"]


def connect(cluster: Cluster | None, log_folder: Path, **parameters: Any) -> Any:
    """What runs the cells, so that its absence is known before anything is dropped.

    Args:
        cluster: "slurm", or None for this machine.
        log_folder: of submitit.
        parameters: of submitit's executor.

    Returns:
        submitit's executor; None for this machine.

    Raises:
        ConfigError: if there is no Slurm here.
        MissingPackageError: without joblib, or submitit where there is a cluster.
    """
    _import("joblib")
    if cluster is None:
        return None
    try:
        executor = _import("submitit").AutoExecutor(log_folder, cluster=cluster)
    except RuntimeError as error:
        raise ConfigError(f"--cluster={cluster}: {error}") from error
    executor.update_parameters(**parameters)
    return executor


def run(
    cells: Sequence[Cell], jobs: int, executor: Any = None
) -> Generator[tuple[Cell, float], None, None]:
    """Run cells and yield each, with its seconds, as soon as it has ended.

    A cell that fails leaves its reason in its results. Where there are several GPUs, cells that run
    at once have one each, in turn. Closing the iterator, or an exception such as
    KeyboardInterrupt, ends the cells that run and leaves no results of theirs.

    Args:
        cells: to run.
        jobs: how many at once on this machine; a queue decides by itself.
        executor: submitit's, as `connect` gives it; None for this machine.

    Raises:
        ConfigError: if the cluster refuses a cell.
    """
    joblib, running = _import("joblib"), _Running()
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    threads = os.environ.get("OMP_NUM_THREADS", threads)
    environment = {"OMP_NUM_THREADS": threads}  # not in a job, where the queue deals out cores
    gpus: SimpleQueue[str] = SimpleQueue()
    if executor is None and jobs > 1:
        for _, gpu in zip(range(jobs), itertools.cycle(_gpus())):
            gpus.put(gpu)
    dealt = not gpus.empty()

    def work(cell: Cell) -> tuple[Cell, float]:
        if executor is not None:
            return _in_a_job(cell, executor, running)
        if not dealt:
            return run_cell(cell, environment, running)
        gpu = gpus.get()
        try:
            return run_cell(cell, {**environment, "CUDA_VISIBLE_DEVICES": gpu}, running)
        finally:
            gpus.put(gpu)

    at_once = jobs if executor is None else max(1, len(cells))  # a queue takes everything
    parallel = joblib.Parallel(at_once, backend="threading", return_as="generator_unordered")
    try:
        yield from parallel(joblib.delayed(work)(cell) for cell in cells)
    finally:
        running.stop()


def _in_a_job(cell: Cell, executor: Any, running: "_Running") -> tuple[Cell, float]:
    """Hand a cell to a queue, and wait for it."""
    start = time.perf_counter()
    try:
        submitted = executor.submit(_QueuedCell(), cell, IN_A_JOB)
    except RuntimeError as error:  # no such partition, no time that long, ...
        raise ConfigError(f"--cluster=slurm refuses {cell}: {error}") from error
    with running.holding(submitted, submitted.cancel) as job:
        try:
            return job.result()
        except Exception as error:  # of the queue: lost node, ...; or its time is up for good
            if not running.stopped and _TIME_IS_UP not in str(error):
                fail(cell, f"{type(error).__name__}: {_last_of_trace(str(error))}")
    return cell, time.perf_counter() - start


def _last_of_trace(text: str) -> str:
    """What a job has raised: submitit puts its traceback between two lines of dashes."""
    parts = re.split(r"\n-{5,}\n", text)
    *_, last = (parts[1 if len(parts) == 3 else 0].strip() or "no reason is given").splitlines()
    return last.strip()


def sbatch_script(log_folder: Path, **parameters: Any) -> str:
    """The script that submitit hands to Slurm for a cell, the same for all; needs no Slurm.

    Args:
        log_folder: of submitit.
        parameters: of submitit's executor.

    Raises:
        MissingPackageError: without submitit.
    """
    submitit = _import("submitit")

    class Queue(submitit.SlurmExecutor):  # type: ignore[name-defined]
        """Slurm's executor, which otherwise looks for srun."""

        @classmethod
        def affinity(cls) -> int:
            return 1

    executor = submitit.AutoExecutor(log_folder, cluster="debug")
    executor.cluster, executor._executor = "slurm", Queue(log_folder)
    executor.update_parameters(**parameters)
    queue = executor._executor
    return queue._make_submission_file_text(queue._submitit_command_str, uid="")


class _QueuedCell:
    """`run_cell` as a cluster's job, which goes on in another job where its time is too short."""

    def __call__(self, cell: Cell, environment: dict[str, str]) -> tuple[Cell, float]:
        self.running = _Running()
        return run_cell(cell, environment, self.running)

    def checkpoint(self, cell: Cell, environment: dict[str, str]) -> Any:
        """Called by submitit when time is nearly up: lets the cell save, and asks for more."""
        self.running.save()
        return _import("submitit").helpers.DelayedSubmission(_QueuedCell(), cell, environment)


class _Running:
    """What runs at the moment, so that it can be stopped."""

    def __init__(self) -> None:
        self.stopped = False
        self._lock = threading.Lock()
        self._held: dict[int, tuple[Any, Callable[[], Any]]] = {}

    @contextmanager
    def holding(self, work: Any, stop: Callable[[], Any]) -> Iterator[Any]:
        """Context in which something runs that `stop` ends."""
        with self._lock:
            self._held[id(work)] = work, stop
            if self.stopped:
                stop()
        try:
            yield work
        finally:
            with self._lock:
                del self._held[id(work)]

    def stop(self) -> None:
        with self._lock:
            self.stopped = True
            for _, stop in self._held.values():
                stop()

    def save(self) -> None:
        """Let a job's process save what it has and end. Takes no lock: for a signal's handler."""
        self.stopped = True
        for process, _ in self._held.values():
            process.send_signal(signal.SIGUSR1)
            # Not by its `wait`, in the middle of which the handler was called.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


def run_cell(
    cell: Cell, environment: dict[str, str], running: _Running | None = None
) -> tuple[Cell, float]:
    """Run a cell's command with `log.txt` as its output; a failure becomes its result.

    Args:
        cell: to run.
        environment: variables that it has besides those of this process.
        running: told of the process, so that it can be stopped.

    Returns:
        The cell and its seconds.
    """
    running = running or _Running()
    if running.stopped:
        return cell, 0.0
    start = time.perf_counter()
    cell.folder.mkdir(parents=True, exist_ok=True)
    noted = cell.folder / "command.txt"
    write_atomically(noted, lambda path: path.write_text(cell.identity))
    log = cell.folder / "log.txt"
    before = log.stat().st_size if log.exists() else 0
    launcher = [*LAUNCHER, str(os.getpid())] if sys.platform == "linux" else []
    with log.open("a") as output:
        process = subprocess.Popen(
            [*launcher, *PROGRAM, *cell.arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            # Ctrl-C reaches the benchmark alone, which knows that it is no failure of the cell.
            start_new_session=True,
        )
        with running.holding(process, lambda: _kill(process)):
            code = process.wait()
    if running.stopped or code > 128:  # stopped by a signal: it has saved, and is still to do
        return cell, time.perf_counter() - start
    if code:
        fail(
            cell,
            _last_words(log, before) if code > 0 else f"killed by {signal.Signals(-code).name}",
        )
    else:
        fail(cell, f"ended without results; its output is in {log}")
    return cell, time.perf_counter() - start


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """End a cell, with the processes that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _last_words(log: Path, before: int) -> str:
    """Why a cell says that it has failed: the command's error, whatever others say after it.

    Args:
        log: its output.
        before: bytes of earlier attempts.
    """
    said = log.read_bytes()[before:].decode(errors="replace")
    lines = [line.strip() for line in said.splitlines()]
    lines = list(filter(None, lines)) or [f"no reason in {log}"]
    return next((line for line in reversed(lines) if _ERROR.match(line)), lines[-1])


def fail(cell: Cell, why: str) -> None:
    """Leave a reason as the result of the seeds that have none.

    Args:
        cell: that failed.
        why: in a line.
    """
    for seed in cell.seeds:
        if cell.state_of(seed) == "to do":
            results = cell.results_of(seed)
            results.parent.mkdir(parents=True, exist_ok=True)
            about = {"method": cell.method, "dataset": cell.dataset, "seed": seed}
            write_json(results, {"status": "failed", **about, "reason": why})


def _gpus() -> list[str]:
    """The GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them."""
    if listed := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return listed.split(",")
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def _import(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingPackageError(
            f"running a suite needs {package}: pip install 'solo-gedi[benchmark]'"
        ) from error

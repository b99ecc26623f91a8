"""Runs cells: side by side on this machine with joblib, or on a cluster with submitit."""

import importlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from solo_gedi.comparison.plan import Cell, Cluster, Rerun
from solo_gedi.errors import ConfigError, MissingPackageError, reason
from solo_gedi.files import write_atomically, write_json

PROGRAM = [sys.executable, "-m", "solo_gedi"]

LAUNCHER = [sys.executable, "-I", "-S", str(Path(__file__).with_name("launcher.py"))]


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
                f"changed since ({noted}): take another --out, or --rerun all to drop them"
            )
    for cell in cells:
        if rerun == "all":
            shutil.rmtree(cell.folder, ignore_errors=True)
        elif rerun == "failed":
            for seed in cell.seeds:
                if cell.state_of(seed) == "failed":
                    cell.results_of(seed).unlink()
    return [cell for cell in cells if cell.state == "to do"]


def run(
    cells: Sequence[Cell],
    jobs: int,
    cluster: Cluster | None = None,
    log_folder: Path = Path("submitit"),
    **parameters: Any,
) -> Generator[tuple[Cell, float], None, None]:
    """Run cells and yield each, with its seconds, as soon as it has ended.

    A cell that fails leaves its reason in its results. Where there are several GPUs, cells that run
    at once have one each, in turn. Closing the iterator, or an exception such as
    KeyboardInterrupt, ends the cells that run and leaves no results of theirs.

    Args:
        cells: to run.
        jobs: how many at once on this machine; on a cluster, its queue decides.
        cluster: None, or submitit's name: "slurm", "local" or "debug".
        log_folder: of submitit.
        parameters: of submitit's executor.

    Raises:
        ConfigError: if there is no such cluster here, or it refuses a cell.
        MissingPackageError: without joblib, or submitit where there is a cluster.
    """
    joblib, running = _import("joblib"), _Running()
    # On a cluster the queue deals out cores and GPUs.
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    threads = os.environ.get("OMP_NUM_THREADS", threads)
    environment = {} if cluster == "slurm" else {"OMP_NUM_THREADS": threads}
    gpus: SimpleQueue[str] = SimpleQueue()
    if cluster is not None:
        try:
            executor = _import("submitit").AutoExecutor(log_folder, cluster=cluster)
        except RuntimeError as error:  # no such queue here
            raise ConfigError(f"--cluster={cluster}: {error}") from error
        executor.update_parameters(**parameters)
    elif jobs > 1:
        for _, gpu in zip(range(jobs), itertools.cycle(_gpus())):
            gpus.put(gpu)
    dealt = not gpus.empty()

    def work(cell: Cell) -> tuple[Cell, float]:
        if dealt:
            gpu = gpus.get()
            try:
                return run_cell(cell, {**environment, "CUDA_VISIBLE_DEVICES": gpu}, running)
            finally:
                gpus.put(gpu)
        if cluster is None:
            return run_cell(cell, environment, running)
        start = time.perf_counter()
        try:
            submitted = executor.submit(_QueuedCell(), cell, environment)
        except RuntimeError as error:  # no such partition, no time that long, ...
            raise ConfigError(f"--cluster={cluster} refuses {cell}: {error}") from error
        with running.holding(submitted, "cancel") as job:
            try:
                return job.result()
            except Exception as error:  # of the queue: time limit, lost node, ...
                if not running.stopped:
                    fail(cell, f"{type(error).__name__}: {reason(error)}")
        return cell, time.perf_counter() - start

    # A queue takes everything; submitit's debug executor works in the main thread only.
    at_once = {"slurm": max(1, len(cells)), "debug": 1}.get(cluster or "", jobs)
    parallel = joblib.Parallel(at_once, backend="threading", return_as="generator_unordered")
    try:
        yield from parallel(joblib.delayed(work)(cell) for cell in cells)
    finally:
        running.stop()


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
        self._held: dict[int, tuple[Any, str]] = {}

    @contextmanager
    def holding(self, work: Any, stop: str) -> Iterator[Any]:
        """Context in which something runs that its method `stop` ends."""
        with self._lock:
            self._held[id(work)] = work, stop
            if self.stopped:
                getattr(work, stop)()
        try:
            yield work
        finally:
            with self._lock:
                del self._held[id(work)]

    def stop(self) -> None:
        with self._lock:
            self.stopped = True
            for work, stop in self._held.values():
                getattr(work, stop)()

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
    # Memory that is kept rather than given back: on small networks page faults cost a sixth.
    memory = {"MALLOC_TOP_PAD_": str(64 * 2**20)}
    launcher = [*LAUNCHER, str(os.getpid())] if sys.platform == "linux" else []
    with log.open("w") as output:
        process = subprocess.Popen(
            [*launcher, *PROGRAM, *cell.arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**memory, **os.environ, **environment},
            # Ctrl-C reaches the benchmark alone, which knows that it is no failure of the cell.
            start_new_session=True,
        )
        with running.holding(process, "kill"):
            try:
                code = process.wait()
            except BaseException:  # Ctrl-C, where submitit's debug executor works in this thread
                process.kill()
                process.wait()
                raise
    if code and not running.stopped:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        last = lines[-1].strip() if lines else f"exit status {code}"
        fail(cell, last if code > 0 else f"killed by {signal.Signals(-code).name}")
    elif not running.stopped:
        fail(cell, f"ended without results; its output is in {log}")
    return cell, time.perf_counter() - start


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

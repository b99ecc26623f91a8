"""The scheduler on stand-in cells: a small program in the place of `python -m solo_gedi`."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from dataclasses import astuple
from pathlib import Path
from types import SimpleNamespace

import pytest
import submitit
import torch
from lightning.pytorch.plugins.environments import SLURMEnvironment

from solo_gedi.comparison import scheduler, tables
from solo_gedi.comparison.plan import Cell, cells_of
from solo_gedi.comparison.suites import SUITES
from solo_gedi.errors import ConfigError, MissingPackageError

PROGRAM = """
import json, os, pathlib, signal, sys, time
what, folder = sys.argv[1], pathlib.Path(sys.argv[2])
print("threads", os.environ.get("OMP_NUM_THREADS"))
print("gpu", os.environ.get("CUDA_VISIBLE_DEVICES"))
(folder / "starts").open("a").write("x")
if what == "fail":
    sys.exit("train loss is NaN at step 120")
if what == "die":
    os.kill(os.getpid(), signal.SIGSEGV)
if what == "pair":  # waits for another one that runs on another GPU at the same time
    mark = folder.parents[1] / f"gpu{os.environ['CUDA_VISIBLE_DEVICES']}"
    mark.write_text("")
    others = {mark.with_name("gpu0"), mark.with_name("gpu1")} - {mark}
    for _ in range(100):
        time.sleep(0.1)
        if all(other.exists() for other in others):
            break
    else:
        sys.exit("no other cell on the other GPU")
if what == "quiet":
    sys.exit()
if what == "long" and not (folder / "saved").exists():
    def save(*_):
        (folder / "saved").touch()
        sys.exit(138)
    signal.signal(signal.SIGUSR1, save)
    os.kill(os.getppid(), signal.SIGUSR2)  # as a queue does when a job's time is nearly up
    time.sleep(60)
if what == "stopped":
    sys.exit(128 + signal.SIGTERM)
if what == "loud":
    print("solo-gedi cell: error: no such data")
    print("wandb: Find logs at: ./wandb")
    sys.exit(2)
if what == "family":
    child = os.fork()
    (folder / ("pid" if child else "pid-child")).write_text(str(os.getpid()))
    time.sleep(60)
if what == "sleep":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    (folder / "pid").write_text(str(os.getpid()))
    time.sleep(60)
row = {"task": "clustering", "metric": "nmi", "source": "model", "output": "cluster head"}
results = [{**row, "split": "test", "value": 0.5}]
metrics = {"format": 2, "status": "finished", "results": results, "seed": 0, "config": {}}
(folder / "metrics.json").write_text(json.dumps(metrics))
"""


@pytest.fixture(autouse=True)
def stand_in(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    monkeypatch.setattr(scheduler, "PROGRAM", [sys.executable, str(program)])
    return program


@pytest.fixture
def cell(tmp_path):
    def build(method, what="work"):
        folder = tmp_path / "out" / "moons" / method / "seed=0"
        return Cell("moons", method, (0,), folder, (what, str(folder)))

    return build


def starts(cell):
    return len((cell.folder / "starts").read_text())


def test_every_cell_is_run_once_and_yielded(cell):
    cells = [cell(f"m{i}") for i in range(5)]
    ended = [c for c, _ in scheduler.run(cells, jobs=3)]
    assert sorted(c.method for c in ended) == [c.method for c in cells]
    assert all(c.state == "done" and starts(c) == 1 for c in cells)
    assert not scheduler.prepare(cells)


def test_threads_are_shared_out_unless_the_user_did(cell, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    list(scheduler.run([cell("a")], jobs=2))
    assert "threads 4" in (cell("a").folder / "log.txt").read_text()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    list(scheduler.run([cell("b")], jobs=2))
    assert "threads 1" in (cell("b").folder / "log.txt").read_text()


def test_cells_at_once_have_a_gpu_each(cell, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    cells = [cell(f"m{i}", "pair") for i in range(4)]
    list(scheduler.run(cells, jobs=2))
    logs = [(c.folder / "log.txt").read_text() for c in cells]
    assert all(("gpu 0" in log) != ("gpu 1" in log) for log in logs)
    assert all(c.state == "done" for c in cells)
    list(scheduler.run([cell("alone")], jobs=1))
    assert "gpu None" in (cell("alone").folder / "log.txt").read_text()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    list(scheduler.run([cell("a"), cell("b")], jobs=2))
    logs = [(cell(name).folder / "log.txt").read_text() for name in "ab"]
    assert any("gpu 5" in log for log in logs)
    assert any("gpu 7" in log for log in logs)


def test_a_failure_fails_its_cell_alone_and_its_reason_is_in_the_table(cell):
    cells = [cell("jem", "fail"), cell("swav"), cell("gedi", "die")]
    list(scheduler.run(cells, jobs=2))
    rows = {row["method"]: row for row in tables.comparison(tables.read(cells))}
    assert rows["swav"]["mean"] == 0.5
    assert rows["swav"]["failed"] == ""
    assert rows["jem"]["mean"] is None
    assert rows["jem"]["failed"] == "seed 0: train loss is NaN at step 120"
    assert rows["gedi"]["failed"] == "seed 0: killed by SIGSEGV"
    assert "train loss is NaN" in tables.show(list(rows.values()))


def test_a_cell_that_leaves_no_results_has_failed(cell):
    list(scheduler.run([cell("gedi", "quiet")], jobs=1))
    (row,) = tables.comparison(tables.read([cell("gedi", "quiet")]))
    assert "ended without results" in row["failed"]


def test_failed_cells_are_run_again_only_when_told(cell):
    cells = [cell("jem", "fail"), cell("swav")]
    list(scheduler.run(cells, jobs=1))
    assert scheduler.prepare(cells) == []
    assert scheduler.prepare(cells, "failed") == cells[:1]
    list(scheduler.run(cells[:1], jobs=1))
    assert (starts(cells[0]), starts(cells[1])) == (2, 1)
    assert scheduler.prepare(cells, "all") == cells
    assert not cells[1].folder.exists()


def test_results_of_another_command_are_not_taken_for_these(cell):
    list(scheduler.run([cell("gedi")], jobs=1))
    with pytest.raises(ConfigError, match=r"another command.*command.txt.*--rerun all"):
        scheduler.prepare([cell("gedi", "fail")])
    assert cell("gedi").state == "done"


def test_a_refused_rerun_drops_nothing(cell):
    cells = [cell("jem", "fail"), cell("swav", "fail")]
    list(scheduler.run(cells, jobs=1))
    with pytest.raises(ConfigError, match="another command"):
        scheduler.prepare([cells[0], cell("swav")], "failed")
    assert cells[0].state == "failed"


def test_a_package_that_is_not_there_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(MissingPackageError, match=r"submitit: .*'solo-gedi\[benchmark\]'"):
        scheduler.connect("slurm", tmp_path / "submitit")
    monkeypatch.setitem(sys.modules, "joblib", None)
    with pytest.raises(MissingPackageError, match=r"joblib: .*'solo-gedi\[benchmark\]'"):
        scheduler.connect(None, tmp_path / "submitit")


def test_cluster_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # no srun here
    with pytest.raises(ConfigError, match=r"--cluster=slurm: .*srun"):
        scheduler.connect("slurm", tmp_path / "submitit")


def run_by_slurm(cells, folder, **parameters):
    return scheduler.run(cells, 1, scheduler.connect("slurm", folder, **parameters))


def test_the_script_of_a_dry_run_is_what_sbatch_gets(cell, tmp_path, monkeypatch):
    commands = tmp_path / "bin"
    commands.mkdir()
    refuses = 'cp "$1" got.sh; echo "sbatch: error: invalid partition" >&2; exit 1'
    for name, does in {"srun": "true", "sbatch": refuses}.items():
        (commands / name).write_text(f"#!/bin/sh\n{does}\n")
        (commands / name).chmod(0o755)
    parameters = {"timeout_min": 90, "gpus_per_node": 2, "cpus_per_task": 6}
    parameters |= {"slurm_partition": "fast"}
    shown = scheduler.sbatch_script(tmp_path / "submitit", **parameters)
    assert not (tmp_path / "submitit").exists()
    asked = {"--time=90", "--gpus-per-node=2", "--cpus-per-task=6", "--partition=fast"}
    assert asked <= {line.removeprefix("#SBATCH ") for line in shown.splitlines()}

    monkeypatch.setenv("PATH", str(commands), prepend=os.pathsep)
    with pytest.raises(ConfigError, match=r"^--cluster=slurm refuses .*: .*invalid partition"):
        list(run_by_slurm([cell("gedi")], tmp_path / "submitit", **parameters))
    assert (tmp_path / "got.sh").read_text() == shown


def test_a_queue_may_have_nothing_to_do(tmp_path, monkeypatch):
    (tmp_path / "srun").write_text("#!/bin/sh\ntrue\n")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert list(run_by_slurm([], tmp_path / "submitit")) == []


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a cell is not a job's own child")
def test_a_job_whose_time_is_up_saves_and_goes_on_in_another(cell):
    """As under submitit, whose handler of the signal asks for the next job and leaves this one."""
    job, long, later = scheduler._QueuedCell(), cell("gedi", "long"), []

    def time_is_nearly_up(*_):
        later.append(pickle.dumps(job.checkpoint(long, {})))
        sys.exit()

    before = signal.signal(signal.SIGUSR2, time_is_nearly_up)
    try:
        with pytest.raises(SystemExit):
            job(long, {})
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert (long.folder / "saved").exists()
    assert long.state == "to do"
    pickle.loads(later[0]).result()
    assert (long.state, starts(long)) == ("done", 2)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of a parent's end")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL, "Ctrl-C"])
def test_a_stopped_suite_leaves_no_process_and_no_result(how, cell, stand_in, tmp_path):
    """`kill` reaches the suite's process alone; Ctrl-C in a terminal, its whole group."""
    cells = [cell("a", "sleep"), cell("b", "sleep"), cell("c", "sleep")]
    script = tmp_path / "suite.py"
    script.write_text(
        "import signal, sys\n"
        "from contextlib import closing\n"
        "from pathlib import PosixPath\n"
        "from solo_gedi.comparison import scheduler\n"
        "from solo_gedi.comparison.plan import Cell\n"
        # What runs in the background of a shell is born deaf to SIGINT.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "signal.signal(signal.SIGTERM, signal.default_int_handler)\n"
        f"scheduler.PROGRAM = [sys.executable, {str(stand_in)!r}]\n"
        f"cells = [Cell(*args) for args in {[astuple(c) for c in cells]!r}]\n"
        "with closing(scheduler.run(cells, 2)) as running:\n"
        "    list(running)\n"
    )
    # A GPU that is named need not be looked for, which takes seconds.
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "0"}
    quiet = {"stderr": subprocess.DEVNULL, "start_new_session": True}
    suite = subprocess.Popen([sys.executable, script], env=environment, **quiet)
    pids = wait_for(lambda: [int(p.read_text() or 0) for p in tmp_path.rglob("pid")], 2)
    if how == "Ctrl-C":
        os.killpg(suite.pid, signal.SIGINT)
    else:
        suite.send_signal(how)
    assert suite.wait(20) != 0
    for _ in range(100):
        if not any(map(_alive, pids)):
            break
        time.sleep(0.1)
    assert not any(map(_alive, pids))
    assert not list(tmp_path.rglob("metrics.json"))
    assert len(list(tmp_path.rglob("pid"))) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of a parent's end")
def test_a_cell_whose_benchmark_has_already_ended_does_not_start(tmp_path):
    launcher = [*scheduler.LAUNCHER, str(os.getpid() + 1)]
    done = subprocess.run([*launcher, "touch", tmp_path / "started"])
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "started").exists()


def wait_for(find, number):
    for _ in range(300):
        found = find()
        if len(found) == number and all(found):
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited in vain for {number}, found {found}")


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_submitits_jobs_run_cells(tmp_path):
    """In processes of this machine, which know no monkeypatch, where Slurm has those of others."""
    executor = submitit.AutoExecutor(tmp_path / "submitit", cluster="local")
    executor.update_parameters(timeout_min=5)
    small = ["--seeds", "0", "--tasks", "clustering", "max_epochs=1", "limit_train_batches=2"]
    cells = [
        Cell("moons", name, (0,), tmp_path / name, ("toy", str(tmp_path / name), config, *small))
        for name, config in {"gedi": "toy/gedi_nogen", "none": "toy/none"}.items()
    ]
    list(scheduler.run(cells, 2, executor))
    assert [cell.state for cell in cells] == ["done", "failed"]


def test_a_job_that_fails_says_why(cell, tmp_path, monkeypatch):
    """By submitit's own words, from a process of this machine."""
    executor = submitit.AutoExecutor(tmp_path / "submitit", cluster="local")
    executor.update_parameters(timeout_min=5)

    class Broken(scheduler._QueuedCell):
        def __call__(self, cell, environment):
            raise OSError("disk full")

    monkeypatch.setattr(scheduler, "_QueuedCell", Broken)
    list(scheduler.run([cell("gedi")], 1, executor))
    reason = json.loads(cell("gedi").results_of(0).read_text())["reason"]
    assert reason == "FailedJobError: OSError: disk full"


def test_a_job_whose_time_was_too_short_thrice_is_still_to_do(cell):
    def result():
        raise submitit.core.utils.FailedJobError("not requeued because: timed-out too many times.")

    job = SimpleNamespace(result=result, cancel=lambda: None)
    list(scheduler.run([cell("gedi")], 1, SimpleNamespace(submit=lambda *_: job)))
    assert cell("gedi").state == "to do"


def test_a_job_of_several_gpus_starts_its_processes_itself(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert SLURMEnvironment.detect()
    for name, value in scheduler.IN_A_JOB.items():
        monkeypatch.setenv(name, value)
    assert not SLURMEnvironment.detect()


def test_a_cell_that_a_signal_has_stopped_is_still_to_do(cell):
    list(scheduler.run([cell("gedi", "stopped")], jobs=1))
    assert cell("gedi").state == "to do"
    list(scheduler.run([cell("gedi", "stopped")], jobs=1))
    log = (cell("gedi").folder / "log.txt").read_text()
    assert log.count("threads") == 2


def test_the_reason_is_the_commands_error_whoever_speaks_last(cell):
    list(scheduler.run([cell("gedi", "loud")], jobs=1))
    results = cell("gedi").results_of(0)
    assert json.loads(results.read_text())["reason"] == "solo-gedi cell: error: no such data"
    results.unlink()
    list(scheduler.run([cell("gedi", "fail")], jobs=1))  # another attempt, for another reason
    assert json.loads(results.read_text())["reason"] == "train loss is NaN at step 120"


def test_what_a_cell_has_started_ends_with_it(cell, tmp_path):
    running = scheduler.run([cell("a", "family")], jobs=1)
    thread = threading.Thread(target=lambda: list(running), daemon=True)
    thread.start()
    pids = wait_for(lambda: [int(p.read_text() or 0) for p in tmp_path.rglob("pid*")], 2)
    own = scheduler._Running()
    with own.holding(None, lambda: scheduler._kill(SimpleNamespace(pid=min(pids)))):
        own.stop()
    thread.join(20)
    for _ in range(100):
        if not any(map(_alive, pids)):
            break
        time.sleep(0.1)
    assert not any(map(_alive, pids))


def test_a_cell_is_the_same_however_its_folder_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here, there = (
        cells_of(SUITES["digits"], ["gedi"], [0], Path(p)) for p in ("o", tmp_path / "o")
    )
    assert here[0].identity == there[0].identity
    assert here[0].identity.startswith("solo-gedi cell . digits/gedi ")

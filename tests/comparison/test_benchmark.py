"""Suites from their first cell to their tables."""

import csv
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import pytest

from solo_gedi.cli import main
from solo_gedi.comparison import benchmark, scheduler
from solo_gedi.errors import ConfigError, Interrupted

SMALL = ["max_epochs=1", "limit_train_batches=20"]
TOY = {"methods": "gedi_nogen", "seeds": 2, "overrides": SMALL}


class InThisProcess:
    """In the place of `subprocess.Popen`: importing torch takes longer than so small a cell."""

    def __init__(self, command, stdout, **_):
        arguments = command[command.index("solo_gedi") + 1 :]
        with redirect_stdout(stdout), redirect_stderr(stdout):
            self.code = main(arguments)

    def wait(self):
        return self.code

    def kill(self):
        pass


# The scheduler alone sees it: what a cell starts is a process.
HERE = SimpleNamespace(Popen=InThisProcess, STDOUT=subprocess.STDOUT)


@pytest.fixture
def in_this_process(monkeypatch):
    monkeypatch.setattr(scheduler, "subprocess", HERE)


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_killed_suite_goes_on_to_the_same_tables(monkeypatch, tmp_path):
    command = ["benchmark", "toy", "--methods", "gedi_nogen", "--seeds", "2", "--jobs", "1"]
    suite = subprocess.Popen(
        [sys.executable, "-m", "solo_gedi", *command, "--out", "killed", *SMALL],
        stdout=subprocess.DEVNULL,
    )
    first, second = (
        tmp_path / "killed" / dataset / "gedi_nogen" / "seed=1" / "metrics.json"
        for dataset in ("moons", "circles")
    )
    for _ in range(1200):
        finished = first.exists() and '"status": "finished"' in first.read_text()
        if finished or suite.poll() is not None:
            break
        time.sleep(0.1)
    suite.send_signal(signal.SIGKILL)
    suite.wait()
    written = first.stat().st_mtime_ns
    assert not second.exists()

    monkeypatch.setattr(scheduler, "subprocess", HERE)
    once = benchmark("toy", **TOY, jobs=1, out="once")
    again = benchmark("toy", **TOY, jobs=1, out="killed")
    assert first.stat().st_mtime_ns == written
    assert second.exists()
    assert [row["measure"] for row in once.rows] == ["NMI", "NMI"]
    assert {row["seeds"] for row in once.rows} == {2}
    assert once.rows == again.rows
    for name in ("tables.csv", "results.csv"):
        assert table(tmp_path / "killed" / name) == table(tmp_path / "once" / name)
    for name in ("tables.md", "tables.tex", "report.html"):
        assert (tmp_path / "once" / name).stat().st_size > 100


def test_done_cells_are_not_run_again_and_another_command_is_not_taken_for_them(
    in_this_process, capsys
):
    """A learning rate that no network survives is a result, too; the others go on."""
    diverging = {**TOY, "overrides": [*SMALL, "optimizer.lr=1e30"]}
    first = benchmark("toy", **diverging, jobs=1, out="out")
    assert [row["seeds"] for row in first.rows] == [0, 0]
    assert all("not finite after iteration 20" in row["failed"] for row in first.rows)
    assert [cell.state for cell in first.cells] == ["failed", "failed"]
    # The command line, which the cells have been through, shows what is logged.
    assert "seed 0, 1: the weights" in capsys.readouterr().out
    assert benchmark("toy", **diverging, jobs=1, out="out").rows == first.rows
    assert "2 cells, 2 of them done before" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="holds the results of another command"):
        benchmark("toy", **TOY, jobs=1, out="out")


def test_image_cells_are_trained_probed_and_compared(in_this_process):
    found = benchmark(
        "digits",
        methods=("gedi_nogen", "barlow"),
        seeds=[3],
        jobs=1,
        out="out",
        evaluate={"tasks": "clustering,linear,ood"},
        overrides=[
            *("max_epochs=1", "backbone.kwargs.width=8", "+limit_train_batches=2"),
            "probe.max_epochs=1",
        ],
    )
    assert all(row["seeds"] == 1 and not row["failed"] for row in found.rows)
    trivial = "k-means on the pixels"
    assert {row["method"] for row in found.rows} == {"gedi_nogen", "barlow", trivial}
    (baseline,) = [row for row in found.rows if row["method"] == trivial]
    assert baseline["measure"] == "NMI"
    assert baseline["mean"] > 0.6
    measures = {row["measure"] for row in found.rows}
    assert measures >= {"NMI", "linear accuracy", "OOD AUROC against uniform"}
    page = (found.folder / "report.html").read_text()
    assert "digits, gedi_nogen, seed 3: " in page


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_cells_and_leaves_the_tables(number, monkeypatch, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import os, pathlib, sys, time\n"
        "(pathlib.Path(sys.argv[2]) / 'pid').write_text(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )
    monkeypatch.setattr(scheduler, "PROGRAM", [sys.executable, str(program)])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # need not be looked for
    before = signal.getsignal(number)
    out = tmp_path / "runs" / "toy"

    def stop():
        for _ in range(300):
            if len([path for path in out.rglob("pid") if path.read_text()]) == 2:
                break
            time.sleep(0.1)
        else:  # it has failed, and whatever runs then is not meant
            return
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(Interrupted, match="run the same command again") as ended:
        benchmark("toy", **TOY)
    thread.join()
    assert ended.value.signal == number
    assert signal.getsignal(number) is before
    assert [row["seeds"] for row in table(out / "tables.csv")] == ["0", "0"]
    assert not list(out.rglob("metrics.json"))
    pids = [int(path.read_text()) for path in out.rglob("pid")]
    for _ in range(100):
        if not any(map(alive, pids)):
            break
        time.sleep(0.1)
    assert not any(map(alive, pids))


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_slurm_is_told_what_a_cell_needs(monkeypatch):
    asked = []
    wishes = {"gpus": 2, "cpus": 3, "time": 60}

    def connect(*where, **parameters):
        asked.append((where, parameters))
        raise ConfigError("enough")

    monkeypatch.setattr(scheduler, "connect", connect)
    for more in ({}, {"cluster": "slurm", "partition": "gpu"}):
        with pytest.raises(ConfigError, match="enough"):
            benchmark("toy", methods="swav", **wishes, **more)
    needs = {"timeout_min": 60, "gpus_per_node": 2, "cpus_per_task": 3}
    place = Path("runs/toy/submitit")
    assert asked == [
        ((None, place), needs),
        (("slurm", place), {**needs, "slurm_partition": "gpu"}),
    ]


def test_a_queue_that_is_not_there_costs_no_result(monkeypatch, tmp_path):
    out = tmp_path / "runs" / "digits" / "digits" / "swav" / "seed=0"
    out.mkdir(parents=True)
    (out / "metrics.json").write_text("{}")
    monkeypatch.setenv("PATH", str(tmp_path))  # no srun here
    with pytest.raises(ConfigError, match="srun"):
        benchmark("digits", methods="swav", seeds=[0], cluster="slurm", rerun="all")
    assert [path.name for path in out.parents[3].rglob("*.*")] == ["metrics.json"]


def test_dry_run_names_cells_and_runs_none(tmp_path):
    found = benchmark("toy", methods=["gedi_nogen", "swav"], dry_run=True)
    assert len(found.cells) == 4
    assert {cell.seeds for cell in found.cells} == {(0, 1, 2, 3, 4)}
    assert found.cells[0].command.startswith("solo-gedi toy runs/toy/moons/gedi_nogen ")
    assert all(cell.state == "to do" for cell in found.cells)
    assert not list(tmp_path.iterdir())


def test_a_dry_run_needs_neither_torch_nor_solo_learn():
    code = (
        "import sys; sys.modules.update(dict.fromkeys("
        "('torch', 'solo', 'lightning', 'joblib', 'submitit', 'matplotlib')))\n"
        "from solo_gedi.comparison import benchmark\n"
        "print(len(benchmark('toy', methods='gedi', dry_run=True).cells))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "2\n", done.stderr


def test_what_is_named_twice_is_run_once():
    for methods, seeds in (("swav,swav", [3, 3]), (["swav", "swav"], (3,))):
        (cell,) = benchmark("digits", methods=methods, seeds=seeds, dry_run=True).cells
        assert " seed=3" in cell.command


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"suite": "imagenet"}, "suite='imagenet' does not exist; choose from toy"),
        ({"suite": "toy", "jobs": 0}, "--jobs must be at least 1, got 0"),
        ({"suite": "toy", "seeds": 0}, "--seeds must be at least 1, .* got 0"),
        ({"suite": "toy", "seeds": ()}, "--seeds must be at least 1"),
        ({"suite": "toy", "methods": "simclr"}, "--methods has 'simclr'"),
        ({"suite": "toy", "scripts": "nowhere"}, "--scripts=nowhere has no pretrain/toy"),
        ({"suite": "toy", "rerun": "some"}, "--rerun='some' .*choose from failed, all"),
        ({"suite": "toy", "cluster": "moon"}, "--cluster='moon' .*choose from slurm"),
        ({"suite": "toy", "evaluate": {"task": "knn"}}, "--evaluate='task' .*choose from tasks"),
        ({"suite": "toy", "evaluate": {"tasks": "cooking"}}, "--tasks has 'cooking'"),
        ({"suite": "toy", "overrides": ["optimizer.lr=-1"]}, "optimizer.lr must be"),
        ({"suite": "toy", "overrides": ["precision=16"]}, "precision=16: the toy study does not"),
        ({"suite": "toy", "overrides": ["optimizer.name=sgd"]}, "runs optimizer.name=adam"),
        ({"suite": "toy", "overrides": ["probe.max_epochs=2"]}, "this suite has no linear probe"),
        (
            {"suite": "toy", "overrides": ["dataset=circles"]},
            "this suite sets dataset=moons itself",
        ),
        ({"suite": "digits", "overrides": ["seed=7"]}, "this suite sets seed=K itself"),
        (
            {"suite": "fashion", "overrides": ["dataset=mnist"]},
            "this suite sets dataset=NAME itself",
        ),
        ({"suite": "stability", "overrides": ["optimizer.lr=1"]}, "this suite sets optimizer.lr="),
        ({"suite": "digits", "overrides": ["devices=[0,1]"]}, r"one device each; take --jobs 1"),
        ({"suite": "digits", "partition": "gpu"}, "--partition=gpu .*: add --cluster slurm"),
        ({"suite": "folder"}, "needs data.train_path=FOLDER"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(arguments, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        benchmark(**arguments)
    assert not list(tmp_path.iterdir())

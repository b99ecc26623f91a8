"""`solo-gedi benchmark` as a user runs it."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TOY = ["solo-gedi", "benchmark", "toy", "--methods", "gedi_nogen,swav", "--seeds", "2"]
SMALL = ["max_epochs=1", "limit_train_batches=20"]


def table(folder):
    with (folder / "tables.csv").open() as file:
        return list(csv.DictReader(file))


def test_killed_suite_goes_on_to_the_same_tables(console, scripts, tmp_path):
    whole = [*TOY, "--scripts", scripts, "--jobs", "2", "--out"]
    once = console(*whole, "once", *SMALL)
    assert once.returncode == 0, once.stderr
    assert "NMI" in once.stdout

    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [*map(str, whole), "killed", *SMALL, "--jobs", "1"]
    suite = subprocess.Popen(command, env={**os.environ, "PATH": path}, stdout=subprocess.PIPE)
    first = tmp_path / "killed" / "moons" / "gedi_nogen" / "seed=1" / "metrics.json"
    for _ in range(1200):
        if first.exists():
            break
        time.sleep(0.1)
    suite.send_signal(signal.SIGKILL)
    suite.wait()
    written = first.stat().st_mtime_ns
    assert len(list((tmp_path / "killed").rglob("metrics.json"))) < 8

    again = console(*whole, "killed", *SMALL)
    assert again.returncode == 0, again.stderr
    assert first.stat().st_mtime_ns == written
    assert table(tmp_path / "killed") == table(tmp_path / "once")
    assert {row["seeds"] for row in table(tmp_path / "once")} == {"2"}
    for name in ("tables.md", "tables.tex", "results.csv", "report.html"):
        assert (tmp_path / "once" / name).stat().st_size > 100

    # Done cells are not run again; another command is not taken for them.
    third = console(*whole, "once", *SMALL)
    assert "4 of them done before" in third.stdout
    other = console(*whole, "once", *SMALL, "optimizer.lr=1")
    assert other.returncode == 2
    assert "holds the results of another command" in other.stderr


def test_a_run_that_diverges_is_reported_as_failed(console, scripts, tmp_path):
    """A learning rate that no network survives; the suite goes on to its tables."""
    done = console(
        *("solo-gedi", "benchmark", "toy", "--methods", "gedi", "--seeds", "1", "--out", "out"),
        *("--scripts", scripts, *SMALL, "optimizer.lr=1e30"),
    )
    assert done.returncode == 0, done.stderr
    rows = table(tmp_path / "out")
    assert [row["seeds"] for row in rows] == ["0", "0"]
    assert all("weights not finite after iteration 20" in row["failed"] for row in rows)
    assert "not finite" in done.stdout


def test_image_cells_are_trained_probed_and_compared(console, scripts, tmp_path):
    done = console(
        *("solo-gedi", "benchmark", "digits", "--methods", "gedi_nogen,barlow", "--seeds", "1"),
        *("--scripts", scripts, "--out", "out", "--evaluate", "--tasks clustering,linear,ood"),
        *("max_epochs=1", "backbone.kwargs.width=8", "+limit_train_batches=2"),
        "probe.max_epochs=1",
    )
    assert done.returncode == 0, done.stderr
    rows = {(row["measure"], row["method"]): row for row in table(tmp_path / "out")}
    assert all(row["seeds"] == "1" for row in rows.values()), done.stdout
    measures = {measure for measure, _ in rows}
    assert {"NMI", "linear accuracy", "OOD AUROC against uniform"} <= measures


def test_dry_run_prints_commands_and_runs_none(console, scripts, tmp_path):
    done = console(*TOY, "--scripts", scripts, "--dry-run", "--out", "out")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("solo-gedi toy out/") and "# to do" in line for line in lines)
    assert not (tmp_path / "out").exists()


def test_output_may_be_read_in_part(console, scripts):
    shown = f"solo-gedi benchmark sensitivity --dry-run --scripts '{scripts}' | head -n 1"
    done = console("bash", "-o", "pipefail", "-c", shown)
    assert done.stdout.startswith("solo-gedi toy ")
    assert not done.stderr


@pytest.mark.parametrize("seeds", ["3,3", "3,"])
def test_one_seed_may_be_chosen_and_what_is_named_twice_is_run_once(console, scripts, seeds):
    twice = ("--methods", "swav,swav", "--seeds", seeds, "--scripts", scripts, "--dry-run")
    done = console("solo-gedi", "benchmark", "digits", *twice)
    assert done.returncode == 0, done.stderr
    (command,) = done.stdout.splitlines()
    assert " seed=3" in command


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["toy", "--jobs", "0"], "--jobs must be at least 1"),
        (["toy", "--seeds", "0"], "--seeds must be at least 1"),
        (["toy", "--methods", "simclr"], "--methods has 'simclr'"),
        (["toy", "--scripts", "nowhere"], "--scripts=nowhere has no pretrain/toy"),
        (["folder"], "needs data.train_path=FOLDER"),
        (["imagenet"], "invalid choice: 'imagenet'"),
    ],
)
def test_wrong_arguments_end_with_one_message(arguments, message, console):
    done = console("solo-gedi", "benchmark", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr

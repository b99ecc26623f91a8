"""`solo-gedi benchmark` as a user types it."""

import pytest

from solo_gedi.cli.benchmark import _options

TOY = ["benchmark", "toy", "--methods", "gedi_nogen,swav", "--seeds", "2"]


def test_dry_run_prints_commands_and_runs_none(solo_gedi, tmp_path):
    status, said, _ = solo_gedi(*TOY, "--dry-run", "--out", "out")
    assert status == 0
    lines = said.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("solo-gedi toy out/") and "# to do" in line for line in lines)
    assert not (tmp_path / "out").exists()


def test_dry_run_for_slurm_prints_its_script_too(solo_gedi, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # no srun here
    wishes = ("--cluster", "slurm", "--partition", "gpu", "--time", "600")
    status, said, _ = solo_gedi(*TOY, "--dry-run", "--out", "out", *wishes)
    commands, script = said.split("# Slurm gets each as a job, from submitit:\n")
    assert status == 0
    assert commands.count("solo-gedi toy out/") == 4
    assert script.startswith("#!/bin/bash\n")
    assert {"#SBATCH --partition=gpu", "#SBATCH --time=600"} <= set(script.splitlines())
    assert "submitit.core._submit" in script
    assert not (tmp_path / "out").exists()


def test_output_may_be_read_in_part(console):
    shown = "solo-gedi benchmark sensitivity --dry-run | head -n 1"
    done = console("bash", "-o", "pipefail", "-c", shown)
    assert done.stdout.startswith("solo-gedi toy ")
    assert not done.stderr


@pytest.mark.parametrize(
    ("seeds", "commands"), [("3,3", ["3"]), ("3,", ["3"]), ("2", ["0", "1"]), ("4,1", ["4", "1"])]
)
def test_seeds_are_counted_or_listed(solo_gedi, seeds, commands):
    given = ("--methods", "swav,swav", "--seeds", seeds, "--dry-run")
    _, said, _ = solo_gedi("benchmark", "digits", *given)
    lines = said.splitlines()
    assert [line.partition(" seed=")[2].split()[0] for line in lines] == commands


def test_options_of_the_evaluation_are_those_that_are_given(solo_gedi):
    assert _options(None) == _options("") == {}
    given = "--tasks knn,ood --ood uniform,shuffled --steps 500"
    assert _options(given) == {
        "tasks": "knn,ood",
        "ood": "uniform,shuffled",
        "steps": 500,
    }
    _, said, _ = solo_gedi(*TOY, "--dry-run", "--evaluate", "--tasks clustering,triad")
    assert said.count(" --tasks clustering,triad dataset=") == 4

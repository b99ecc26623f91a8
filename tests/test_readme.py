"""What README says of installing and starting; `test_docs.py` runs its commands and snippets."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_make_demo_runs_the_demo(console):
    # Not as a part of the make that runs these tests.
    alone = {"MAKEFLAGS": "", "MAKELEVEL": ""}
    dry_run = ["make", "-n", "-o", "setup", "demo", "VENV=v", "SOLO_LEARN="]
    shown = console(*dry_run, cwd=ROOT, env=alone).stdout
    assert shown.strip() == "v/bin/solo-gedi demo"


def test_python_versions_are_those_of_the_package():
    assert "Python 3.10 to 3.14" in README
    project = (ROOT / "pyproject.toml").read_text()
    assert ">=3.10,<3.15" in project
    for minor in range(10, 15):
        assert f"Programming Language :: Python :: 3.{minor}" in project


def test_it_stays_a_front_page():
    assert len(README.splitlines()) < 180

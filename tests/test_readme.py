"""The README's commands and snippets, run as written."""

import re
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from solo_gedi.methods.kwargs import MethodKwargs

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


COMMANDS = [
    line for block in blocks("bash") for line in block.splitlines() if line.startswith("solo-gedi")
]


def test_commands_run_in_order_as_written(console, capsys, tmp_path, image_folder):
    """Those in `sh` blocks need data or a checkout that a test does not have.

    A shell expands each command; it runs in this process, which has imported torch already.
    """
    from solo_gedi.cli import main

    assert len(COMMANDS) >= 3
    image_folder("images", classes="abcde", per_class=4)
    for command in COMMANDS:
        words = console("bash", "-c", rf"printf '%s\0' {command}").stdout.split("\0")[1:-1]
        assert main(words) == 0, f"{command}\n{capsys.readouterr().err[-2000:]}"
    assert list(tmp_path.glob("trained_models/linear/*/*.ckpt"))


@pytest.mark.parametrize("snippet", blocks("python"))
def test_python_snippets_run(console, snippet):
    done = console(sys.executable, "-c", snippet)
    assert done.returncode == 0, done.stderr


def test_make_demo_runs_the_demo(console):
    # Not as a part of the make that runs these tests.
    alone = {"MAKEFLAGS": "", "MAKELEVEL": ""}
    dry_run = ["make", "-n", "-o", "setup", "demo", "VENV=v", "SOLO_LEARN="]
    shown = console(*dry_run, cwd=ROOT, env=alone).stdout
    assert shown.strip() == "v/bin/solo-gedi demo"


def flat(config, prefix=""):
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            yield from flat(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", value


def test_table_of_settings_names_every_key_with_its_default():
    rows = dict(re.findall(r"^\| `([\w.]+)` \| ([^|]+) \|", README, re.M))
    yaml = {None: "null", True: "true", False: "false"}
    expected = {
        key: yaml[v] if v is None or isinstance(v, bool) else str(v)
        for key, v in flat(MethodKwargs())
    }
    assert {key: rows.get(key) for key in expected} == expected


def test_files_and_names_that_the_readme_points_to_exist():
    for path in re.findall(r"`(solo_gedi/[\w/]+\.py)`", README):
        assert (ROOT / path).is_file(), path
    for row in re.findall(r"^\| [^|]+ \| (.*`solo_gedi/.*) \|$", README, re.M):
        for names, path in re.findall(r"(`[\w., `]+`) in `(solo_gedi/[\w/]+\.py)`", row):
            source = (ROOT / path).read_text()
            for name in re.findall(r"`([\w.]+)`", names):
                assert re.search(rf"(def|class) {name.split('.')[-1]}\b", source), (name, path)
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / picture).is_file(), picture


def test_python_versions_are_those_of_the_package():
    assert "Python 3.10 to 3.13" in README
    assert ">=3.10,<3.14" in (ROOT / "pyproject.toml").read_text()


def test_help_needs_no_solo_learn():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.argv[1:] = ['-h']; import solo_gedi.cli as c; c.main()",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert "pretrain" in done.stdout

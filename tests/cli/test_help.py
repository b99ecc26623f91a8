"""Help, version and pipes: what a shell sees first."""

import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from solo_gedi.cli import COMMANDS
from solo_gedi.errors import CheckpointError

ROOT = Path(__file__).parents[2]


def test_help_lists_every_command(solo_gedi):
    for arguments in ([], ["help"], ["--help"], ["-h"]):
        status, said, _ = solo_gedi(*arguments)
        assert status == 0
        assert all(f"  {command} " in said for command in COMMANDS)


def test_version(solo_gedi):
    """It is said alike wherever it stands."""
    stated = version("solo-gedi")
    assert solo_gedi("--version") == (0, f"solo-gedi {stated}\n", "")
    assert f'\nversion = "{stated}"\n' in (ROOT / "pyproject.toml").read_text()
    assert f"\nversion: {stated}\n" in (ROOT / "CITATION.cff").read_text()


def test_a_commands_help_needs_neither_torch_nor_solo_learn():
    code = f"""
import contextlib, sys
for name in ("torch", "solo", "lightning", "hydra", "omegaconf", "numpy", "matplotlib"):
    sys.modules[name] = None
from solo_gedi.cli import main
for command in {list(COMMANDS)!r}:
    with contextlib.suppress(SystemExit):
        main([command, "--help"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^usage: solo-gedi (\w+)", done.stdout, re.M) == list(COMMANDS)


def test_help_of_a_command_is_asked_for_in_two_ways(solo_gedi):
    said = [solo_gedi(*arguments) for arguments in (["help", "pretrain"], ["pretrain", "--help"])]
    assert said[0] == said[1]
    assert said[0][0] == 0


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, solo_gedi; dir(solo_gedi);"
        "print(sorted({'torch', 'numpy', 'hydra', 'solo', 'matplotlib'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize("command", ["configs", "pretrain digits/gedi --cfg", "help"])
def test_who_reads_may_leave(console, command):
    done = console("bash", "-o", "pipefail", "-c", f"solo-gedi {command} | head -n 1")
    assert done.stdout.count("\n") == 1
    assert not done.stderr


def test_cfg_prints_the_composed_config(solo_gedi):
    from omegaconf import OmegaConf

    from solo_gedi.config import load_config

    for flag in (["--cfg"], ["--cfg", "job"]):
        status, said, _ = solo_gedi("pretrain", "digits/gedi", "max_epochs=2", *flag)
        assert status == 0
        assert OmegaConf.create(said) == load_config("digits/gedi", ["max_epochs=2"])
    status, said, _ = solo_gedi(
        "linear", "digits/gedi", "pretrained_feature_extractor=a.ckpt", "--cfg"
    )
    assert OmegaConf.create(said).pretrained_feature_extractor == "a.ckpt"


def test_hydras_way_of_naming_a_config_works(solo_gedi, scripts):
    named = ["--config-path", scripts / "pretrain" / "digits", "--config-name"]
    said = {
        solo_gedi("pretrain", *named, name, "seed=3", "--cfg")[1] for name in ("gedi", "gedi.yaml")
    }
    said.add(solo_gedi("pretrain", "digits/gedi", "seed=3", "--cfg")[1])
    assert len(said) == 1
    assert "seed: 3" in said.pop()


def test_a_config_may_lie_in_a_folder_named_like_a_setting(solo_gedi, scripts, tmp_path):
    copy = shutil.copytree(scripts, tmp_path / "lr=0.1")
    _, said, _ = solo_gedi("pretrain", copy / "pretrain" / "digits" / "gedi.yaml", "--cfg")
    assert said == solo_gedi("pretrain", "digits/gedi", "--cfg")[1]


def test_debug_shows_the_traceback():
    from solo_gedi.cli import main

    with pytest.raises(CheckpointError, match="checkpoint nowhere does not exist"):
        main(["evaluate", "nowhere", "--debug"])

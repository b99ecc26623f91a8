"""What is built and installed works where the checkout is not."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]


def run(*command, cwd, **environment):
    env = {**os.environ, **environment}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist, and the wheel built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The scripts of an environment with the wheel, and this one's packages but not ours."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    names = {"base": str(folder), "platbase": str(folder)}
    here = Path(sysconfig.get_path("purelib", scheme="venv", vars=names))
    scripts = Path(sysconfig.get_path("scripts", scheme="venv", vars=names))
    # Folders that a .pth file adds are not searched for .pth files themselves, so that an
    # editable install of the checkout stays out of sight.
    packages = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (here / "packages.pth").write_text("\n".join(packages))
    pip = [sys.executable, "-m", "pip", "--python", scripts / "python", "install", "--no-deps"]
    run(*pip, "--no-index", "--no-compile", built[1], cwd=folder)
    return scripts


def files_in(*folders):
    files = (p for folder in folders for p in (ROOT / folder).rglob("*") if p.is_file())
    return {str(p.relative_to(ROOT)) for p in files if "__pycache__" not in p.parts}


def test_the_wheel_holds_the_package_and_its_data(built):
    names = {name for name in ZipFile(built[1]).namelist() if ".dist-info/" not in name}
    scripts = {f"solo_gedi/{name}" for name in files_in("scripts")}
    assert {"solo_gedi/scripts/shared/run.yaml", "solo_gedi/py.typed"} <= names
    assert names == files_in("solo_gedi", "hydra_plugins") | scripts


def test_the_sdist_holds_all_that_the_repository_does(built):
    with tarfile.open(built[0]) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    folders = ("solo_gedi", "hydra_plugins", "scripts", "docs", "tests", "benchmarks", ".github")
    files = {path.name for path in ROOT.glob("*.*") if path.suffix in (".md", ".cff", ".yml")}
    files |= {"Makefile", "LICENSE", "MANIFEST.in", ".pre-commit-config.yaml", ".ci/run"}
    assert files_in(*folders) | files | {"setup.py", "pyproject.toml"} <= names
    assert not [name for name in names if "__pycache__" in name]


def test_the_page_of_the_package_can_be_shown(built):
    run(sys.executable, "-m", "twine", "check", "--strict", *built, cwd=ROOT)


def test_the_wheel_alone_lists_composes_and_trains(installed, tmp_path):
    where = "import solo_gedi, hydra_plugins.solo_gedi as p; print(solo_gedi.__file__, p.__file__)"
    places = run(installed / "python", "-c", where, cwd=tmp_path)
    assert str(ROOT) not in places
    command = installed / "solo-gedi"
    assert "digits/gedi_fast" in run(command, "configs", cwd=tmp_path)
    printed = run(command, "pretrain", "digits/gedi", "seed=9", "--cfg", cwd=tmp_path)
    assert "seed: 9" in printed
    assert "name: gedi-digits" in printed
    short = ["max_epochs=1", "+limit_train_batches=2", "+limit_val_batches=1"]
    small = ["backbone.kwargs.width=8", "method_kwargs.sgld.num_steps=2", "data.num_workers=0"]
    quiet = ["enable_progress_bar=false"]
    run(command, "pretrain", "digits/gedi", *short, *small, *quiet, cwd=tmp_path)
    assert list(tmp_path.glob("trained_models/gedi/*/*.ckpt"))

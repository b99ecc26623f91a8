"""Which generation of solo-learn is installed."""

from importlib.util import find_spec
from pathlib import Path

from solo_gedi.errors import MissingPackageError

INSTALL = """solo-learn is not installed. Install one of its two generations:
  the release on PyPI:  pip install --no-deps solo-learn==1.0.2
  the GitHub version:   clone vturrisi/solo-learn and run `pip install --no-deps -e .` in it"""


def _solo_folder() -> Path:
    # Looked at as files: importing 1.0.2 needs stand-ins for what it cannot find.
    spec = find_spec("solo")
    if spec is None or not spec.submodule_search_locations:
        raise MissingPackageError(INSTALL)
    return Path(spec.submodule_search_locations[0])


SOLO_FOLDER = _solo_folder()
GENERATION = "github" if (SOLO_FOLDER / "args" / "pretrain.py").exists() else "pypi"


def describe() -> str:
    """One line for logs: the generation in use and where it lies."""
    name = "GitHub version" if GENERATION == "github" else "1.0.2 from PyPI"
    return f"solo-learn {name} ({SOLO_FOLDER})"

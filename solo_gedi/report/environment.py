"""With what, and where, numbers came about."""

import platform
import shlex
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_PACKAGES = ("torch", "torchvision", "lightning", "scikit-learn", "numpy", "solo-gedi")


def environment(device: Any) -> dict[str, str]:
    """The command, the versions of what it ran with, and the device.

    Args:
        device: the network's.

    Returns:
        Name -> text; `commit` where the package lies in a checkout of git's.

    >>> torch.__version__.startswith(environment("cpu")["torch"])
    True
    """
    program, *arguments = sys.argv
    device = torch.device(device)
    path = Path(program)
    called = f"python -m {path.parent.name}" if path.name == "__main__.py" else path.name
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    found = {
        "command": f"{called} {shlex.join(arguments)}",
        "device": f"{device.type} ({name})",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if of := commit():
        found["commit"] = of
    return found


def processor() -> str:
    """The model of this machine's processor, as far as the system names it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


@cache
def commit() -> str:
    """The checkout's commit, marked where files have changed since; empty outside of one."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():  # the package lies in an environment, perhaps below a checkout
        return ""
    git = ["git", "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    try:
        done = subprocess.run(git, cwd=root, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()

"""Files that are never half written."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from solo_gedi.errors import ConfigError


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` write beside a file's place, then rename it there."""
    # A leading dot and another suffix: no search takes the unfinished file for a finished one.
    partial = path.with_name(f".{path.name}.partial")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON; what was there before stays until it is whole."""
    write_atomically(path, lambda partial: partial.write_text(json.dumps(content, indent=2)))


def check_folder(folder: Path, setting: str) -> None:
    """Check that a folder, which need not be there yet, can be written to.

    Args:
        folder: where files are to go.
        setting: what it is called in the message.

    Raises:
        ConfigError: if it, or what is there of its parents, is no folder or read-only.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with TemporaryDirectory(dir=there):
            pass
    except OSError as error:
        raise ConfigError(f"{setting}: cannot write to {folder}: {error.strerror}") from error

"""Files that are never half written."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


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

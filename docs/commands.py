"""The page of commands: what `solo-gedi COMMAND --help` prints. MkDocs calls `on_page_markdown`."""

import os
from typing import Any
from unittest.mock import patch

MARKER = "<!-- commands -->"


def helps() -> str:
    """The help of every command, in Markdown."""
    from solo_gedi.cli import COMMANDS, parser_of

    parts = []
    for command, about in COMMANDS.items():
        with patch.dict(os.environ, {"COLUMNS": "88"}):
            text = parser_of(command).format_help()
        parts.append(f"## {command}\n\n{about[0].upper()}{about[1:]}.\n\n```text\n{text}```")
    return "\n\n".join(parts)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the helps in the place of their marker."""
    return markdown.replace(MARKER, helps()) if MARKER in markdown else markdown

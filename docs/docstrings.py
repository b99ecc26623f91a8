"""Examples of docstrings, as the reference is to show them.

A docstring here has its example under `Example:`, as code or as a doctest, or a doctest alone.
mkdocstrings takes a doctest for one under `Examples:`, and other code in a fence.
"""

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^Example:\n((?:(?: {4}.*)?\n?)+)", re.M)
_BARE = re.compile(r"^(>>> .*(?:\n(?!\s*$).+)*)", re.M)


def shown(docstring: str) -> str:
    """A docstring whose examples are marked as such.

    Args:
        docstring: without its indentation.
    """

    def example(match: re.Match[str]) -> str:
        body = match[1].strip("\n")
        if body.lstrip().startswith(">>>"):
            return f"Examples:\n{body}\n"
        return f"Examples:\n    ```python\n{body}\n    ```\n"

    docstring = _EXAMPLE.sub(example, docstring)
    return _BARE.sub(lambda m: "Examples:\n" + re.sub("^", "    ", m[1], flags=re.M), docstring)


class Examples(griffe.Extension):
    """What mkdocstrings calls for every object that it has read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of an object."""
        if obj.docstring:
            obj.docstring.value = shown(obj.docstring.value)

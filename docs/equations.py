"""Equations as MathML, which browsers draw without a script. MkDocs calls `on_page_content`."""

import html
import re
from typing import Any

from latex2mathml.converter import convert

# What pymdownx.arithmatex leaves of $...$ and $$...$$.
_EQUATION = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.S)


def on_page_content(content: str, **_: Any) -> str:
    """Put MathML in the place of every equation."""

    def drawn(match: re.Match[str]) -> str:
        display = "inline" if match[2] == "(" else "block"
        return convert(html.unescape(match[3]).strip(), display=display)

    return _EQUATION.sub(drawn, content)

"""One self-contained HTML page: sections of texts, tables, figures and galleries."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from solo_gedi.files import write_atomically
from solo_gedi.report.thumbnails import data_uri


@dataclass(frozen=True)
class Table:
    """Rows, whose keys head the columns; what a row lacks stays empty.

    `digits` are the decimals of its numbers; without it they have four significant digits.
    """

    title: str
    rows: Sequence[Mapping[str, Any]]
    note: str = ""
    digits: int | None = None

    @property
    def columns(self) -> list[str]:
        """The keys, in the order in which the rows bring them up."""
        return list(dict.fromkeys(key for row in self.rows for key in row))


@dataclass(frozen=True)
class Figure:
    """A picture, by the path of its PNG."""

    title: str
    picture: Path
    note: str = ""

    @property
    def uri(self) -> str:
        """The picture itself, so that the page needs no other file."""
        return data_uri(self.picture.read_bytes(), "png")


@dataclass(frozen=True)
class Card:
    """A number to be seen first, and how it was measured."""

    name: str
    value: float
    note: str


@dataclass(frozen=True)
class Cards:
    """Numbers to be seen first, side by side."""

    title: str
    cards: Sequence[Card]


@dataclass(frozen=True)
class Image:
    """A picture as a data URI, and what it shows."""

    caption: str
    uri: str


@dataclass(frozen=True)
class Panels:
    """Pictures side by side, or below each other where the page is narrow."""

    title: str
    images: Sequence[Image]
    note: str = ""


@dataclass(frozen=True)
class Gallery:
    """Groups of small images."""

    title: str
    groups: Sequence[Panels]
    note: str = ""


@dataclass(frozen=True)
class Code:
    """Lines that are shown when they are asked for."""

    title: str
    text: str


@dataclass(frozen=True)
class Section:
    """Parts that belong together, perhaps none, under a sentence that says what they are."""

    title: str
    parts: "Sequence[Part]"
    text: str = ""


Part = Table | Figure | Cards | Panels | Gallery | Code | Section


def plain(part: Panels | Gallery) -> dict[str, Any]:
    """A part as JSON has it, for `read`."""
    return {"kind": type(part).__name__, **asdict(part)}


def read(found: Mapping[str, Any]) -> Panels | Gallery:
    """A part of what `plain` gave.

    Raises:
        KeyError: if it is none.
        TypeError: if a field is missing.
    """
    fields = {key: value for key, value in found.items() if key != "kind"}
    return {"Panels": Panels, "Gallery": Gallery}[found["kind"]](**fields)


def cell(value: Any, digits: int | None = None) -> str:
    """A value as text.

    Args:
        value: of a table.
        digits: decimals of a float; four significant digits when None, or where it has no other.

    >>> cell(0.123456, 3), cell(0.02), cell(2.5e-05, 4), cell(123456.7), cell(None), cell(3)
    ('0.123', '0.02', '2.5e-05', '1.235e+05', '', '3')
    """
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    fits = digits is not None and (value == 0 or 10**-digits <= abs(value) < 1e6)
    return f"{value:.{digits}f}" if fits else f"{value:.4g}"


def write_report(path: Path, title: str, parts: Sequence[Part], about: str = "") -> None:
    """Write a page that needs no network and no other file.

    Args:
        path: of the HTML file.
        title: of the page.
        parts: in their order on the page.
        about: below the title.

    Raises:
        OSError: if the file, or the PNG of a figure, cannot be written or read.
    """
    environment = Environment(
        loader=PackageLoader("solo_gedi.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "cell": cell,
        "kind": lambda part: type(part).__name__,
        "slug": lambda text: re.sub(r"\W+", "-", text).lower(),
    }
    template = environment.get_template("report.html.j2")
    page = template.render(title=title, about=about, parts=parts)
    write_atomically(path, lambda partial: partial.write_text(page, encoding="utf-8"))

"""One self-contained HTML page: texts, tables and figures."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader

from solo_gedi.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure


@dataclass(frozen=True)
class Text:
    """A paragraph under a title."""

    title: str
    text: str


@dataclass(frozen=True)
class Table:
    """Rows, whose keys head the columns; floats get four digits, what a row lacks stays empty."""

    title: str
    rows: Sequence[dict[str, Any]]
    note: str = ""

    @property
    def columns(self) -> list[str]:
        """The keys, in the order in which the rows bring them up."""
        return list(dict.fromkeys(key for row in self.rows for key in row))


@dataclass(frozen=True)
class Figure:
    """A picture: a figure of matplotlib's, or the path of a PNG."""

    title: str
    picture: "MatplotlibFigure | Path"
    note: str = ""

    @property
    def uri(self) -> str:
        """The picture itself, so that the page needs no other file."""
        if isinstance(self.picture, Path):
            png = self.picture.read_bytes()
        else:
            buffer = BytesIO()
            self.picture.savefig(buffer, format="png", dpi=110)
            png = buffer.getvalue()
        return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_report(path: Path, title: str, parts: Sequence[Text | Table | Figure]) -> None:
    """Write a page that needs no network and no other file.

    Args:
        path: of the HTML file.
        title: of the page.
        parts: in their order on the page.

    Raises:
        OSError: if the file, or the PNG of a figure, cannot be written or read.
    """
    environment = Environment(loader=PackageLoader("solo_gedi.report", "."), autoescape=True)
    environment.filters["cell"] = _cell
    template = environment.get_template("report.html.j2")
    named = [(type(part).__name__, part) for part in parts]
    page = template.render(title=title, parts=named)
    write_atomically(path, lambda partial: partial.write_text(page, encoding="utf-8"))

"""Images inside a page."""

import base64
from io import BytesIO
from typing import TYPE_CHECKING

from torch import Tensor

from solo_gedi.data import to_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 48  # pixels of a thumbnail's longer side, at most


def thumbnail(sample: Tensor) -> str:
    """An image as the network sees it, small: PNG or JPEG, whichever has fewer bytes.

    Args:
        sample: (1 or 3, h, w) in [-1, 1].

    Returns:
        A data URI.
    """
    image = to_picture(sample)
    image.thumbnail((SIDE, SIDE))
    written = {}
    for kind, how in (("png", {"optimize": True}), ("jpeg", {"quality": 80})):
        buffer = BytesIO()
        image.save(buffer, kind, **how)
        written[kind] = buffer.getvalue()
    kind = min(written, key=lambda name: len(written[name]))
    return data_uri(written[kind], kind)


def figure_uri(figure: "Figure") -> str:
    """A figure of matplotlib's as a PNG.

    Args:
        figure: to be drawn.

    Returns:
        A data URI.
    """
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110, pil_kwargs={"optimize": True})
    return data_uri(buffer.getvalue(), "png")


def data_uri(content: bytes, kind: str) -> str:
    """The content of an image's file as an address.

    Args:
        content: of the file.
        kind: png or jpeg.

    >>> data_uri(b"abc", "png")
    'data:image/png;base64,YWJj'
    """
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"

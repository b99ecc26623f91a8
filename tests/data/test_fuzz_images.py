"""Damaged image files: read as an image, or named with a reason; nothing else.

FUZZ=long tries twenty times as many, with another seed at every run.
"""

import io
import os
import random
import resource
import signal
import struct
import sys
import warnings
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from solo_gedi.data import read_image
from solo_gedi.errors import DataError

LONG = os.environ.get("FUZZ") == "long"
TRIES = 3_000 if LONG else 150  # of each format
SEED = random.SystemRandom().randrange(2**32) if LONG else 0

MODES = {
    **{"PNG": ("RGB", "LA", "P", "1", "I;16"), "JPEG": ("RGB", "L", "CMYK"), "GIF": ("P", "L")},
    **{"TIFF": ("RGB", "I;16", "F", "1", "CMYK"), "BMP": ("RGB", "P", "1"), "PPM": ("RGB", "L")},
    **{"WEBP": ("RGBA",), "ICO": ("RGBA",), "TGA": ("RGB", "LA"), "PCX": ("P",), "SGI": ("RGB",)},
    **({"JPEG2000": ("RGB",)} if features.check("jpg_2000") else {}),
    **({"AVIF": ("RGB",)} if features.check("avif") else {}),
}


def whole(kind, mode):
    """The bytes of a good file."""
    generator, file = np.random.default_rng(1), io.BytesIO()
    image = Image.fromarray(generator.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    if mode == "I;16":
        image = Image.fromarray(generator.integers(0, 2**16, (9, 12), dtype=np.uint16))
    options = {"compression": "tiff_lzw"} if (kind, mode) == ("TIFF", "RGB") else {}
    sizes = [image.size]  # else older versions of Pillow write no icon of less than 16 pixels
    image.convert(mode).save(file, kind, **options, **({"sizes": sizes} if kind == "ICO" else {}))
    return file.getvalue()


def damaged(data, generator):
    """The bytes with something wrong: bits, a piece, a number of the header, an end."""
    data = bytearray(data)
    for _ in range(generator.choice((1, 1, 2, 5))):
        # Headers are at the beginning, mostly; of TIFFs also at the end.
        near = min(len(data), generator.choice((16, 64, len(data), len(data))))
        at = generator.randrange(max(1, near))
        match generator.randrange(5):
            case 0:
                data[at : at + 1] = bytes([generator.randrange(256)])
            case 1:
                del data[at : at + generator.choice((1, 4, 50))]
            case 2:
                data[at:at] = data[at : at + generator.choice((1, 4, 50))]
            case 3:
                value = generator.choice((0, 1, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1))
                data[at : at + 4] = struct.pack(generator.choice("<>") + "I", value)
            case 4:
                del data[generator.randrange(max(1, len(data))) :]
        data = data or bytearray(1)
    return bytes(data)


class Hangs(BaseException):  # noqa: N818
    """What no `except Exception` takes for a reason."""


@contextmanager
def no_hang(seconds=20):
    """End what does not, as a failure."""

    def hangs(*_):
        raise Hangs

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def peak(*, forget=False):
    """The most memory that this process has had, in MB; on Linux since it was last forgotten."""
    if forget and sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


@pytest.mark.parametrize("kind", MODES)
def test_a_damaged_file_is_an_image_or_named(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10**6)
    path, generator = tmp_path / "image", random.Random(f"{SEED} {kind}")
    files, found = [whole(kind, mode) for mode in MODES[kind]], {True: 0, False: 0}
    before = peak(forget=True)
    for _ in range(TRIES):
        data = damaged(generator.choice(files), generator)
        path.write_bytes(data)
        try:
            with no_hang(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's, of what it makes good itself
                pixels = np.asarray(read_image(path))
        except DataError as refusal:
            reason = str(refusal).removeprefix(f"image {path} cannot be used: ")
            assert len(reason.splitlines()) == 1, data
            assert str(path) not in reason or "cannot identify" in reason, data
            found[False] += 1
        else:
            assert (pixels.ndim, pixels.shape[-1], pixels.dtype) == (3, 3, np.uint8), data
            found[True] += 1
    assert all(found.values()), "both must be tried"
    assert peak() - before < 100, "MB of memory, for images of a million pixels at most"


def png(width, height):
    """A PNG that claims a size, with nothing behind it."""

    def chunk(name, content):
        ends = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + ends

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("size", "says"),
    [
        ((12_000, 12_000), "it has 12000 x 12000 pixels, more than the .*MAX_IMAGE_PIXELS"),
        ((60_000, 60_000), "exceeds limit of .* could be decompression bomb"),
    ],
)
def test_a_decompression_bomb_is_named_and_not_unpacked(tmp_path, size, says):
    (tmp_path / "a.png").write_bytes(png(*size))
    before = peak(forget=True)
    with pytest.raises(DataError, match=rf"a\.png cannot be used: .*{says}"):
        read_image(tmp_path / "a.png")
    assert peak() - before < 100


def test_a_large_image_is_read_where_pillow_is_told_so(tmp_path, monkeypatch):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    with pytest.warns(Image.DecompressionBombWarning), pytest.raises(DataError, match="20 x 20"):
        read_image(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert read_image(tmp_path / "a.png").size == (20, 20)

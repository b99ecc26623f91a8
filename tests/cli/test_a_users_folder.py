"""What is trained, used on a folder as people have them."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

USES = {
    "predict": ("--out", "rows.csv"),
    "explore": ("--out", "page.html"),
    "sample": ("--out", "samples", "--steps", "2", "--start"),
}


def command(use, images):
    """A use of the shipped model on images."""
    if use == "explore":
        pytest.importorskip("bokeh")
    images = [images] if use == "sample" else []
    given = [] if use == "sample" else ["my photos"]
    return [use, "gedi-digits", *given, *USES[use], *images]


@pytest.fixture
def photos(tmp_path):
    """Images of every size, mode and name, one of them broken, beside what is no image."""
    folder = tmp_path / "my photos"
    (folder / "été" / "leer").mkdir(parents=True)
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8))
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        colour.convert(mode).save(folder / f"{mode}.png")
    colour.convert("CMYK").save(folder / "CMYK.tif")
    Image.fromarray(rng.integers(0, 65536, (9, 9), np.uint16)).save(folder / "16 bits.png")
    Image.fromarray(rng.random((9, 9), np.float32)).save(folder / "floats.tiff")
    Image.new("L", (1, 1)).save(folder / "one pixel.png")
    Image.new("RGB", (600, 7), "red").save(folder / "été" / "wide 猫.JPG")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    colour.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.png", exif=exif)
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes(b"no image")
    return folder


def test_every_image_is_a_row(solo_gedi, photos):
    status, said, _ = solo_gedi(*command("predict", photos))
    assert (status, said) == (0, "13 rows: rows.csv\n")
    with open("rows.csv", newline="", encoding="utf-8") as file:
        rows = {Path(row.pop("file")).name: row for row in csv.DictReader(file)}
    assert [name for name, row in rows.items() if row["error"]] == ["broken.png"]
    assert rows["turned.png"] == rows["RGB.png"]
    assert {"wide 猫.JPG", "16 bits.png"} < rows.keys()
    assert all(0 <= float(row["typicality"]) <= 1 for row in rows.values() if not row["error"])


def test_every_image_is_on_the_page(solo_gedi, photos, tmp_path):
    status, said, _ = solo_gedi(*command("explore", photos))
    assert status == 0
    assert said.startswith("12 images, ")
    assert r"wide \u732b.JPG" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_every_image_is_a_start(solo_gedi, refused, photos):
    given = command("sample", photos)
    assert "broken.png cannot be used" in refused(*given)
    (photos / "broken.png").unlink()
    status, said, _ = solo_gedi(*given)
    assert status == 0
    assert said.startswith("12 samples after 2 steps")


@pytest.mark.parametrize("use", USES)
def test_no_image_is_refused(refused, photos, use):
    given = [str(part).replace("my photos", "my photos/été/leer") for part in command(use, photos)]
    assert refused(*given).startswith("there is no image in ")
    given = [str(part).replace("my photos", "my photos/*.bmp") for part in command(use, photos)]
    assert "*.bmp does not exist" in refused(*given)


@pytest.mark.parametrize("use", [*USES, "export"])
def test_what_exists_is_replaced_when_that_is_asked_for(solo_gedi, refused, photos, tmp_path, use):
    (photos / "broken.png").unlink()
    given = ["export", "gedi-digits", "--out", "model"] if use == "export" else command(use, photos)
    assert solo_gedi(*given)[0] == 0
    out = given[given.index("--out") + 1]
    assert f"out={out} exists" in refused(*given)
    assert "--overwrite" in refused(*given)
    assert solo_gedi(*given, "--overwrite")[0] == 0

"""`solo-gedi predict` in a fresh folder."""

import csv
import io
import os
import subprocess
import sys

import pytest
from PIL import Image

import solo_gedi.inference  # noqa: F401  # before its module is changed
from solo_gedi.data import DATASETS


@pytest.fixture
def photos(tmp_path):
    images = DATASETS["digits"].images("test", False)
    folder = tmp_path / "meine Fotos"
    for k, name in enumerate(["a.png", "b/ü.png"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        images[k][0].save(folder / name)
    return folder


def test_the_first_minute(solo_gedi, photos):
    status, said, warned = solo_gedi("predict", "gedi-digits", photos)
    assert (status, warned) == (0, "")
    rows = list(csv.DictReader(io.StringIO(said)))
    assert [row["file"] for row in rows] == [str(photos / "a.png"), str(photos / "b/ü.png")]
    assert all(0 <= float(row["typicality"]) <= 1 for row in rows)


def test_a_broken_image_is_a_row(solo_gedi, photos):
    (photos / "broken.png").write_text("no image")
    given = ("predict", "gedi-digits", photos, "--out", "rows.csv", "--features", "f.npz")
    status, said, warned = solo_gedi(*given)
    assert (status, said) == (0, "3 rows: rows.csv\n")
    assert warned == "1 of 3 images cannot be used: see `error`\n"
    status, _, _ = solo_gedi(*given, "--overwrite")
    assert status == 0


def test_ctrl_c_leaves_no_half_a_file(solo_gedi, photos, tmp_path, monkeypatch):
    def interrupt(model, x):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["solo_gedi.inference.predict"], "rows_of", interrupt)
    given = ("--out", "rows.csv", "--features", "f.npz")
    status, said, warned = solo_gedi("predict", "gedi-digits", photos, *given)
    assert (status, said, warned) == (130, "interrupted by SIGINT\n", "")
    assert [path.name for path in tmp_path.iterdir()] == [photos.name]


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_memory_does_not_grow_with_the_images(tmp_path):
    """200 and 2,000 of them, of 196 kB each: 390 MB in all."""
    Image.new("RGB", (256, 256)).save(tmp_path / "0.png")
    (tmp_path / "many").mkdir()
    for k in range(2000):
        os.link(tmp_path / "0.png", tmp_path / "many" / f"{k:04d}.png")
    code = """
import resource
from solo_gedi.cli import main
for given in ("many/0[01]*.png", "many"):
    main(["predict", "gedi-digits", given, "--out", "rows.csv", "--features", "f.npz",
          "--overwrite", "--batch-size", "50"])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    few, many = (int(line) for line in done.stdout.splitlines() if line.isdecimal())
    assert many - few < 60


def test_a_name_that_the_output_cannot_write_is_escaped(console, trained, tmp_path):
    image = tmp_path / "\u56fe.png"
    Image.new("L", (8, 8)).save(image)
    done = console(
        "solo-gedi", "predict", trained("gedi"), image, env={"PYTHONIOENCODING": "latin-1"}
    )
    assert done.returncode == 0, done.stderr
    assert "\\u56fe.png," in done.stdout

"""`solo-gedi explore` in a fresh folder."""

import pytest

pytest.importorskip("bokeh")


def test_a_page_of_images(solo_gedi, image_folder, tmp_path):
    image_folder()
    status, said, _ = solo_gedi("explore", "gedi-digits", "images", "--max-images", 5)
    assert status == 0
    assert said.startswith("5 images, ")
    assert (tmp_path / "explore.html").is_file()


def test_what_cannot_be_is_refused(refused, tmp_path):
    assert "nowhere does not exist" in refused("explore", "gedi-digits", "nowhere")
    (tmp_path / "explore.html").write_text("mine")
    assert "out=explore.html exists" in refused("explore", "gedi-digits")
    assert "there is gedi-digits" in refused("explore", "gedi-digit", "--out", "new.html")

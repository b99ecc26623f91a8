"""`solo-gedi explore` in a fresh folder."""

import pytest

pytest.importorskip("bokeh")


def test_a_page_of_images(solo_gedi, image_folder, tmp_path):
    image_folder()
    status, said, _ = solo_gedi("explore", "gedi-digits", "images", "--max-images", 5)
    assert status == 0
    assert said.startswith("5 images, ")
    assert (tmp_path / "explore.html").is_file()

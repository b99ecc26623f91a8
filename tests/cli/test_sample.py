"""`solo-gedi sample` in a fresh folder."""

from PIL import Image


def test_samples_from_noise_and_from_images(solo_gedi, tmp_path):
    status, said, _ = solo_gedi(
        "sample", "gedi-digits", "--num", 3, "--steps", 20, "--out", tmp_path / "new" / "out"
    )
    assert status == 0
    assert said.startswith("3 samples after 20 steps")
    assert len(list((tmp_path / "new" / "out" / "images").glob("*.png"))) == 3
    for name in "ab":
        Image.new("L", (30, 20), 90).save(f"{name}.png")
    start = ("--start", "a.png", "b.png")
    status, said, _ = solo_gedi("sample", "gedi-digits", *start, "--steps", 2, "--out", "uphill")
    assert said.startswith("2 samples after 2 steps")

"""`solo-gedi export` in a fresh folder."""

import pytest


def test_an_export_is_used_as_a_run_is(solo_gedi, trained, image_folder):
    image_folder()
    status, said, _ = solo_gedi("export", trained("gedi"), "--out", "mine")
    assert status == 0
    assert said.startswith("model as huggingface")
    status, said, _ = solo_gedi("predict", "mine", "images")
    assert said.count("\n") == 25


def test_what_cannot_be_is_refused(refused, solo_gedi, trained, tmp_path):
    solo_gedi("export", trained("gedi"), "--out", "mine")
    assert "out=mine exists" in refused("export", trained("gedi"), "--out", "mine")
    backbone = ("export", trained("gedi"), "--part", "backbone", "--out", "new", "--format")
    assert "is not a network of that library" in refused(*backbone, "timm")
    assert "choose from" in refused(*backbone, "huggingface")
    weights = tmp_path / "mine" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    for command in (
        ["predict", "mine", "mine"],
        *([use, "mine", "--out", "new.html"] for use in ("sample", "explore", "export")),
    ):
        assert "model.safetensors cannot be read: it is cut short" in refused(*command)
    weights.unlink()
    assert "holds no checkpoint" in refused("predict", "mine", "mine")


@pytest.mark.parametrize("name", ["gedi-digit", "gedi_digits"])
@pytest.mark.parametrize("use", ["sample", "export"])
def test_an_unknown_name_gets_the_near_ones(refused, use, name):
    message = refused(use, name, "--out", "new")
    assert f"checkpoint {name} does not exist" in message
    assert message.endswith("there is gedi-digits")

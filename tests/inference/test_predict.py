"""A row an image, whatever the image."""

import shutil

import pytest
import torch
from PIL import Image

from solo_gedi.data import DATASETS
from solo_gedi.errors import CheckpointError, ConfigError, DataError
from solo_gedi.inference import load, predict


@pytest.fixture
def photos(tmp_path):
    """Digits as files, flat and nested, one of them broken, beside what is no image."""
    images = DATASETS["digits"].images("test", False)
    folder = tmp_path / "meine Fotos"
    for k, name in enumerate(["a.png", "b/c.png", "b/ü.png", "z.png"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        images[k][0].save(folder / name)
    (folder / "notes.txt").write_text("no image")
    (folder / "k.png").write_text("broken")
    return folder


def test_rows_are_those_of_the_model(trained, photos):
    model = load(trained("gedi"))
    rows = predict(model, photos)
    names = [row["file"].removeprefix(f"{photos}/") for row in rows]
    assert names == ["a.png", "b/c.png", "b/ü.png", "k.png", "z.png"]
    assert rows[3].keys() == {"file", "error"}
    assert "k.png cannot be used" in rows[3]["error"]
    x = torch.stack(
        [DATASETS["digits"].images("test", False, model.transform)[k][0] for k in (0, 3)]
    )
    probs = model.cluster_probs(x)
    for row, p, log_p, score in zip(
        (rows[0], rows[4]), probs, model.log_density(x), model.ood_score(x), strict=True
    ):
        assert row["cluster"] == int(p.argmax())
        assert row["confidence"] == pytest.approx(float(p.max()), rel=1e-5)
        assert row["second_share"] == pytest.approx(float(p.sort()[0][-2]), rel=1e-5)
        assert row["second"] != row["cluster"]
        assert row["log_density"] == pytest.approx(float(log_p), rel=1e-5)
        assert row["neg_grad_norm"] == pytest.approx(float(score), rel=1e-4)


def test_an_image_has_the_same_row_in_every_batch(trained, photos):
    model = load(trained("gedi"))
    one, many = (predict(model, [photos / "z.png", photos], batch_size=n) for n in (1, 64))
    assert [row["file"] for row in one] == [row["file"] for row in many]
    for a, b in zip(one, many, strict=True):
        assert a.keys() == b.keys()
        for key, value in a.items():
            assert b[key] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-4))


def test_any_mode_and_size_is_taken(trained, tmp_path):
    for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK"):
        Image.new(mode, (17, 31)).save(tmp_path / f"{mode}.{'tif' if mode == 'CMYK' else 'png'}")
    rows = predict(trained("gedi"), tmp_path)
    assert len(rows) == 6
    assert not [row for row in rows if "error" in row]


def test_what_cannot_be_predicted_is_named(trained, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="there is no image in empty"):
        predict(trained("gedi"), "empty")
    with pytest.raises(DataError, match="nowhere does not exist"):
        predict(trained("gedi"), "nowhere")
    with pytest.raises(CheckpointError, match="nothing does not exist"):
        predict("nothing", "empty")
    shutil.copytree(trained("swav"), tmp_path / "swav")
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    (row,) = predict("swav", "a.png")
    assert 0 <= row["cluster"] < 10


def test_points_are_not_images(tmp_path):
    from pathlib import Path

    with pytest.raises(ConfigError, match="points in the plane, not images"):
        predict(Path(__file__).parent / "version_0_1" / "jem-moons", "a.png")

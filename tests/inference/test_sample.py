"""Samples as files, and the way there."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from solo_gedi.data import DATASETS
from solo_gedi.errors import ConfigError, DataError, DivergenceError
from solo_gedi.inference import load, sample

OLD = Path(__file__).parent / "version_0_1"


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_samples_are_files(tmp_path):
    samples = sample("gedi-digits", "out", num=3, steps=45)
    out = tmp_path / "out"
    images = [f"images/000{k}.png" for k in range(3)]
    assert files(out) == ["chains.gif", "grid.png", *images, "samples.npz"]
    kept = np.load(out / "samples.npz", allow_pickle=False)
    np.testing.assert_array_equal(kept["samples"], samples)
    model = load("gedi-digits")
    with torch.no_grad():
        heights = model.log_density(model.space.to_input(samples))
    np.testing.assert_allclose(kept["log_density"], heights, rtol=1e-4)
    assert not np.allclose(kept["start_log_density"], heights, rtol=0.01)
    for k in range(3):
        pixels = np.asarray(Image.open(out / images[k])) / 127.5 - 1
        assert pixels.shape == (8, 8)
        np.testing.assert_allclose(pixels, samples[k, 0].clamp(-1, 1), atol=1 / 127)
    with Image.open(out / "chains.gif") as animation, Image.open(out / "grid.png") as grid:
        assert animation.n_frames == 41
        assert animation.info["loop"] == 0
        assert animation.size == grid.size
        animation.seek(40)
        end = np.asarray(animation.convert("RGB"), float)
        assert np.abs(end - np.asarray(grid.convert("RGB"), float)).mean() < 2


def test_the_seed_decides_and_the_way_does_not_matter():
    model = load("gedi-digits")
    one, same, other = (sample(model, f"{k}", num=2, steps=50, seed=k % 2) for k in (0, 2, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(one, model.sample(2, steps=50, generator=generator))


def test_images_are_moved_uphill(tmp_path):
    digits = DATASETS["digits"].images("test", False)
    (tmp_path / "photos").mkdir()
    for k in range(5):
        digits[k][0].resize((20, 20)).save(tmp_path / "photos" / f"{k}.png")
    model = load("gedi-digits")
    model.sgld.noise_std, model.sgld.step_size = 0.0, 0.01
    for start in ("photos", ["photos"], "photos/*.png", ["photos/0.png", "photos"]):
        samples = sample(model, "out", num=4, steps=30, start=start, overwrite=True)
        assert len(samples) == 4
        kept = np.load("out/samples.npz")
        assert (kept["log_density"] > kept["start_log_density"]).all()
    first = np.asarray(Image.open("photos/0.png").resize((8, 8), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(kept["start"][0, 0], first / 127.5 - 1, atol=0.05)
    Path("photos/0.png").write_text("broken")
    with pytest.raises(DataError, match=r"photos/0\.png cannot be used"):
        sample("gedi-digits", "new", start="photos")
    with pytest.raises(DataError, match="nowhere does not exist"):
        sample("gedi-digits", "new", start="nowhere")
    assert not Path("new").exists()


def test_the_buffer_is_a_start(trained):
    samples = sample(trained("gedi"), "out", num=5, steps=1, start="buffer")
    model = load(trained("gedi"))
    near = (torch.from_numpy(np.load("out/samples.npz")["start"])[:, None] - model.chains).abs()
    assert len(samples) == 5
    assert (near.flatten(2).amax(2).amin(1) == 0).all()
    with pytest.raises(ConfigError, match="no replay buffer to start from"):
        sample("gedi-digits", "new", start="buffer")


def test_what_is_there_is_replaced_whole():
    sample("gedi-digits", "out", num=9, steps=1)
    Path("out/mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="out=out exists"):
        sample("gedi-digits", "out", num=2, steps=1)
    sample("gedi-digits", "out", num=2, steps=1, overwrite=True)
    kept = ["chains.gif", "grid.png", "images/0000.png", "images/0001.png", "mine.txt"]
    assert files(Path("out")) == [*kept, "samples.npz"]
    Path("file").touch()
    with pytest.raises(ConfigError, match="out=file is not a folder"):
        sample("gedi-digits", "file", num=2, steps=1, overwrite=True)


def test_other_images_in_the_folder_stay():
    photos = Path("out/images")
    photos.mkdir(parents=True)
    for name in ("0001.png", "7.png", "00120.png", "0120.png"):
        Image.new("L", (8, 8), 100).save(photos / name)
    before = {path: path.read_bytes() for path in photos.iterdir()}
    samples = sample("gedi-digits", "out", start=photos, num=1, steps=1, overwrite=True)
    assert len(samples) == 1
    assert {path: path.read_bytes() for path in before} == before
    assert (photos / "0000.png").exists()


def test_the_network_sees_no_more_than_some_at_once(monkeypatch):
    model = load("gedi-digits")
    seen, whole = [], model.log_density_of_samples
    expected = sample(model, "one", num=5, steps=1)

    def counted(x):
        seen.append(len(x))
        return whole(x)

    monkeypatch.setattr(model, "log_density_of_samples", counted)
    monkeypatch.setattr(sys.modules["solo_gedi.inference.sample"], "AT_ONCE", 2)
    assert torch.equal(sample(model, "two", num=5, steps=1), expected)
    assert seen[-6:] == [2, 2, 1] * 2  # after what the chains have asked for
    heights = [np.load(f"{name}/samples.npz")["log_density"] for name in ("one", "two")]
    np.testing.assert_allclose(*heights, rtol=1e-4, atol=1e-4)


def test_points_are_numbers_alone():
    samples = sample(OLD / "jem-moons", "out", num=5, steps=2)
    assert samples.shape == (5, 2)
    assert files(Path("out")) == ["samples.npz"]


def test_a_model_without_an_energy_says_what_it_can_do(trained):
    with pytest.raises(ConfigError, match="swav has no energy.* predict, export and explore"):
        sample(trained("swav"), "out")
    assert not Path("out").exists()


def test_chains_that_run_away_are_no_samples():
    model = load("gedi-digits")
    model.sgld.step_size = 1e38
    with pytest.raises(DivergenceError, match="diverged before step"):
        sample(model, "out", num=2, steps=5)
    for given in ({"num": 0}, {"steps": 0}):
        with pytest.raises(ConfigError, match="must be at least 1"):
            sample(model, "out", **given)
    assert not Path("out").exists()

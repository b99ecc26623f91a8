"""A row an image, whatever the image."""

import csv
import json
import logging
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from solo_gedi.data import DATASETS
from solo_gedi.errors import CheckpointError, ConfigError, DataError, MissingPackageError
from solo_gedi.inference import iter_predictions, load, predict
from solo_gedi.inference.tables import COLUMNS

MODULE = sys.modules["solo_gedi.inference.predict"]  # of the same name as the function


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
    assert names == ["a.png", "k.png", "z.png", "b/c.png", "b/ü.png"]
    assert rows[1].keys() == {"file", "error"}
    assert "k.png cannot be used" in rows[1]["error"]
    x = torch.stack(
        [DATASETS["digits"].images("test", False, model.transform)[k][0] for k in (0, 3)]
    )
    probs = model.cluster_probs(x)
    for row, p, log_p, score in zip(
        (rows[0], rows[2]), probs, model.log_density(x), model.ood_score(x), strict=True
    ):
        assert row["cluster"] == int(p.argmax())
        assert row["confidence"] == pytest.approx(float(p.max()), rel=1e-5)
        assert row["second_share"] == pytest.approx(float(p.sort()[0][-2]), rel=1e-5)
        assert row["second"] != row["cluster"]
        assert row["log_density"] == pytest.approx(float(log_p), rel=1e-5)
        assert row["neg_grad_norm"] == pytest.approx(float(score), rel=1e-4)


def test_rows_are_those_of_the_training_code(load_config, image_folder):
    """Of images that have to be scaled and cropped."""
    from solo_gedi.training import loaders, pretrain

    folder = image_folder(per_class=4)
    for path, size in zip(
        sorted(folder.rglob("*.png")), [(50, 41), (20, 60), (9, 9)], strict=False
    ):
        Image.open(path).resize(size).save(path)
    given = (f"data.train_path={folder}", f"data.val_path={folder}", "data.num_workers=0")
    small = ("optimizer.batch_size=4", "backbone.kwargs.width=8")
    run = pretrain(load_config("gedi_nogen", *given, *small, suite="custom"))
    rows = predict(run, folder)
    method = run.method.eval()
    with torch.no_grad():
        z = torch.cat([method(x)["z"] for x, _ in loaders.validation_loader(run.config)])
    assert [row["cluster"] for row in rows] == z.argmax(1).tolist()
    for name, own in (("confidence", z.softmax(1).amax(1)), ("log_density", z.logsumexp(1))):
        np.testing.assert_allclose([row[name] for row in rows], own, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["gedi", "swav"])
def test_an_image_has_the_same_row_in_every_batch(trained, photos, method):
    """Batch norms included, and left in training mode by someone."""
    model = load(trained(method)).train()
    one, many = (predict(model, [photos / "z.png", photos], batch_size=n) for n in (1, 64))
    assert model.training
    assert [row["file"] for row in one] == [row["file"] for row in many]
    for a, b in zip(one, many, strict=True):
        assert a.keys() == b.keys()
        for key, value in a.items():
            if isinstance(value, float):
                value = pytest.approx(value, rel=1e-4, abs=1e-4)
            assert b[key] == value


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


def test_images_may_be_files_folders_and_globs_in_their_order(trained, photos, monkeypatch):
    model = load(trained("gedi"))
    monkeypatch.chdir(photos)
    names = lambda *given: [row["file"] for row in predict(model, given)]  # noqa: E731
    assert names("z.png", "b", "a.png") == ["z.png", "b/c.png", "b/ü.png", "a.png"]
    assert names("**/[a-c].png") == ["a.png", "b/c.png"]
    assert names("?.png", "b*") == ["a.png", "k.png", "z.png", "b/c.png", "b/ü.png"]
    with pytest.raises(DataError, match=r"\*\.bmp does not exist"):
        names("*.bmp")


def as_text(row):
    values = {key: row.get(key) for key in COLUMNS}
    return {
        key: "" if v is None else f"{v:.6g}" if isinstance(v, float) else str(v)
        for key, v in values.items()
    }


def test_a_csv_has_the_rows(trained, photos, tmp_path):
    model = load(trained("gedi"))
    rows = predict(model, photos)
    out = tmp_path / "new" / "rows.csv"
    assert predict(model, photos, out=str(out), batch_size=2) == out
    with out.open(newline="", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert list(written[0]) == list(COLUMNS)
    for row, text in zip(rows, written, strict=True):
        for key, value in as_text(row).items():
            try:
                assert float(text[key]) == pytest.approx(float(value), rel=1e-4, abs=1e-4)
            except ValueError:
                assert text[key] == value
    assert [path.name for path in out.parent.iterdir()] == ["rows.csv"]


def test_a_parquet_file_has_the_rows(trained, photos, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("solo_gedi.inference.tables._ROWS_AT_ONCE", 2)
    model = load(trained("gedi"))
    predict(model, photos, out="rows.parquet")
    written = parquet.read_table("rows.parquet").to_pylist()
    for row, own in zip(predict(model, photos), written, strict=True):
        assert own == {key: row.get(key) for key in COLUMNS}
    assert parquet.ParquetFile("rows.parquet").num_row_groups == 3


def test_a_name_that_is_no_utf8_is_written(trained, photos, tmp_path):
    pytest.importorskip("pyarrow")
    image = photos / "a.png"
    odd = tmp_path / b"\xff.png".decode("utf-8", "surrogateescape")
    shutil.copy(image, odd)
    for out in ("rows.csv", "rows.parquet"):
        predict(trained("gedi"), odd, out=out, features=f"{out}.npz")
    assert b"\xff.png" in (tmp_path / "rows.csv").read_bytes()


def test_features_are_the_backbones(trained, photos):
    model = load(trained("gedi"))
    broken = photos / "0.png"
    broken.write_text("broken")
    predict(model, photos, out="rows.csv", features="features.npz", batch_size=2)
    with np.load("features.npz", allow_pickle=False) as kept:
        names, features = list(kept["files"]), kept["features"]
    own = ("0.png", "a.png", "k.png", "z.png", "b/c.png", "b/ü.png")
    assert names == [str(photos / name) for name in own]
    assert np.isnan(features[[0, 2]]).all()
    x = model.transform(Image.open(photos / "z.png"))[None]
    np.testing.assert_allclose(features[3], model.features(x)[0], rtol=1e-4, atol=1e-5)
    # No image that can be read.
    predict(model, broken, features="none.npz")
    none = np.load("none.npz")["features"]
    assert none.shape == (1, features.shape[1])
    assert np.isnan(none).all()


def test_rows_come_as_images_are_read(trained, photos, monkeypatch):
    from solo_gedi.data import read_image

    read = []
    monkeypatch.setattr(MODULE, "read_image", lambda file: read.append(file) or read_image(file))
    rows = iter_predictions(load(trained("gedi")), photos, batch_size=2)
    assert not read
    next(rows)
    assert len(read) == 2
    assert len(list(rows)) == 4


def test_what_exists_is_replaced_when_that_is_asked_for(trained, photos, tmp_path):
    model = load(trained("gedi"))
    for name, file in (("out", "rows.csv"), ("features", "features.npz")):
        place = tmp_path / file
        place.write_text("mine")
        with pytest.raises(ConfigError, match=rf"{name}={file} exists: .*--overwrite"):
            predict(model, photos, **{name: file})
        assert place.read_text() == "mine"
        predict(model, photos, **{name: file}, overwrite=True)
        assert place.read_bytes() != b"mine"
    for given in ({"out": "rows.txt"}, {"features": "features.csv"}):
        with pytest.raises(ConfigError, match="must end in"):
            predict(model, photos, **given)
    with pytest.raises(ConfigError, match="batch_size=0"):
        predict(model, photos, batch_size=0)


def test_an_error_leaves_no_half_a_file(trained, photos, tmp_path, monkeypatch):
    def fail(model, x):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(MODULE, "rows_of", fail)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(RuntimeError, match="out of memory"):
        predict(trained("gedi"), photos, out="rows.csv", features="features.npz")
    assert set(tmp_path.rglob("*")) == before


def test_parquet_without_pyarrow_says_what_to_install(trained, photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingPackageError, match=r"solo-gedi\[parquet\]"):
        predict(trained("gedi"), photos, out="rows.parquet")


@pytest.mark.parametrize("method", ["gedi", "swav"])
def test_typicality_is_uniform_on_training_images(trained, tmp_path, method):
    images = DATASETS["digits"].images("train", True)
    folder = tmp_path / "train"
    folder.mkdir()
    for k in range(len(images)):
        images[k][0].save(folder / f"{k:04d}.png")
    (folder / "9999.png").write_text("broken")
    *rows, broken = predict(trained(method), folder)
    assert "error" in broken
    # Every image has its own rank among them.
    ranks = np.sort([row["typicality"] for row in rows])
    np.testing.assert_allclose(ranks, np.linspace(0, 1, len(rows)), atol=2e-3)
    by_density = sorted(rows, key=lambda row: row["log_density"])
    assert [row["typicality"] for row in by_density] == list(ranks)


def test_noise_is_strange(photos, tmp_path):
    noise = torch.randint(0, 256, (20, 8, 8), generator=torch.Generator().manual_seed(0))
    (tmp_path / "noise").mkdir()
    for k, pixels in enumerate(noise.to(torch.uint8)):
        Image.fromarray(pixels.numpy()).save(tmp_path / "noise" / f"{k}.png")
    mean = np.mean([row["typicality"] for row in predict("gedi-digits", tmp_path / "noise")])
    assert mean < 0.3


def test_without_a_reference_typicality_is_empty_and_evaluating_writes_it(
    trained_copy, photos, caplog
):
    from solo_gedi.report import evaluate

    folder = trained_copy("gedi")
    kept = json.loads((folder / "reference.json").read_text())
    assert kept["images"] == 1077
    (folder / "reference.json").unlink()
    with caplog.at_level(logging.WARNING, "solo_gedi"):
        rows = predict(folder, [photos / "a.png", photos / "z.png"])
    assert [row["typicality"] for row in rows] == [None, None]
    assert caplog.text.count("`solo-gedi evaluate RUN` writes it") == 1
    evaluate(folder, "clustering")
    again = json.loads((folder / "reference.json").read_text())
    np.testing.assert_allclose(again["log_density"], kept["log_density"], rtol=1e-4, atol=1e-4)
    assert predict(folder, photos / "a.png")[0]["typicality"] is not None


def test_a_reference_is_of_its_checkpoint(trained_copy):
    folder = trained_copy("gedi")
    (path,) = folder.glob("*.ckpt")
    path.rename(folder / "later-ep=7.ckpt")
    assert load(folder).reference is None
    (folder / "reference.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"reference\.json is broken"):
        load(folder)


def test_images_without_labels_have_a_reference_too(load_config, image_folder):
    from solo_gedi.training import pretrain

    image_folder("train", classes=["."])
    given = ("data.train_path=train", "data.val_path=null", "data.no_labels=true")
    quick = ("max_epochs=1", "optimizer.batch_size=4", "data.num_workers=0")
    run = pretrain(
        load_config("gedi_nogen", *given, *quick, "backbone.kwargs.width=8", suite="custom")
    )
    model = load(run)
    assert model.reference.images == 8
    assert sorted(row["typicality"] for row in predict(model, "train"))[0] < 0.01


ON_A_SMALL_DISK = """
mount -t tmpfs -o size=16k tmpfs {disk} && cd {disk} && exec {python} -c '
import sys
from solo_gedi.cli import main
sys.exit(main(sys.argv[1:]))' predict {model} {photos} --features f.npz
"""


@pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode != 0,
    reason="needs a disk of its own",
)
def test_a_full_disk_ends_with_a_message(console, trained, tmp_path):
    folder, disk = tmp_path / "photos", tmp_path / "disk"
    folder.mkdir()
    disk.mkdir()
    for k in range(1000):  # of 8 features each, as numbers 32 kB
        Image.new("L", (8, 8), k % 256).save(folder / f"{k}.png")
    names = {"disk": disk, "python": sys.executable, "model": trained("gedi"), "photos": folder}
    done = console("unshare", "-Urm", "sh", "-c", ON_A_SMALL_DISK.format(**names))
    assert done.returncode == 2, done.stderr
    assert "solo-gedi predict: error: [Errno 28] No space left" in done.stderr
    assert "Traceback" not in done.stderr

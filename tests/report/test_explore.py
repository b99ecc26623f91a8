"""The explorer's page, in a browser."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from solo_gedi.errors import ConfigError, DataError, MissingPackageError
from solo_gedi.inference import Model, load
from solo_gedi.report import explore

pytest.importorskip("bokeh")


@pytest.fixture
def opened_explorer(opened):
    """Opens the explorer's page and waits for its script."""

    def open_page(path, width=1200):
        tab = opened(path, width)
        tab.wait_for_selector("body[data-ready=yes]")
        return tab

    return open_page


POSITION = """k => {
    const view = Bokeh.index.get_one(Bokeh.documents[0].get_model_by_name("map"));
    const data = Bokeh.documents[0].get_model_by_name("images").data;
    const box = view.canvas_view.el.getBoundingClientRect();
    return [box.x + view.frame.x_scale.compute(data.x[k]),
            box.y + view.frame.y_scale.compute(data.y[k])];
}"""
DATA = "name => Array.from(Bokeh.documents[0].get_model_by_name('images').data[name])"


def test_the_page_of_a_run(trained, opened_explorer):
    path = explore(trained("gedi"))
    assert path == Path("explore.html")
    tab = opened_explorer(path)
    assert "360 images of digits (test)" in tab.title()
    # Of all images, the one that is farthest to the left has no neighbour over it.
    left = int(np.argmin(tab.evaluate(DATA, "x")))
    tab.mouse.move(*tab.evaluate(POSITION, left))
    tip = tab.locator(".tip img").first
    tip.wait_for(state="visible")
    assert tip.evaluate("image => image.naturalWidth") == 8
    assert tip.get_attribute("src") == tab.evaluate(DATA, "image")[left]
    words = tab.locator(".tip").first.inner_text()
    for name in ("cluster", "label", "typicality"):
        assert f"{name}: {tab.evaluate(DATA, name)[left]}"[:14] in words
    # Colours, and one of them alone.
    for name, kinds in (("label", 10), ("typicality", 30)):
        tab.locator("#colour").select_option(name)
        assert len(set(tab.evaluate(DATA, "colour"))) >= kinds
    tab.locator("#colour").select_option("label")
    tab.locator("#legend button").nth(3).click()
    alone = [
        label
        for label, alpha in zip(
            tab.evaluate(DATA, "label"), tab.evaluate(DATA, "alpha"), strict=True
        )
        if alpha > 0.5
    ]
    assert set(alone) == {"3"}
    tab.locator("#colour").select_option("cluster")
    tab.locator("#share").fill("10")
    assert sum(alpha > 0.5 for alpha in tab.evaluate(DATA, "alpha")) == 36


def test_tabs_switch_and_galleries_are_sorted(opened_explorer):
    tab = opened_explorer(explore("gedi-digits"))
    assert tab.locator("#map").is_visible()
    assert not tab.locator("#clusters").is_visible()
    tab.get_by_role("tab", name="Clusters").click()
    assert not tab.locator("#map").is_visible()
    assert tab.locator("#clusters h2").count() == 10
    widths = tab.eval_on_selector_all("#clusters img", "all => all.map(i => i.naturalWidth)")
    assert set(widths) == {8}
    tab.locator("#per-cluster").fill("5")
    assert tab.locator("#clusters .images").first.locator("img").count() == 5
    title = "all => all.map(b => +/confidence: (.*)/.exec(b.title)[1])"
    confidences = tab.eval_on_selector_all("#clusters .images:first-of-type button", title)[:5]
    assert confidences == sorted(confidences, reverse=True)
    tab.get_by_role("tab", name="Strangest").click()
    title = "all => all.map(b => +/typicality: (.*)/.exec(b.title)[1])"
    shown = tab.eval_on_selector_all("#strange button", title)
    assert shown == sorted(tab.evaluate(DATA, "typicality"))[:100]
    tab.locator("#strange button").first.click()
    assert tab.locator("#map").is_visible()
    chosen = "() => Bokeh.documents[0].get_model_by_name('images').selected.indices"
    assert len(tab.evaluate(chosen)) == 1


def test_given_images_on_a_phone(opened_explorer, image_folder, tmp_path):
    folder = image_folder("photos", classes=("a", "<b>ü"))
    (folder / "a" / "broken.png").write_text("broken")
    tab = opened_explorer(explore("gedi-digits", folder, "new/page.html"), width=400)
    assert set(tab.evaluate(DATA, "label")) == {"a", "<b>ü"}
    for name in ("Map", "Clusters", "Strangest"):
        tab.get_by_role("tab", name=name).click()
        assert tab.evaluate("document.documentElement.scrollWidth") <= 400
    assert "16" in tab.locator(".note").first.inner_text()


def test_umap_is_a_second_map_where_it_is_installed(opened_explorer, image_folder, monkeypatch):
    class UMAP:
        def __init__(self, random_state):
            assert random_state == 0

        def fit_transform(self, features):
            return np.stack([np.arange(len(features)), -np.arange(len(features))], 1) / 2

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=UMAP))
    tab = opened_explorer(explore("gedi-digits", image_folder()))
    assert tab.locator("#projection option").all_inner_texts() == ["PCA", "UMAP"]
    before = tab.evaluate(DATA, "x")
    tab.locator("#projection").select_option("UMAP")
    assert tab.evaluate(DATA, "x") == [k / 2 for k in range(24)]
    tab.locator("#projection").select_option("PCA")
    assert tab.evaluate(DATA, "x") == before


def test_one_image_and_no_reference_are_enough(trained_copy, opened_explorer):
    folder = trained_copy("swav")
    (folder / "reference.json").unlink()
    Image.new("RGB", (9, 9)).save("a.png")
    tab = opened_explorer(explore(folder, "a.png"))
    assert tab.locator("#colour option").all_inner_texts() == [
        *("cluster", "confidence", "log p", "-||grad log p||")
    ]
    tab.get_by_role("tab", name="Strangest").click()
    assert tab.locator("#strange img").count() == 1


def test_two_thousand_images_are_under_10_mb(untrained):
    """Noise of the thumbnails' size in colour, which no format makes smaller."""
    model = untrained("energy_resnet8", size=48, width=8)
    folder = Path("noise")
    folder.mkdir()
    generator = np.random.default_rng(0)
    for k in range(2010):
        pixels = generator.integers(0, 256, (48, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{k}.bmp")
    path = explore(model, folder)
    assert path.stat().st_size < 10e6
    assert path.read_text().count("data:image/") >= 2000


def test_training_images_are_shown_where_there_are_no_others(load_config, image_folder):
    from solo_gedi.training import pretrain

    image_folder("train", classes=["."])
    given = ("data.train_path=train", "data.val_path=null", "data.no_labels=true")
    quick = ("max_epochs=1", "optimizer.batch_size=4", "data.num_workers=0")
    cfg = load_config("gedi_nogen", *given, *quick, "backbone.kwargs.width=8", suite="custom")
    text = explore(pretrain(cfg)).read_text()
    assert "8 images of custom (train (training images))" in text


def test_a_run_is_not_read_whole_for_some_images(trained, monkeypatch):
    model, seen = load(trained("gedi")), []
    whole = Model.forward
    monkeypatch.setattr(Model, "forward", lambda self, x: seen.append(len(x)) or whole(self, x))
    text = explore(model, max_images=7).read_text()
    assert "360 images of digits (test)" in text
    assert sum(seen) <= 3 * 7  # for the features, log p and its gradient


def test_what_cannot_be_is_named(trained, image_folder, monkeypatch):
    folder = image_folder()
    Path("mine.html").write_text("mine")
    with pytest.raises(ConfigError, match=r"out=mine\.html exists"):
        explore("gedi-digits", folder, "mine.html")
    explore("gedi-digits", folder, "mine.html", overwrite=True)
    with pytest.raises(ConfigError, match=r"must end in \.html"):
        explore("gedi-digits", folder, "mine.pdf")
    with pytest.raises(ConfigError, match="max_images=0"):
        explore("gedi-digits", folder, max_images=0)
    old = Path(__file__).parents[1] / "inference" / "version_0_1" / "jem-moons"
    with pytest.raises(ConfigError, match="points in the plane"):
        explore(old)
    for path in folder.rglob("*.png"):
        path.write_text("broken")
    with pytest.raises(DataError, match="no image that can be used"):
        explore("gedi-digits", folder)
    monkeypatch.setitem(sys.modules, "bokeh.embed", None)
    with pytest.raises(MissingPackageError, match=r"solo-gedi\[explore\]"):
        explore("gedi-digits", folder)
    assert not Path("explore.html").exists()


def test_the_choice_of_images_is_the_same_every_time(image_folder):
    folder = image_folder()
    pages = [
        explore(load("gedi-digits"), folder, f"{k}.html", max_images=7).read_text() for k in "ab"
    ]
    chosen = [{line for line in page.split('"') if line.endswith(".png")} for page in pages]
    assert len(chosen[0]) == 7
    assert chosen[0] == chosen[1]

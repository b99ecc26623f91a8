"""A page of parts, and how it is read on a desk and on a phone."""

import pytest
import torch
from matplotlib import figure as matplotlib

from solo_gedi.report import page
from solo_gedi.report.plots import save_figure
from solo_gedi.report.thumbnails import figure_uri, thumbnail


def line():
    figure = matplotlib.Figure((4, 3))
    figure.subplots().plot([0, 1])
    return figure


def some_images(n, shape=(3, 60, 40)):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(n, *shape, generator=generator) * 2 - 1
    return [page.Image(f"image {k}", thumbnail(image)) for k, image in enumerate(images)]


WIDE = {f"a column with a long name {k}": k / 7 for k in range(12)}


@pytest.fixture
def written(tmp_path):
    save_figure(line(), tmp_path / "line.png")
    rows = [{"method": "gedi", "NMI": 0.123456}, {"method": "<b>swav</b>", "NMI": None, "more": 3}]
    groups = [
        page.Panels("Cluster 0", some_images(14), "A group's note."),
        *[page.Panels(f"Cluster {k}", some_images(3)) for k in range(1, 4)],
    ]
    parts = [
        page.Cards("At a glance", [page.Card("NMI", 0.91234, "of the <clusters>")]),
        page.Section("About", (), "x < y & z"),
        page.Table("Numbers", rows, "A note."),
        page.Figure("A line", tmp_path / "line.png"),
        page.Section(
            "Clustering",
            [
                page.Table("Wide", [WIDE]),
                page.Panels("Maps", [page.Image(f"map {k}", figure_uri(line())) for k in "abc"]),
                page.Gallery("Images", groups, "The gallery's note."),
                page.Code("Settings", "a: 1\nb: " + "long" * 100),
            ],
            "What it is.",
        ),
        page.Figure("Again", tmp_path / "line.png", "Another note."),
    ]
    page.write_report(tmp_path / "report.html", "A <title>", parts, "All about it.")
    (tmp_path / "line.png").unlink()  # the page needs no other file
    return tmp_path / "report.html"


def test_page_escapes_what_it_is_given(written):
    text = written.read_text()
    assert "&lt;b&gt;swav&lt;/b&gt;" in text
    assert "x &lt; y &amp; z" in text
    assert "of the &lt;clusters&gt;" in text
    assert "0.1235" in text
    assert "None" not in text


@pytest.mark.parametrize("width", [1200, 400])
def test_page_opens_in_a_browser(written, opened, width):
    """No console error, every picture loaded, nothing asked of the network, no sideways scroll."""
    tab = opened(written, width)
    widths = tab.eval_on_selector_all("img", "all => all.map(image => image.naturalWidth)")
    assert len(widths) == 2 + 3 + 14 + 3 * 3
    assert all(width > 0 for width in widths)
    assert all(tab.eval_on_selector_all("img", "all => all.map(image => image.alt)"))
    names = ["At a glance", "About", "Numbers", "A line", "Clustering", "Again"]
    assert tab.locator("h2").all_inner_texts() == names
    assert tab.locator("nav a").all_inner_texts() == names
    levels = tab.eval_on_selector_all("h1,h2,h3,h4", "all => all.map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate("document.documentElement.lang") == "en"
    tab.locator("summary").click()
    for wide in (tab.locator("pre"), tab.locator(".wide", has_text="a column")):
        inside, outside = wide.evaluate("e => [e.scrollWidth, e.clientWidth]")
        assert inside > outside
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.locator("nav a", has_text="Again").click()
    assert tab.locator("#again").evaluate("e => e.getBoundingClientRect().top") < 900


def test_parts_are_kept_as_they_are():
    panels = page.Panels("Maps", [page.Image("a", "data:,")], "note")
    gallery = page.Gallery("Images", [page.Panels("One", [page.Image("a", "data:,")])])
    for part in (panels, gallery):
        again = page.read(page.plain(part))
        assert page.plain(again) == page.plain(part)
        assert type(again) is type(part)
    with pytest.raises(KeyError):
        page.read({"kind": "Song"})


def test_a_thumbnail_is_small_and_shows_the_image():
    import base64
    from io import BytesIO

    from PIL import Image

    image = torch.full((1, 100, 50), -1.0)
    image[0, :, 25:] = 1.0
    kind, _, content = thumbnail(image).partition(",")
    assert kind.startswith("data:image/")
    small = Image.open(BytesIO(base64.b64decode(content)))
    assert small.size == (24, 48)
    assert small.getpixel((3, 10)) < 20
    assert small.getpixel((20, 40)) > 235

import shutil

import pytest
from matplotlib import figure as matplotlib

from solo_gedi.report.page import Figure, Table, Text, write_report
from solo_gedi.report.plots import save_figure

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture
def page(tmp_path):
    line = matplotlib.Figure()
    line.subplots().plot([0, 1])
    save_figure(line, tmp_path / "line.png")
    rows = [{"method": "gedi", "NMI": 0.123456}, {"method": "<b>swav</b>", "NMI": None, "more": 3}]
    parts = [
        Text("About", "x < y & z"),
        Table("Numbers", rows, "A note."),
        Figure("A line", tmp_path / "line.png"),
        Figure("Again", line, "Another note."),
    ]
    write_report(tmp_path / "report.html", "A <title>", parts)
    (tmp_path / "line.png").unlink()  # the page needs no other file
    return tmp_path / "report.html"


def test_page_escapes_what_it_is_given(page):
    text = page.read_text()
    assert "&lt;b&gt;swav&lt;/b&gt;" in text
    assert "x &lt; y &amp; z" in text
    assert "0.1235" in text
    assert "None" not in text
    assert text.count("data:image/png;base64,") == 2


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH to open the report with")
def test_page_opens_in_a_browser(page):
    """No console error, every picture loaded, nothing asked of the network."""
    from playwright.sync_api import sync_playwright

    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=quiet)
        tab = browser.new_page(viewport={"width": 400, "height": 800})
        problems, requests = [], []
        tab.on("console", lambda message: problems.append(message.text))
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on("request", lambda request: requests.append(request.url))
        tab.goto(page.as_uri())
        widths = tab.eval_on_selector_all("img", "all => all.map(image => image.naturalWidth)")
        page_width = tab.evaluate("document.documentElement.scrollWidth")
        headings = tab.locator("h2").all_inner_texts()
        browser.close()
    assert problems == []
    assert len(widths) == 2
    assert all(width > 0 for width in widths)
    assert headings == ["About", "Numbers", "A line", "Again"]
    assert page_width <= 400
    assert not [url for url in requests if not url.startswith(("file:", "data:"))]

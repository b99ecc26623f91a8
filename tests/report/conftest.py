import shutil
from pathlib import Path

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture
def opened():
    """Opens a page; whatever it complains of, or asks the network for, fails the test."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on the PATH to open the page with")
    from playwright.sync_api import sync_playwright

    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    problems, requests = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=quiet)

        def open_page(path, width=1200):
            tab = browser.new_page(viewport={"width": width, "height": 900})
            noted = {"error", "warning"}
            tab.on("console", lambda m: m.type in noted and problems.append(m.text))
            tab.on("pageerror", lambda error: problems.append(str(error)))
            tab.on("request", lambda request: requests.append(request.url))
            tab.goto(Path(path).absolute().as_uri())
            return tab

        yield open_page
        browser.close()
    assert problems == []
    assert not [url for url in requests if not url.startswith(("file:", "data:"))]

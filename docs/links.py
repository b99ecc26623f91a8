"""Checks every link of the built site, to pages, anchors and files. MkDocs calls `on_post_build`.

MkDocs itself checks the links of Markdown; this sees those of the generated pages too.
"""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links and anchors of a page.

    Args:
        html: the page.

    Attributes:
        links: as they stand, those of pictures and scripts too.
        anchors: the places that links may name.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links, self.anchors = set[str](), {"", "__"}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag links to, and what it can be linked by."""
        for name, value in attrs:
            if name in ("href", "src") and value and tag != "base":
                self.links.add(value)
            elif name in ("id", "name") and value:
                self.anchors.add(value)


def broken(site: Path) -> list[str]:
    """The links of a site that lead nowhere, each with its page.

    Args:
        site: folder of the built site.
    """
    site = site.resolve()
    pages = {path: Page(path.read_text()) for path in site.rglob("*.html")}
    found = []
    for path, page in pages.items():
        if path.name == "404.html":  # its links start at the address of the site
            continue
        for link in sorted(page.links):
            address = urlsplit(link)
            if address.scheme or address.netloc:
                continue
            to = (path.parent / unquote(address.path)).resolve() if address.path else path
            to = to / "index.html" if to.is_dir() else to
            known = pages[to].anchors if to in pages else {""}
            there = to.is_file() and to.is_relative_to(site)
            if not there or unquote(address.fragment) not in known:
                found.append(f"{path.relative_to(site)}: {link}")
    return found


def on_post_build(config: Any) -> None:
    """End the build with the links that lead nowhere.

    Raises:
        PluginError: naming them.
    """
    from mkdocs.exceptions import PluginError

    if links := broken(Path(config.site_dir).resolve()):
        raise PluginError("\n".join(["links that lead nowhere:", *links]))

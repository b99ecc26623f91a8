"""Writes the repository's address into what is released.

    python -m docs.addresses https://github.com/OWNER/NAME v0.2.0

README.md's links are relative, which is right in a checkout and wrong on the page of the package:
they become absolute, at the given tag. `pyproject.toml` gets `[project.urls]`, `CITATION.cff` its
`repository-code`. The release workflow runs this on its own copy; nothing of it is committed.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"(!?\[[^\]]*\]\()(?![a-z]+:|#)([^)\s]+)")
_SOURCE = re.compile(r'(<img[^>]* src=")(?![a-z]+:)([^"]+)')


def absolute(readme: str, repository: str, tag: str) -> str:
    """A page whose links to files lead to the repository.

    Args:
        readme: text of a page at the top of the repository.
        repository: its address.
        tag: of the release.

    >>> absolute("[a](docs/a.md) ![b](b.png) [c](#c) [d](https://d.org)", "https://r", "v1")
    '[a](https://r/blob/v1/docs/a.md) ![b](https://r/raw/v1/b.png) [c](#c) [d](https://d.org)'
    """

    def link(match: re.Match[str]) -> str:
        kind = "raw" if match[1].startswith("!") else "blob"
        return f"{match[1]}{repository}/{kind}/{tag}/{match[2]}"

    readme = _LINK.sub(link, readme)
    return _SOURCE.sub(rf"\g<1>{repository}/raw/{tag}/\g<2>", readme)


def urls(repository: str, tag: str) -> str:
    """The table `[project.urls]`.

    Args:
        repository: its address.
        tag: of the release.
    """
    owner, name = repository.split("/")[-2:]
    places = {
        "Homepage": repository,
        "Documentation": f"https://{owner}.github.io/{name}/",
        "Changelog": f"{repository}/blob/{tag}/CHANGELOG.md",
        "Issues": f"{repository}/issues",
    }
    return "\n".join(["[project.urls]", *(f'{name} = "{url}"' for name, url in places.items())])


def main(root: Path, repository: str, tag: str) -> None:
    """Change the three files.

    Args:
        root: folder of the repository.
        repository: its address.
        tag: of the release.
    """
    readme, project, citation = (
        root / name for name in ("README.md", "pyproject.toml", "CITATION.cff")
    )
    repository = repository.rstrip("/")
    readme.write_text(absolute(readme.read_text(), repository, tag))
    before = "[project.scripts]\n"
    added = f"{urls(repository, tag)}\n\n{before}"
    project.write_text(project.read_text().replace(before, added, 1))
    citation.write_text(f'{citation.read_text().rstrip()}\nrepository-code: "{repository}"\n')


if __name__ == "__main__":
    main(ROOT, *sys.argv[1:3])

"""The pages: what they tell a reader to type works, and what they describe is there."""

import doctest
import importlib.util
import re
import shutil
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
# `make docs` runs all of them. These two take a minute, or start processes of their own.
SLOW = {"gpu_node", "toy_study"}
TUTORIALS = sorted(path for path in DOCS.glob("tutorials/*.py") if path.stem not in SLOW)

BLOCK = re.compile(r"^```(\w+).*?\n(.*?)^```", re.M | re.S)


def name_of(path):
    return str(path.relative_to(ROOT))


def blocks(page):
    return BLOCK.findall(page.read_text())


def tool(name):
    """A script of docs/, which is no part of the package."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # for its dataclasses
    spec.loader.exec_module(module)
    return module


RUN = [page for page in PAGES if {"bash", "python"} & {kind for kind, _ in blocks(page)}]


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_commands_and_snippets_run_in_order_as_written(page, console, capsys, image_folder):
    """A shell expands each command; it runs in this process, which has imported torch already."""
    from solo_gedi.cli import main

    if "augment_on_device" in page.read_text():
        pytest.importorskip("kornia", reason="kornia needs Python 3.11")
    image_folder("images", classes="abcde", per_class=8)
    names = {"__name__": "snippet"}
    for kind, block in blocks(page):
        if kind == "python":
            exec(compile(block, f"{name_of(page)}, a snippet", "exec"), names)
        lines = block.splitlines() if kind == "bash" else ()
        for command in (line for line in lines if line.startswith("solo-gedi")):
            words = console("bash", "-c", rf"printf '%s\0' {command}").stdout.split("\0")[1:-1]
            assert main(words) == 0, f"{command}\n{capsys.readouterr().err[-2000:]}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_is_not_run_says_why(page):
    text = page.read_text()
    for match in re.finditer(r"^```sh\n(.*?)^```", text, re.M | re.S):
        before = text[: match.start()].rstrip().splitlines()[-1]
        assert re.fullmatch(r"<!-- not run: .+ -->", before), match[1]
    assert {kind for kind, _ in blocks(page)} <= {
        *("bash", "python", "sh"),
        *("bibtex", "mermaid", "text"),  # nothing to run
    }


@pytest.fixture
def methods_of_its_own():
    """What a tutorial adds to solo-learn's methods is gone after it."""
    from solo_gedi import hosts

    before = dict(hosts.METHODS)
    yield
    hosts.METHODS.clear()
    hosts.METHODS.update(before)


@pytest.mark.usefixtures("methods_of_its_own")
@pytest.mark.parametrize("script", TUTORIALS, ids=lambda path: path.stem)
def test_tutorials_run(script, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    exec(compile(script.read_text(), str(script), "exec"), {"__name__": "tutorial"})


def test_every_tutorial_is_listed():
    names = {path.stem for path in DOCS.glob("tutorials/*.py")}
    listed = re.findall(r"\]\((\w+)\.md\)", (DOCS / "tutorials" / "index.md").read_text())
    assert sorted(listed) == sorted(names)
    assert names >= SLOW


def flat(config, prefix=""):
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            yield from flat(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"


@pytest.fixture(scope="module")
def settings():
    return tool("settings")


def test_every_key_of_a_config_has_a_meaning(settings):
    from solo_gedi.config import LINEAR_KEYS, PRETRAIN_KEYS
    from solo_gedi.methods.kwargs import MethodKwargs

    described, read = settings.described(), PRETRAIN_KEYS | LINEAR_KEYS
    # Sections whose reader checks them.
    open_ended = tuple(key.removesuffix("*") for key in read if key.endswith(".*"))
    read = {key for key in read if not key.endswith(".*")}
    own = {f"method_kwargs.{key}" for key in flat(MethodKwargs())}
    assert sorted({*read, *own, *settings.shipped()} - described.keys()) == []
    assert [key for key, setting in described.items() if not setting.meaning] == []
    # And none is described that nobody reads.
    assert [key for key in described if key not in read and not key.startswith(open_ended)] == []


def test_the_page_of_settings_names_types_defaults_and_readers(settings):
    lines = settings.table().splitlines()
    rows = [line.strip("|").split(" | ") for line in lines if line.startswith("| <code")]
    by_key = {re.search('id="(.+?)"', row[0])[1]: [cell.strip() for cell in row] for row in rows}
    assert len(by_key) == len(rows) > 80
    assert by_key["method_kwargs.temperature"][1:3] == ["number", "`1`; shipped: `1`, `0.1`"]
    assert by_key["divergence.policy"][2].startswith("`recover`")
    assert by_key["max_epochs"][1] == "a whole number of at least 1"
    assert {row[4] for row in by_key.values()} == {
        *("Lightning", "solo-gedi", "solo-learn", "wandb"),
    }


def test_descriptions_are_those_of_the_docstrings(settings):
    from solo_gedi.methods.kwargs import Weights

    found = settings.described_in(Weights, "Attributes")
    assert list(found) == ["gen", "inv", "prior"]
    assert found["gen"] == "generative term (Eq. 11)."


def test_the_page_of_commands_has_every_command():
    from solo_gedi.cli import COMMANDS

    page = tool("commands").helps()
    assert re.findall(r"^## (.+)$", page, re.M) == list(COMMANDS)
    assert "usage: solo-gedi predict" in page


def test_names_that_the_pages_point_to_exist():
    text = "\n".join(page.read_text() for page in PAGES)
    for path in re.findall(r"`((?:solo_gedi|tests|docs|scripts)/[\w/]+\.\w+)`", text):
        assert (ROOT / path).is_file(), path
    for row in re.findall(r"^\| [^|]+ \| (.*`solo_gedi/.*) \|$", text, re.M):
        for names, path in re.findall(r"(`[\w., `]+`) in `(solo_gedi/[\w/]+\.py)`", row):
            source = (ROOT / path).read_text()
            for name in re.findall(r"`([\w.]+)`", names):
                assert re.search(rf"(def|class) {name.split('.')[-1]}\b", source), (name, path)


def test_a_release_has_absolute_links_and_addresses(tmp_path):
    addresses = tool("addresses")
    assert doctest.testmod(addresses) == (0, 1)
    names = ("README.md", "pyproject.toml", "CITATION.cff")
    for name in names:
        shutil.copy(ROOT / name, tmp_path)
    addresses.main(tmp_path, "https://example.org/them/solo-gedi/", "v9")
    readme, project, citation = ((tmp_path / name).read_text() for name in names)
    links = re.findall(r"\]\(([^)\s]+)", readme)
    assert links
    assert all(re.match("https://|#", link) for link in links)
    assert "](https://example.org/them/solo-gedi/raw/v9/docs/gedi.png)" in readme
    assert project.count("[project.urls]") == 1
    assert 'Homepage = "https://example.org/them/solo-gedi"' in project
    assert citation.endswith('repository-code: "https://example.org/them/solo-gedi"\n')
    for path in re.findall(
        r"https://example.org/them/solo-gedi/(?:blob|raw)/v9/([^)#\s]+)", readme
    ):
        assert (ROOT / path).exists(), path


def test_links_that_lead_nowhere_are_found(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "index.html").write_text(
        '<a href="a/#there">1</a><a href="a/#not">2</a><a href="b/">3</a><img src="x.png">'
        '<a href="https://example.org">4</a><a href="#">5</a>'
    )
    (tmp_path / "a" / "index.html").write_text('<p id="there"><a href="../">back</a></p>')
    found = tool("links").broken(tmp_path)
    assert found == [f"index.html: {link}" for link in ("a/#not", "b/", "x.png")]


def test_workflows_and_forms_fit_their_schemas():
    github = ROOT / ".github"
    checked = {
        "github-workflows": sorted((github / "workflows").glob("*.yml")),
        "dependabot": [github / "dependabot.yml"],
        "github-issue-forms": [github / "ISSUE_TEMPLATE" / f"{k}.yml" for k in ("bug", "idea")],
        "github-issue-config": [github / "ISSUE_TEMPLATE" / "config.yml"],
        "citation-file-format": [ROOT / "CITATION.cff"],
    }
    for schema, files in checked.items():
        command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
        done = subprocess.run([*command, *files], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_workflows_have_no_known_weakness():
    linter = Path(sys.executable).with_name("zizmor")
    done = subprocess.run(
        [linter, "--offline", "--no-progress", ROOT / ".github"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr

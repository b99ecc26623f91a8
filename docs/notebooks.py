"""The tutorials: scripts that are run as notebooks, and shown with what they give.

A tutorial is a script in `docs/tutorials`, in cells after `# %%`; a cell after `# %% [markdown]` is
text. MkDocs calls `on_files`, which runs each in an empty folder, and adds its page, its pictures
and the notebook to download.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import jupytext
import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbclient import NotebookClient
from nbconvert import MarkdownExporter
from nbformat import NotebookNode

TUTORIALS = Path(__file__).parent / "tutorials"
_TIMEOUT = 600  # seconds, of one cell


def scripts() -> list[Path]:
    """The tutorials."""
    return sorted(TUTORIALS.glob("*.py"))


def executed(script: Path) -> NotebookNode:
    """A tutorial as a notebook, run in an empty folder.

    Args:
        script: of `scripts`.

    Raises:
        nbclient.exceptions.CellExecutionError: with the traceback of a cell that fails.
    """
    notebook = jupytext.read(script)
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    # Progress bars are for a terminal.
    quiet = {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    with TemporaryDirectory() as folder, patch.dict(os.environ, quiet):
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=_TIMEOUT, resources=resources).execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.get("name") == "stderr":  # warnings and logs are for a terminal, too
                output["text"] = ""
        if "outputs" in cell:
            cell.outputs = [o for o in cell.outputs if o.get("text") != ""]
    return notebook


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Add a page for each tutorial, its pictures, and the notebook."""
    for script in scripts():
        notebook, name = executed(script), script.stem
        exporter = MarkdownExporter(exclude_input_prompt=True, exclude_output_prompt=True)
        resources = {"output_files_dir": f"{name}_files", "unique_key": name}
        text, made = exporter.from_notebook_node(notebook, resources)
        text += f"\n\n[Download this tutorial as a notebook]({name}.ipynb).\n"
        contents: dict[str, str | bytes] = {
            f"{name}.md": text,
            f"{name}.ipynb": nbformat.writes(notebook),
            **made["outputs"],
        }
        for path, content in contents.items():
            files.append(File.generated(config, f"tutorials/{path}", content=content))
    return files

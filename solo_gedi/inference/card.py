"""The card of a model: what it is, what it was trained on, how well it does, how to load it."""

import json
import re
from pathlib import Path
from typing import Any

from solo_gedi.inference.model import Model

_SETTINGS = ("method_kwargs", "optimizer", "scheduler", "backbone")
_USES = """\
```python
import solo_gedi as sg

model = sg.Model.from_pretrained({name!r})
table = sg.predict(model, "folder/of/images")
```

Neither solo-learn nor Lightning is needed. The weights are
safetensors, the rest is JSON, and nothing in them is executed.
"""


def model_card(model: Model, name: str, precision: str = "fp32") -> str:
    """The card in Hugging Face's Markdown, made from the run.

    Args:
        model: the trained model.
        name: of the exported folder, or the Hub's "user/model".
        precision: of its weights.
    """
    config = model.config
    method, dataset = config["method"], config["data"]["dataset"]
    shape = " x ".join(map(str, model.input_shape))
    weights = sum(parameter.numel() for parameter in model.parameters())
    parts = [
        _front_matter(method, dataset),
        f"# {config.get('name', name)}\n",
        f"{method} on {dataset}: {model.num_clusters} clusters by the {model.output}, inputs "
        f"{shape}, {weights:,} weights in {precision}.\n",
        _abilities(model),
        "## Use\n",
        _USES.format(name=name),
        "## Data\n",
        _data(model),
        "## Training\n",
        _training(model),
        "## Results\n",
        _results(model, precision),
    ]
    return "\n".join(parts)


def _front_matter(method: str, dataset: str) -> str:
    lines = ["library_name: solo-gedi", "tags:", "- self-supervised-learning", "- clustering"]
    return "\n".join(["---", *lines, f"- {method}", f"- {dataset}", "---", ""])


def _abilities(model: Model) -> str:
    if model.has_energy:
        return (
            "It is an energy-based model: it clusters images, says how likely each is, detects "
            "those unlike its training data, and draws samples.\n"
        )
    return "It clusters images; it has no energy, and draws no samples.\n"


def _data(model: Model) -> str:
    data = model.config["data"]
    lines = [f"Trained on {data['dataset']}, without labels."]
    if model.normalization is not None:
        mean, std = (", ".join(f"{x:.4g}" for x in values) for values in model.normalization)
        lines.append(
            f"An image's shorter side becomes {model.input_shape[-1]} pixels, the middle is cut "
            f"out, and pixels in [0, 1] are normalised by mean ({mean}) and std ({std})."
        )
    if model.reference is not None:
        lines.append(
            f"`typicality` compares with {model.reference.images:,} training images, without "
            "augmentation."
        )
    return "\n".join(lines) + "\n"


def _training(model: Model) -> str:
    config = model.config
    lines = [f"{model.epochs} epochs, seed {config.get('seed')}, with:\n"]
    recipe = {key: config[key] for key in _SETTINGS if config.get(key)}
    lines.append(f"```json\n{json.dumps(recipe, indent=2)}\n```\n")
    lines += [f"Undone by the divergence guard: {event}\n" for event in model.events]
    return "\n".join(lines)


def _results(model: Model, precision: str) -> str:
    metrics = _metrics(model)
    if not metrics.get("results"):
        return "Not evaluated: `solo-gedi evaluate RUN` before the export puts its numbers here.\n"
    rounded = "" if precision == "fp32" else f", before its weights were rounded to {precision}"
    lines = [
        f"Measured after training, of one run (seed {metrics.get('seed')}){rounded}.\n",
        "| task | metric | how | split | value |",
        "|---|---|---|---|---|",
    ]
    for row in map(_public, metrics["results"]):
        known = ("task", "metric", "split", "value")
        how = ", ".join(f"{k} {v}" for k, v in row.items() if k not in known and v is not None)
        cells = (row["task"], row["metric"], how, row.get("split"), f"{row['value']:.4g}")
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _public(row: dict[str, Any]) -> dict[str, Any]:
    """A row without the places of the machine that it was measured on."""
    public = {key: value for key, value in row.items() if key != "path"}
    if row.get("against") == "custom":
        public["against"] = Path(row["path"]).name
    for key in ("split", "features"):
        if isinstance(row.get(key), str):
            public[key] = Path(row[key]).name
    if "changed" in row:
        public["changed"] = re.sub(r"=[^=]*/", "=", row["changed"])
    return public


def _metrics(model: Model) -> dict[str, Any]:
    """What was measured of this checkpoint."""
    if model.checkpoint is None:
        return {}
    try:
        found = json.loads(model.checkpoint.with_name("metrics.json").read_text())
    except (OSError, ValueError):
        return {}
    known = {"format": 2, "checkpoint": model.checkpoint.name, "epochs": model.epochs}
    return found if isinstance(found, dict) and known.items() <= found.items() else {}

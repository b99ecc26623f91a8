"""The page of settings: every key of a config, from the code and the shipped configs.

`settings.yaml` says what a key means and who reads it; the settings of GEDI, JEM, the sampler and
the divergence guard are described where the code reads them. The shipped configs give the defaults,
and the checks of `solo_gedi.config.rules` what a key may be. MkDocs calls `on_page_markdown`.
"""

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

MARKER = "<!-- settings -->"
_OWN = "Method settings of GEDI and JEM"
_GUARD = "Divergence guard"
_MAX_DEFAULTS = 3  # more values of the shipped configs than these are not listed


@dataclass(frozen=True)
class Setting:
    """One key, as a line of the page.

    Attributes:
        section: heading that it stands under.
        reader: who reads it.
        meaning: in words.
        default: where no shipped config sets it.
        kind: type or rule, where the code says so.
    """

    section: str
    reader: str
    meaning: str
    default: str | None = None
    kind: str = ""


def described() -> dict[str, Setting]:
    """Every key that has a meaning."""
    from solo_gedi.methods.kwargs import MethodKwargs
    from solo_gedi.training.callbacks import DivergenceGuard

    found: dict[str, Setting] = {}
    for key, kind, default, meaning in _of_dataclass(MethodKwargs(), "method_kwargs."):
        found[key] = Setting(_OWN, "solo-gedi", meaning, default, kind)
    meanings = described_in(DivergenceGuard, "Args")
    for name, parameter in inspect.signature(DivergenceGuard).parameters.items():
        kind, default = _type_name(parameter.annotation), _yaml(parameter.default)
        meaning = meanings.get(name, "")
        found[f"divergence.{name}"] = Setting(_GUARD, "solo-gedi", meaning, default, kind)
    text = Path(__file__).with_suffix(".yaml").read_text()
    for section, keys in yaml.safe_load(text).items():
        found |= {key: Setting(section, *entry) for key, entry in keys.items()}
    return found


@cache
def shipped() -> dict[str, list[str]]:
    """The keys that the shipped configs set, with their values as yaml has them."""
    from solo_gedi.config import KINDS, list_configs, load_config

    found: dict[str, dict[str, None]] = {}
    for kind in KINDS:
        needed = ["pretrained_feature_extractor=???"] if kind == "linear" else []
        for name in list_configs(kind):
            cfg: Any = OmegaConf.to_container(load_config(name, needed, kind=kind))
            for key, value in _flat(cfg):
                found.setdefault(key, {})[_yaml(value)] = None
    return {key: list(values) for key, values in found.items()}


def table() -> str:
    """All sections with their tables, in Markdown."""
    from solo_gedi.config.rules import RULES

    settings, values = described(), shipped()
    lines: list[str] = []
    for section in dict.fromkeys(setting.section for setting in settings.values()):
        lines += ["", f"## {section}", "", "| key | what it may be | default | meaning | read by |"]
        lines += ["|---|---|---|---|---|"]
        for key, setting in settings.items():
            if setting.section != section:
                continue
            kind = setting.kind or _rule(RULES.get(key)) or _guess(values.get(key, []))
            default = _shown(values.get(key), setting.default)
            # An anchor, so that a key can be linked to; lines may break after a dot.
            name = f'<code id="{key}">{key.replace(".", ".<wbr>")}</code>'
            cells = (name, kind, default, setting.meaning.rstrip("."), setting.reader)
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the tables in the place of their marker; called by MkDocs for every page."""
    return markdown.replace(MARKER, table()) if MARKER in markdown else markdown


def described_in(documented: Any, section: str) -> dict[str, str]:
    """Names and descriptions of one section of a Google docstring, each on one line.

    Args:
        documented: class or function.
        section: as "Args" or "Attributes".
    """
    text = inspect.getdoc(documented) or ""
    body = re.search(rf"^{section}:\n((?:[ ]+.*\n?|\n)+)", text, re.M)
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", body[1] if body else "", re.M)
    return {name: " ".join(words.split()) for name, words in entries}


def _of_dataclass(config: Any, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    """Key, type, default and meaning of a dataclass of settings."""
    meanings = described_in(type(config), "Attributes")
    for field in fields(config):
        value, key = getattr(config, field.name), f"{prefix}{field.name}"
        if is_dataclass(value):
            yield from _of_dataclass(value, f"{key}.")
        else:
            yield key, _type_name(field.type), _yaml(value), meanings.get(field.name, "")


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for entry in value:
                yield from _flat(entry, f"{prefix}{key}.N.")
        else:
            yield f"{prefix}{key}", value


def _shown(values: list[str] | None, default: str | None) -> str:
    """The default, and what the shipped configs have where that is something else."""
    own = "" if default is None else f"`{default}`"
    if values is None or values == [default]:
        return own
    many = len(values) > _MAX_DEFAULTS
    theirs = "by config" if many else ", ".join(f"`{value}`" for value in values)
    return f"{own}; shipped: {theirs}" if own else theirs


def _rule(rule: Any) -> str:
    """What a key may be, without advice for its spelling."""
    return re.sub(r"; one that looks .*?'\.\.\.'\"", "", rule[1]) if rule else ""


def _guess(values: list[str]) -> str:
    kinds = {type(yaml.safe_load(value)) for value in values} - {type(None)}
    names = {bool: "true or false", int: "whole number", float: "number", list: "list"}
    return "number" if kinds == {int, float} else names.get(kinds.pop(), "text") if kinds else ""


def _type_name(annotation: Any) -> str:
    name = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    name = str(annotation) if not name or "|" in str(annotation) else name
    for python, ours in (
        ("list[float]", "list of numbers"),
        ("str", "text"),
        ("int", "whole number"),
        ("float", "number"),
        ("bool", "true or false"),
        (" | None", ", or null"),
    ):
        name = name.replace(python, ours)
    return name


def _yaml(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return (
        yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n...\n").strip()
    )

"""What `hosts/__init__.pyi` tells type checkers is what there is, in either generation."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

from solo_gedi import hosts
from solo_gedi.methods import register

SOURCE = Path(hosts.__file__)


def declared(body):
    """Name -> declaration, of what a stub's module or class offers."""
    found = {}
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.AnnAssign):
            found[node.target.id] = node
        elif isinstance(node, ast.ImportFrom):
            found |= {name.asname: node for name in node.names if name.asname}
    return found


STUB = declared(ast.parse(SOURCE.with_suffix(".pyi").read_text()).body)
FUNCTIONS = sorted(name for name, node in STUB.items() if isinstance(node, ast.FunctionDef))


def test_every_name_is_declared_and_no_other():
    generation = importlib.import_module(f"solo_gedi.hosts.{hosts.GENERATION}")
    of_both = declared(ast.parse(SOURCE.read_text()).body)
    assert STUB.keys() == {*of_both, *generation.__all__}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_take_what_is_declared(name):
    taken = inspect.signature(getattr(hosts, name)).parameters
    assert [argument.arg for argument in STUB[name].args.args] == list(taken)


@pytest.mark.parametrize("method", ["gedi", "barlow", "swav"])
def test_methods_have_what_is_declared(method, load_config):
    register()
    cfg = load_config(method)
    cfg.devices = [0]
    model = hosts.METHODS[cfg.method](hosts.parse_pretrain(cfg))
    members = declared(STUB["BaseMethod"].body)
    assert "learnable_params" in members
    assert [name for name in members if not hasattr(model, name)] == []


def test_the_linear_probe_has_what_is_declared(load_config):
    cfg = load_config("gedi")
    cfg.devices = [0]
    cfg.finetune = False
    cfg = hosts.parse_linear(cfg)
    model = hosts.LinearModel(hosts.build_backbone(hosts.BACKBONES, cfg), cfg=cfg)
    members = declared(STUB["LinearModel"].body)
    assert [name for name in members if not hasattr(model, name)] == []

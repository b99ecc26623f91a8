"""Every command is a function, with the same names and defaults."""

import inspect
from importlib import import_module

import pytest

from solo_gedi.cli import COMMANDS, parser_of

# The function behind a command, and what only one of the two has.
FUNCTIONS = {
    "pretrain": (
        "solo_gedi.config.compose.load_config",
        {"config", "config_path", "config_name", "cfg"},
        {"name", "kind"},
    ),
    "linear": (
        "solo_gedi.config.compose.load_config",
        {"config", "config_path", "config_name", "cfg"},
        {"name", "kind"},
    ),
    "evaluate": ("solo_gedi.report.evaluate", set(), {"write"}),
    "predict": ("solo_gedi.inference.predict.predict", set(), set()),
    "sample": ("solo_gedi.inference.sample.sample", set(), set()),
    "export": ("solo_gedi.inference.export.export", set(), set()),
    "explore": ("solo_gedi.report.explore.explore", set(), set()),
    "benchmark": ("solo_gedi.comparison.benchmark.benchmark", set(), set()),
    "configs": ("solo_gedi.config.shipped.copy_configs", {"copy"}, {"folder"}),
    "run": ("solo_gedi.cli.run.run_program", set(), set()),
    "demo": ("solo_gedi.comparison.demo.demo", set(), set()),
    "cell": ("solo_gedi.comparison.cell.cell", set(), set()),
    "toy": ("solo_gedi.comparison.toy.study.toy", set(), set()),
}


def test_every_command_is_a_function():
    assert FUNCTIONS.keys() == COMMANDS.keys()


@pytest.mark.parametrize("command", COMMANDS)
def test_names_and_defaults_are_those_of_the_function(command):
    path, parsers_own, functions_own = FUNCTIONS[command]
    module, _, name = path.rpartition(".")
    parameters = _parameters(getattr(import_module(module), name))
    parser = parser_of(command)
    actions = {a.dest: a for a in parser._actions if a.dest != "help"}
    assert actions.keys() - parsers_own == parameters.keys() - functions_own
    for dest, action in actions.items():
        if dest in parsers_own or not action.option_strings:
            continue
        default = parameters[dest].default
        if action.required:
            assert default is inspect.Parameter.empty, dest
            continue
        given = action.default
        if isinstance(given, str) and action.type is not None:
            given = action.type(given)
        assert _plain(given) == _plain(default), dest


def _parameters(function):
    """A function's parameters; `**options` are those of the evaluation, which it passes on."""
    own = dict(inspect.signature(function).parameters)
    if own.pop("options", None) is None:
        return own
    passed_on = inspect.signature(import_module("solo_gedi.report").evaluate).parameters
    return {**{k: v for k, v in passed_on.items() if k not in ("model", "out", "write")}, **own}


def _plain(value):
    """A list as the command line has it: names with commas between them, or none."""
    if isinstance(value, str):
        return value
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return "" if value == {} else value

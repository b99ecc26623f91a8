"""The command line: `solo-gedi COMMAND ...`.

A command is a module of this package with `add_arguments(parser)`, `run(arguments)` and its help as
docstring. It imports torch and the library inside `run` alone, so that help answers at once.
"""

import argparse
import importlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from io import TextIOWrapper
from traceback import clear_frames
from typing import NoReturn

from solo_gedi.errors import ConfigError, GEDIError, Interrupted, is_of_disk
from solo_gedi.memory import keep_freed_memory

COMMANDS = {
    "pretrain": "pretrain a method, with solo-learn's config syntax",
    "linear": "train the linear probe on a pretrained backbone",
    "evaluate": "measure what a pretrained method clusters, generates and detects",
    "predict": "cluster and score images with a pretrained method",
    "sample": "draw samples, and show how the chains get there",
    "export": "write a model for other libraries: Hugging Face, timm, torchvision, ONNX",
    "explore": "write a page for exploring images: map, clusters, least typical images",
    "benchmark": "compare methods over seeds, beside the paper's numbers",
    "configs": "list the shipped configs, or copy them to be edited",
    "run": "run one of solo-learn's programs, such as main_knn.py, with gedi registered",
    "demo": "compare GEDI, SwAV and Barlow Twins on digits in minutes",
    "cell": "one cell of a benchmark: pretrain, then evaluate",
    "toy": "train a method on moons or circles, all seeds at once",
}

# Commands that hand on what follows their first argument.
PASS_ON = ("run",)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are ConfigErrors, without the page of usage."""

    def error(self, message: str) -> NoReturn:
        """Raise the message as a ConfigError."""
        raise ConfigError(f"{message} ({self.prog} --help)")


class _Help(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """The module's text as it stands; of options the numbers and words that they default to."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        word = isinstance(action.default, int | str) and action.default is not False
        return super()._get_help_string(action) if word else action.help


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the console script.

    Args:
        arguments: those of the process when None.

    Returns:
        The exit status: 0, or 2 for a user's error, or 128 + the number of a signal; 1 for a fault
        of ours.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    own = given[:2] if given[:1] and given[0] in PASS_ON else given
    debug = "--debug" in own
    given = [*(argument for argument in own if argument != "--debug"), *given[len(own) :]]
    try:
        status = _main(given, debug)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    return status


def _main(given: list[str], debug: bool) -> int:
    command, *rest = given or ["help"]
    if command in ("--version", "-V"):
        print(f"solo-gedi {version('solo-gedi')}")
        return 0
    if command in ("help", "-h", "--help"):
        if not rest:
            print(_usage())
            return 0
        command, rest = rest[0], ["--help"]
    if command not in COMMANDS:
        known = ", ".join(COMMANDS)
        print(f"solo-gedi: error: no command {command!r}; choose from {known}", file=sys.stderr)
        return 2
    try:
        module = importlib.import_module(f"solo_gedi.cli.{command}")
        parser = parser_of(command)
        parse = parser.parse_args if command in PASS_ON else parser.parse_intermixed_args
        arguments = parse(rest)
        # Threads that spin while they wait make small networks up to fifty times slower as soon
        # as another program wants a core; torch reads this when it is imported.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        keep_freed_memory()
        _show_logs()
        return module.run(arguments) or 0
    except (Interrupted, KeyboardInterrupt) as error:
        ended = error if isinstance(error, Interrupted) else Interrupted(signal.SIGINT)
        processes = sys.modules.get("solo_gedi.core.processes")  # not, if it ended before that
        if processes is None or processes.is_first():
            print(ended, flush=True)
        return 128 + ended.signal
    except (GEDIError, OSError) as error:
        if debug or not (isinstance(error, GEDIError) or is_of_disk(error)):
            raise
        if not getattr(error, "said", False):
            print(f"solo-gedi {command}: error: {error}", file=sys.stderr)
        # The error's frames hold the workers of a DataLoader, which would delay the end by seconds.
        clear_frames(error.__traceback__)
        return 2


def parser_of(command: str) -> Parser:
    """The parser of a command.

    Args:
        command: a key of `COMMANDS`.
    """
    module = importlib.import_module(f"solo_gedi.cli.{command}")
    parser = Parser(
        f"solo-gedi {command}",
        description=module.__doc__,
        formatter_class=_Help,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    return parser


def _usage() -> str:
    lines = "\n".join(f"  {name:10}{text}" for name, text in COMMANDS.items())
    return (
        f"usage: solo-gedi COMMAND ...\n\n{lines}\n\n"
        "solo-gedi COMMAND --help describes a command, --version prints the version, and\n"
        "--debug shows the traceback of an error."
    )


class _Console(logging.Handler):
    """What the library says goes to standard output, its warnings to standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        stream = sys.stderr if record.levelno > logging.INFO else sys.stdout
        tqdm.write(self.format(record), file=stream)  # above a bar, if there is one
        stream.flush()


def _show_logs() -> None:
    # A path may hold what the output's encoding has not, as that of a pipe on Windows.
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    logger = logging.getLogger("solo_gedi")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(_Console())

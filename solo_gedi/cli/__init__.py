"""The command line: `solo-gedi <command> ...`."""

import os
import sys
from traceback import clear_frames

COMMANDS = {
    "pretrain": "pretrain a method, with solo-learn's config syntax",
    "linear": "train the linear probe on a pretrained backbone",
    "evaluate": "cluster, generate, tell apart: what a pretrained method can do",
    "benchmark": "methods and seeds side by side, beside the paper",
    "cell": "one cell of a benchmark: pretrain, then evaluate",
    "toy": "a method on moons or circles, all seeds at once",
    "demo": "GEDI, SwAV and Barlow Twins on digits, side by side, in minutes",
}


_MODULES = {
    "pretrain": "training.pretrain",
    "linear": "training.linear",
    "evaluate": "evaluation.evaluate",
    "benchmark": "comparison.benchmark",
    "cell": "comparison.cell",
    "toy": "comparison.toy.study",
    "demo": "comparison.demo",
}


def main() -> None:
    """Entry point of the console script."""
    debug = "--debug" in sys.argv
    given = [argument for argument in sys.argv[1:] if argument != "--debug"]
    command, *arguments = given or ["--help"]
    if command not in (*COMMANDS, "-h", "--help"):
        known = ", ".join(COMMANDS)
        print(f"solo-gedi: error: no command {command!r}; choose from {known}", file=sys.stderr)
        sys.exit(2)
    if command not in COMMANDS:
        usage = "\n".join(f"  {name:10}{text}" for name, text in COMMANDS.items())
        usage += "\n\n--debug shows the traceback of an error."
        print(f"usage: solo-gedi COMMAND ...\n\n{usage}")
        sys.exit(0)
    # Threads that spin while they wait make small networks up to fifty times slower as soon as
    # another program wants a core; torch reads this when it is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Imported late: help must not wait for torch.
    from importlib import import_module

    from solo_gedi.errors import ConfigError

    try:
        import_module(f"solo_gedi.{_MODULES[command]}").main(arguments)
        sys.stdout.flush()
    except ConfigError as error:
        if debug:
            raise
        print(f"solo-gedi {command}: error: {error}", file=sys.stderr)
        # The error's frames hold the workers of a DataLoader, which would delay the end by seconds.
        clear_frames(error.__traceback__)
        sys.exit(2)
    except BrokenPipeError:  # whoever read the output has left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)

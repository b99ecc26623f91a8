"""Train solo-learn's offline linear probe on a pretrained backbone.

solo-gedi linear digits/gedi pretrained_feature_extractor=PATH.ckpt
"""

import argparse

from solo_gedi.cli._config import add_cfg_argument, add_config_arguments, run_config
from solo_gedi.errors import Interrupted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_config_arguments(parser)
    add_cfg_argument(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    if (cfg := run_config(arguments, "linear")) is None:
        return
    from solo_gedi.training import linear

    done = linear(cfg)
    if done.interrupted is not None:
        raise Interrupted(done.interrupted)

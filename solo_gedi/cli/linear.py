"""Train solo-learn's offline linear probe on a pretrained backbone.

solo-gedi linear digits/gedi pretrained_feature_extractor=PATH.ckpt
"""

import argparse

from solo_gedi.cli._config import add_config_arguments as add_arguments
from solo_gedi.cli._config import train

__all__ = ["add_arguments", "run"]


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    train(arguments, "linear")

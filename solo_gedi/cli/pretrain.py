"""Pretrain GEDI, JEM or any of solo-learn's methods.

solo-gedi pretrain digits/gedi max_epochs=2
solo-gedi pretrain --config-path scripts/pretrain/cifar --config-name swav.yaml dataset=cifar100
"""

import argparse

from solo_gedi.cli._config import add_config_arguments as add_arguments
from solo_gedi.cli._config import train

__all__ = ["add_arguments", "run"]


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    train(arguments, "pretrain")

"""Pretrain GEDI, JEM or any of solo-learn's methods.

solo-gedi pretrain digits/gedi max_epochs=2
solo-gedi pretrain --config-path scripts/pretrain/cifar --config-name swav.yaml dataset=cifar100
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
    if (cfg := run_config(arguments, "pretrain")) is None:
        return
    from solo_gedi.training import pretrain

    done = pretrain(cfg)
    if done.interrupted is not None:
        raise Interrupted(done.interrupted)

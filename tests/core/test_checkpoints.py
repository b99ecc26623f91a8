"""Checkpoints that other programs have written."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from solo_gedi.core import checkpoints
from solo_gedi.errors import CheckpointError

WEIGHTS = {"backbone.conv.weight": torch.tensor(1.0), "projector.bias": torch.tensor(0.0)}


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "model._orig_mod.module."])
def test_weights_of_a_wrapped_network_have_their_own_names(tmp_path, prefix):
    state = {prefix + key: value for key, value in WEIGHTS.items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "a.ckpt")
    checkpoint = checkpoints.read(tmp_path / "a.ckpt")
    assert checkpoint["state_dict"] == WEIGHTS
    assert checkpoint["epoch"] == 3


def test_a_part_may_have_been_compiled(tmp_path):
    state = {key.replace(".", "._orig_mod.", 1): value for key, value in WEIGHTS.items()}
    torch.save({"state_dict": state}, tmp_path / "a.ckpt")
    assert checkpoints.read(tmp_path / "a.ckpt")["state_dict"] == WEIGHTS


def test_a_prefix_that_not_all_weights_have_is_named():
    own = {"conv.weight": torch.ones(2), "bias": torch.ones(2)}
    state = {"net.conv.weight": torch.ones(2), "bias": torch.ones(2)}
    with pytest.raises(CheckpointError, match=r"lacks conv\.weight, but has net\.conv\.weight"):
        checkpoints.check_state(state, own, "a.ckpt")


OBJECTS = {
    "omegaconf.dictconfig.DictConfig": OmegaConf.create({"lr": 1}),
    "argparse.Namespace": argparse.Namespace(lr=1),
    r"numpy\.\w+\.multiarray\.scalar": np.float64(1),
    r"numpy\.\w+\.multiarray\._reconstruct": np.ones(2),
    r"pathlib\.\w+Path": Path("a"),
    r"torch\.nn\.modules\.linear\.Linear": torch.nn.Linear(2, 2),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_in_a_checkpoint_are_named_with_a_way_out(tmp_path, name):
    path = tmp_path / "a.ckpt"
    torch.save({"state_dict": WEIGHTS, "hyper_parameters": OBJECTS[name]}, path)
    with pytest.raises(CheckpointError, match=rf"holds {name}\. If you trust it, save its weights"):
        checkpoints.read(path)
    # The way out, as the message has it.
    c = torch.load(path, weights_only=False)
    torch.save({"state_dict": c["state_dict"]}, path)
    assert checkpoints.read(path)["state_dict"].keys() == WEIGHTS.keys()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (WEIGHTS, r'it is one itself; save it as \{"state_dict": \.\.\.\}'),
        (
            {"model": WEIGHTS, "epoch": 1},
            r"\['model', 'epoch'\]; save model as state_dict",
        ),
        ({"epoch": 1}, r"keys are \['epoch'\]$"),
        ({"state_dict": 1}, r"not one of Lightning's$"),
        ([1], r"not one of Lightning's$"),
    ],
)
def test_what_a_file_holds_instead_is_named(tmp_path, content, says):
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=f"has no state_dict: .*{says}"):
        checkpoints.read(tmp_path / "a.ckpt")

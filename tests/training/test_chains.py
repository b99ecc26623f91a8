"""How many chains a run keeps, where its config leaves that open."""

from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf

from solo_gedi.config import load_config as shipped
from solo_gedi.hosts import parse_pretrain
from solo_gedi.methods import GEDI, register
from solo_gedi.training import pretrain
from solo_gedi.training.pretrain import chains_for


@pytest.mark.parametrize(
    ("images", "chains"), [(300, 64), (1000, 192), (50_000, 9996), (1_281_167, 10_000)]
)
def test_chains_are_a_fifth_of_the_images(images, chains):
    """As the paper's 10,000 for CIFAR, as far as whole batches go; never fewer than a batch."""
    assert chains_for(SimpleNamespace(batch_size=64, dataset=range(images)), 64) == chains
    assert chains_for(SimpleNamespace(batch_size=None, dataset=None), 64) == 10_000


def test_a_checkpoint_of_few_images_is_small(load_config, image_folder):
    images = image_folder(per_class=16)
    given = [f"data.train_path={images}", "data.num_workers=0", "optimizer.batch_size=8"]
    cfg = load_config("gedi", *given, "backbone.kwargs.width=8", suite="custom")
    cfg.method_kwargs.sgld.num_steps = 1
    run = pretrain(cfg)
    assert run.config.method_kwargs.sgld.buffer_size == 9
    (buffer,) = torch.load(run.checkpoint, weights_only=True)["replay_buffers"]
    assert buffer["chains"].shape == (9, 3, 32, 32)
    assert run.checkpoint.stat().st_size < 1e6


def test_where_nobody_counts_the_images_there_are_10_000(image_folder):
    register()
    images = image_folder(per_class=1)
    cfg = shipped("custom/gedi", [f"data.train_path={images}", "devices=[0]"])
    OmegaConf.set_struct(cfg, False)
    assert cfg.method_kwargs.sgld.buffer_size is None
    assert GEDI(parse_pretrain(cfg)).sgld.buffer_size == 10_000

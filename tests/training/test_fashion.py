"""FashionMNIST, from torchvision's files through the loaders and a short training."""

import pytest
import torch

from solo_gedi import hosts
from solo_gedi.methods import register
from solo_gedi.training import linear, loaders, pretrain
from solo_gedi.training.job import parse

SMALL = (
    *("data.train_path=data", "data.num_workers=0", "optimizer.batch_size=16"),
    *("backbone.kwargs.width=8", "method_kwargs.sgld.num_steps=2"),
    "method_kwargs.sgld.buffer_size=50",
)


@pytest.fixture
def written(tmp_path, mnist_files):
    return mnist_files(tmp_path / "data")


def test_splits_are_as_the_network_takes_them(load_config, written):
    register()
    cfg = parse(load_config("gedi", *SMALL, suite="fashion"), hosts.parse_pretrain)
    for train, split in ((True, "train"), (False, "t10k")):
        images, labels = written[split]
        batches = list(loaders.plain_loader(cfg, train=train))
        expected = (torch.from_numpy(images)[:, None] / 255 - 0.2860) / 0.3530
        torch.testing.assert_close(torch.cat([x for x, _ in batches]), expected)
        assert torch.cat([y for _, y in batches]).tolist() == labels.tolist()
    _, views, labels = next(iter(loaders.pretrain_loader(cfg)))
    assert [view.shape for view in views] == [(16, 1, 28, 28)] * 2
    assert labels.shape == (16,)


def test_a_run_trains_and_its_probe_finds_the_files(load_config, written):
    run = pretrain(load_config("gedi", *SMALL, suite="fashion"))
    assert run.method.replay_buffer.chains.shape == (50, 1, 28, 28)
    assert run.config.data.num_classes == run.config.method_kwargs.num_clusters == 10
    assert 0 <= run.metrics["val_acc1"] <= 100
    probe = load_config(
        "gedi",
        *("data.train_path=data", "data.num_workers=0", "optimizer.batch_size=16"),
        *("backbone.kwargs.width=8", f'pretrained_feature_extractor="{run.checkpoint}"'),
        suite="fashion",
        kind="linear",
    )
    assert 0 <= linear(probe).metrics["val_acc1"] <= 100

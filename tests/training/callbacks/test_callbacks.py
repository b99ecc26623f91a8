import os
import random

import numpy as np
import pytest
import torch

from solo_gedi.data import SampleSpace
from solo_gedi.errors import CheckpointError
from solo_gedi.training.callbacks import AtomicCheckpointIO, InputNoise, RandomState


def test_random_states_come_back_through_a_checkpoint(tmp_path):
    torch.save(RandomState().state_dict(), tmp_path / "state.pt")
    draws = lambda: (random.random(), np.random.rand(), torch.rand(3).tolist())  # noqa: E731, NPY002
    first = draws()
    assert draws() != first
    RandomState().load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert draws() == first


def test_a_failing_save_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    path, io = tmp_path / "a.ckpt", AtomicCheckpointIO()
    io.save_checkpoint({"x": torch.ones(3)}, path)

    def full_disk(self, checkpoint, path, storage_options=None):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("lightning.pytorch.plugins.TorchCheckpointIO.save_checkpoint", full_disk)
    with pytest.raises(CheckpointError, match=r"a\.ckpt could not be written: No space"):
        io.save_checkpoint({"x": torch.zeros(3)}, path)
    assert torch.equal(torch.load(path)["x"], torch.ones(3))
    assert os.listdir(tmp_path) == ["a.ckpt"]


def test_input_noise_changes_every_view_in_place_by_the_given_size():
    torch.manual_seed(0)
    space = SampleSpace.of_images(mean=[0.5, 0.1], std=[0.5, 0.25])
    views = [torch.zeros(4000, 2, 2, 2) for _ in range(2)]
    InputNoise(space, 0.1).on_train_batch_start(None, None, [None, views, None], 0)
    for view in views:
        noise = view.std(dim=(0, 2, 3)) * torch.tensor(space.scale)
        torch.testing.assert_close(noise, torch.full((2,), 0.1), rtol=0.03, atol=0)

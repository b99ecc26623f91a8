"""Samples as pictures."""

import numpy as np
import torch
from PIL import Image

from solo_gedi.data import grid_picture, save_grid, to_picture


def test_samples_of_any_device_become_pictures(monkeypatch):
    """None is here but the CPU: what was not brought there cannot be read."""
    read, brought = torch.Tensor.numpy, torch.Tensor.to
    there = []

    def to(tensor, *given, **more):
        found = brought(tensor, *given, **more)
        there.extend([found] if "cpu" in map(str, given) else [])
        return found

    def numpy(tensor, *given, **more):
        assert any(
            tensor.untyped_storage().data_ptr() == x.untyped_storage().data_ptr() for x in there
        )
        return read(tensor, *given, **more)

    monkeypatch.setattr(torch.Tensor, "to", to)
    monkeypatch.setattr(torch.Tensor, "numpy", numpy)
    picture = to_picture(torch.tensor([[[-1.0, 1.0]]]))
    assert list(picture.tobytes()) == [0, 255]


def test_a_grid_has_its_samples_in_order_and_small_ones_enlarged(tmp_path):
    levels = torch.linspace(-1.5, 1.5, 9).view(9, 1, 1, 1).expand(-1, 3, 8, 8)
    picture = grid_picture(levels, columns=3)
    assert picture.size == (3 * (32 + 2) + 2,) * 2
    middles = [
        picture.getpixel((2 + 16 + 34 * (k % 3), 2 + 16 + 34 * (k // 3)))[0] for k in range(9)
    ]
    dotted = levels.clone()
    dotted[4, :, 2, 5] = 1.0  # one of its pixels, which is enlarged to 4
    shown = np.asarray(grid_picture(dotted, columns=3))[..., 0]
    assert (shown[36 + 8 : 36 + 12, 36 + 20 : 36 + 24] == 255).all()
    assert shown[36 + 20, 36 + 8] < 255
    assert middles == [round((min(max(k * 3 / 8 - 1.5, -1), 1) + 1) / 2 * 255) for k in range(9)]
    save_grid(levels, tmp_path / "new" / "grid.png", columns=3)
    with Image.open(tmp_path / "new" / "grid.png") as saved:
        assert saved.tobytes() == picture.tobytes()

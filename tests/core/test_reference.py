"""How likely training images are, as shares of them."""

import torch

from solo_gedi.core.reference import Reference


def test_the_share_below_equally_likely_images_counts_none_of_them():
    reference = Reference.of([torch.zeros(600), 1 + torch.arange(400.0)])
    shares = reference.share_below(torch.tensor([-1.0, 0.0, 400.0]))
    assert torch.allclose(shares, torch.tensor([0.0, 0.0, 1.0]))
    assert float(Reference.of([torch.ones(9)]).share_below(torch.ones(1))) == 0

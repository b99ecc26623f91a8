"""What holds for every backbone of the package."""

import pytest
import torch

from solo_gedi.backbones import BACKBONES

INPUTS = {"energy_resnet8": (3, 16, 16), "mlp": (2,)}
KWARGS = {"energy_resnet8": {"width": 8}, "mlp": {"hidden_dim": 16, "num_features": 5}}


@pytest.fixture(params=BACKBONES)
def backbone_and_batch(request):
    torch.manual_seed(0)
    backbone = BACKBONES[request.param](**KWARGS[request.param]).double()
    return backbone, torch.randn(6, *INPUTS[request.param], dtype=torch.float64)


def test_features_have_the_size_the_backbone_tells(backbone_and_batch):
    backbone, batch = backbone_and_batch
    assert backbone(batch).shape == (6, backbone.num_features)


def test_features_of_a_point_do_not_depend_on_its_batch(backbone_and_batch):
    """In training mode: the energy of a point is then its own, and the sampler's the same."""
    backbone, batch = backbone_and_batch
    alone = torch.cat([backbone(batch[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(backbone(batch), alone)
    torch.testing.assert_close(backbone.eval()(batch), alone)


def test_gradient_reaches_every_parameter_and_the_input(backbone_and_batch):
    backbone, batch = backbone_and_batch
    batch.requires_grad_()
    backbone(batch).square().sum().backward()
    assert [name for name, p in backbone.named_parameters() if not p.grad.any()] == []
    assert batch.grad.flatten(1).any(1).all()


@pytest.mark.parametrize("name", BACKBONES)
def test_no_backbone_has_a_name_that_solo_learn_would_rewire(name):
    assert not name.startswith("resnet")

import pytest
import torch
from torch import nn

from solo_gedi.core.sampler import SGLDSettings
from solo_gedi.data import SampleSpace
from solo_gedi.inference import Model


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.anchor = nn.Parameter(torch.zeros(()))  # a model has a device

    def forward(self, x):
        return self.function(x)


@pytest.fixture
def make_model():
    """Builds a model of points whose scores and features are known functions."""

    def make(scores, features=lambda x: x, space=None, **sgld):
        return Model(
            Function(features),
            Function(scores),
            output="cluster head",
            num_clusters=2,
            space=space or SampleSpace(),
            normalization=None,
            input_shape=(2,),
            config={"method": "gedi", "data": {"dataset": "moons"}},
            sgld=SGLDSettings(**sgld),
        )

    return make

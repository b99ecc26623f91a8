import pytest
import torch
import torch.nn.functional as F
from torch import nn

from solo_gedi.backbones import MLP
from solo_gedi.comparison.toy.stacking import stack, unstack
from solo_gedi.core import EnergyHead


def plain():
    return nn.Sequential(MLP(), EnergyHead(2, 4, 3, temperature=0.5))


def normed():
    head = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    prototypes = nn.utils.weight_norm(nn.Linear(2, 2, bias=False))
    prototypes.weight_g.data.fill_(1)
    prototypes.weight_g.requires_grad = False
    return nn.Sequential(MLP(), head, prototypes)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("build", [plain, normed])
def test_stacked_networks_train_as_each_alone(build):
    """Outputs, ten steps of Adam and running statistics, against torch's own layers.

    In double precision: Adam makes as much of a rounding error as of any other gradient.
    """
    torch.manual_seed(0)
    alone = [build().double() for _ in range(3)]
    torch.manual_seed(0)
    together = [build().double() for _ in range(3)]
    stacked = stack(together)
    optimizers = [torch.optim.Adam(net.parameters(), 1e-2) for net in alone]
    optimizer = torch.optim.Adam(stacked.parameters(), 1e-2)
    for _ in range(10):
        x, target = torch.randn(3, 50, 2).double(), torch.randint(2, (3, 50))
        outputs = stacked(x)
        for k, net in enumerate(alone):
            torch.testing.assert_close(outputs[k], net(x[k]))
            optimizers[k].zero_grad()
            F.cross_entropy(net(x[k]), target[k]).backward()
            optimizers[k].step()
        # torch's networks have seen the batch twice.
        outputs = stacked(x)
        optimizer.zero_grad()
        sum(F.cross_entropy(outputs[k], target[k]) for k in range(3)).backward()
        optimizer.step()
    unstack(stacked, together)
    for own, other in zip(alone, together, strict=True):
        own.eval()
        other.eval()
        torch.testing.assert_close(other(x[0]), own(x[0]))


def test_a_broken_network_leaves_the_others_alone():
    torch.manual_seed(0)
    networks = [plain() for _ in range(3)]
    networks[1][0].layers[0].weight.data.fill_(float("nan"))
    stacked = stack(networks)
    stacked(torch.randn(3, 20, 2)).square().sum().backward()
    for parameter in stacked.parameters():
        assert parameter.grad[[0, 2]].isfinite().all()

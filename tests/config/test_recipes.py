"""Why the image recipes depart from the letter of Table 5: what each makes of real images."""

import pytest
import torch
from sklearn.datasets import load_digits

from solo_gedi.backbones import EnergyResNet8
from solo_gedi.config import load_config
from solo_gedi.core import EnergyHead, GEDIObjective, invariance_loss, prior_loss

SUITES = ["fashion", "svhn", "cifar", "custom"]


def kwargs_of(suite, method, *overrides):
    paths = ["data.train_path=."] if suite == "custom" else []
    return load_config(f"{suite}/{method}", [*paths, *overrides]).method_kwargs


def trained_clusters(kwargs, seed, steps=200):
    """Shares of the clusters among scikit-learn's digits after some steps without GEN."""
    torch.manual_seed(seed)
    pixels = torch.from_numpy(load_digits().images).float()[:, None] / 8 - 1
    head = EnergyHead(
        8,
        16,
        num_clusters=10,
        temperature=kwargs.temperature,
        batch_norm=kwargs.use_bn_in_head,
    )
    network = torch.nn.Sequential(EnergyResNet8(width=8, in_channels=1), head)
    objective = GEDIObjective(gen=0, inv=kwargs.weights.inv, prior=kwargs.weights.prior)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)

    def view(x):
        x = torch.roll(x, torch.randint(-1, 2, (2,)).tolist(), (2, 3))
        x = x * (1.4 - 0.8 * torch.rand(len(x), 1, 1, 1))
        return x + kwargs.input_noise_std * torch.randn_like(x)

    for _ in range(steps):
        x = pixels[torch.randint(len(pixels), (64,))]
        loss = objective(network(view(x)), network(view(x)))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        clusters = network(pixels).argmax(1)
    return torch.bincount(clusters, minlength=10) / len(clusters)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_papers_weights_leave_one_cluster_and_the_recipes_many(seed):
    letter = trained_clusters(kwargs_of("fashion", "gedi_paper"), seed)
    recipe = trained_clusters(kwargs_of("fashion", "gedi"), seed)
    assert letter.max() == 1
    assert (recipe > 0.01).sum() >= 8
    assert recipe.max() < 0.4


@pytest.mark.parametrize("suite", [*SUITES, "cifar dataset=cifar100"])
def test_where_the_letter_is_lowest_among_predictions_that_know_nothing(suite):
    """Of constant predictions the letter prefers one cluster to all, the recipe all to one."""
    name, *overrides = suite.split()
    clusters = 100 if overrides else 10

    def loss(method, share):
        kwargs = kwargs_of(name, method, *overrides)
        prediction = torch.full((64, clusters), (1 - share) / (clusters - 1))
        prediction[:, 0] = share
        logits = prediction.log()
        inv, prior = invariance_loss(logits, logits), prior_loss(logits)
        return float(kwargs.weights.inv * inv + kwargs.weights.prior * prior)

    assert loss("gedi_paper", 0.9) < loss("gedi_paper", 1 / clusters) - 40
    assert loss("gedi", 0.9) > loss("gedi", 1 / clusters) + 40

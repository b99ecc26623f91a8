# %% [markdown]
# # Use the core in your own loop
#
# `solo_gedi.core` is plain PyTorch. It needs neither solo-learn nor Lightning, and works with any
# encoder. This tutorial writes GEDI's training loop in twenty lines and runs it on digits.

# %%
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import normalized_mutual_info_score

from solo_gedi.core import (
    EnergyHead,
    GEDIObjective,
    ReplayBuffer,
    Sampler,
    SGLDSettings,
    evaluation_mode,
    log_density,
)

torch.manual_seed(0)
digits = load_digits()
images = torch.from_numpy(digits.images).float()[:, None] / 8 - 1  # (1797, 1, 8, 8) in [-1, 1]

# %% [markdown]
# ## The parts
#
# - The **encoder** is yours.
# - `EnergyHead` gives one logit per cluster. Their softmax is p(y|x), their logsumexp is log p(x)
#   up to a constant.
# - `GEDIObjective` weights the three terms. A term of weight 0 is not computed.
# - `ReplayBuffer` keeps the chains, and `Sampler` moves them by SGLD.

# %%
encoder = torch.nn.Sequential(
    torch.nn.Conv2d(1, 32, 3, padding=1),
    torch.nn.LeakyReLU(0.2),
    torch.nn.Conv2d(32, 32, 3, stride=2, padding=1),
    torch.nn.LeakyReLU(0.2),
    torch.nn.Flatten(),
)
head = EnergyHead(in_dim=512, hidden_dim=64, num_clusters=10, temperature=0.1)
model = torch.nn.Sequential(encoder, head)
objective = GEDIObjective(gen=1.0, inv=100.0, prior=200.0, energy_l2=0.02)
settings = SGLDSettings(num_steps=5, step_size=0.5, buffer_size=64, reinit_prob=0.01)


def uniform(shape, **kwargs):
    return torch.rand(shape, **kwargs) * 2 - 1


buffer = ReplayBuffer(settings.buffer_size, (1, 8, 8), settings.reinit_prob, uniform)
sampler = Sampler(settings, buffer)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)


# %%
def view(x):
    """Another view: shifted by up to a pixel, with other brightness and noise."""
    dx, dy = torch.randint(-1, 2, (2,)).tolist()
    bright = 0.6 + 0.4 * torch.rand(len(x), 1, 1, 1)
    x = torch.roll(x, (dx, dy), (2, 3))
    return (x + 1) * bright - 1 + 0.03 * torch.randn_like(x)


# %% [markdown]
# ## The loop
#
# This is Algorithm 1: draw samples, evaluate data and samples, take a step.

# %%
for _ in range(4):
    for batch in torch.randperm(len(images)).split(64)[:-1]:
        x, x_view = view(images[batch]), view(images[batch])
        with evaluation_mode(model):  # batch norm and dropout stay out of the density
            samples = sampler.draw(lambda s: log_density(model(s)), len(x))
        terms = objective(model(x), model(x_view), log_density(model(samples)))
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
    print({name: round(term.item(), 3) for name, term in terms.items()})

# %%
with torch.no_grad():
    clusters = model(images).argmax(1)
round(normalized_mutual_info_score(digits.target, clusters), 2)

# %% [markdown]
# `terms` has every term, unweighted, and `loss`, their weighted sum. `sampler.watched` has the mean
# norm of the chains' gradients and the chains' range: if one of them explodes, see [recovering from
# divergence](../how-to/divergence.md).
#
# To resume exactly, save `sampler.state_dict()` with the weights and the optimizer: it holds the
# chains and the state of their random generator.
#
# [The reference](../reference/core.md) describes the functions and classes.

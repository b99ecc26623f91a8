# %% [markdown]
# # The toy study and its energy landscapes
#
# The paper uses two rings and two half moons to show what each term does. This tutorial trains GEDI
# on the rings with and without GEN, the generative term, and plots log p(x) and the clusters. The
# runs are short, so that they end within a few minutes; [the table](../results/index.md#toy) has
# the paper's 20,000 iterations.
#
# ![The energy landscape on circles during training](../pictures/circles.gif)

# %%
import matplotlib.pyplot as plt
import torch

import solo_gedi as sg
from solo_gedi.comparison.toy.study import toy
from solo_gedi.data import fixed_points, spec_of

# %% [markdown]
# ## Train
#
# `toy` trains all seeds of a method at once, as one stacked network, and evaluates each. An "epoch"
# is 1,000 iterations.

# %%
methods = {"all three terms": "toy/gedi", "without GEN": "toy/gedi_nogen"}
short = ["dataset=circles", "max_epochs=3"]
found = {
    name: toy(f"runs/{name}", config, seeds=(0,), tasks="clustering", overrides=short)
    for name, config in methods.items()
}


def nmi(metrics):
    wanted = {"metric": "nmi", "source": "model"}
    return [round(r["value"], 2) for r in metrics["results"] if wanted.items() <= r.items()]


{name: [nmi(metrics) for metrics in runs] for name, runs in found.items()}

# %% [markdown]
# ## Look
#
# Each seed is a run like any other, so `load` reads it. `log_density` takes points in the plane.

# %%
points, labels = fixed_points(spec_of("circles"), seed=0, n=600)
line = torch.linspace(-1.6, 1.6, 100)
mesh = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)

figure, axes = plt.subplots(2, len(methods), figsize=(7, 6.6))
for (above, below), name in zip(axes.T, methods, strict=True):
    model = sg.load(f"runs/{name}/seed=0")
    with torch.no_grad():
        log_p = model.log_density(mesh.flatten(0, 1)).view(100, 100)
    above.contourf(line, line, log_p, levels=20)
    above.set_title(f"log p, {name}")
    clusters = model.cluster_probs(points).argmax(1)
    below.scatter(*points.T, s=4, c=clusters, cmap="coolwarm")
    below.set_title(f"clusters, {name}")
    for axis in (above, below):
        axis.set(aspect="equal", xticks=[], yticks=[])
figure.tight_layout()

# %% [markdown]
# The dark line is where log p(x) is lowest: there the clusters meet, and both logits are small.
# Seeds differ, so compare methods over several of them. Far from the data, where no chain has ever
# been, log p(x) means nothing.
#
# ## The whole study
#
# ```sh
# solo-gedi benchmark toy --seeds 5          # Table 2; ten seeds took 81 minutes on two cores
# solo-gedi benchmark sensitivity --seeds 2  # Figure 2: NMI over the weights
# ```
#
# Read next: [the triad of failure modes](../concepts/triad.md), and
# [the results](../results/index.md#toy).

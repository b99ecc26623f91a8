# %% [markdown]
# # Detect out-of-distribution images and choose a threshold
#
# A model with an energy says how likely an image is, compared with its training images. This
# tutorial scores images, measures how well the scores separate unusual images from usual ones, and
# turns a score into a decision. It runs in a minute on a laptop.
#
# The usual images are digits that the shipped model has not seen. The unusual ones are noise and
# small pieces of the two photographs that come with scikit-learn.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images
from sklearn.metrics import roc_auc_score

import solo_gedi as sg
from solo_gedi.data.datasets import Digits

generator = np.random.default_rng(0)
photographs = [Image.fromarray(image).convert("L") for image in load_sample_images().images]


def piece():
    photograph = photographs[generator.integers(2)]
    x, y = generator.integers(0, (photograph.width - 200, photograph.height - 200))
    return photograph.crop((x, y, x + 200, y + 200)).resize((8, 8))


sets = {
    "usual": [Image.fromarray(image) for image in Digits("test", train=False).images],
    "noise": [Image.fromarray(x) for x in generator.integers(0, 256, (300, 8, 8), np.uint8)],
    "photos": [piece() for _ in range(300)],
}
for name, images in sets.items():
    Path(name).mkdir()
    for i, image in enumerate(images):
        image.save(Path(name, f"{i:03d}.png"))

figure, axes = plt.subplots(3, 10, figsize=(7, 2.2))
for row, images in zip(axes, sets.values(), strict=True):
    for axis, image in zip(row, images, strict=False):
        axis.imshow(image, cmap="gray", vmin=0, vmax=255)
        axis.axis("off")

# %% [markdown]
# ## Score
#
# Every row has three scores, and for all of them **higher means more usual**:
#
# - `log_density`: log p(x), up to a constant that is the same for all images of one model;
# - `neg_grad_norm`: the paper's score, minus the norm of the gradient of log p(x);
# - `typicality`: the share of the training images that are less likely. It is the easiest to read:
#   0.01 means more unusual than 99 % of them.

# %%
model = sg.load("gedi-digits")
rows = {name: sg.predict(model, name) for name in sets}
{name: round(float(np.median([row["typicality"] for row in rows[name]])), 2) for name in sets}

# %% [markdown]
# ## Measure
#
# AUROC is the probability that a usual image scores above an unusual one: 1 is perfect, 0.5 is
# chance. **Below 0.5 the score points the wrong way**: it ranks the unusual set above the usual
# one. That also happens to good density models, so measure it on images like yours.


# %%
def auroc(usual, strange):
    is_usual = np.r_[np.ones(len(usual)), np.zeros(len(strange))]
    return round(float(roc_auc_score(is_usual, np.r_[usual, strange])), 2)


def column(name, score):
    return np.array([row[score] for row in rows[name]])


scores, strange = ("neg_grad_norm", "log_density"), ("noise", "photos")
{
    name: {score: auroc(column("usual", score), column(name, score)) for score in scores}
    for name in strange
}

# %%
figure, axes = plt.subplots(1, 2, figsize=(8, 2.6))
for axis, score in zip(axes, scores, strict=True):
    for name in sets:
        axis.hist(column(name, score), bins=40, alpha=0.5, label=name)
    axis.set_xlabel(f"{score} (higher: usual)")
    axis.legend()
figure.tight_layout()

# %% [markdown]
# ## Compare with a score that needs no density
#
# The distance to the nearest features of known images is a strong baseline, but it needs a set of
# usual images at hand. Here, half of ours serve as the known ones.

# %%
features = {}
for name in sets:
    sg.predict(model, name, out=f"{name}.csv", features=f"{name}.npz")
    found = np.load(f"{name}.npz")["features"]
    features[name] = found / np.linalg.norm(found, axis=1, keepdims=True)
known, features["usual"] = features["usual"][::2], features["usual"][1::2]


def closeness(name, k=5):
    distances = np.linalg.norm(features[name][:, None] - known, axis=2)
    return -np.sort(distances, axis=1)[:, k - 1]


{name: auroc(closeness("usual"), closeness(name)) for name in strange}

# %% [markdown]
# For this small model the baseline wins, which is why you should measure before you choose. For a
# run of your own, `evaluate` compares five scores at once:
#
# ```sh
# solo-gedi evaluate RUN --tasks ood --ood custom:strange,uniform,shuffled
# ```
#
# ## Choose a threshold
#
# You rarely have the unusual images beforehand. Choose the threshold on usual ones: decide which
# rate of false alarms you accept, and take that quantile. With `typicality`, the threshold is the
# rate of false alarms: `typicality < 0.05` rejects 5 % of images that are like the training images.

# %%
accepted = 0.05
{name: round(float(np.mean(column(name, "typicality") < accepted)), 3) for name in sets}

# %% [markdown]
# The first number is the rate of false alarms on held-out images, the others are detection rates.
# If the first is far from what you accepted, your images are not like the training images. In that
# case, take the quantile over your own usual images, of whichever score was best:

# %%
threshold = np.quantile(closeness("usual"), accepted)
{name: round(float(np.mean(closeness(name) < threshold)), 3) for name in ("usual", *strange)}

# %% [markdown]
# ## What to keep in mind
#
# - A threshold belongs to one model. After a new training, choose it again.
# - Choose it on images that the model was not trained on: those it has seen look more likely to it.
# - Noise is easy for some scores and hard for others. Report results on the kinds of images that
#   you expect to meet.

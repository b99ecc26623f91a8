# %% [markdown]
# # Cluster and search your own photos
#
# You have a folder of images and no labels. This tutorial groups them, finds the ones that look
# like a given one, and trains a model on the folder. It runs in a minute on a laptop.
#
# The photos here are scikit-learn's handwritten digits, written to files so that the tutorial needs
# no download. For a folder of your own, [train on it](#train-on-the-folder) first, and then use
# your model in place of `gedi-digits`.

# %%
from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

import solo_gedi as sg

photos = Path("photos")
photos.mkdir()
digits = load_digits()
for i in range(200):
    Image.fromarray((digits.images[i] * 15.9).astype(np.uint8)).save(photos / f"{i:03d}.png")

# %% [markdown]
# ## Cluster
#
# `predict` takes files, folders and globs, and returns one row per image. `gedi-digits` is a model
# of 8x8 digits that comes with the package; [further down](#train-on-the-folder) you train your
# own.

# %%
model = sg.load("gedi-digits")
rows = sg.predict(model, photos)
rows[0]

# %% [markdown]
# `cluster` is the group, `confidence` its probability, and `second` the runner-up, with the
# probability `second_share`. An image with two probabilities of about 0.5 lies between two groups.

# %%
Counter(row["cluster"] for row in rows).most_common()


# %%
def show(files, title):
    figure, axes = plt.subplots(1, len(files), figsize=(len(files), 1.3))
    figure.suptitle(title, fontsize=9)
    for axis, file in zip(axes, files, strict=True):
        axis.imshow(Image.open(file), cmap="gray")
        axis.axis("off")


for cluster in (0, 1, 2):
    members = [row for row in rows if row["cluster"] == cluster]
    best = sorted(members, key=lambda row: -row["confidence"])[:8]
    show([row["file"] for row in best], f"cluster {cluster}: its clearest members")

# %% [markdown]
# Clusters have numbers, not names: the model has never seen a label.
#
# On the command line, the same works for any number of images, and writes to a file:
#
# ```sh
# solo-gedi predict gedi-digits photos --out clusters.csv
# solo-gedi explore gedi-digits photos   # one interactive page
# ```
#
# ## Search
#
# `features` writes the backbone's features of each image. Images that look alike have similar
# features.

# %%
sg.predict(model, photos, out="clusters.csv", features="features.npz")
archive = np.load("features.npz")
files, features = archive["files"], archive["features"]
features.shape

# %%
unit = features / np.linalg.norm(features, axis=1, keepdims=True)


def like(query, count=8):
    similarity = unit @ unit[list(files).index(str(query))]
    return files[np.argsort(-similarity)][:count]


for query in (photos / "003.png", photos / "010.png"):
    show(like(query), f"most like {query.name}, which comes first")

# %% [markdown]
# ## Train on the folder
#
# `custom/gedi_fast` is a recipe for folders of images. `data.no_labels=true` uses every image in
# the folder. To be quick, this trains a small network for one epoch; for a real model, leave out
# the last line of overrides and train for [as long as it improves](../how-to/own-data.md).

# %%
cfg = sg.load_config(
    "custom/gedi_fast",
    [
        "data.train_path=photos",
        "data.no_labels=true",
        "method_kwargs.num_clusters=10",
        "optimizer.batch_size=64",
        *("backbone.kwargs.width=8", "max_epochs=1", "data.num_workers=0"),
    ],
)
run = sg.pretrain(cfg)
own = sg.load(run)
own

# %% [markdown]
# Use `own` in place of `model` above. How many clusters to ask for is
# [a separate question](../how-to/number-of-clusters.md).

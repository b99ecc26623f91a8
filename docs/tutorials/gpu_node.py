# %% [markdown]
# # Train on a GPU node and resume
#
# A run on a cluster is stopped sooner or later: by the time limit, for a job of higher priority, or
# by you. This tutorial starts a run, stops it with a signal, and resumes it. It uses small digits
# so that it also runs on a CPU; on a GPU node the commands are the same.
#
# ## The job
#
# ```sh
# sbatch --gpus 1 --cpus-per-task 8 --time 12:00:00 --signal USR1@600 \
#     --wrap "srun solo-gedi pretrain cifar/gedi data.train_path=$HOME/datasets"
# ```
#
# `--signal` sends the run a signal ten minutes before the time limit. Submit the job again by hand,
# and it continues; [a batch script](../how-to/slurm.md) can do that automatically. By default,
# `accelerator=auto` uses a GPU if there is one. See also [several GPUs](../how-to/multi-gpu.md).

# %%
import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import torch

import solo_gedi as sg

torch.cuda.is_available()

# %% [markdown]
# ## Start, and stop it half way
#
# The run gets a signal, as from Slurm, as soon as it has written its first checkpoint. It finishes
# its current step, saves in the middle of the epoch, and ends.

# %%
command = [
    *(sys.executable, "-m", "solo_gedi"),  # `solo-gedi` in a shell
    *("pretrain", "digits/gedi_fast", "max_epochs=8", "checkpoint.frequency=1"),
    "data.num_workers=0",
]
folder = Path("trained_models/gedi")
job = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
while job.poll() is None and not list(folder.glob("*/*.ckpt")):
    time.sleep(0.1)
job.send_signal(signal.SIGTERM)
said, _ = job.communicate()
print(said)
job.returncode  # 128 + SIGTERM: the queue sees that it was stopped

# %% [markdown]
# ## Start the same command again
#
# It finds the unfinished run of the same config and continues with its weights, optimizer, chains
# and random states. On a CPU, the result is bit for bit that of an uninterrupted run.

# %%
again = subprocess.run(command, capture_output=True, text=True, check=True)
print(again.stdout)

# %%
runs = list(folder.iterdir())
len(runs), sorted(path.name for path in runs[0].iterdir())

# %% [markdown]
# One folder holds the whole run. Its log has two parts, one for each start:

# %%
curve = {}
for path in sorted(runs[0].glob("logs/version_*/metrics.csv")):
    with path.open() as file:
        for row in csv.DictReader(file):
            if row.get("train_gedi_loss_epoch"):
                curve[int(row["epoch"])] = float(row["train_gedi_loss_epoch"])
figure, axis = plt.subplots(figsize=(5, 2.5))
axis.plot(list(curve), list(curve.values()), "o-")
axis.set(xlabel="epoch", ylabel="train_gedi_loss", xticks=list(curve))
figure.tight_layout()

# %%
sg.load(runs[0])

# %% [markdown]
# ## Copy the result home
#
# A run's folder can be moved. To use the model where solo-learn is not installed, copy the folder,
# or [export it](../how-to/export.md).

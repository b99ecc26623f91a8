# %% [markdown]
# # Add a loss term
#
# A new method is a subclass of `GEDI` that overrides `training_step`. This tutorial adds the
# entropy of p(y|x), a term that makes predictions confident, and trains with GEDI's config.

# %%
import torch
from omegaconf import OmegaConf

import solo_gedi as sg
from solo_gedi import hosts
from solo_gedi.methods import GEDI

# %% [markdown]
# ## Write the term
#
# Write a loss as a pure function of tensors, and document its shapes, range and unit. Try it on
# cases that you can work out by hand.


# %%
def decision_loss(logits: torch.Tensor) -> torch.Tensor:
    """Mean entropy of p(y|x), in nats: 0 if every point is in one cluster, log c if none is.

    Args:
        logits: (n, c).
    """
    return torch.special.entr(logits.softmax(-1)).sum(-1).mean()


certain, open_ = torch.eye(3) * 50, torch.zeros(3, 3)
decision_loss(certain).item(), decision_loss(open_).item()  # 0 and log 3

# %% [markdown]
# ## Put it into a method
#
# `training_step` returns the loss. The new term needs the cluster logits `z`, which costs one more
# forward pass over one view. What you log with `self.log` appears in `metrics.csv` and wandb.


# %%
class DecidedGEDI(GEDI):
    """GEDI with the entropy of p(y|x) as a fourth term."""

    weight = 0.1

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        decision = decision_loss(self(batch[1][0])["z"])
        self.log("train_decision_loss", decision)
        return loss + self.weight * decision


# %% [markdown]
# ## Train it
#
# solo-learn finds methods by name. Add yours to the installed version, and name it in a config.

# %%
sg.register()
hosts.METHODS["decided_gedi"] = DecidedGEDI
cfg = sg.load_config(
    "digits/gedi_fast",
    ["method=decided_gedi", "name=decided", "max_epochs=1", "+limit_train_batches=10"],
)
OmegaConf.update(cfg, "data.num_workers", 0)
run = sg.pretrain(cfg)
{name: round(value, 3) for name, value in run.metrics.items() if name.endswith("loss_epoch")}

# %%
round(run.metrics["train_decision_loss"], 3)

# %% [markdown]
# `load`, `evaluate` and `predict` read this run like any other, because your class has GEDI's
# layers.
#
# ## Make it a part of the package
#
# To share a term with others, put it into `solo_gedi/core/losses.py`, with its weight in
# `GEDIObjective`, its key in `method_kwargs`, and a test against an independent reference.
# `CONTRIBUTING.md` lists the steps.

"""Makes a resumed run draw the random numbers that the uninterrupted one would have drawn."""

import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback


class RandomState(Callback):
    """Saves and restores the global random states of Python, NumPy and torch.

    Lightning loads callbacks before it builds the first epoch's data iterator, whose order is
    drawn from these states, so order, augmentations and noise go on as if never interrupted.
    """

    def state_dict(self) -> dict[str, Any]:
        """The states, as tensors and builtins."""
        state: Any = np.random.get_state(legacy=True)  # noqa: NPY002
        name, keys, *rest = state
        return {
            "python": random.getstate(),
            "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *rest],
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the states; those of GPUs where there are as many as before."""
        random.setstate(state_dict["python"])
        name, keys, *rest = state_dict["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
        torch.set_rng_state(state_dict["torch"].cpu())
        cuda = state_dict["cuda"]
        if torch.cuda.is_available() and len(cuda) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([state.cpu() for state in cuda])

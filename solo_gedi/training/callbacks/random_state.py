"""Makes a resumed run draw the random numbers that the uninterrupted one would have drawn."""

import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from solo_gedi.core.processes import gather, rank, world_size


class RandomState(Callback):
    """Saves and restores the global random states of Python, NumPy and torch, every process's own.

    With them the noise, and what is augmented on the device, go on as if never interrupted. Which
    images come next, and their augmentation by workers, follow from the seed: see `TrainingLoader`.

    Lightning seeds all processes alike; here each but the first goes on from another seed, so
    that no two of them augment and perturb their images in the same way.
    """

    def __init__(self) -> None:
        self._restored = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Part the processes' randomness, unless a checkpoint has brought back each one's own."""
        if rank() and not self._restored:
            seed = torch.initial_seed() + rank()
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            torch.manual_seed(seed)

    def state_dict(self) -> dict[str, Any]:
        """The states of all processes, as tensors and builtins."""
        return {"processes": gather(_state())}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore this process's states, if there are as many processes as before."""
        states = state_dict["processes"]
        if len(states) == world_size():
            _restore(states[rank()])
            self._restored = True


def _state() -> dict[str, Any]:
    state: Any = np.random.get_state(legacy=True)  # noqa: NPY002
    name, keys, *rest = state
    return {
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
    }


def _restore(state: dict[str, Any]) -> None:
    """Set the states; those of GPUs where there are as many as before."""
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    cuda = state["cuda"]
    if torch.cuda.is_available() and len(cuda) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([state.cpu() for state in cuda])
    if (mps := state.get("mps")) is not None and torch.backends.mps.is_available():
        torch.mps.set_rng_state(mps.cpu())

"""How likely a model finds what it was trained on: the ruler for every other log p."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from solo_gedi.errors import CheckpointError, reason
from solo_gedi.files import write_json

NAME = "reference.json"  # beside the checkpoint that it is of
QUANTILES = 1001
MAX_IMAGES = 10_000


@dataclass(frozen=True)
class Reference:
    """Quantiles of log p over training images, without augmentation.

    Attributes:
        log_density: ascending, from the least likely image's to the most likely one's, at equal
            steps of their share.
        images: how many they were taken from.

    Example:
        >>> Reference.of([torch.arange(101.0)]).share_below(torch.tensor([-3.0, 25.0, 999.0]))
        tensor([0.0000, 0.2500, 1.0000])
    """

    log_density: tuple[float, ...]
    images: int

    @classmethod
    def of(cls, log_density: Iterable[Tensor]) -> "Reference":
        """Take the quantiles.

        Args:
            log_density: batches (n,), of at least one image in all.
        """
        values = torch.cat([batch.detach().flatten().cpu().double() for batch in log_density])
        quantiles = np.quantile(values.numpy(), np.linspace(0, 1, QUANTILES))
        return cls(tuple(quantiles.tolist()), len(values))

    def share_below(self, log_density: Tensor) -> Tensor:
        """The share of training images that are less likely.

        Args:
            log_density: (n,), of the same model.

        Returns:
            (n,) in [0, 1]; 0.001 is stranger than 99.9 % of what the model was trained on.
        """
        shares = np.linspace(0, 1, len(self.log_density))
        # From above: where many are equally likely, the share below all of them.
        descending = -np.asarray(self.log_density)[::-1]
        found = 1 - np.interp(-log_density.detach().cpu().double().numpy(), descending, shares)
        return torch.from_numpy(found).float()

    def write(self, folder: Path, checkpoint: str, epochs: float) -> None:
        """Keep it in a run's folder.

        Args:
            folder: the checkpoint's.
            checkpoint: the name of its file.
            epochs: that it was trained for.
        """
        content: dict[str, Any] = {"format": 1, "checkpoint": checkpoint, "epochs": epochs}
        content |= {"images": self.images, "log_density": list(self.log_density)}
        write_json(folder / NAME, content)


def checkpoint_of(folder: Path) -> str | None:
    """The name of the checkpoint that a folder has the reference of.

    Args:
        folder: of a run.

    Returns:
        None where there is no reference, or no such checkpoint any more.

    Example:
        >>> checkpoint_of(Path("nowhere")) is None
        True
    """
    try:
        name = json.loads((folder / NAME).read_text())["checkpoint"]
        return str(name) if (folder / name).is_file() else None
    except (KeyError, OSError, TypeError, ValueError):
        return None


def read_reference(checkpoint: Path, epochs: float) -> Reference | None:
    """The reference that lies beside a checkpoint.

    Args:
        checkpoint: the file.
        epochs: that it was trained for.

    Returns:
        None where there is none, or that of another checkpoint.

    Raises:
        CheckpointError: if the file is broken.

    Example:
        >>> read_reference(Path("nowhere/gedi-ep=0.ckpt"), 1) is None
        True
    """
    path = checkpoint.parent / NAME
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text())
        if found["checkpoint"] != checkpoint.name or not math.isclose(found["epochs"], epochs):
            return None
        return Reference(tuple(map(float, found["log_density"])), int(found["images"]))
    except (KeyError, OSError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is broken ({reason(error)}): delete it, and `solo-gedi evaluate` renews it"
        ) from error

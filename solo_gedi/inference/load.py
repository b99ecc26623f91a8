"""A pretrained method, read back from the folder of its run."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from solo_gedi import hosts
from solo_gedi.config import compose as config
from solo_gedi.data import SampleSpace
from solo_gedi.errors import ConfigError, reason
from solo_gedi.methods import sample_space
from solo_gedi.training import checkpoints

_REQUIRED = (
    *("name", "method", "backbone.name", "data.dataset", "data.num_classes", "augmentations"),
    *("optimizer.name", "optimizer.batch_size", "scheduler.name", "max_epochs"),
)


@dataclass
class Trained:
    """What a run left behind.

    Attributes:
        checkpoint: the file.
        cfg: the run's config, parsed.
        model: with the checkpoint's weights, on the GPU where there is one.
        chains: (n, ...) of the replay buffers of all processes; None for a method without.
        epochs: how many it was trained for.
        events: what the divergence guard had to undo, and when.
    """

    checkpoint: Path
    cfg: DictConfig
    model: hosts.BaseMethod
    chains: Tensor | None
    epochs: int
    events: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.checkpoint.parent

    @property
    def space(self) -> SampleSpace:
        """The space its samples live in."""
        return sample_space(self.cfg)


def load(path: Path, overrides: DictConfig | None = None) -> Trained:
    """Read a checkpoint, with the config beside it.

    Args:
        path: of the file, its run or its cell, see `checkpoints.of_run`.
        overrides: keys of the config to change, as paths of data that have moved.

    Raises:
        ConfigError: if there is none, it does not fit its config, or its weights are not finite.
    """
    path = checkpoints.of_run(path)
    saved = checkpoints.load(path)
    cfg = checkpoints.saved_config(path)
    if cfg is None:
        raise ConfigError(f"{path.parent} has no args.json, in which a run keeps its config")
    if "method" not in cfg:
        raise ConfigError(f"{path} is not of a pretraining run: its args.json names no method")
    if isinstance(cfg.get("data"), DictConfig):
        cfg.data.setdefault("test_path", None)
    OmegaConf.set_struct(cfg, True)  # a key that is misspelt would change nothing
    try:
        cfg.merge_with(overrides or {})
    except OmegaConfBaseException as error:
        raise ConfigError(f"{overrides} does not fit the run's config: {reason(error)}") from error
    OmegaConf.set_struct(cfg, False)
    config.check(cfg, _REQUIRED, str(path.parent / "args.json"))
    model = config.build_method(cfg)
    checkpoints.check_state(saved["state_dict"], model.state_dict(), path)
    model.load_state_dict(saved["state_dict"])
    buffers = [buffer["chains"] for buffer in saved.get("replay_buffers", [])]
    return Trained(
        checkpoint=path,
        cfg=cfg,
        model=model.to("cuda" if torch.cuda.is_available() else "cpu").eval(),
        chains=torch.cat(buffers) if buffers else None,
        epochs=saved.get("epoch", -1) + 1,
        events=saved.get("callbacks", {}).get("DivergenceGuard", {}).get("events", []),
    )

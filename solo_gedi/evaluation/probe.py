"""The linear probe of a run that is being evaluated."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from solo_gedi import hosts
from solo_gedi.config import compose as config
from solo_gedi.inference.load import Trained

# Table 8's: SGD with momentum, 100 epochs, learning rate 1e-3, batch 100.
PAPER: dict[str, Any] = {
    "optimizer": {
        "name": "sgd",
        "batch_size": 100,
        "lr": 2.56e-3,  # solo-learn multiplies by batch / 256
        "weight_decay": 0,
        "kwargs": {"momentum": 0.9},
    },
    "scheduler": {"name": "none"},
    "max_epochs": 100,
    "check_val_every_n_epoch": 100,
    "devices": "1",
    "accelerator": "auto",
    "strategy": "auto",
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def probe_config(run: Trained, path: Path | None, changes: DictConfig) -> DictConfig:
    """The config of a probe on a run's backbone and data, before solo-learn's parsing.

    Args:
        run: the pretrained method.
        path: yaml of a linear config, for its optimizer and length; the paper's when None.
        changes: keys that win over both.

    Raises:
        ConfigError: if the probe cannot work with them.
    """
    cfg = run.cfg
    first = cfg.augmentations[0]
    mean, std = hosts.normalization(hosts.build_transform(cfg.data.dataset, first))
    crop = {"augmentations": {"crop_size": first.crop_size, "mean": mean, "std": std}}
    base = config.load(path.parent, path.stem, []) if path else OmegaConf.create(PAPER)
    data = {key: cfg.data.get(key) for key in ("dataset", "train_path", "val_path", "num_workers")}
    own = {
        "name": f"{cfg.name}-linear",
        "seed": cfg.seed,
        "pretrain_method": cfg.method,
        "pretrained_feature_extractor": str(run.checkpoint),
        "backbone": cfg.backbone,
        "data": {**data, **crop},
        "checkpoint": {
            "enabled": True,
            "dir": str(run.folder),
            "frequency": 10,
            "keep_prev": False,
        },
        "auto_resume": {"enabled": True, "max_hours": 36},
        "resume_from_checkpoint": None,
        "wandb": {"enabled": False},
    }
    merged = OmegaConf.merge(base, own, changes)
    assert isinstance(merged, DictConfig)
    config.prepare(merged, required=config.LINEAR)
    return merged

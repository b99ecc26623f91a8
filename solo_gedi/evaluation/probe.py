"""The linear probe of a model that is being evaluated."""

from omegaconf import DictConfig, OmegaConf

from solo_gedi.errors import ConfigError
from solo_gedi.evaluation.subject import Subject


def probe_config(subject: Subject) -> DictConfig:
    """The config of a probe on a model's backbone and data, as `training.linear` takes it.

    `linear_config` gives the optimizer and the length, the paper's setting where there is none;
    `probe.key=value` wins over both.

    Args:
        subject: the model, with its data and options.

    Raises:
        ConfigError: if the probe's config cannot be composed, or the model has no checkpoint.
    """
    from solo_gedi.config import load_config, shipped_configs

    cfg, model, chosen = subject.cfg, subject.model, subject.options.linear_config
    if model.checkpoint is None or model.normalization is None:
        raise ConfigError("the linear probe needs images, and the checkpoint of a run")
    base = load_config(chosen or shipped_configs() / "shared" / "linear.yaml", kind="linear")
    if chosen is None:
        base.enable_progress_bar = base.enable_model_summary = False
        base.check_val_every_n_epoch = base.max_epochs
    mean, std = model.normalization
    crop = {"crop_size": cfg.augmentations[0].crop_size, "mean": list(mean), "std": list(std)}
    keys = ("dataset", "train_path", "val_path", "num_workers", "format", "fraction")
    data = {key: cfg.data[key] for key in keys if cfg.data.get(key) is not None}
    own = {
        "name": f"{cfg.name}-linear",
        "seed": cfg.seed,
        "pretrain_method": cfg.method,
        "pretrained_feature_extractor": str(model.checkpoint),
        "backbone": cfg.backbone,
        "data": {**data, "augmentations": crop},
        "checkpoint": {
            "enabled": True,
            "dir": str(subject.folder),
            "frequency": 10,
            "keep_prev": False,
        },
        "auto_resume": {"enabled": True, "max_hours": 36},
        "resume_from_checkpoint": None,
        "wandb": {"enabled": False},
    }
    merged = OmegaConf.merge(base, own, subject.probe)
    assert isinstance(merged, DictConfig)
    return merged

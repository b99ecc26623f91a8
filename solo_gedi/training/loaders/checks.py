"""Whether data fit each other and the network, before training starts."""

import torch
from omegaconf import DictConfig, OmegaConf

from solo_gedi import hosts
from solo_gedi.core import evaluation_mode
from solo_gedi.data import class_folders, spec_of
from solo_gedi.errors import ConfigError, DataError, GEDIError, reason
from solo_gedi.training.loaders.batches import TrainingLoader
from solo_gedi.training.loaders.reading import is_read_here
from solo_gedi.training.loaders.views import DeviceViews


def check_inputs(
    cfg: DictConfig, train: TrainingLoader, crop_size: int, views: DeviceViews | None = None
) -> None:
    """Try the backbone on one view of the training data before training starts.

    Args:
        cfg: parsed config.
        train: its training data.
        crop_size: what the config says.
        views: what `device_views` gave.

    Raises:
        ConfigError: if the view cannot be made, or the backbone does not take it.
    """
    backbone = hosts.build_backbone(hosts.BACKBONES, cfg)
    try:
        first = next(iter(train.dataset))
    except GEDIError:
        raise
    except (RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(f"augmentations fail on the first image: {reason(error)}") from error
    if views is not None:
        batch = views(first[1][None])[0]
    else:
        view = first[1][0] if isinstance(first[1], list) else first[0]
        batch = view if train.batch_size is None else view[None]
    try:
        with evaluation_mode(backbone), torch.inference_mode():
            backbone(batch)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"backbone={OmegaConf.to_container(cfg.backbone)} cannot take inputs of shape "
            f"{tuple(batch.shape[1:])} (augmentations.crop_size={crop_size}): {reason(error)}"
        ) from error


def check_classes(cfg: DictConfig) -> None:
    """Check that the classes of a folder of validation images are among those of the training.

    Args:
        cfg: parsed config.

    Raises:
        DataError: naming both.
    """
    data = cfg.data
    if not (spec_of(data.dataset).has_class_folders and is_read_here(cfg)):
        return
    train, val = class_folders(data.train_path), class_folders(data.val_path)
    if not set(val) <= set(train):
        of_val, of_train = (
            str(names) if len(names) <= 10 else f"{names[:10]} and {len(names) - 10} more"
            for names in (val, train)
        )
        raise DataError(
            f"data.val_path={data.val_path} has the class folders {of_val}, data.train_path="
            f"{data.train_path} has {of_train}, and not {min(set(val) - set(train))!r}"
        )

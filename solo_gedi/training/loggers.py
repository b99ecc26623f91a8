"""Loggers that may fail without ending the run whose progress they log."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from lightning.pytorch.loggers.logger import DummyExperiment
from lightning.pytorch.utilities import rank_zero_warn
from omegaconf import DictConfig, OmegaConf

from solo_gedi.core.processes import get_logger
from solo_gedi.errors import MissingPackageError, reason

logger = get_logger(__name__)

_OURS: list[Any] = []  # wandb's run of this process's last training


class _Forgiving:
    """Mixin: a logger that cannot write says so once, and is silent from then on."""

    failed = False

    def _attempt(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if not self.failed:
            try:
                return call(*args, **kwargs)
            except Exception as error:  # a full disk, no network, a service that refuses, ...
                if not self.failed:  # by a call within this one
                    failed = f"{type(self).__name__} has failed ({reason(error)})"
                    rank_zero_warn(f"{failed}; training goes on without it")
                self.failed = True
        return None

    @property
    def experiment(self) -> Any:
        """The logger's own object; one that takes everything, once it has failed."""
        own = self._attempt(lambda: super(_Forgiving, self).experiment)  # type: ignore[misc]
        return DummyExperiment() if self.failed else own

    def log_metrics(self, *args: Any, **kwargs: Any) -> None:
        self._attempt(super().log_metrics, *args, **kwargs)  # type: ignore[misc]

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        self._attempt(super().log_hyperparams, *args, **kwargs)  # type: ignore[misc]

    def save(self) -> None:
        self._attempt(super().save)  # type: ignore[misc]

    def finalize(self, status: str) -> None:
        self._attempt(super().finalize, status)  # type: ignore[misc]


class MetricsFile(_Forgiving, CSVLogger):
    """`logs/version_*/metrics.csv`: a resumed run begins a new one, nothing is overwritten."""


class Wandb(_Forgiving, WandbLogger):
    """wandb."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # Lightning hands it on though it is None, and wandb warns of it.
        getattr(self, "_wandb_init", {}).pop("anonymous", None)


def _id(folder: Path) -> str:
    """The same when a run is resumed, and another for a folder of the same name elsewhere."""
    return f"{folder.name}-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]}"


def loggers_of(cfg: DictConfig, folder: Path) -> list[Logger]:
    """The loggers of a run in a folder whose name is its id.

    Raises:
        MissingPackageError: if wandb is asked for and not installed.
    """
    loggers: list[Logger] = [MetricsFile(folder, name="logs")]
    if cfg.wandb.enabled:
        # Offline, all that it says is where its files are, at length.
        settings = {"settings": {"silent": True}} if cfg.wandb.offline else {}
        try:
            import wandb as service

            while _OURS:  # otherwise wandb would go on with it
                _OURS.pop().finish()
            before = service.run
            wandb = Wandb(
                name=cfg.name,
                project=cfg.wandb.project,
                entity=cfg.wandb.entity,
                offline=cfg.wandb.offline,
                resume="allow",
                id=_id(folder),
                **settings,
            )
        except ModuleNotFoundError as error:
            raise MissingPackageError(
                "wandb.enabled=true needs wandb: pip install 'solo-gedi[wandb]'"
            ) from error
        wandb.log_hyperparams(dict(OmegaConf.to_container(cfg)))  # type: ignore[arg-type]
        if before is None and service.run is not None:
            _OURS.append(service.run)
        if cfg.wandb.offline and isinstance(files := wandb.experiment.dir, str):
            logger.info("wandb is offline; later: wandb sync %s", Path(files).parent)
        loggers.append(wandb)
    return loggers

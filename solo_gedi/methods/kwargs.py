"""The `method_kwargs` of GEDI and JEM, with their defaults and checks."""

import copy
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from solo_gedi.core import DTYPES, SGLDSettings
from solo_gedi.core.processes import get_logger
from solo_gedi.errors import ConfigError

logger = get_logger(__name__)

# Weights of the terms that steady the generative one.
STEADYING = ("energy_l2", "grad_penalty")


@dataclass
class Weights:
    """Weights of the loss terms; 0 switches a term off and skips its cost.

    Attributes:
        gen: generative term (Eq. 11).
        inv: invariance term (Eq. 3).
        prior: prior, or uniformity, term (Eq. 3), a mean over the clusters. The default is Table
            5's, with which most of CIFAR-10 falls into one cluster; for images take 25 times the
            number of clusters, as the recipes do.
    """

    gen: float = 1.0
    inv: float = 50.0
    prior: float = 25.0


@dataclass
class MethodKwargs:
    """`method_kwargs` of `method: gedi` and `method: jem`.

    Attributes:
        proj_hidden_dim: units of the head's hidden layer.
        use_bn_in_head: batch norm in the head's hidden layer.
        num_clusters: clusters c; null takes the number of classes.
        cluster_prior: p(y), c probabilities that the prior term asks the clusters to be used with;
            null for equal ones.
        temperature: tau, by which the logits are divided.
        input_noise_std: Gaussian noise on the training views, for pixels in [-1, 1].
        weights: of the loss terms.
        sgld: the sampler.
        energy_l2: weight of the mean squared log-density of data and samples; off without GEN.
        grad_penalty: weight of the squared gradient of the log-density at the data; off without
            GEN.
        max_spectral_norm: weights of backbone and head are scaled down, after every step, to this
            as their largest singular value; null for no bound.
    """

    proj_hidden_dim: int = 256
    use_bn_in_head: bool = False
    num_clusters: int | None = None
    cluster_prior: list[float] | None = None
    temperature: float = 1.0
    input_noise_std: float = 0.03
    weights: Weights = field(default_factory=Weights)
    sgld: SGLDSettings = field(default_factory=SGLDSettings)
    energy_l2: float = 0.0
    grad_penalty: float = 0.0
    max_spectral_norm: float | None = None


def with_defaults(cfg: DictConfig, defaults: MethodKwargs) -> DictConfig:
    """A copy of a config, with complete `method_kwargs` that can work.

    Args:
        cfg: solo-learn's config; needs `data.num_classes` and `optimizer.batch_size`.
        defaults: those of the method.

    Raises:
        ConfigError: naming the key, its value and what would be right.
    """
    cfg = copy.deepcopy(cfg)
    try:
        if OmegaConf.is_dict(cfg.method_kwargs):
            OmegaConf.resolve(cfg.method_kwargs)  # once merged, it cannot see the other keys
            if OmegaConf.select(cfg.method_kwargs, "sgld.buffer_size", default=0) is None:
                del cfg.method_kwargs.sgld.buffer_size  # nobody has counted the images
        # A structured config refuses unknown keys and values of another type.
        kwargs: Any = OmegaConf.merge(OmegaConf.structured(defaults), cfg.method_kwargs or {})
    except OmegaConfBaseException as error:
        key = error.full_key
        where = f"method_kwargs.{key}" if key else "method_kwargs"
        raise ConfigError(f"{where}: {_reason(error, defaults, key or '')}") from error
    for section in ("", "weights.", "sgld."):
        for name, value in OmegaConf.select(kwargs, section.rstrip(".")).items():
            if isinstance(value, float) and abs(value) == float("inf"):
                raise ConfigError(f"method_kwargs.{section}{name} must be finite, got {value}")
    if kwargs.num_clusters is None:
        kwargs.num_clusters = max(2, cfg.data.num_classes)
    sgld, weights, prior = kwargs.sgld, kwargs.weights, kwargs.cluster_prior
    bounds = {
        "proj_hidden_dim": (kwargs.proj_hidden_dim >= 1, "at least 1"),
        "num_clusters": (kwargs.num_clusters >= 2, "at least 2"),
        "cluster_prior": (
            prior is None
            or weights.prior > 0
            and len(prior) == kwargs.num_clusters
            and all(p >= 0 for p in prior)
            and abs(sum(prior) - 1) <= 1e-6,
            f"{kwargs.num_clusters} (num_clusters) probabilities that sum to 1; null for "
            "equal ones or without the prior term",
        ),
        "temperature": (kwargs.temperature > 0, "above 0"),
        "input_noise_std": (kwargs.input_noise_std >= 0, "at least 0"),
        "weights.gen": (weights.gen >= 0, "at least 0"),
        "weights.inv": (weights.inv >= 0, "at least 0"),
        "weights.prior": (weights.prior >= 0, "at least 0"),
        "weights": (any(weights.values()), "such that one weight is positive"),
        **{name: (kwargs[name] >= 0, "at least 0") for name in STEADYING},
        "sgld.num_steps": (sgld.num_steps >= 1, "at least 1"),
        "sgld.step_size": (sgld.step_size > 0, "above 0"),
        "sgld.noise_std": (sgld.noise_std >= 0, "at least 0"),
        "sgld.reinit_prob": (0 <= sgld.reinit_prob <= 1, "in [0, 1]"),
        "sgld.buffer_size": (
            sgld.buffer_size >= (cfg.optimizer.batch_size if weights.gen else 1),
            f"at least optimizer.batch_size={cfg.optimizer.batch_size}"
            if weights.gen
            else "at least 1",
        ),
        **{
            key: (limit is None or limit > 0, "above 0, or null")
            for key, limit in (
                ("max_spectral_norm", kwargs.max_spectral_norm),
                ("sgld.max_grad_norm", sgld.max_grad_norm),
            )
        },
        "sgld.precision": (sgld.precision in ("auto", *DTYPES), "auto, fp32 or bf16"),
        "sgld.buffer_device": (sgld.buffer_device in (None, "cpu"), "cpu, or null"),
    }
    for key, (holds, rule) in bounds.items():
        if not holds:
            given = OmegaConf.select(kwargs, key)
            raise ConfigError(f"method_kwargs.{key} must be {rule}, got {given}")
    for name in STEADYING:
        if kwargs[name] and not weights.gen:
            logger.info("method_kwargs.%s=%s is off: it steadies GEN", name, kwargs[name])
            kwargs[name] = 0.0
    # A plain node again: solo-learn writes configs to JSON and wandb.
    cfg.method_kwargs = OmegaConf.to_container(kwargs)
    return cfg


def _reason(error: OmegaConfBaseException, defaults: MethodKwargs, key: str) -> str:
    section, _, name = key.partition("[")[0].rpartition(".")  # of a list, its own key
    known = OmegaConf.structured(defaults)
    known = OmegaConf.select(known, section) if section else known
    if name and name not in known:
        return f"unknown key; choose from {sorted(known)}"
    return str(error).splitlines()[0]

"""JEM's unsupervised part as a solo-learn method: the generative term alone."""

from dataclasses import dataclass, field

from omegaconf import DictConfig

from solo_gedi.errors import ConfigError
from solo_gedi.methods.gedi import GEDI
from solo_gedi.methods.kwargs import MethodKwargs, Weights, with_defaults


@dataclass
class JEMKwargs(MethodKwargs):
    """`method_kwargs` of `method: jem`: GEDI's with the generative term alone.

    `weights.gen` may be any number above 0: beside the steadying terms, which have weights of their
    own, it counts.
    """

    weights: Weights = field(default_factory=lambda: Weights(gen=1.0, inv=0.0, prior=0.0))


class JEM(GEDI):
    """The paper's baseline JEM (Appendix D): L_GEN only.

    Its clusters are the argmax of its logits, as the paper evaluates it.
    """

    @staticmethod
    def add_and_assert_specific_cfg(cfg: DictConfig) -> DictConfig:
        """Add the method's defaults to the config and check its values.

        Raises:
            ConfigError: for a `method_kwargs` key or value that cannot work.
        """
        cfg = with_defaults(super(GEDI, GEDI).add_and_assert_specific_cfg(cfg), JEMKwargs())
        weights = cfg.method_kwargs.weights
        if weights.inv or weights.prior:
            raise ConfigError(
                f"method_kwargs.weights of jem must leave inv and prior at 0, got {weights}: it is "
                "L_GEN alone; method: gedi takes other terms"
            )
        return cfg

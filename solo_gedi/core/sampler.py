"""The sampler of Algorithm 1: persistent SGLD chains with all that they need to continue."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from solo_gedi.core.energy import LogDensity
from solo_gedi.core.precision import DTYPES, choose_precision
from solo_gedi.core.processes import gather, get_logger
from solo_gedi.core.replay_buffer import ReplayBuffer
from solo_gedi.core.sgld import chain_norms, sample_sgld

logger = get_logger(__name__)


@dataclass
class SGLDSettings:
    """Settings of SGLD and of its replay buffer (Tables 3 and 5).

    Attributes:
        num_steps: Langevin steps per draw, at least 1.
        step_size: factor of the gradient, above 0, for samples in [-1, 1].
        noise_std: standard deviation of the noise of a step, at least 0.
        buffer_size: chains kept, per process.
        reinit_prob: probability in [0, 1] that a drawn chain starts afresh.
        max_grad_norm: a chain's longer gradients are shortened to this; None: none are.
        clip_samples: whether the chains stay in [-1, 1], or in the box of a toy set.
        precision: of the network in the sampler: fp32, bf16, or auto, which on a processor with
            bf16 measures both at the first draw, and takes bf16 where it is faster and its
            gradients have fp32's direction.
        compile: whether the method compiles the energy that it samples from with torch.compile.

    Example:
        >>> SGLDSettings(num_steps=10, step_size=5e-5).noise_std
        0.01
    """

    num_steps: int = 20
    step_size: float = 1.0
    noise_std: float = 0.01
    buffer_size: int = 10000
    reinit_prob: float = 0.05
    max_grad_norm: float | None = None
    clip_samples: bool = False
    precision: str = "auto"
    compile: bool = False


class Sampler:
    """Draws samples from a model by moving the chains of a replay buffer with SGLD.

    It owns the settings, the chains, their precision, their randomness (the buffer's generator)
    and the factor of the step size, and saves and restores them together. The networks behind a
    density belong in evaluation mode: see `evaluation_mode`.

    Args:
        settings: how chains move; not changed.
        buffer: the chains. A slot may hold one chain of each of k networks, (k, ...).
        box: (low, high) of the sample space, for `settings.clip_samples`.
        gather_distributed: let all processes choose one precision together; all must then draw.

    Attributes:
        precision: "fp32" or "bf16"; "auto" until it is measured at the first draw.
        step_factor: what the settings' step size is multiplied by.
        watched: of the last draw, as scalars: `chain_grad_norm`, the mean norm of a chain's
            gradient, and `chain_range`, the largest size of a sample's value.

    Raises:
        ValueError: for an unknown precision, or `clip_samples` without a box.

    Example:
        >>> def log_p(x):  # a standard Gaussian
        ...     return -0.5 * x.square().sum(1)
        >>> generator = torch.Generator().manual_seed(0)
        >>> buffer = ReplayBuffer(100, (2,), reinit_prob=0.05, init_fn=torch.rand,
        ...                       generator=generator)
        >>> sampler = Sampler(SGLDSettings(step_size=0.1, precision="fp32"), buffer)
        >>> sampler.draw(log_p, 16).shape
        torch.Size([16, 2])
        >>> sampler.scale_step(0.5)
        >>> sampler.step_size
        0.05
    """

    def __init__(
        self,
        settings: SGLDSettings,
        buffer: ReplayBuffer,
        box: tuple[float, float] | None = None,
        *,
        gather_distributed: bool = False,
    ) -> None:
        if settings.precision not in ("auto", *DTYPES):
            raise ValueError(f"precision must be auto, fp32 or bf16, got {settings.precision}")
        if settings.clip_samples and box is None:
            raise ValueError("clip_samples needs the box that samples are clipped to")
        self.settings, self.buffer = settings, buffer
        self.box = box if settings.clip_samples else None
        self.gather_distributed = gather_distributed
        self.precision = settings.precision
        self.step_factor = 1.0
        self.watched: dict[str, Tensor] = {}

    @property
    def step_size(self) -> float:
        """The step size in use: the settings' times `step_factor`."""
        return self.settings.step_size * self.step_factor

    def scale_step(self, factor: float) -> None:
        """Multiply the step size from now on.

        Args:
            factor: above 0.

        Raises:
            ValueError: for another factor.
        """
        if not factor > 0:
            raise ValueError(f"factor must be positive, got {factor}")
        self.step_factor *= factor

    def draw(self, log_density_fn: LogDensity, n: int) -> Tensor:
        """Move n chains of the buffer, and write them back ("Generate samples", Algorithm 1).

        Args:
            log_density_fn: (n, ...) -> (n,), log p up to a constant; or (n, k, ...) -> (n, k) for
                k networks with a chain each in every slot.
            n: number of chains, from 1 to the size of the buffer.

        Returns:
            (n, *sample_shape) samples, without gradient.

        Raises:
            ValueError: for n outside its range.
        """
        settings = self.settings
        chains, slots = self.buffer.draw(n)
        if self.precision == "auto":
            self.precision = self._measured_precision(log_density_fn, chains)
        norms: list[Tensor] = []

        def note_norms(step: dict[str, Any]) -> None:
            norms.append(chain_norms(step["grad"], step["log_density"].dim()))

        samples = sample_sgld(
            log_density_fn,
            chains,
            settings.num_steps,
            self.step_size,
            settings.noise_std,
            max_grad_norm=settings.max_grad_norm,
            box=self.box,
            dtype=DTYPES[self.precision],
            generator=self.buffer.generator,
            callback=note_norms,
        )
        self.buffer.write(slots, samples)
        self.watched = {
            "chain_grad_norm": torch.stack(norms).mean(),
            "chain_range": samples.abs().amax(),
        }
        return samples

    def _measured_precision(self, log_density_fn: LogDensity, chains: Tensor) -> str:
        choice, reason = choose_precision(log_density_fn, chains)
        choices = gather(choice) if self.gather_distributed else [choice]
        # All processes alike: bf16 only where every one of them found it faster.
        precision = "bf16" if set(choices) == {"bf16"} else "fp32"
        logger.info("The sampler runs in %s: %s.", precision, reason)
        return precision

    def restart(self, chains: Tensor | None = None) -> None:
        """Replace all chains and continue with new randomness.

        Args:
            chains: (size, *sample_shape) earlier chains to go back to, which are copied; fresh
                ones when None.
        """
        buffer = self.buffer
        if buffer.generator is not None:
            buffer.generator.manual_seed(buffer.generator.initial_seed() + 7919)
        if chains is None:
            buffer.restart()
        else:
            buffer.chains = chains.clone()

    def state_dict(self) -> dict[str, Any]:
        """`buffer`, `precision` and `step_factor`; tensors and builtins only."""
        return {
            "buffer": self.buffer.state_dict(),
            "precision": self.precision,
            "step_factor": self.step_factor,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue as the saved sampler would; a precision that the settings name stays.

        Args:
            state: of `state_dict`. Without a `buffer` the chains stay as they are.

        Raises:
            ValueError: if the saved buffer has another size or sample shape.
        """
        if "buffer" in state:
            self.buffer.load_state_dict(state["buffer"])
        if self.settings.precision == "auto":
            self.precision = state["precision"]
        self.step_factor = state["step_factor"]


def saved_sampler(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The `precision` and `step_factor` of a checkpoint's sampler.

    Args:
        checkpoint: of a method with an energy. Before the sampler saved its step size, it was
            halved at every recovery from divergence but the first, and these were listed.

    Returns:
        A state for `Sampler.load_state_dict`, without the chains.

    Example:
        >>> saved_sampler({"sampler": {"precision": "bf16", "step_factor": 0.5}})
        {'precision': 'bf16', 'step_factor': 0.5}
        >>> saved_sampler({})
        {'precision': 'auto', 'step_factor': 1.0}
    """
    if "sampler" in checkpoint:
        return dict(checkpoint["sampler"])
    guard = checkpoint.get("callbacks", {}).get("DivergenceGuard", {})
    return {
        "precision": checkpoint.get("sampler_precision", "auto"),
        "step_factor": 0.5 ** max(0, len(guard.get("events", [])) - 1),
    }

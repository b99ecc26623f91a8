"""The sampler of Algorithm 1: persistent SGLD chains with all that they need to continue."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from solo_gedi.core.cuda_graph import GraphedLoop, Loop
from solo_gedi.core.energy import InputGradient, LogDensity, compiled_gradient
from solo_gedi.core.precision import DTYPES, choose_precision, has_bf16
from solo_gedi.core.processes import gather, get_logger
from solo_gedi.core.replay_buffer import ReplayBuffer, to_device
from solo_gedi.core.sgld import chain_norms, constant_weights, sample_sgld

logger = get_logger(__name__)

ON_GRAPHS = "cuda"  # the kind of device whose draws are graphs


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
        compile: whether the score is compiled with torch.compile.
        buffer_device: where the chains are kept: null, with the model, or cpu, from where those of
            a draw are copied to the model and back.

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
    buffer_device: str | None = None


class Sampler:
    """Draws samples from a model by moving the chains of a replay buffer with SGLD.

    It owns the settings, the chains, their precision, their randomness (the buffer's generator)
    and the factor of the step size, and saves and restores them together. The networks behind a
    density belong in evaluation mode: see `evaluation_mode`.

    On CUDA a whole draw is one graph, launched at once, where `networks` are given and the buffer
    has a generator.

    Args:
        settings: how chains move; not changed.
        buffer: the chains. A slot may hold one chain of each of k networks, (k, ...).
        box: (low, high) of the sample space, for `settings.clip_samples`.
        networks: those behind the density, whose weights stay the same during a draw.
        device: theirs; the buffer's when None.
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
        networks: Sequence[nn.Module] = (),
        device: torch.device | None = None,
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
        self.networks, self.device = tuple(networks), device or buffer.device
        self._generator: Generator | None = None  # of the noise, where the buffer's is elsewhere
        # What moves chains, and what it was made for: the density, the precision, the step size.
        self._loop: Loop | None = None
        self._key: tuple[LogDensity, str, float] | None = None
        self._gradient: tuple[LogDensity, InputGradient] | None = None

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
                k networks with a chain each in every slot. One that equals the last draw's is not
                compiled again.
            n: number of chains, from 1 to the size of the buffer.

        Returns:
            (n, *sample_shape) samples, without gradient.

        Raises:
            ValueError: for n outside its range.
        """
        chains, slots = self.buffer.draw(n)
        chains = to_device(chains, self.device)
        if self.precision == "auto":
            self.precision = self._measured_precision(log_density_fn, chains)
        key = (log_density_fn, self.precision, self.step_size)
        if self._loop is None or key != self._key:
            self._key, self._loop = key, self._new_loop(log_density_fn, self.precision)
        samples, norm, size = self._loop(chains, self._noise())
        self.buffer.write(slots, samples)
        self.watched = {"chain_grad_norm": norm, "chain_range": size}
        return samples

    def _new_loop(
        self, log_density_fn: LogDensity, precision: str, num_steps: int | None = None
    ) -> Loop:
        """What moves chains: samples, the mean norm of their gradients, their largest value."""
        settings, step_size = self.settings, self.step_size
        steps = settings.num_steps if num_steps is None else num_steps
        gradient_fn = self._compiled(log_density_fn) if settings.compile else None

        def loop(chains: Tensor, generator: Generator | None) -> tuple[Tensor, ...]:
            norms: list[Tensor] = []

            def note_norms(step: dict[str, Any]) -> None:
                norms.append(chain_norms(step["grad"], step["log_density"].dim()))

            with constant_weights(*self.networks):
                samples = sample_sgld(
                    log_density_fn,
                    chains,
                    steps,
                    step_size,
                    settings.noise_std,
                    max_grad_norm=settings.max_grad_norm,
                    box=self.box,
                    dtype=DTYPES[precision],
                    gradient_fn=gradient_fn,
                    generator=generator,
                    callback=note_norms,
                )
            return samples, torch.stack(norms).mean(), samples.abs().amax()

        # A graph would not see that weights have moved which it was not told of.
        told = bool(self.networks) and self.buffer.generator is not None
        if told and self.device.type == ON_GRAPHS:
            return GraphedLoop(loop, self._weights)
        return loop

    def _weights(self) -> Iterator[Tensor]:
        for network in self.networks:
            yield from (*network.parameters(), *network.buffers())

    def _noise(self) -> Generator | None:
        """Source of a draw's noise, on the networks' device: the buffer's, or seeded by it."""
        own = self.buffer.generator
        if self.buffer.device == self.device or own is None:
            return own
        if self._generator is None:
            self._generator = Generator(self.device)
        seed = torch.randint(2**62, (), generator=own, device=self.buffer.device)
        return self._generator.manual_seed(int(seed))

    def _compiled(self, log_density_fn: LogDensity) -> InputGradient:
        if self._gradient is None or self._gradient[0] != log_density_fn:
            self._gradient = log_density_fn, compiled_gradient(log_density_fn)
        return self._gradient[1]

    def _measured_precision(self, log_density_fn: LogDensity, chains: Tensor) -> str:
        loops = {name: self._new_loop(log_density_fn, name, num_steps=1) for name in DTYPES}
        noise = Generator(self.device)  # the buffer's stays as it is
        choice, reason = choose_precision(
            log_density_fn, chains, lambda name: loops[name](chains, noise)
        )
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
        if (generator := self.buffer.generator) is not None:
            generator.manual_seed(generator.initial_seed() + 7919)
        self.buffer.restart(chains)

    def state_dict(self) -> dict[str, Any]:
        """`buffer`, `precision` and `step_factor`; tensors and builtins only."""
        return {
            "buffer": self.buffer.state_dict(),
            "precision": self.precision,
            "step_factor": self.step_factor,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue as the saved sampler would, but for a precision that the settings name.

        What `auto` has chosen elsewhere is chosen anew where a process's processor has no bf16.

        Args:
            state: of `state_dict`. Without a `buffer` the chains stay as they are.

        Raises:
            ValueError: if the saved buffer has another size or sample shape.
        """
        if "buffer" in state:
            self.buffer.load_state_dict(state["buffer"])
        if self.settings.precision == "auto":
            can = state["precision"] != "bf16" or has_bf16(self.device)
            if all(gather(can) if self.gather_distributed else [can]):
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

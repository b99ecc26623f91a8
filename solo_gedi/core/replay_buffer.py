"""Persistent SGLD chains."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Generator, Tensor

# Called as torch.rand is: init_fn((n, *sample_shape), generator=..., device=...) -> fresh chains.
InitFn = Callable[..., Tensor]


class ReplayBuffer:
    """SGLD chains that persist from one training step to the next (Tables 3 and 5).

    A plain object rather than a module buffer: DDP would overwrite every process's chains with
    those of process 0 at each forward pass.

    Args:
        size: number of chains kept, at least 1 (the paper: 10,000).
        sample_shape: shape of one slot's sample.
        reinit_prob: probability in [0, 1] that a drawn chain starts afresh (the paper: 0.05).
        init_fn: called as `init_fn((n, *sample_shape), generator=..., device=...)`; returns fresh
            chains of that shape, as `torch.rand` does.
        device: where the chains live.
        generator: source of all randomness, on the same device; PyTorch's global one when None.

    Raises:
        ValueError: for a size below 1 or a probability outside [0, 1].

    Example:
        >>> buffer = ReplayBuffer(100, (3, 8, 8), reinit_prob=0.05, init_fn=torch.rand)
        >>> chains, slots = buffer.draw(16)
        >>> chains.shape, slots.shape
        (torch.Size([16, 3, 8, 8]), torch.Size([16]))
        >>> buffer.write(slots, chains + 0.01)
    """

    def __init__(
        self,
        size: int,
        sample_shape: Sequence[int],
        reinit_prob: float,
        init_fn: InitFn,
        *,
        device: torch.device | str | None = None,
        generator: Generator | None = None,
    ) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        if not 0 <= reinit_prob <= 1:
            raise ValueError(f"reinit_prob must be in [0, 1], got {reinit_prob}")
        self.sample_shape = tuple(sample_shape)
        self.reinit_prob = reinit_prob
        self.device = torch.device(device or "cpu")
        self.generator = generator
        self._init_fn = init_fn
        self._arriving: tuple[Tensor, Tensor, Callable[[], None]] | None = None
        # Outside any inference_mode, whose tensors could not be written to later.
        with torch.inference_mode(False):
            self.chains = self._fresh(size)
        self.device = self._chains.device  # with its number, which "cuda" has not

    def __len__(self) -> int:
        return len(self.chains)

    @property
    def chains(self) -> Tensor:
        """(size, *sample_shape), without gradient."""
        self._settle()
        return self._chains

    @chains.setter
    def chains(self, chains: Tensor) -> None:
        self._arriving, self._chains = None, chains

    def _settle(self) -> None:
        """Put chains that are on their way from a GPU into their slots."""
        if self._arriving is not None:
            (slots, moved, wait), self._arriving = self._arriving, None
            wait()
            self._chains[slots] = moved

    def restart(self, chains: Tensor | None = None) -> None:
        """Start every chain afresh, or from a copy of others.

        Args:
            chains: (size, *sample_shape), on any device.
        """
        if chains is None:
            self.chains = self._fresh(len(self))
        else:
            self.chains = chains.to(self.device, copy=True)

    def _fresh(self, n: int) -> Tensor:
        return self._init_fn((n, *self.sample_shape), generator=self.generator, device=self.device)

    def draw(self, n: int) -> tuple[Tensor, Tensor]:
        """Draw n different chains, each restarted with probability `reinit_prob`.

        One slot comes from each of n equal stretches of the buffer, laid out from a random
        origin: every slot is equally likely, none comes twice, and the work is O(n).

        Args:
            n: number of chains, from 1 to the size of the buffer.

        Returns:
            A copy of the chains (n, *sample_shape), and their slots (n,) for `write`.

        Raises:
            ValueError: for n below 1 or above the size of the buffer.
        """
        size = len(self)
        if not 1 <= n <= size:
            raise ValueError(f"cannot draw {n} different chains from a buffer of {size}")
        stretch = size // n
        origin = self._randint(size, 1)
        offset = self._randint(stretch, n)
        slots = (origin + stretch * torch.arange(n, device=self.device) + offset) % size
        restart = torch.rand(n, generator=self.generator, device=self.device) < self.reinit_prob
        restart = restart.view(n, *[1] * len(self.sample_shape))
        return torch.where(restart, self._fresh(n), self.chains[slots]), slots

    def _randint(self, high: int, n: int) -> Tensor:
        return torch.randint(high, (n,), generator=self.generator, device=self.device)

    def write(self, slots: Tensor, chains: Tensor) -> None:
        """Put moved chains back into their slots.

        Args:
            slots: (n,), as `draw` returned them.
            chains: (n, *sample_shape), on any device; stored without their graph. From a GPU to
                the CPU nothing is waited for before the chains are looked at again.
        """
        if chains.device == self.device:
            self.chains[slots] = chains.detach()
        else:
            moved, wait = _to_host(chains.detach())
            self._settle()
            self._arriving = slots, moved, wait

    def state_dict(self) -> dict[str, Any]:
        """`chains`, on the CPU, and the `generator`'s state; tensors and builtins only.

        Chains that are on the CPU are not copied, as a module's weights are not.
        """
        generator = None if self.generator is None else self.generator.get_state()
        # On the CPU, or other processes would read these chains onto this one's GPU.
        return {"chains": self.chains.cpu(), "generator": generator, "device": self.device.type}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore saved chains; and the randomness, if saved on the same kind of device.

        Args:
            state: of `state_dict`.

        Raises:
            ValueError: if the saved buffer has another size or sample shape.
        """
        self._check(state)
        with torch.inference_mode(False):
            self.chains.copy_(state["chains"])
        generator, same_device = state["generator"], state["device"] == self.device.type
        if self.generator is not None and generator is not None and same_device:
            self.generator.set_state(generator.cpu())

    def _check(self, state: dict[str, Any]) -> None:
        saved, own = tuple(state["chains"].shape), tuple(self.chains.shape)
        if saved != own:
            raise ValueError(f"the saved replay buffer has shape {saved}, this one {own}")

    def load_state_dicts(
        self, states: Sequence[dict[str, Any]], process: int = 0, processes: int = 1
    ) -> None:
        """Restore one process's share of what all processes saved.

        With as many processes as before that is its own state; otherwise the chains are dealt out
        anew, as far as there is room, and the randomness stays this buffer's.

        Args:
            states: of every process's `state_dict`, in the order of their ranks; may be empty.
            process: number of this process, from 0.
            processes: how many there are now.

        Raises:
            ValueError: if a saved buffer has another size or sample shape.
        """
        for state in states:
            self._check(state)
        if len(states) == processes:
            self.load_state_dict(states[process])
        elif states:
            dealt = torch.cat([state["chains"] for state in states])[process::processes]
            kept = dealt[: len(self)].to(self.device)
            self.write(torch.arange(len(kept), device=self.device), kept)


def to_device(chains: Tensor, device: torch.device) -> Tensor:
    """Chains on a device; a copy from the CPU to a GPU is not waited for.

    Args:
        chains: (n, ...), on any device.
        device: where they are needed.

    Example:
        >>> to_device(torch.zeros(3, 2), torch.device("cpu")).shape
        torch.Size([3, 2])
    """
    if device.type == "cuda" and chains.device.type == "cpu":
        return chains.pin_memory().to(device, non_blocking=True)
    return chains.to(device)


def _to_host(chains: Tensor) -> tuple[Tensor, Callable[[], None]]:
    """Chains on the CPU, and what waits until they are there."""
    if chains.device.type != "cuda":
        return chains.cpu(), lambda: None
    moved = torch.empty(chains.shape, dtype=chains.dtype, pin_memory=True)
    moved.copy_(chains, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record(torch.cuda.current_stream(chains.device))
    return moved, arrived.synchronize

"""One CUDA graph for a whole draw, whose many small kernels take longer to launch than to run."""

from collections.abc import Callable, Hashable, Iterable

import torch
from torch import Generator, Tensor

from solo_gedi.core.processes import get_logger
from solo_gedi.errors import reason

logger = get_logger(__name__)

# Moves chains with noise from a generator; may return more than the chains.
Loop = Callable[[Tensor, Generator | None], tuple[Tensor, ...]]
Replay = Callable[[Tensor], tuple[Tensor, ...]]


class GraphedLoop:
    """A loop that is captured as a CUDA graph at its first call, and replayed from then on.

    A graph knows its tensors by their addresses, so that it follows weights that change in place.
    It is captured anew for chains of another shape or type, and when the weights have moved. Where
    a capture fails the loop itself runs from then on, and one warning says why.

    Args:
        loop: nothing in it may wait for the device.
        weights: gives the tensors that it reads beside the chains.
        capture: makes the graph; replaced in tests.
    """

    def __init__(
        self,
        loop: Loop,
        weights: Callable[[], Iterable[Tensor]] = tuple,
        capture: Callable[[Loop, Tensor, Generator], Replay] | None = None,
    ) -> None:
        self.loop, self.weights = loop, weights
        self._capture = capture or capture_on_cuda
        self._key: Hashable = None
        self._replay: Replay | None = None
        # The graph's own: a capture that is broken off may leave its generator unusable.
        self._generator = Generator()

    def __call__(self, chains: Tensor, generator: Generator | None) -> tuple[Tensor, ...]:
        """What the loop returns.

        Args:
            chains: (n, ...).
            generator: source of the noise, which goes on as in the loop; not None.
        """
        assert generator is not None
        key = (chains.shape, chains.dtype, *(weight.data_ptr() for weight in self.weights()))
        if key != self._key:
            self._key, self._replay = key, None  # first free the graph before
            self._replay = self._captured(chains)
        if self._replay is None:
            return self.loop(chains, generator)
        self._generator.set_state(generator.get_state())
        moved = self._replay(chains)
        generator.set_state(self._generator.get_state())
        return moved

    def _captured(self, chains: Tensor) -> Replay | None:
        self._generator = Generator(chains.device)
        try:
            return self._capture(self.loop, chains, self._generator)
        except RuntimeError as error:
            logger.warning("The sampler runs without a CUDA graph: %s", reason(error))
            return None


def capture_on_cuda(loop: Loop, chains: Tensor, generator: Generator) -> Replay:
    """Capture a loop as a CUDA graph.

    Args:
        loop: nothing in it may wait for the device.
        chains: (n, ...) on a GPU, of the shape and type that all later ones have.
        generator: of the loop's noise; its state before a replay is the one that it starts from.

    Raises:
        RuntimeError: if the loop cannot be captured.
    """
    static, graph = chains.clone(), torch.cuda.CUDAGraph()
    graph.register_generator_state(generator)
    now, aside = torch.cuda.current_stream(chains.device), torch.cuda.Stream(chains.device)
    # Weights that autocast has cast before a capture would not be cast again by its graph.
    with (
        torch.cuda.device(chains.device),
        torch.autocast("cuda", enabled=False, cache_enabled=False),
    ):
        aside.wait_stream(now)
        with torch.cuda.stream(aside):
            for _ in range(2):  # compiles, and lets libraries choose their kernels
                loop(static, generator)
        now.wait_stream(aside)
        # Thread-local: the thread that pins batches for the GPU may allocate meanwhile.
        with torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):
            outputs = loop(static, generator)

    def replay(chains: Tensor) -> tuple[Tensor, ...]:
        static.copy_(chains)
        graph.replay()
        # The next replay writes over its own outputs.
        return tuple(output.clone() for output in outputs)

    return replay

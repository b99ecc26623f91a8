"""Training batches that a resumed run goes on with, in the middle of an epoch too."""

import atexit
import multiprocessing
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch.utils.data import DataLoader, Dataset, default_collate

from solo_gedi.core.processes import rank, world_size
from solo_gedi.errors import DataError, reason
from solo_gedi.training.callbacks.graceful_stop import SIGNALS

ENDLESS = 1000  # batches in an "epoch" of points without end, as in the paper
_Key = tuple[int, list[int]]  # the seed of a batch, and its images


class TrainingLoader:
    """Shuffled, whole batches of training data, each of which can be made again.

    The order of an epoch follows from the seed and the epoch's number; what is random in a batch
    from the seed, the epoch's and the batch's number and the process. So a run can begin at any
    batch without reading those before it, with any number of workers, and the global random
    states of this process are left alone.

    Args:
        dataset: of images; or of batches of points without end, which are drawn anew.
        batch_size: images in a batch of one process; None for a data set of batches.
        seed: of all randomness.
        num_workers: processes that read.
        length: batches in an epoch of points.
        same_order: whether every epoch has the order of the first, as `overfit_batches` wants.

    Attributes:
        position: gives the epoch and the batch in it, from 0, at which iterating begins.
        end: ends its workers.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None,
        *,
        seed: int,
        num_workers: int,
        length: int = ENDLESS,
        same_order: bool = False,
    ) -> None:
        self.dataset, self.batch_size = dataset, batch_size
        self.seed, self.num_workers = seed, num_workers
        self._length, self._same_order = length, same_order
        self.position: Callable[[], tuple[int, int]] = lambda: (0, 0)
        self.end: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        """Batches of an epoch, for each of the processes."""
        return self._length if self.batch_size is None else self._share() // self.batch_size

    def _share(self) -> int:
        """Images of an epoch for each process; a few are seen twice where they cannot be shared."""
        return -(-len(self.dataset) // world_size())

    def __iter__(self) -> Iterator[Any]:
        epoch, first = self.position()
        keys = [
            (_seed_of(self.seed, epoch, batch, rank()), images)
            for batch, images in enumerate(self._order(0 if self._same_order else epoch))
        ][first:]
        loader = WorkersLoader(
            _Batches(self.dataset, points=self.batch_size is None),
            batch_size=None,
            sampler=keys,
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
            # Otherwise it would draw a seed from the global state, at every start of a run.
            generator=torch.Generator().manual_seed(_seed_of(self.seed, epoch)),
        )
        self.end = loader.end
        yield from loader

    def _order(self, epoch: int) -> Sequence[list[int]]:
        """The images of every batch of this process."""
        if self.batch_size is None:
            return [[]] * len(self)
        generator = torch.Generator().manual_seed(_seed_of(self.seed, epoch))
        order = torch.randperm(len(self.dataset), generator=generator).repeat(2)
        own = order[: self._share() * world_size()][rank() :: world_size()]
        whole = own[: len(self) * self.batch_size]
        return whole.view(-1, self.batch_size).tolist()


class _Batches(Dataset):
    """Makes one batch after the other, each with its own randomness."""

    def __init__(self, dataset: Any, points: bool) -> None:
        self.dataset, self.points = dataset, points

    def __getitem__(self, key: _Key) -> Any:
        seed, images = key
        with isolate_rng(include_cuda=False):
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            torch.default_generator.manual_seed(seed)
            if self.points:
                return next(iter(self.dataset))
            return default_collate([self.dataset[i] for i in images])


class WorkersLoader(DataLoader):
    """A DataLoader whose workers go on reading when a signal reaches all processes of a run.

    As Ctrl-C and Slurm send it. The process that trains needs its workers until it has come to
    the end of a step; they end with it.
    """

    _batches: Any = None  # of its latest workers

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"worker_init_fn": _outlive_signals, **kwargs})

    def __iter__(self) -> Any:
        """Start the workers, with the signals held back until they ignore them."""
        if not self.num_workers:
            return super().__iter__()
        _kill_at_exit()
        masks = hasattr(signal, "pthread_sigmask")
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS) if masks else set()  # inherited
        try:
            self._batches = _ending(super().__iter__())
        except Exception as error:  # whatever a worker's start or pickling meets
            why = f"the workers of data.num_workers cannot start: {reason(error)}"
            raise DataError(why) from error
        finally:
            if masks:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return self._batches

    def end(self) -> None:
        """End the workers of a training that has ended, by an error or within an epoch, at once.

        Otherwise they end at a garbage collection, which closes their queue first and then waits
        ten seconds for each.
        """
        if self._batches is not None:
            self._batches.close()


def _ending(batches: Any) -> Iterator[Any]:
    """Batches whose workers end with them, after an error too, whose traceback would hold them."""
    try:
        yield from batches
    finally:
        batches._shutdown_workers()


def _outlive_signals(worker: int) -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@cache
def _kill_at_exit() -> None:
    """Have workers that an error has left behind killed at the end of the program.

    multiprocessing would send them a signal that they ignore, and wait for them without end.
    """

    @atexit.register
    def kill() -> None:
        for child in multiprocessing.active_children():
            if child.daemon:
                child.kill()


def _seed_of(*numbers: int) -> int:
    """A seed in [0, 2^63) that says nothing about that of other numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))

"""The replay buffer: a draw and a write, at growing sizes."""

import torch

from benchmarks.measure import Row, interleaved, options, report
from solo_gedi.core import ReplayBuffer

SIZES = (1_000, 10_000, 50_000)


def main() -> None:
    """Time everything, and store the medians."""
    given = options(__doc__).parse_args()
    torch.set_num_threads(given.threads)

    def turn(size: int) -> None:
        chains, slots = buffers[size].draw(given.batch)
        buffers[size].write(slots, chains)

    buffers = {
        size: ReplayBuffer(size, (3, given.size, given.size), 0.05, torch.rand, device=given.device)
        for size in SIZES
    }
    work = {str(size): lambda size=size: turn(size) for size in SIZES}
    medians = interleaved(work, 20 * given.rounds)
    rows: list[Row] = [
        {"chains": int(size), "ms": value, "against the smallest": value / medians[str(SIZES[0])]}
        for size, value in medians.items()
    ]
    note = "Both should take as long whatever the number of chains."
    report("buffer", "draw and write a batch of chains", rows, given, note)


if __name__ == "__main__":
    main()

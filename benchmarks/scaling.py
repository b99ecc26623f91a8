"""How a GEDI step's time and memory grow with steps, width, batch, image, buffer and processes."""

import argparse
import math
import multiprocessing
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks.measure import Row, build, interleaved, options, report, step_of, two_views
from solo_gedi.memory import keep_freed_memory

# What grows, from small to large; all else as in the options.
FACTORS = {
    "steps": (5, 10, 20),
    "width": (16, 32, 64),
    "batch": (32, 64, 128),
    "size": (16, 32, 64),
    "buffer": (1_000, 10_000, 100_000),
    "processes": (1, 2),
}

_STATUS = Path("/proc/self/status")


class Step(nn.Module):
    """A method whose forward pass is its training step, as DDP wants it."""

    def __init__(self, method: Any) -> None:
        super().__init__()
        self.method = method

    def forward(self, batch: list[Any]) -> Tensor:
        """Loss of a batch."""
        return self.method.training_step(batch, 0)


def measure(rank: int, given: argparse.Namespace, buffer: int, store: str) -> tuple[float, float]:
    """Milliseconds of a step in this process, and the most memory that training took, in MB."""
    keep_freed_memory()  # as every command does; this process was spawned
    before = _restart_peak()
    chains = f"method_kwargs.sgld.buffer_size={buffer}"
    model: Any = build("gedi", given, chains, "+method_kwargs.sgld.precision=fp32")
    step: nn.Module = Step(model)
    if given.processes > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{store}", rank=rank, world_size=given.processes
        )
        step = DistributedDataParallel(step)
    work = step_of(step, two_views(given))
    (milliseconds,) = interleaved({"step": work}, given.rounds).values()
    if dist.is_initialized():
        dist.destroy_process_group()
    if torch.cuda.is_available():
        return milliseconds, torch.cuda.max_memory_allocated() / 2**20
    return milliseconds, _megabytes("VmHWM") - before


def _restart_peak() -> float:
    """Forget this process's peak memory, which importing torch has set; MB that it holds now."""
    if _STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")
    return _megabytes("VmRSS")


def _megabytes(kind: str) -> float:
    """Linux's account of this process's memory; nan elsewhere."""
    if not _STATUS.exists():
        return math.nan
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(kind))
    return int(line.split()[1]) / 2**10


def main() -> None:
    """Time every setting in a process of its own."""
    parser = options(__doc__)
    parser.set_defaults(rounds=3, steps=10, width=16)
    given = parser.parse_args()
    rows: list[Row] = []
    spawn = multiprocessing.get_context("spawn")
    for factor, values in FACTORS.items():
        first = 0.0
        if factor == "processes" and given.device == "cuda":
            continue  # a GPU is not shared by NCCL's processes
        for value in values:
            settings = {**vars(given), "processes": 1, "buffer": 1_000, factor: value}
            each = argparse.Namespace(**settings)
            with (
                tempfile.NamedTemporaryFile() as store,
                ProcessPoolExecutor(each.processes, mp_context=spawn) as pool,
            ):
                jobs = [
                    pool.submit(measure, rank, each, each.buffer, f"{store.name}.store")
                    for rank in range(each.processes)
                ]
                milliseconds, megabytes = jobs[0].result()
            first = first or milliseconds
            rows.append(
                {
                    "what grows": factor,
                    "to": value,
                    "ms": milliseconds,
                    "against the smallest": milliseconds / first,
                    "peak MB": megabytes,
                }
            )
            print(rows[-1], flush=True)
    note = (
        "Memory is what training took in a process beyond torch itself: weights, Adam, buffer, "
        "activations. The batch is that of a process; there were "
        f"{os.cpu_count()} cores."
    )
    report("scaling", "one training step of GEDI, fp32", rows, given, note)


if __name__ == "__main__":
    main()

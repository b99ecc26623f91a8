"""What gathers over two processes, and what does not; as a script, one of the processes."""

import os
import subprocess
import sys
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from solo_gedi.core import (
    GEDIObjective,
    ReplayBuffer,
    Sampler,
    SGLDSettings,
    prior_loss,
    sampler,
)
from solo_gedi.core.processes import gather_to_first

TIMEOUT_S = 120
PRIOR = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)


def model_and_batch():
    """The second half of the batch lies elsewhere, so that its clusters are others."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4)).double()
    batch = torch.randn(12, 3, dtype=torch.float64)
    batch[6:] += 2
    return model, 3 * batch


def values_and_gradients(model, batch):
    objective = GEDIObjective(gen=0, inv=50, prior=25, gather_distributed=True)

    def both_terms(logits):
        return objective(logits, logits.roll(1, dims=1).square())["loss"]

    losses = [
        lambda logits: prior_loss(logits, gather_distributed=True),
        lambda logits: prior_loss(logits, PRIOR, gather_distributed=True),
        both_terms,
    ]
    result = []
    for loss_of in losses:
        model.zero_grad()
        loss = loss_of(model(batch))
        loss.backward()
        result.append((loss.detach(), [p.grad.clone() for p in model.parameters()]))
    return result


def local_values(model, batch):
    """Nothing here may wait for another process."""
    logits = model(batch).detach()
    objective = GEDIObjective(gen=0, inv=0, prior=25)
    return [prior_loss(logits), prior_loss(logits, PRIOR), objective(logits)["prior"]]


def precisions(choices, **options):
    """What a sampler runs in whose process has measured each of some choices."""
    chosen = []
    for choice in choices:
        sampler.choose_precision = lambda fn, x, run, choice=choice: (choice, "it was told so")
        buffer = ReplayBuffer(4, (2,), 0.05, torch.rand)
        drawn = Sampler(SGLDSettings(num_steps=1), buffer, **options)
        drawn.draw(lambda x: -x.square().sum(1), 2)
        chosen.append(drawn.precision)
    return chosen


def process(rank, folder):
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=TIMEOUT_S),
    )
    model, batch = model_and_batch()
    half = batch.chunk(2)[rank]
    gathered = values_and_gradients(DistributedDataParallel(model), half)
    measured = [["fp32", "bf16", "bf16"], ["fp32", "fp32", "bf16"]][rank]
    result = {"gathered": gathered, "together": precisions(measured, gather_distributed=True)}
    result["on the first"] = gather_to_first(torch.full((2, 3), float(rank)).T)
    if rank == 0:  # alone: the other is at the barrier
        result |= {"local": local_values(model, half), "alone": precisions(measured)}
    torch.save(result, f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def test_two_processes_agree_with_one_where_they_gather_and_need_not_meet_elsewhere(tmp_path):
    """A prior term is the global one, and DDP's mean of the gradients is the global gradient."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if sys.platform == "linux":
        environment["GLOO_SOCKET_IFNAME"] = "lo"
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), str(tmp_path)],
            env=environment,
        )
        for rank in range(2)
    ]
    try:
        assert [process.wait(TIMEOUT_S) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
            process.wait()

    model, batch = model_and_batch()
    alone = values_and_gradients(model, batch)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    results = [first["gathered"], second["gathered"]]
    for result in results:
        for (_, gradients), (_, gradients_alone) in zip(result, alone, strict=True):
            for grad, grad_alone in zip(gradients, gradients_alone, strict=True):
                torch.testing.assert_close(grad, grad_alone, rtol=0, atol=1e-6)
        for (loss, _), (loss_alone, _) in zip(result[:2], alone[:2], strict=True):
            torch.testing.assert_close(loss, loss_alone)
    # The invariance term of a process is that of its own half.
    mean = torch.stack([result[2][0] for result in results]).mean()
    torch.testing.assert_close(mean, alone[2][0])

    # The contrast: were q(y) each process's own, the mean loss would be another.
    halves = torch.stack([prior_loss(model(half)) for half in batch.chunk(2)])
    assert (halves.mean() - alone[0][0]).abs() > 1e-2
    # And so it is where nothing is gathered, as rank 0 has found on its own.
    torch.testing.assert_close(first["local"], local_values(model, batch.chunk(2)[0]))

    # The first process has what both have, the other not even its own.
    both = [torch.zeros(3, 2), torch.ones(3, 2)]
    assert all(map(torch.equal, first["on the first"], both))
    assert second["on the first"] == []

    # bf16 where both have found it faster; each for itself where they do not meet.
    assert first["together"] == second["together"] == ["fp32", "fp32", "bf16"]
    assert first["alone"] == ["fp32", "bf16", "bf16"]


if __name__ == "__main__":
    process(int(sys.argv[1]), sys.argv[2])

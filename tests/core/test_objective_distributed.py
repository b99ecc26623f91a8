"""The terms under two processes. Run as a script, this file is one of the processes."""

import os
import subprocess
import sys
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from solo_gedi.core import GEDIObjective, prior_loss

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
    objective = GEDIObjective(gen=0, inv=50, prior=25)

    def both_terms(logits):
        return objective(logits, logits.roll(1, dims=1).square())["loss"]

    losses = [prior_loss, lambda logits: prior_loss(logits, PRIOR), both_terms]
    result = []
    for loss_of in losses:
        model.zero_grad()
        loss = loss_of(model(batch))
        loss.backward()
        result.append((loss.detach(), [p.grad.clone() for p in model.parameters()]))
    return result


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
    torch.save(values_and_gradients(DistributedDataParallel(model), half), f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def test_two_processes_with_half_a_batch_each_agree_with_one_process(tmp_path):
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
    results = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
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


if __name__ == "__main__":
    process(int(sys.argv[1]), sys.argv[2])

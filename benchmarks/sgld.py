"""The sampler: one draw of a batch of chains, against the loop of the public JEM code."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import Row, build, interleaved, options, report, two_views
from solo_gedi.core import evaluation_mode, gradient_cosine, log_density


def jem_style(model: Any, buffer: Tensor, given: Any) -> None:
    """The algorithm as the JEM code runs it, in layout and precision as in PyTorch's defaults.

    The buffer is on the CPU; the graph of every step is retained, until its variable is replaced.
    """
    sgld, n = model.sgld, given.batch
    index = torch.randint(0, len(buffer), (n,))
    fresh = torch.rand(n, *buffer.shape[1:]) * 2 - 1
    restart = (torch.rand(n) < sgld.reinit_prob).float()[:, None, None, None]
    x = (restart * fresh + (1 - restart) * buffer[index]).to(given.device).requires_grad_()
    with evaluation_mode(model):
        for _ in range(given.steps):
            log_p = log_density(model.projector(model.backbone(model.sample_space.to_input(x))))
            (gradient,) = torch.autograd.grad(log_p.sum(), [x], retain_graph=True)
            x.data += sgld.step_size * gradient + sgld.noise_std * torch.randn_like(x)
    buffer[index] = x.detach().cpu()


def main() -> None:
    """Time it."""
    given = options(__doc__).parse_args()
    ours: Any = build("gedi", given)
    theirs = copy.deepcopy(ours).to(memory_format=torch.contiguous_format)
    like = two_views(given)[1][0]
    buffer = torch.rand(ours.sgld.buffer_size, 3, given.size, given.size) * 2 - 1

    def draw(precision: str) -> Callable[[], None]:
        def work() -> None:
            ours.sampler_precision = precision
            ours.draw_samples(like)

        return work

    def ideal() -> None:
        with torch.no_grad():
            for _ in range(2 * given.steps):
                ours.projector(ours.backbone(like))

    medians = interleaved(
        {
            "JEM-style loop, fp32": lambda: jem_style(theirs, buffer, given),
            "this sampler, fp32": draw("fp32"),
            "this sampler, bf16": draw("bf16"),
            "ideal: steps x 2 forwards, fp32": ideal,
        },
        given.rounds,
    )
    base = medians["JEM-style loop, fp32"]
    rows: list[Row] = [
        {"": name, "ms": value, "times as fast as the JEM-style loop": base / value}
        for name, value in medians.items()
    ]
    with evaluation_mode(ours):
        cosine = gradient_cosine(ours.log_density, ours.replay_buffer.chains[: given.batch])
    note = f"Cosine of bf16's input gradients with fp32's, at these weights: {cosine:.4f}."
    report("sgld", "one draw of the sampler", rows, given, note)


if __name__ == "__main__":
    main()

"""The sampler: one draw of a batch of chains, against the loop of the public JEM code."""

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measure import Row, build, interleaved, options, report, two_views
from solo_gedi.backbones.energy_resnet8 import PooledConv2d
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


def pooling_after_convolutions(model: Any) -> Any:
    """A copy that computes the same, with the layers that the JEM code has."""
    plain = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    for block in plain.backbone.blocks:
        if isinstance(block.conv2, PooledConv2d):
            layer = block.conv2
            conv = nn.Conv2d(layer.in_channels, layer.out_channels, 3, padding=1)
            conv.load_state_dict(layer.state_dict())
            block.conv2 = nn.Sequential(conv, nn.AvgPool2d(2)).to(layer.weight.device)
    return plain


def main() -> None:
    """Time everything, and store the medians."""
    given = options(__doc__).parse_args()
    # Each precision has a sampler of its own: one that changes would be captured anew on a GPU.
    of_each: dict[str, Any] = {
        name: build("gedi", given, f"+method_kwargs.sgld.precision={name}")
        for name in ("fp32", "bf16")
    }
    ours = of_each["fp32"]
    theirs = pooling_after_convolutions(ours)
    theirs_on_ours = copy.deepcopy(ours).to(memory_format=torch.contiguous_format)
    like = two_views(given)[1][0]
    buffer = torch.rand(ours.sgld.buffer_size, 3, given.size, given.size) * 2 - 1

    def ideal() -> None:
        with torch.no_grad():
            for _ in range(2 * given.steps):
                ours.projector(ours.backbone(like))

    medians = interleaved(
        {
            "JEM-style loop, fp32": lambda: jem_style(theirs, buffer, given),
            "the same on this package's ResNet-8": lambda: jem_style(theirs_on_ours, buffer, given),
            **{
                f"this sampler, {name}": partial(model.draw_samples, like)
                for name, model in of_each.items()
            },
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
    note = (
        "The loop of the JEM code has its layers too: pooling after the convolution, where this "
        "package's ResNet-8 does both in one. Cosine of bf16's input gradients with fp32's, at "
        f"these weights: {cosine:.4f}."
    )
    report("sgld", "one draw of the sampler", rows, given, note)


if __name__ == "__main__":
    main()

"""A training step of GEDI against its ideal, and of the quick recipes against SwAV's."""

from typing import Any

import torch

from benchmarks.measure import (
    Row,
    build,
    forward_backward,
    interleaved,
    options,
    report,
    step_of,
    two_views,
)
from solo_gedi import hosts
from solo_gedi.core import evaluation_mode, input_gradient


def main() -> None:
    """Time everything, and store the medians."""
    given = options(__doc__).parse_args()
    batch = two_views(given)
    x = batch[1][0]
    three = torch.cat([x, x, x])
    gedi: Any = build("gedi", given, "+method_kwargs.sgld.precision=fp32")
    # In training all methods get the noise; SwAV and Barlow Twins from a callback.
    models: dict[str, Any] = {
        "gedi_fast": build("gedi_fast", given, "+method_kwargs.sgld.precision=fp32"),
        "gedi_nogen": build("gedi_nogen", given, "method_kwargs.input_noise_std=0"),
        **{name: build(name, given) for name in ("swav", "barlow")},
    }
    # solo-learn makes it when a Trainer starts.
    models["swav"].sk = hosts.SinkhornKnopp(models["swav"].sk_iters, models["swav"].sk_epsilon)

    def gradients() -> None:
        with evaluation_mode(gedi):
            for _ in range(given.steps):
                input_gradient(gedi.log_density, x)

    inputs = f"{given.steps} input gradients of a batch"

    medians = interleaved(
        {
            "gedi": step_of(gedi, batch),
            inputs: gradients,
            "forward-backward of three batches": lambda: forward_backward(gedi, three),
            **{name: step_of(model, batch) for name, model in models.items()},
        },
        given.rounds,
    )
    # `input_gradient` is a forward pass and the gradient in the input.
    ideal = medians[inputs] + medians["forward-backward of three batches"]
    rows: list[Row] = [
        {
            "": name,
            "ms": value,
            # On a GPU the step's draw is one graph, which single gradients are not.
            "against GEDI's ideal": value / ideal
            if name == "gedi" and given.device == "cpu"
            else None,
            "against SwAV": value / medians["swav"],
        }
        for name, value in medians.items()
    ]
    note = (
        f"GEDI's ideal is {ideal:.1f} ms: the input gradients and the forward-backward of three "
        "batches. Steps are whole: loss, gradients, Adam, solo-learn's online classifier; without "
        "a Trainer and its logs."
    )
    report("step", "one training step, fp32", rows, given, note)


if __name__ == "__main__":
    main()

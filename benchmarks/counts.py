"""What a GPU would have to launch, and what would wait: counted, on any machine."""

from functools import partial
from typing import Any

import torch
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.measure import Row, build, options, report, step_of, two_views
from solo_gedi import hosts
from solo_gedi.config import load_config
from solo_gedi.core import evaluation_mode
from solo_gedi.core.energy import functional_gradient
from solo_gedi.data.batched import BatchedViews

# Counted in the same way before each was worked on.
BEFORE = {
    "a training step of gedi": 1972,
    "a draw of 20 steps": 1479,
    "two views of a batch, Table 5's strengths": 681,
    "one compiled score": 117,
    "gradients of weights in it": 9,
}


class Operations(TorchDispatchMode):
    """Counts operations that are more than another view of their input."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device, self.count = device, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count one."""
        result = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, result)) if isinstance(x, torch.Tensor)]
        there = any(tensor.device.type == self.device for tensor in tensors)
        view = func.is_view or func is torch.ops.aten._unsafe_view.default
        self.count += there and not view
        return result


def operations(work: Any, device: str) -> int:
    """How many a call takes on a device, after a first one."""
    work()
    with Operations(device) as counted:
        work()
    return counted.count


def compiled_score(model: Any, x: torch.Tensor) -> tuple[int, int]:
    """Calls in the graph of the compiled score, and gradients of weights among them."""
    graphs: list[Any] = []

    def keep(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return make_boxed_func(graph.forward)

    gradient = torch.compile(
        functional_gradient(model.log_density), backend=aot_autograd(fw_compiler=keep)
    )
    with evaluation_mode(model), torch.no_grad():
        model.log_density(x)
        gradient(x)
    calls = [node for graph in graphs for node in graph.graph.nodes if node.op == "call_function"]
    backward = torch.ops.aten.convolution_backward.default
    return len(calls), sum(node.args[-1][1] for node in calls if node.target is backward)


def main() -> None:
    """Count the operations, and store the numbers."""
    parser = options(__doc__)
    parser.set_defaults(width=8, batch=8, device="cpu")  # a GPU's draw is one graph
    given = parser.parse_args()
    batch = two_views(given)
    model: Any = build(
        *("gedi", given, "+method_kwargs.sgld.precision=fp32"),
        "method_kwargs.use_bn_in_head=false",  # as it was before
    )
    (entry,) = load_config("cifar/swav").augmentations
    views = BatchedViews([hosts.build_transform("cifar10", entry)], [entry.num_crops])
    pixels = torch.empty(64, 3, 32, 32, dtype=torch.uint8, device="meta")
    calls, of_weights = compiled_score(model, batch[1][0])
    counts = {
        "a training step of gedi": operations(step_of(model, batch), given.device),
        f"a draw of {given.steps} steps": operations(
            partial(model.draw_samples, batch[1][0]), given.device
        ),
        "two views of a batch, Table 5's strengths": operations(partial(views, pixels), "meta"),
        "one compiled score": calls,
        "gradients of weights in it": of_weights,
    }
    rows: list[Row] = [
        {"operations of": name, "now": count, "before": BEFORE.get(name)}
        for name, count in counts.items()
    ]
    note = (
        "Operations that PyTorch dispatches, views aside; a GPU launches a kernel or more for "
        "each. On CUDA a draw is one graph, launched once. Of two processes a training "
        "step made 13 barriers, 13 all-reduces and the prior's all-gather, beside DDP's gradients; "
        "now the all-gather alone, and an all-reduce where the guard looks; Lightning itself "
        "broadcasts before every batch "
        "(`tests/methods/test_collectives.py` counts them). `max_spectral_norm` took 5.1 ms of "
        "a CPU at width 128, by eigenvalues after every batch, and takes 0.5 ms by power "
        "iteration after every step. A compiled draw took 2.2 times as long as an eager one on "
        "that CPU, and takes 0.8 of it (width 32, 64 images)."
    )
    report("counts", "operations of a step", rows, given, note)


if __name__ == "__main__":
    main()

"""The triad of failure modes of a pretrained method on a data set."""

import torch

from solo_gedi.core import evaluation_mode, failure_modes
from solo_gedi.data import SampleSpace
from solo_gedi.evaluation.features import Batches, scores
from solo_gedi.hosts import BaseMethod


def triad(
    model: BaseMethod, space: SampleSpace, batches: Batches, noise_std: float
) -> dict[str, float]:
    """The measures of `core.failure_modes` over a whole set; its second views are noisy copies.

    Args:
        model: a pretrained method.
        space: in whose units the noise is.
        batches: of (inputs, labels).
        noise_std: standard deviation of the noise.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.cat([x for x, _ in batches])
    noise = torch.randn(x.shape, generator=generator) * noise_std
    view = space.to_input(space.to_samples(x) + noise)
    with evaluation_mode(model), torch.inference_mode():
        parts = [[model(batch.to(model.device)) for batch in v.split(400)] for v in (x, view)]
    features = torch.cat([out["feats"].cpu() for out in parts[0]])
    logits, view_logits = (torch.cat([scores(out, model).cpu() for out in part]) for part in parts)
    measures = failure_modes.triad(features, logits, view_logits, generator)
    return {name: float(value) for name, value in measures.items()}

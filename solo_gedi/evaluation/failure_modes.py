"""The three failure modes of a model on a data set."""

import torch

from solo_gedi.core import evaluation_mode, failure_modes
from solo_gedi.evaluation.features import Batches
from solo_gedi.inference import Model


def failure_modes_of(model: Model, batches: Batches, noise_std: float) -> dict[str, float]:
    """The measures of `core.failure_modes` over a whole set; its second views are noisy copies.

    Args:
        model: the trained model.
        batches: of (network inputs, labels).
        noise_std: standard deviation of the noise, in units of the sample space.

    Returns:
        `feature_std`, `effective_rank`, `cluster_entropy` (nats), `largest_cluster_share`,
        `view_agreement` and `permutation_gap`, see `core.failure_modes`.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.cat([x for x, _ in batches])
    noise = torch.randn(x.shape, generator=generator) * noise_std
    view = model.space.to_input(model.space.to_samples(x) + noise)
    with evaluation_mode(model), torch.inference_mode():
        parts = [[model(batch.to(model.device)) for batch in v.split(400)] for v in (x, view)]
    features = torch.cat([out.features.cpu() for out in parts[0]])
    logits, view_logits = (torch.cat([out.scores.cpu() for out in part]) for part in parts)
    measures = failure_modes.triad(features, logits, view_logits, generator)
    return {name: float(value) for name, value in measures.items()}

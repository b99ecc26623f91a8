"""The triad of failure modes of a pretrained method on a data set."""

import torch

from solo_gedi.core import evaluation_mode, failure_modes
from solo_gedi.data import SampleSpace
from solo_gedi.evaluation.features import Batches, cluster_output
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
    output = cluster_output(model)
    generator = torch.Generator().manual_seed(0)
    x = torch.cat([x for x, _ in batches])
    noise = torch.randn(x.shape, generator=generator) * noise_std
    view = space.to_input(space.to_samples(x) + noise)
    with evaluation_mode(model), torch.inference_mode():
        parts = [[model(batch.to(model.device)) for batch in v.split(400)] for v in (x, view)]
    features = torch.cat([out["feats"].cpu() for out in parts[0]])
    logits, view_logits = (torch.cat([out[output].cpu() for out in part]) for part in parts)
    return {
        "feature_std": float(failure_modes.feature_std(features)),
        "effective_rank": float(failure_modes.effective_rank(features)),
        "cluster_entropy": float(failure_modes.cluster_entropy(logits)),
        "largest_cluster_share": float(failure_modes.largest_cluster_share(logits)),
        "view_agreement": float(failure_modes.view_agreement(logits, view_logits)),
        "permutation_gap": float(failure_modes.permutation_gap(logits, view_logits, generator)),
    }

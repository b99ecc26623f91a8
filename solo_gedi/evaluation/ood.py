"""Out-of-distribution scores; higher means in-distribution."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from torch import Generator, Tensor

from solo_gedi.core import evaluation_mode, input_gradient
from solo_gedi.data import SampleSpace
from solo_gedi.evaluation.features import Batches
from solo_gedi.inference import Model


def ood_scores(
    model: Model, batches: Batches, train_features: Tensor | None = None, k: int = 50
) -> dict[str, Tensor]:
    """Scores of every input.

    The gradient is that of the samples, in [-1, 1] for images, rather than of the network's inputs.

    Args:
        model: the trained model.
        batches: of (network inputs, labels).
        train_features: (m, h) that the model has for its training data.
        k: of `knn_distance`, at most m.

    Returns:
        (n,) each, on the CPU: `neg_grad_norm`, -||grad_x log p(x)||_2, the paper's score
        (Appendix G); `log_density`, log p(x) up to a constant; and its rivals, which need no
        density: `max_softmax`, the largest cluster probability, and, where there are training
        features, `knn_distance` and `mahalanobis`, see `negative_knn_distance` and
        `negative_mahalanobis`.
    """
    found: dict[str, list[Tensor]] = {"neg_grad_norm": [], "log_density": [], "max_softmax": []}
    of_inputs = []
    with evaluation_mode(model):
        for x, _ in batches:
            x = x.to(model.device)
            samples = model.space.to_samples(x)
            log_p, grad = input_gradient(model.log_density_of_samples, samples)
            with torch.inference_mode():
                features, cluster_scores = model(x)
                top = cluster_scores.softmax(-1).amax(-1)
            of_inputs.append(features.cpu())
            found["neg_grad_norm"].append(-grad.flatten(1).norm(dim=1).cpu())
            found["log_density"].append(log_p.cpu())
            found["max_softmax"].append(top.cpu())
    scores = {name: torch.cat(parts) for name, parts in found.items()}
    if train_features is not None:
        features = torch.cat(of_inputs)
        scores["knn_distance"] = negative_knn_distance(train_features, features, k)
        scores["mahalanobis"] = negative_mahalanobis(train_features, features)
    return scores


def negative_knn_distance(train_features: Tensor, features: Tensor, k: int = 50) -> Tensor:
    """Minus the distance to the k-th nearest training feature, all of them scaled to unit length.

    As Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", 2022.

    Args:
        train_features: (m, h), on the CPU.
        features: (n, h), on the CPU.
        k: which neighbour; the last of them where there are fewer.

    Returns:
        (n,), at most 0; higher means in-distribution.

    >>> train = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> negative_knn_distance(train, torch.tensor([[5.0, 0.0], [-3.0, 0.0]]), k=1)
    tensor([-0.0000, -1.4142])
    """
    train, those = (F.normalize(x.float(), dim=1).numpy() for x in (train_features, features))
    nearest = NearestNeighbors(n_neighbors=min(k, len(train))).fit(train)
    return -torch.from_numpy(nearest.kneighbors(those)[0][:, -1]).float()


def negative_mahalanobis(train_features: Tensor, features: Tensor) -> Tensor:
    """Minus the Mahalanobis distance to the training features, taken as one Gaussian.

    As Sehwag et al., "SSD: A Unified Framework for Self-Supervised Outlier Detection", 2021, whose
    best number of clusters is one. The covariance is shrunk (Ledoit and Wolf, 2004), so that it
    has an inverse where features are few or alike.

    Args:
        train_features: (m, h), on the CPU.
        features: (n, h), on the CPU.

    Returns:
        (n,), at most 0; higher means in-distribution.

    >>> train = torch.tensor([[-1.0, -2.0], [1.0, -2.0], [-1.0, 2.0], [1.0, 2.0]])
    >>> negative_mahalanobis(train, torch.tensor([[0.0, 0.0], [0.0, 9.0], [9.0, 0.0]])).argsort()
    tensor([2, 1, 0])
    """
    gaussian = LedoitWolf().fit(train_features.double().numpy())
    return -torch.from_numpy(gaussian.mahalanobis(features.double().numpy())).sqrt().float()


def auroc(in_scores: Tensor, out_scores: Tensor) -> float:
    """Probability that an in-distribution point scores above another; 0.5 is chance.

    Args:
        in_scores: (n,) of the in-distribution points.
        out_scores: (m,) of the others.

    Returns:
        In [0, 1]; a tie counts one half.

    >>> auroc(torch.tensor([0.9, 0.4]), torch.tensor([0.5, 0.1]))
    0.75
    """
    labels = torch.cat([torch.ones(len(in_scores)), torch.zeros(len(out_scores))])
    return float(roc_auc_score(labels.numpy(), torch.cat([in_scores, out_scores]).numpy()))


def uniform_noise(inputs: Tensor, space: SampleSpace, generator: Generator) -> Tensor:
    """Noise, uniform over the sample space: an out-set that needs no files.

    Args:
        inputs: (n, ...) network inputs, whose shape the noise takes.
        space: of the samples.
        generator: of the noise.
    """
    return space.to_input(space.uniform(inputs.shape, generator=generator))


def shuffled_pixels(inputs: Tensor, space: SampleSpace, generator: Generator) -> Tensor:
    """The inputs with the pixels of each in an order of its own.

    The hardest of the out-sets that need no files: every image keeps its colours.

    Args:
        inputs: (n, channels, h, w) network inputs.
        space: not used; out-sets are called alike.
        generator: of the orders.
    """
    pixels = inputs.flatten(2)
    order = torch.rand(len(pixels), 1, pixels.shape[2], generator=generator).argsort(-1)
    return pixels.gather(2, order.expand_as(pixels)).view_as(inputs)


SYNTHETIC: dict[str, Callable[[Tensor, SampleSpace, Generator], Tensor]] = {
    "uniform": uniform_noise,
    "shuffled": shuffled_pixels,
}

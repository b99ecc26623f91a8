"""What can be measured: one function a task.

A task gives its rows and pictures one by one, so that what it has found stays when it fails.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from solo_gedi.data import spec_of
from solo_gedi.errors import ConfigError, DataError, Interrupted
from solo_gedi.evaluation import galleries
from solo_gedi.evaluation.clustering import (
    cluster_usage,
    clustering_metrics,
    kmeans_clusters,
    minibatch_nmi,
)
from solo_gedi.evaluation.failure_modes import failure_modes_of, neighbour_cuts
from solo_gedi.evaluation.features import Batches
from solo_gedi.evaluation.knn import knn_accuracy
from solo_gedi.evaluation.logistic import logistic_accuracy
from solo_gedi.evaluation.ood import SYNTHETIC, auroc, ood_scores
from solo_gedi.evaluation.pictures import (
    ClusterMap,
    ClusterSizes,
    Confusion,
    FeatureMap,
    Gallery,
    RocCurves,
    ScoreSets,
    mesh,
)
from solo_gedi.evaluation.probe import probe_config
from solo_gedi.evaluation.sampling import Found, fid, samples
from solo_gedi.evaluation.subject import Subject

# What the rows of a probe say of its config anyway, and where its data lie.
_NAMED = (
    *("optimizer.name", "optimizer.lr", "optimizer.batch_size", "max_epochs"),
    *("name", "data.train_path", "data.val_path"),
)


def clustering(subject: Subject) -> Found:
    """Use of the clusters and agreement with labels, beside k-means on the features and pixels."""
    test, missing = subject.test, []
    own = {"source": "model", "output": subject.model.output}
    yield from subject.rows("clustering", _of_clusters(subject, test.clusters), **own)
    others: dict[str, Callable[[], Tensor]] = {"kmeans": lambda: test.features}
    if not subject.is_points:
        others["pixels"] = subject.pixels
    for source, points in others.items():
        try:
            found = _of_clusters(subject, kmeans_clusters(points(), subject.num_groups))
        except DataError as error:  # too few images for so many clusters, or too many
            missing.append(f"{source}: {error}")
            continue
        yield from subject.rows("clustering", found, source=source, k=subject.num_groups)
    if subject.labelled:
        for size in (64, 100):
            batched = minibatch_nmi(test.labels, test.clusters, size)
            values = {"minibatch_nmi": batched["nmi"], "minibatch_nmi_chance": batched["chance"]}
            yield from subject.rows("clustering", values, **own, batch=size)
    yield from _clusters_shown(subject)
    if not subject.labelled:
        missing.insert(0, f"agreement with classes: {subject.no_labels()}")
    if missing:
        raise DataError("; ".join(missing))


def _of_clusters(subject: Subject, clusters: Tensor) -> dict[str, float]:
    agreement = clustering_metrics(subject.test.labels, clusters) if subject.labelled else {}
    return {**agreement, **cluster_usage(clusters)}


def _clusters_shown(subject: Subject) -> Found:
    """Pictures of the clusters."""
    test, model, classes = subject.test, subject.model, subject.classes
    about = {"task": "clustering"}
    sizes = torch.bincount(test.clusters, minlength=model.num_clusters)
    yield ClusterSizes(**about, name="cluster_sizes", title="Sizes of the clusters", sizes=sizes)
    if classes:
        table, used = galleries.confusion(test, model.num_clusters, len(classes))
        yield Confusion(
            **about,
            name="confusion",
            title="Clusters and classes",
            note="How many of each class each cluster has; the clusters are in the order of the "
            "classes that they match best.",
            table=table,
            clusters=list(map(str, used)),
            classes=classes,
        )
    if subject.is_points:
        square = mesh(model.space.high)
        regions = model.cluster_logits(square.flatten(0, 1)).argmax(1)
        yield ClusterMap(
            **about,
            name="clusters",
            title="Clusters and their regions (Figure 3)",
            points=subject.samples_at(torch.arange(len(test.clusters))),
            clusters=test.clusters,
            regions=regions.view(square.shape[:2]).cpu(),
            box=model.space.high,
        )
        return
    shown = galleries.cluster_groups(subject.samples_at, test, classes)
    empty = (sizes == 0).nonzero()[:, 0].tolist()
    filled = len(sizes) - len(empty)
    yield Gallery(
        **about,
        name="cluster_images",
        title="Images of each cluster",
        note="From the surest to the least sure."
        + (f" The largest {len(shown)} of {filled} clusters." if len(shown) < filled else "")
        + (f" Without images: {', '.join(map(str, empty))}." if 0 < len(empty) <= 20 else "")
        + (f" {len(empty):,} clusters have no images." if len(empty) > 20 else ""),
        groups=shown,
    )
    chosen = galleries.spread(len(test.clusters), 5000)
    places, kept = galleries.plane(test.features[chosen])
    kinds = {"cluster": [str(c) for c in test.clusters[chosen].tolist()]}
    if classes:
        kinds["class"] = [classes[y] for y in test.labels[chosen].tolist()]
    yield FeatureMap(
        **about,
        name="feature_map",
        title="Map of the features",
        note=f"The first two principal components, which keep {kept:.0%} of the variance; "
        "solo-gedi explore writes an interactive page.",
        places=places,
        kinds=kinds,
    )


def triad(subject: Subject) -> Found:
    """The failure modes, and how far the energies of data and chains have run apart."""
    model = subject.model
    noise = (subject.cfg.get("method_kwargs") or {}).get("input_noise_std", 0.03)
    measured = failure_modes_of(model, subject.test_loader, noise)
    yield from subject.rows("triad", measured, noise=noise)
    log_p = {"data": subject.test.log_density}
    if model.chains is not None:
        with torch.inference_mode():
            log_p["chains"] = model.log_density_of_samples(model.chains[:1000])
    for name, values in log_p.items():
        yield from subject.rows("triad", {"log_density": float(values.mean())}, of=name)
    yield from _cuts(subject)


def _cuts(subject: Subject, most: int = 2000, k: int = 10) -> Found:
    """Edges between the clusters of points, of the test split or as many of it as will do."""
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(subject.test.labels), generator=generator)[:most]
    points, k = subject.samples_at(chosen), min(k, len(chosen) - 1)
    for source, value in neighbour_cuts(points, subject.test.clusters[chosen], k).items():
        keys = {"source": source, "k": k, "space": "data", "points": len(chosen)}
        yield from subject.rows("triad", {"neighbour_cut": value}, **keys)


def linear(subject: Subject) -> Found:
    """solo-learn's offline linear probe."""
    from solo_gedi import training
    from solo_gedi.config.keys import leaves
    from solo_gedi.training.resume import MACHINE, among

    if subject.is_points:
        raise ConfigError("the linear probe is for images, not for points")
    subject.check_labels()
    cfg = probe_config(subject)
    run = training.linear(cfg)
    if run.interrupted is not None:
        raise Interrupted(
            run.interrupted, f"the linear probe was stopped; it resumes: {run.folder}"
        )
    if not run.finished:
        raise DataError(f"the linear probe's max_time has stopped it; it resumes: {run.folder}")
    keys: dict[str, Any] = {
        "optimizer": cfg.optimizer.name,
        "lr": cfg.optimizer.lr * cfg.optimizer.batch_size / 256,
        "epochs": cfg.max_epochs,
        "batch": cfg.optimizer.batch_size,
    }
    changed = {
        f"probe.{key}": value
        for key, value in leaves(subject.probe)
        if not among(key, (*MACHINE, *_NAMED))
    }
    accuracy = run.metrics["val_acc1"] / 100
    yield from subject.rows("linear", {"accuracy": accuracy}, **keys, changed=changed)


def logistic(subject: Subject) -> Found:
    """scikit-learn's logistic regression."""
    C = 1.0
    accuracy = logistic_accuracy(*_labelled_features(subject), C=C)
    yield from subject.rows("logistic", {"accuracy": accuracy}, C=C)


def knn(subject: Subject) -> Found:
    """solo-learn's weighted kNN."""
    k, distance = 20, "euclidean"  # as solo-learn's online kNN has them
    accuracy = knn_accuracy(*_labelled_features(subject), k=k, distance=distance)
    yield from subject.rows("knn", {"accuracy": accuracy}, k=k, distance=distance)


def _labelled_features(subject: Subject) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training features and labels, and the test set's."""
    from solo_gedi.training import loaders

    subject.check_labels()
    loaders.check_classes(subject.cfg)
    train, test = subject.train, subject.test
    return train.features, train.labels, test.features, test.labels


def ood(subject: Subject) -> Found:
    """AUROC of telling the test set from others."""
    own, k, missing = subject.cfg.data.dataset, 50, []
    try:
        subject.check_test()
        train = subject.train.features
        k = min(k, len(train))
    except DataError as error:  # then without the distances to them
        train = None
        missing.append(f"knn_distance and mahalanobis: {error}")
    inside = ood_scores(subject.model, subject.test_loader, train, k)
    scores = {own: inside}
    for name in subject.options.ood:
        if name == "shuffled" and subject.is_points:
            continue
        try:
            outside = ood_scores(subject.model, _others(subject, name), train, k)
        except DataError as error:
            missing.append(str(error))
            continue
        against, _, path = name.partition(":")
        keys = {"against": against, **({"path": path} if path else {})}
        for score in inside:
            area = auroc(inside[score], outside[score])
            how = {"score": score, **({"k": k} if score == "knn_distance" else {})}
            yield from subject.rows("ood", {"auroc": area}, **how, **keys)
        label = Path(path).name if path and spec_of(against).is_folder else against
        if label in scores:
            label = f"{label} (other)" if label == own else name
        scores[label] = outside
    if len(scores) > 1:
        yield RocCurves(
            task="ood",
            name="ood_roc",
            title="ROC curves",
            note=f"For every threshold of a score, how much of {own} is kept, and with it of the "
            "other set.",
            scores=scores,
        )
        yield ScoreSets(
            task="ood",
            name="ood",
            title="Scores",
            note="Higher means in-distribution, for every score.",
            scores=scores,
        )
    if len(scores) > 1 and not subject.is_points:
        yield Gallery(
            task="ood",
            name="extremes",
            title="The most and the least likely images",
            note="By log p, up to a constant.",
            groups=galleries.extreme_groups(subject.samples_at, inside["log_density"]),
        )
    if missing:
        raise DataError("; ".join(missing))


def _others(subject: Subject, name: str) -> Batches:
    """Batches of a data set that the model was not trained on, seen as its own is."""
    from solo_gedi.training import loaders

    if make := SYNTHETIC.get(name):
        space, generator = subject.model.space, torch.Generator().manual_seed(0)
        return ((make(x, space, generator), labels) for x, labels in subject.test_loader)
    dataset = name.partition(":")[0]
    if bool(spec_of(dataset).points) != subject.is_points:
        raise DataError(f"points cannot be told from images: --ood has {dataset}")
    return loaders.plain_loader(loaders.other_data(subject.cfg, name), train=False)


TASKS: dict[str, Callable[[Subject], Found]] = {
    "clustering": clustering,
    "triad": triad,
    "linear": linear,
    "logistic": logistic,
    "knn": knn,
    "ood": ood,
    "fid": fid,
    "samples": samples,
}

"""What can be measured: one function a task.

A task gives its rows and pictures one by one, so that what it has found stays when it fails.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Generator, Tensor

from solo_gedi.data import spec_of
from solo_gedi.errors import ConfigError, DataError, Interrupted
from solo_gedi.evaluation.clustering import clustering_metrics, kmeans_clusters, minibatch_nmi
from solo_gedi.evaluation.failure_modes import failure_modes_of, neighbour_cuts
from solo_gedi.evaluation.features import Batches
from solo_gedi.evaluation.generation import (
    SampleFeatures,
    draw_samples,
    frechet_distance,
    inception_features,
)
from solo_gedi.evaluation.knn import knn_accuracy
from solo_gedi.evaluation.ood import SYNTHETIC, auroc, ood_scores
from solo_gedi.evaluation.pictures import (
    ClusterMap,
    ImageChains,
    Picture,
    PointChains,
    ScoreSets,
    mesh,
)
from solo_gedi.evaluation.probe import probe_config
from solo_gedi.evaluation.rows import Row
from solo_gedi.evaluation.subject import Subject, load_with_host
from solo_gedi.inference import Model

Found = Iterator[Row | Picture]

IMAGE_STEPS = (0, 20, 100, 500)  # of the pictures, as in the paper's figures
POINT_STEPS = (0, 100, 1000, 3000)  # the toy sets' steps are tiny


def clustering(subject: Subject) -> Found:
    """Agreement of clusters with labels, beside k-means on the features and on the pixels."""
    test, k = subject.test, subject.cfg.data.num_classes
    own = {"source": "model", "output": subject.model.output}
    by_model = clustering_metrics(test.labels, test.clusters)
    yield from subject.rows("clustering", by_model, **own)
    others = {"kmeans": test.features}
    if not subject.is_points:
        others["pixels"] = subject.test_samples.flatten(1)
    for source, points in others.items():
        found = clustering_metrics(test.labels, kmeans_clusters(points, k))
        yield from subject.rows("clustering", found, source=source, k=k)
    for size in (64, 100):
        batched = minibatch_nmi(test.labels, test.clusters, size)
        values = {"minibatch_nmi": batched["nmi"], "minibatch_nmi_chance": batched["chance"]}
        yield from subject.rows("clustering", values, **own, batch=size)
    if subject.is_points:
        square = mesh(subject.model.space.high)
        regions = subject.model.cluster_logits(square.flatten(0, 1)).argmax(1)
        yield ClusterMap(
            name="clusters",
            title="Clusters and their regions (Figure 3)",
            points=subject.test_inputs,
            clusters=test.clusters,
            regions=regions.view(square.shape[:2]).cpu(),
            box=subject.model.space.high,
        )


def triad(subject: Subject) -> Found:
    """The failure modes, and how far the energies of data and chains have run apart."""
    model = subject.model
    noise = (subject.cfg.get("method_kwargs") or {}).get("input_noise_std", 0.03)
    measured = failure_modes_of(model, subject.test_loader, noise)
    yield from subject.rows("triad", measured, noise=noise)
    yield from _cuts(subject)
    sets = {"data": subject.test_samples, "chains": model.chains}
    for name, samples in sets.items():
        if samples is not None:
            with torch.inference_mode():
                mean = float(model.log_density_of_samples(samples[:1000]).mean())
            yield from subject.rows("triad", {"log_density": mean}, of=name)


def _cuts(subject: Subject, most: int = 2000, k: int = 10) -> Found:
    """Edges between the clusters of points, of the test split or as many of it as will do."""
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(subject.test.labels), generator=generator)[:most]
    points, k = subject.test_samples[chosen], min(k, len(chosen) - 1)
    for source, value in neighbour_cuts(points, subject.test.clusters[chosen], k).items():
        keys = {"source": source, "k": k, "space": "data", "points": len(chosen)}
        yield from subject.rows("triad", {"neighbour_cut": value}, **keys)


def linear(subject: Subject) -> Found:
    """solo-learn's offline linear probe."""
    from solo_gedi import training

    if subject.is_points:
        raise ConfigError("the linear probe is for images, not for points")
    cfg = probe_config(subject)
    run = training.linear(cfg)
    if run.interrupted is not None:
        raise Interrupted(
            run.interrupted, f"the linear probe was stopped; it resumes: {run.folder}"
        )
    yield from subject.rows(
        "linear",
        {"accuracy": run.metrics["val_acc1"] / 100},
        optimizer=cfg.optimizer.name,
        lr=cfg.optimizer.lr * cfg.optimizer.batch_size / 256,
        epochs=cfg.max_epochs,
        batch=cfg.optimizer.batch_size,
    )


def knn(subject: Subject) -> Found:
    """solo-learn's weighted kNN."""
    from solo_gedi.training import loaders

    loaders.check_classes(subject.cfg)
    train, test = subject.train, subject.test
    k, distance = 20, "euclidean"  # as solo-learn's online kNN has them
    sets = (train.features, train.labels, test.features, test.labels)
    accuracy = knn_accuracy(*sets, k=k, distance=distance)
    yield from subject.rows("knn", {"accuracy": accuracy}, k=k, distance=distance)


def ood(subject: Subject) -> Found:
    """AUROC of telling the test set from others."""
    own, k, missing = subject.cfg.data.dataset, 50, []
    try:
        train = subject.train.features
    except DataError as error:  # then without the distance to them
        train = None
        missing.append(f"knn_distance: {error}")
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
        # Of custom:FOLDER the folder's name; that of the model's own data is taken.
        label = Path(name).name
        scores[f"{label} (other)" if label == own else label] = outside
    if len(scores) > 1:
        yield ScoreSets(
            name="ood",
            title="Out-of-distribution scores",
            note="Higher means in-distribution, for every score.",
            scores=scores,
        )
    if missing:
        raise DataError("; ".join(missing))


def _others(subject: Subject, name: str) -> Batches:
    """Batches of a data set that the model was not trained on."""
    if make := SYNTHETIC.get(name):
        return [(make(x, subject.model.space), labels) for x, labels in subject.test_loader]
    dataset = name.partition(":")[0]
    if bool(spec_of(dataset).points) != subject.is_points:
        raise DataError(f"points cannot be told from images: --ood has {dataset}")
    return subject.loader(other=name)


def fid(subject: Subject) -> Found:
    """Fréchet distance between samples and the test set."""
    if subject.is_points:
        raise ConfigError("the Fréchet distance is for images, not for points")
    model, options = subject.model, subject.options
    features = _features(subject)
    real = [model.space.to_samples(x) for x, _ in subject.test_loader]
    chains = _chains(model, options.start, min(options.num_samples, sum(map(len, real))))
    samples = draw_samples(model, chains, [options.steps], generator=_generator(model))
    drawn = samples[options.steps]
    distance = frechet_distance(features, real, drawn.split(100), model.device)
    yield from subject.rows(
        "fid",
        {"fid" if options.fid_features == "inception" else "frechet_distance": distance},
        features=str(options.fid_features),
        samples=len(drawn),
        steps=options.steps,
        start=options.start,
    )


def _features(subject: Subject) -> SampleFeatures:
    """The network whose features the Fréchet distance compares."""
    chosen = subject.options.fid_features
    if chosen == "inception":
        return inception_features(subject.options.inception_weights)
    own = subject.model
    model = own if chosen == "backbone" else load_with_host(chosen).to(own.device)
    size = model.features(torch.zeros(1, *model.input_shape)).shape[1]
    return SampleFeatures(model.features, model.space.to_input, size)


def samples(subject: Subject) -> Found:
    """Chains on their way."""
    model, sgld = subject.model, subject.model.sgld
    note = f"Step size {sgld.step_size}, noise {sgld.noise_std}, after each number of steps."
    number, steps = (400, POINT_STEPS) if subject.is_points else (64, IMAGE_STEPS)
    starts = {"fresh": "fresh chains"}
    if model.chains is not None:
        starts["buffer"] = "the replay buffer"
    for start, called in starts.items():
        chains = _chains(model, start, number)
        drawn = draw_samples(model, chains, steps, generator=_generator(model))
        name, title = f"samples_{start}", f"Samples from {called}"
        if not subject.is_points:
            yield ImageChains(name=name, title=title, note=note, start=start, chains=drawn)
            continue
        square = mesh(model.space.high)
        with torch.inference_mode():
            log_p = model.log_density_of_samples(square.flatten(0, 1))
        yield PointChains(
            name=name,
            title=title,
            note=note,
            start=start,
            chains=drawn,
            log_density=log_p.view(square.shape[:2]).cpu(),
            box=model.space.high,
        )


def _chains(model: Model, start: str, number: int) -> Tensor:
    """Where chains start: (number, ...) fresh ones, or as many of the replay buffer's."""
    generator = torch.Generator().manual_seed(0)
    if start == "fresh":
        return model.space.uniform((number, *model.input_shape), generator=generator)
    if model.chains is None:
        raise ConfigError(f"--start=buffer: {model.config['method']} has no replay buffer")
    return model.chains[torch.randperm(len(model.chains), generator=generator)[:number]]


def _generator(model: Model) -> Generator:
    return Generator(model.device).manual_seed(0)


TASKS: dict[str, Callable[[Subject], Found]] = {
    "clustering": clustering,
    "triad": triad,
    "linear": linear,
    "knn": knn,
    "ood": ood,
    "fid": fid,
    "samples": samples,
}

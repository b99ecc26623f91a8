"""The tasks that draw samples: their distance to the data, and pictures of them."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Generator, Tensor

from solo_gedi.errors import ConfigError, DataError
from solo_gedi.evaluation.generation import (
    SampleFeatures,
    draw_samples,
    frechet_distance,
    inception_features,
)
from solo_gedi.evaluation.pictures import ImageChains, Picture, PointChains, mesh
from solo_gedi.evaluation.rows import Row
from solo_gedi.evaluation.subject import Subject, load_with_host
from solo_gedi.inference import Model

Found = Iterator[Row | Picture]

IMAGE_STEPS = (0, 20, 100, 500)  # of the pictures, as in the paper's figures
POINT_STEPS = (0, 100, 1000, 3000)  # the toy sets' steps are tiny


def fid(subject: Subject) -> Found:
    """Fréchet distance between samples and the test set."""
    if subject.is_points:
        raise ConfigError("the Fréchet distance is for images, not for points")
    model, options = subject.model, subject.options
    features = _features(subject)
    loader: Any = subject.test_loader
    chains = _chains(model, options.start, min(options.num_samples, len(loader.sampler)))
    drawn = model.sample(steps=options.steps, start=chains, generator=_generator(model))
    # Apple's GPUs have no float64, which the metric computes in.
    device = "cpu" if model.device.type == "mps" else model.device
    real = (model.space.to_samples(x) for x, _ in loader)
    distance = frechet_distance(features, real, drawn.split(100), device)
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
    if model.input_shape != own.input_shape:
        raise ConfigError(
            f"--fid-features={chosen}: its network takes images of shape {model.input_shape}, "
            f"not {own.input_shape}"
        )
    size = model.features(torch.zeros(1, *model.input_shape)).shape[1]
    return SampleFeatures(model.features, model.space.to_input, size)


def samples(subject: Subject) -> Found:
    """Chains on their way, beside images of the data."""
    model, sgld = subject.model, subject.model.sgld
    note = f"Step size {sgld.step_size}, noise {sgld.noise_std}, after each number of steps."
    number, steps = (400, POINT_STEPS) if subject.is_points else (64, IMAGE_STEPS)
    starts = {"fresh": "fresh chains"}
    if model.chains is not None:
        starts["buffer"] = "the replay buffer"
    real, missing = None, ""
    if not subject.is_points:
        try:
            real = subject.some_samples(number)
        except DataError as error:  # samples need no data
            missing = f"images beside the samples: {error}"
    for start, called in starts.items():
        chains = _chains(model, start, number)
        drawn = draw_samples(model, chains, steps, generator=_generator(model))
        about: dict[str, Any] = {"task": "samples", "name": f"samples_{start}", "start": start}
        about |= {"title": f"Samples from {called}", "note": note, "chains": drawn}
        if not subject.is_points:
            yield ImageChains(**about, real=real)
            continue
        square = mesh(model.space.high)
        with torch.inference_mode():
            log_p = model.log_density_of_samples(square.flatten(0, 1))
        log_p = log_p.view(square.shape[:2]).cpu()
        yield PointChains(**about, log_density=log_p, box=model.space.high)
    if missing:
        raise DataError(missing)


def _chains(model: Model, start: str, number: int) -> Tensor:
    """Where chains start: (number, ...) fresh ones, or as many of the replay buffer's."""
    if start == "buffer" and model.chains is not None:
        number = min(number, len(model.chains))
    return model.sample(number, steps=0, start=start, generator=_generator(model))


def _generator(model: Model) -> Generator:
    return Generator(model.device).manual_seed(0)

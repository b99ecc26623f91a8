"""Samples of a trained model as files: images, a grid, the numbers, and the way there."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor

from solo_gedi.core.processes import get_logger
from solo_gedi.data import grid_picture, read_image, save_grid, to_picture
from solo_gedi.errors import ConfigError, DivergenceError
from solo_gedi.files import check_output, given_path, written_folder
from solo_gedi.inference.images import image_files
from solo_gedi.inference.load import HasCheckpoint, load
from solo_gedi.inference.model import Model

logger = get_logger(__name__)

FRAMES = 40  # of the animation, after the start
IN_GRID = 64
AT_ONCE = 400  # through the network


def sample(
    model: Model | str | Path | HasCheckpoint,
    out: str | Path,
    *,
    num: int = 64,
    steps: int = 500,
    start: str | Path | Sequence[str | Path] = "fresh",
    seed: int = 0,
    overwrite: bool = False,
) -> Tensor:
    """Draw samples of an energy-based model by SGLD, or move given images uphill.

    Into a folder go `images/0000.png` and so on, `grid.png` with the first 64 of them,
    `chains.gif` with their way from the start, and `samples.npz`: `samples` and `start`
    (num, ...) in [-1, 1] but for the noise, and their `log_density` and `start_log_density`. Of a
    model of points there is `samples.npz` alone.

    Args:
        model: what `load` gives, or takes.
        out: the folder.
        num: how many; of images to start from, at most.
        steps: Langevin steps, at least 1, with the settings that the model was trained with.
        start: "fresh" chains, uniform noise; "buffer", the chains of the training; or images to
            start from: files, folders and globs.
        seed: the same one draws the same samples.
        overwrite: whether `out` may have files already, which are replaced.

    Returns:
        The samples (num, ...), on the CPU.

    Raises:
        ConfigError: for a model without an energy, a number that cannot work, a folder that has
            files.
        DataError: for images that cannot be read.
        DivergenceError: if the chains run away.

    Example:
        sample("gedi-digits", "samples", num=16, steps=200)
    """
    folder = given_path(out)
    for name, value in (("num", num), ("steps", steps)):
        if value < 1:
            raise ConfigError(f"{name}={value} must be at least 1")
    check_output(folder, "out", overwrite, folder=True)
    model = model if isinstance(model, Model) else load(model)
    if not model.has_energy:
        raise ConfigError(
            f"{model.config['method']} has no energy to sample from, as gedi and jem have: it can "
            "predict, export and explore"
        )
    generator = Generator(device=model.device).manual_seed(seed)
    way = {0: _start(model, num, start, generator)}
    for count in np.unique(np.linspace(0, steps, FRAMES + 1).round().astype(int))[1:].tolist():
        done, chains = max(way.items())
        way[count] = model.sample(steps=count - done, start=chains, generator=generator)
        if done:  # all chains at their start and end, and the shown ones between
            way[done] = chains[:IN_GRID].clone()
    samples = way[steps]
    if not samples.isfinite().all():
        step = next(count for count, chains in way.items() if not chains.isfinite().all())
        raise DivergenceError(
            f"the chains diverged before step {step}: start nearer (start=buffer), or take fewer "
            "steps"
        )
    with torch.no_grad():
        heights = [_heights(model, chains) for chains in (samples, way[0])]
    earlier = (folder / "samples.npz").is_file()
    with written_folder(folder) as new:
        np.savez(
            new / "samples.npz",
            samples=samples.numpy(),
            start=way[0].numpy(),
            log_density=heights[0],
            start_log_density=heights[1],
        )
        if model.normalization is not None:
            (new / "images").mkdir()
            for k, image in enumerate(samples):
                to_picture(image).save(new / "images" / _name(k))
            save_grid(samples[:IN_GRID], new / "grid.png")
            frames = [grid_picture(chains[:IN_GRID]) for chains in way.values()]
            _animate(frames, new / "chains.gif")
    if earlier:  # perhaps of more samples
        for path in (folder / "images").glob("*.png"):
            number = int(path.stem) if path.stem.isdecimal() else -1
            if number >= len(samples) and path.name == _name(number):
                path.unlink()
    logger.info(
        "%d samples after %d steps: %s (log p %.3g at the start, %.3g at the end)",
        *(len(samples), steps, folder, heights[1].mean(), heights[0].mean()),
    )
    return samples


def _start(
    model: Model, num: int, start: str | Path | Sequence[str | Path], generator: Generator
) -> Tensor:
    if not isinstance(start, str | Path) and len(start) == 1:
        start = start[0]
    if start in ("fresh", "buffer"):
        return model.sample(num, steps=0, start=start, generator=generator)
    transform = model.transform
    inputs = [transform(read_image(file)) for file in image_files(start)[:num]]
    return model.space.to_samples(torch.stack(inputs))


def _heights(model: Model, chains: Tensor) -> np.ndarray:
    """Log p of chains, as many at a time as `Model.sample` moves."""
    parts = [model.log_density_of_samples(part).cpu() for part in chains.split(AT_ONCE)]
    return torch.cat(parts).numpy()


def _name(number: int) -> str:
    return f"{number:04d}.png"


def _animate(frames: list[Image.Image], path: Path) -> None:
    """A GIF that goes on for ever, and rests at its end."""
    duration = [80] * (len(frames) - 1) + [2000]
    first, *rest = (frame.convert("P", palette=Image.Palette.ADAPTIVE) for frame in frames)
    first.save(path, save_all=True, append_images=rest, duration=duration, loop=0)

"""Pictures of the documentation that no command leaves behind.

    python -m docs.pictures

draws `docs/pictures/chains.gif`, chains of the shipped model of digits on their way from noise, and
`docs/pictures/circles.gif`, the energy landscape of GEDI while it learns the two rings. Both take
a few minutes on one core, and come out the same again. `docs/pictures/sensitivity_*.png`, Figure 2,
are drawn from the stored results.
"""

import json
import statistics
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from matplotlib.figure import Figure
from PIL import Image, ImageSequence

import solo_gedi as sg
from docs.render import RESULTS

HERE = Path(__file__).parent / "pictures"
SEED = 0
ITERATIONS = (*range(0, 1000, 100), *range(1000, 8001, 500))  # that are shown


def chains(path: Path) -> None:
    """Digits out of noise, in 16 greys, which keeps the file small."""
    with TemporaryDirectory() as folder:
        sg.sample("gedi-digits", Path(folder) / "samples", num=16, steps=200, seed=SEED)
        with Image.open(Path(folder) / "samples" / "chains.gif") as drawn:
            frames = [frame.convert("L").copy() for frame in ImageSequence.Iterator(drawn)]
    save([frame.quantize(16) for frame in frames], path, milliseconds=80)


def circles(path: Path) -> None:
    """Log p with the chains on it, and the clusters, as training goes on."""
    from solo_gedi import hosts
    from solo_gedi.comparison.toy.training import ToyTraining
    from solo_gedi.core import log_density
    from solo_gedi.data import fixed_points, spec_of
    from solo_gedi.training.job import parse

    torch.set_num_threads(1)
    sg.register()
    training = ToyTraining(
        parse(sg.load_config("toy/gedi", ["dataset=circles"]), hosts.parse_pretrain), [SEED]
    )
    points, _ = fixed_points(spec_of("circles"), SEED, 600)
    line = torch.linspace(-1.6, 1.6, 120)
    mesh = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).flatten(0, 1)
    frames: list[Image.Image] = []
    done = 0
    for iteration in ITERATIONS:
        for _ in range(iteration - done):
            training.step()
        done = iteration
        with torch.no_grad():
            log_p = log_density(training.network(mesh[None]))[0].view(120, 120)
            clusters = training.network(points[None])[0].argmax(-1)
        figure = Figure((5.6, 3.0), layout="tight")
        left, right = figure.subplots(1, 2)
        left.contourf(line, line, log_p - log_p.max(), levels=12, cmap="viridis")
        assert training.chains is not None
        moving = training.chains[:300, 0]
        left.plot(moving[:, 0], moving[:, 1], "w.", markersize=1)
        left.set_title(f"log p and chains, iteration {iteration:,}", fontsize=8)
        right.scatter(*points.T, s=3, c=[f"C{cluster}" for cluster in clusters])
        right.set_title("clusters", fontsize=8)
        for axis in (left, right):
            axis.set(xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), xticks=[], yticks=[], aspect="equal")
        drawn = BytesIO()
        figure.savefig(drawn, dpi=90)
        frames.append(Image.open(drawn).convert("RGB"))
    colours = frames[-1].quantize(48)
    frames = [frame.quantize(palette=colours, dither=Image.Dither.NONE) for frame in frames]
    save(frames, path, milliseconds=300)


def sensitivity(dataset: str) -> None:
    """NMI by the weights of the terms, where it was measured."""
    from solo_gedi.comparison import overview

    stored = json.loads((RESULTS / "toy_sensitivity.json").read_text())
    nmi: dict[tuple[int, int], float] = {}
    for row in stored["rows"]:
        if row["data set"] == dataset:
            prior = int(row["metric"].removeprefix("prior "))
            nmi[row["weight of invariance"], prior] = statistics.fmean(row["values"])
    overview.sensitivity(nmi, dataset, HERE)


def save(frames: list[Image.Image], path: Path, milliseconds: int) -> None:
    """Write a GIF that goes on for ever and rests at its end."""
    first, *rest = frames
    duration = [milliseconds] * len(rest) + [2500]
    path.parent.mkdir(exist_ok=True)
    first.save(path, save_all=True, append_images=rest, duration=duration, loop=0, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    for dataset in ("circles", "moons"):
        sensitivity(dataset)
    chains(HERE / "chains.gif")
    circles(HERE / "circles.gif")

"""A row for each of some images: cluster, confidence, log p and scores."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torchvision.datasets.folder import IMG_EXTENSIONS

from solo_gedi.core import input_gradient, log_density
from solo_gedi.data import read_image
from solo_gedi.errors import DataError
from solo_gedi.inference.load import HasCheckpoint, load
from solo_gedi.inference.model import Model

Row = dict[str, Any]


def predict(
    model: Model | str | Path | HasCheckpoint,
    images: str | Path | Sequence[str | Path],
    *,
    batch_size: int = 64,
) -> list[Row]:
    """Cluster and score images.

    Args:
        model: what `load` gives, or takes.
        images: files and folders, which are searched through for images.
        batch_size: images in memory at once.

    Returns:
        A row an image, in the order given, folders sorted: `file`, `cluster`, `confidence` (the
        share of the cluster, in [0, 1]), `second` and `second_share`, `log_density` up to a
        constant, and `neg_grad_norm` (the paper's out-of-distribution score, Appendix G; higher
        means in-distribution). An image that cannot be read has `file` and `error`.

    Raises:
        DataError: if a path does not exist, or there is no image.

    Example:
        rows = predict("trained_models/gedi/20260102-030405", "photos")
    """
    model = model if isinstance(model, Model) else load(model)
    model.transform  # noqa: B018  # refuses a model of points before anything is read
    given = [images] if isinstance(images, str | Path) else list(images)
    files = [file for path in given for file in image_files(Path(path))]
    if not files:
        raise DataError(f"there is no image in {', '.join(map(str, given))}")
    rows: list[Row] = []
    for batch in _batches(files, batch_size):
        rows += _rows(model, batch)
    return rows


def image_files(path: Path) -> list[Path]:
    """The images that a path means: itself, or those below a folder, sorted.

    Raises:
        DataError: if it does not exist.
    """
    if path.is_dir():
        found = (file for file in path.rglob("*") if file.suffix.lower() in IMG_EXTENSIONS)
        return sorted(file for file in found if file.is_file())
    if not path.exists():
        raise DataError(f"{path} does not exist (from {Path.cwd()})")
    return [path]


def _batches(files: Iterable[Path], size: int) -> Iterator[list[Path]]:
    remaining = iter(files)
    while batch := list(islice(remaining, size)):
        yield batch


def _rows(model: Model, files: list[Path]) -> list[Row]:
    rows: list[Row] = []
    inputs = []
    for file in files:
        try:
            inputs.append(model.transform(read_image(file)))
            rows.append({"file": str(file)})
        except DataError as error:
            rows.append({"file": str(file), "error": str(error)})
    if not inputs:
        return rows
    x = torch.stack(inputs).to(model.device)
    scores = model.cluster_logits(x)
    shares, clusters = scores.softmax(-1).topk(2)
    _, grad = input_gradient(model.log_density_of_samples, model.space.to_samples(x))
    norms = -grad.flatten(1).norm(dim=1)
    readable = [row for row in rows if "error" not in row]
    for k, row in enumerate(readable):
        row |= {
            "cluster": int(clusters[k, 0]),
            "confidence": float(shares[k, 0]),
            "second": int(clusters[k, 1]),
            "second_share": float(shares[k, 1]),
            "log_density": float(log_density(scores[k])),
            "neg_grad_norm": float(norms[k]),
        }
    return rows

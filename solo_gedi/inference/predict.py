"""A row for each of some images: cluster, confidence, log p and scores."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor
from tqdm import tqdm

from solo_gedi.backbones import features_dim
from solo_gedi.core import evaluation_mode, log_density
from solo_gedi.core.processes import get_logger
from solo_gedi.data import read_image
from solo_gedi.errors import ConfigError, DataError
from solo_gedi.files import check_output, given_path
from solo_gedi.inference.images import Images, image_files
from solo_gedi.inference.load import HasCheckpoint, load
from solo_gedi.inference.model import NO_REFERENCE, Model
from solo_gedi.inference.tables import Row, features_writer, load_pyarrow, table_writer

logger = get_logger(__name__)


@overload
def predict(
    model: Model | str | Path | HasCheckpoint,
    images: Images,
    *,
    out: None = None,
    features: str | Path | None = None,
    batch_size: int = 64,
    overwrite: bool = False,
) -> list[Row]: ...
@overload
def predict(
    model: Model | str | Path | HasCheckpoint,
    images: Images,
    *,
    out: str | Path,
    features: str | Path | None = None,
    batch_size: int = 64,
    overwrite: bool = False,
) -> Path: ...


def predict(
    model: Model | str | Path | HasCheckpoint,
    images: Images,
    *,
    out: str | Path | None = None,
    features: str | Path | None = None,
    batch_size: int = 64,
    overwrite: bool = False,
) -> list[Row] | Path:
    """Cluster and score images.

    Args:
        model: what `load` gives, or takes.
        images: files, folders, which are searched through for images, and globs.
        out: a .csv or .parquet file for the rows, which are written as they come, so that there
            may be any number of images.
        features: a .npz file for the features (n, h) of the backbone, with the names of the files;
            NaN where an image cannot be read.
        batch_size: images in the network at once.
        overwrite: whether to replace files that exist.

    Returns:
        `out` if it is given; else a row an image, in the order given, folders sorted: `file`,
        `cluster`, `confidence` (the share of the cluster, in [0, 1]), `second` and `second_share`,
        `log_density` up to a constant, `neg_grad_norm` (the paper's out-of-distribution score,
        Appendix G; higher means in-distribution) and `typicality` (the share of training images
        that are less likely; None where the model was not measured, which is logged). An image
        that cannot be read has `file` and `error`.

    Raises:
        ConfigError: if a file to be written exists, or has another suffix; for a model of points.
        DataError: if a path does not exist, or there is no image.
        MissingPackageError: for .parquet without pyarrow.

    Example:
        rows = predict("gedi-digits", "photos")
        predict("trained_models/gedi/20260102-030405", "photos/**/*.jpg", out="predictions.csv")
    """
    places = [_checked(out, "out", (".csv", ".parquet"), overwrite)]
    places.append(_checked(features, "features", (".npz",), overwrite))
    model = model if isinstance(model, Model) else load(model)
    files = _files_of(model, images)
    rows: list[Row] = []
    with ExitStack() as stack:
        collect: Callable[[Row], Any] = rows.append
        if places[0] is not None:
            collect = stack.enter_context(table_writer(places[0]))
        keep = None
        if places[1] is not None:
            size = features_dim(model.backbone)
            keep = stack.enter_context(features_writer(places[1], files, size))
        broken = 0
        progress = tqdm(total=len(files), unit=" images", disable=None, leave=False)
        stack.callback(progress.close)
        for row, own in _predictions(model, files, batch_size):
            broken += "error" in row
            collect(row)
            if keep is not None:
                keep(own)
            progress.update()
    if broken:
        logger.warning("%d of %d images cannot be used: see `error`", broken, len(files))
    if places[0] is None:
        return rows
    logger.info("%d rows: %s", len(files), out)
    return places[0]


def iter_predictions(
    model: Model | str | Path | HasCheckpoint, images: Images, *, batch_size: int = 64
) -> Iterator[Row]:
    """The rows of `predict`, one after the other.

    Args:
        model: what `load` gives, or takes.
        images: files, folders and globs.
        batch_size: images in the network at once.

    Raises:
        ConfigError: for a model of points.
        DataError: if a path does not exist, or there is no image.

    Example:
        for row in iter_predictions("gedi-digits", "photos"):
            print(row["file"], row["cluster"])
    """
    model = model if isinstance(model, Model) else load(model)
    return (row for row, _ in _predictions(model, _files_of(model, images), batch_size))


def _files_of(model: Model, images: Images) -> list[Path]:
    model.transform  # noqa: B018  # refuses a model of points before anything is read
    files = image_files(images)
    if model.reference is None:
        logger.warning("%s", NO_REFERENCE)
    return files


def _predictions(
    model: Model, files: Iterable[Path], batch_size: int
) -> Iterator[tuple[Row, Tensor | None]]:
    """A row an image, and its features where it can be read."""
    if batch_size < 1:
        raise ConfigError(f"batch_size={batch_size} must be at least 1")
    remaining = iter(files)

    def read(file: Path) -> Tensor | DataError:
        try:
            return model.transform(read_image(file))
        except DataError as error:
            return error

    with ThreadPoolExecutor(4) as readers:
        while batch := list(islice(remaining, batch_size)):
            images = list(readers.map(read, batch))
            inputs = [image for image in images if isinstance(image, Tensor)]
            known = iter(rows_of(model, torch.stack(inputs)) if inputs else ())
            for file, image in zip(batch, images, strict=True):
                if isinstance(image, Tensor):
                    row, own = next(known)
                    yield {"file": str(file), **row}, own
                else:
                    yield {"file": str(file), "error": str(image)}, None


def rows_of(model: Model, x: Tensor) -> list[tuple[Row, Tensor]]:
    """The rows of images without the names of their files, and their features.

    Args:
        model: the trained model.
        x: network inputs (n, ...).
    """
    with evaluation_mode(model):
        x = x.to(model.device)
        with torch.inference_mode():
            features, scores = model(x)
        log_p = log_density(scores)
        shares, clusters = scores.softmax(-1).topk(min(2, model.num_clusters))
        norms = model.ood_score(x)
    below = [None] * len(x)
    if model.reference is not None:
        below = model.reference.share_below(log_p).tolist()
    columns = (clusters, shares, log_p, norms)
    rows: list[tuple[Row, Tensor]] = []
    lists = [column.tolist() for column in columns]
    for cluster, share, log_p_of, norm, typical, own in zip(
        *lists, below, features.cpu(), strict=True
    ):
        second: Row = {"second": None, "second_share": None}
        if len(cluster) > 1:
            second = {"second": cluster[1], "second_share": share[1]}
        row = {"cluster": cluster[0], "confidence": share[0], **second}
        row |= {"log_density": log_p_of, "neg_grad_norm": norm, "typicality": typical}
        rows.append((row, own))
    return rows


def _checked(
    path: str | Path | None, setting: str, suffixes: tuple[str, ...], overwrite: bool
) -> Path | None:
    if path is None:
        return None
    path = given_path(path)
    if path.suffix.lower() not in suffixes:
        raise ConfigError(f"{setting}={path} must end in {' or '.join(suffixes)}")
    check_output(path, setting, overwrite)
    if path.suffix.lower() == ".parquet":
        load_pyarrow()  # refuses before anything is read
    return path

"""An interactive page: a map of the features, the clusters, and the least typical images."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from jinja2 import Environment, PackageLoader
from torch import Tensor

from solo_gedi.core.processes import get_logger
from solo_gedi.data import read_image
from solo_gedi.errors import ConfigError, DataError, MissingPackageError
from solo_gedi.files import check_output, given_path, write_atomically
from solo_gedi.inference import Model
from solo_gedi.inference.images import Images, image_files
from solo_gedi.inference.load import HasCheckpoint
from solo_gedi.inference.model import NO_REFERENCE
from solo_gedi.inference.predict import rows_of
from solo_gedi.report.thumbnails import thumbnail

logger = get_logger(__name__)

# What images can be coloured and sorted by, and what a person reads.
CATEGORIES = {"cluster": "cluster", "label": "label"}
NUMBERS = {
    "typicality": "typicality",
    "confidence": "confidence",
    "log_density": "log p",
    "neg_grad_norm": "-||grad log p||",
}
_Batch = tuple[Tensor, list[str], list[str]]  # network inputs, names of the images, labels


def explore(
    model: Model | str | Path | HasCheckpoint,
    images: Images | None = None,
    out: str | Path = "explore.html",
    *,
    max_images: int = 2000,
    overwrite: bool = False,
) -> Path:
    """Write an HTML page with a map of images, their clusters, and the least typical ones.

    It needs no network and no other file. The map shows the first two principal components of the
    features, and UMAP's where umap-learn is installed.

    Args:
        model: what `load` gives, or takes.
        images: files, folders and globs; the run's test images, or training images where there are
            none, when None. Images of several folders have these for labels.
        out: the .html file.
        max_images: how many it shows at most; a random choice, always the same.
        overwrite: whether to replace a file that exists.

    Returns:
        The file.

    Raises:
        ConfigError: if the file exists, or for a model of points.
        DataError: if there is no image that can be read.
        MissingPackageError: without Bokeh; without solo-learn, which reads the run's own data.

    Example:
        explore("trained_models/gedi/20260102-030405")
        explore("gedi-digits", "photos", "photos.html")
    """
    from solo_gedi.evaluation.subject import load_with_host
    from solo_gedi.inference import load

    path = given_path(out)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"out={path} must end in .html")
    if max_images < 1:
        raise ConfigError(f"max_images={max_images} must be at least 1")
    check_output(path, "out", overwrite)
    _bokeh()
    if not isinstance(model, Model):
        model = load(model) if images is not None else load_with_host(model)
    model.transform  # noqa: B018  # refuses a model of points before anything is read
    if images is None:
        what, batches = _own_images(model, max_images)
    else:
        files = image_files(images)
        what, batches = f"{len(files):,} given images", _given_images(model, files, max_images)
    seen = _look(model, batches)
    if model.reference is None:
        logger.warning("%s", NO_REFERENCE)
    html = _page(model, seen, what)
    write_atomically(path, lambda partial: partial.write_text(html, encoding="utf-8"))
    logger.info("%d images, %.1f MB: %s", len(seen.rows), len(html) / 1e6, path)
    return path


@dataclass
class _Seen:
    """What the model says of the images, in their order."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    features: list[Tensor] = field(default_factory=list)
    thumbnails: list[str] = field(default_factory=list)


def _chosen(n: int, limit: int) -> list[int]:
    generator = torch.Generator().manual_seed(0)
    return torch.randperm(n, generator=generator)[:limit].sort().values.tolist()


def _given_images(model: Model, files: Sequence[Path], limit: int) -> Iterator[_Batch]:
    chosen = [files[k] for k in _chosen(len(files), limit)]
    folders = {file.parent for file in files}
    remaining, broken = iter(chosen), 0
    while batch := list(islice(remaining, 64)):
        inputs, names, labels = [], [], []
        for file in batch:
            try:
                inputs.append(model.transform(read_image(file)))
            except DataError:
                broken += 1
                continue
            names.append(str(file))
            labels.append(file.parent.name if len(folders) > 1 else "")
        if inputs:
            yield torch.stack(inputs), names, labels
    if broken:
        logger.warning("%d of %d images cannot be used, and are left out", broken, len(chosen))


def _own_images(model: Model, limit: int) -> tuple[str, Iterator[_Batch]]:
    """Images of the run's data: of the test split; of the training where there is none."""
    from solo_gedi.evaluation.options import Options
    from solo_gedi.evaluation.subject import subject_of

    with TemporaryDirectory() as scratch:
        subject = subject_of(model, Options(), Path(scratch))
    loader: Any = subject.loader(train=subject.on_training, limit=limit)
    numbers = iter(loader.sampler)

    def batches() -> Iterator[_Batch]:
        for x, labels in loader:
            classes = subject.class_names(labels) if subject.labelled else []
            texts = [classes[y] if classes else "" for y in labels.tolist()]
            yield x, [f"{subject.split} {k}" for k in islice(numbers, len(x))], texts

    what = f"{len(loader.dataset):,} images of {subject.cfg.data.dataset} ({subject.split})"
    return what, batches()


def _look(model: Model, batches: Iterable[_Batch]) -> _Seen:
    seen = _Seen()
    for x, names, labels in batches:
        samples = model.space.to_samples(x)
        for (row, features), name, label, sample in zip(
            rows_of(model, x), names, labels, samples, strict=True
        ):
            seen.rows.append({"file": name, "label": label, **row})
            seen.features.append(features)
            seen.thumbnails.append(thumbnail(sample))
    if not seen.rows:
        raise DataError("there is no image that can be used")
    return seen


def _maps(features: Tensor) -> dict[str, np.ndarray]:
    """Places of the images in the plane, (n, 2) each, by the name of the map."""
    from solo_gedi.evaluation.galleries import plane

    maps = {"PCA": plane(features)[0].numpy()}
    if len(features) >= 20:
        try:
            from umap import UMAP
        except ImportError:
            return maps
        maps["UMAP"] = UMAP(random_state=0).fit_transform(features.numpy())
    return maps


def _page(model: Model, seen: _Seen, what: str) -> str:
    bokeh = _bokeh()
    columns: dict[str, list[Any]] = {
        name: [row[name] for row in seen.rows] for name in ("file", *CATEGORIES, *NUMBERS)
    }
    columns["cluster"] = [str(cluster) for cluster in columns["cluster"]]
    columns = {k: v for k, v in columns.items() if any(x not in ("", None) for x in v)}
    for name in columns.keys() & NUMBERS.keys():
        columns[name] = [float(f"{value:.5g}") for value in columns[name]]
    columns["image"] = seen.thumbnails
    maps = _maps(torch.stack(seen.features))
    for name, places in maps.items():
        for axis, values in zip("xy", places.T, strict=True):
            columns[f"{name}_{axis}"] = [float(f"{value:.5g}") for value in values]
    item = bokeh["json_item"](_figure(bokeh, columns, next(iter(maps))), "map")
    environment = Environment(loader=PackageLoader("solo_gedi.report", "."), autoescape=True)
    return environment.get_template("explore.html.j2").render(
        title=f"{model.config.get('name', model.config['method'])}: {what}",
        about=f"{model.config['method']} on {model.config['data']['dataset']}, {model.epochs} "
        f"epochs, {model.num_clusters} clusters by the {model.output}",
        shown=len(seen.rows),
        maps=list(maps),
        colours={k: v for k, v in {**CATEGORIES, **NUMBERS}.items() if k in columns},
        numbers={k: v for k, v in NUMBERS.items() if k in columns},
        # As it is, in its order, which Bokeh relies on.
        item=json.dumps(item, separators=(",", ":")).replace("<", "\\u003c"),
        bokeh=bokeh["resources"].render(),
    )


def _figure(bokeh: dict[str, Any], columns: dict[str, list[Any]], first: str) -> Any:
    """The map, whose columns are all that the page knows of the images."""
    known = [name for name in (*CATEGORIES, *NUMBERS) if name in columns]
    lines = "".join(f"<div>{name}: @{name}</div>" for name in known)
    tip = (
        '<div class="tip"><img src="@image{safe}" width="96" height="96" '
        'style="image-rendering: pixelated; object-fit: contain"><div>@file</div>'
        + lines
        + "</div>"
    )
    figure = bokeh["figure"](
        name="map",
        tools="pan,wheel_zoom,box_zoom,lasso_select,tap,reset",
        active_scroll="wheel_zoom",
        tooltips=tip,
        sizing_mode="stretch_width",
        height=560,
        output_backend="canvas",
    )
    figure.axis.visible = False
    figure.grid.visible = False
    figure.toolbar.logo = None
    data = {
        **columns,
        "x": columns[f"{first}_x"],
        "y": columns[f"{first}_y"],
        "colour": ["#888888"] * len(columns["image"]),
        "alpha": [0.8] * len(columns["image"]),
    }
    source = bokeh["ColumnDataSource"](data, name="images")
    figure.scatter(
        "x",
        "y",
        source=source,
        size=7,
        color="colour",
        alpha="alpha",
        selection_alpha=1.0,
        selection_line_color="black",
        selection_line_width=2,
        nonselection_alpha=0.15,
    )
    return figure


def _bokeh() -> dict[str, Any]:
    try:
        from bokeh.embed import json_item
        from bokeh.models import ColumnDataSource
        from bokeh.plotting import figure
        from bokeh.resources import Resources
    except ImportError as error:
        raise MissingPackageError(
            "the explorer needs Bokeh: pip install 'solo-gedi[explore]'"
        ) from error
    return {
        "ColumnDataSource": ColumnDataSource,
        "figure": figure,
        "json_item": json_item,
        "resources": Resources("inline", components=["bokeh"], log_level="warn"),
    }

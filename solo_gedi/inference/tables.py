"""Rows and features as files that are written as they come, and are there when they are whole."""

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO
from zipfile import ZipFile

import numpy as np
from torch import Tensor

from solo_gedi.errors import MissingPackageError
from solo_gedi.files import written_atomically

Row = dict[str, Any]
COLUMNS = {
    "file": str,
    "cluster": int,
    "confidence": float,
    "second": int,
    "second_share": float,
    "log_density": float,
    "neg_grad_norm": float,
    "typicality": float,
    "error": str,
}
_ROWS_AT_ONCE = 10_000  # of a parquet file's groups


@contextmanager
def table_writer(path: Path) -> Iterator[Callable[[Row], Any]]:
    """What takes rows for a file, which is there when all of them are.

    Args:
        path: a .csv or .parquet file.
    """
    write = _csv if path.suffix.lower() == ".csv" else _parquet
    with written_atomically(path) as partial, write(partial) as collect:
        yield collect


def csv_writer(file: TextIO) -> Callable[[Row], Any]:
    """What takes rows and writes them as CSV, numbers with six digits.

    Args:
        file: to write to; the head is written at once.
    """
    writer = csv.DictWriter(file, list(COLUMNS), lineterminator="\n")
    writer.writeheader()

    def collect(row: Row) -> None:
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})

    return collect


@contextmanager
def _csv(path: Path) -> Iterator[Callable[[Row], Any]]:
    # The names of files are bytes, which need not be UTF-8.
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        yield csv_writer(file)


@contextmanager
def _parquet(path: Path) -> Iterator[Callable[[Row], Any]]:
    pyarrow, parquet = load_pyarrow()
    types = {str: pyarrow.string(), int: pyarrow.int32(), float: pyarrow.float32()}
    schema = pyarrow.schema([(name, types[kind]) for name, kind in COLUMNS.items()])
    rows: list[Row] = []

    def collect(row: Row) -> None:
        # Its strings are UTF-8, and the names of files need not be.
        row = {k: _utf8(v) if isinstance(v, str) else v for k, v in row.items()}
        rows.append(row)
        if len(rows) >= _ROWS_AT_ONCE:
            flush()

    def flush() -> None:
        writer.write_table(pyarrow.Table.from_pylist(rows, schema))
        rows.clear()

    with parquet.ParquetWriter(path, schema) as writer:
        yield collect
        flush()


def _utf8(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def load_pyarrow() -> tuple[Any, Any]:
    """Pyarrow and its module `parquet`.

    Raises:
        MissingPackageError: if it is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingPackageError(
            "a .parquet file needs pyarrow: pip install 'solo-gedi[parquet]'; or write a .csv"
        ) from error
    return pyarrow, parquet


@contextmanager
def features_writer(
    path: Path, files: Sequence[Path], size: int
) -> Iterator[Callable[[Tensor | None], None]]:
    """What takes features in the order of the files, for an .npz that is there when all are.

    Args:
        path: the .npz file.
        files: of the images; what is taken is the features (size,) of the next, or None.
        size: of the features.
    """
    with written_atomically(path) as partial:
        raw = partial.with_suffix(".npy")
        try:
            # Not mapped into memory: a full disk would end the process by a signal.
            with raw.open("wb") as table:
                head = {"descr": "<f4", "fortran_order": False, "shape": (len(files), size)}
                np.lib.format.write_array_header_1_0(table, head)

                def collect(own: Tensor | None) -> None:
                    row = np.full(size, np.nan) if own is None else own.numpy()
                    table.write(row.astype("<f4").tobytes())

                yield collect
            names = np.array([_utf8(str(file)) for file in files])
            with ZipFile(partial, "w", allowZip64=True) as archive:
                archive.write(raw, "features.npy")
                with archive.open("files.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, names, allow_pickle=False)
        finally:
            raw.unlink(missing_ok=True)

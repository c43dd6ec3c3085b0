"""Predictions as a file: the label's name and every class's probability, a row a line.

    .csv, .parquet    columns label, then p_<class name> for each class
    .npy              a structured array with the fields label (text) and probabilities (K,)

Rows are met a tile at a time, so that a file larger than memory can be written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data import load
from onelayer.data.formats.arrays import locate_npy
from onelayer.data.formats.base import Wanted
from onelayer.data.formats.registry import find_shards, may_be_large, open_shards
from onelayer.data.formats.tables import open_csv, open_parquet, table_of
from onelayer.data.progress import print_line
from onelayer.engines import Engine
from onelayer.errors import DataError, SettingsError
from onelayer.files.atomic import staged_file
from onelayer.model.model import Model, checked_rows
from onelayer.objective.loss import softmax

TABLES = (".csv", ".parquet")

OUTPUTS = (".csv", ".parquet", ".npy")

PARTS = ("train", "validation", "test")

ONLY_STORED = (".safetensors", ".arrow", ".feather")


def read_rows(named: str, feature_names: Sequence[str] | None = None) -> NDArray[np.generic]:
    """The rows that a user names, as stored.

    Args:
        named: a .npy, .safetensors or .arrow file, or a .csv or .parquet one with a column for
            each feature; a folder of such files but .csv, or a pattern, for all of their rows; or a
            data set as `load` names it, whose test rows are taken, or those of DATA:train or
            DATA:validation.
        feature_names: the model's; of a table's columns those are taken, in this order. None takes
            every column of numbers.

    Returns:
        Rows; a .npy file is mapped and not read into memory, and large files and those of a
        folder or a pattern stay where they are (`StoredRows`).

    Raises:
        DataError: when there is no such file or data set, the file holds no numbers, or a table
            lacks a feature.

    Example:
        >>> read_rows("digits:validation").shape
        (397, 64)
    """
    path = Path(named)
    files = find_shards(path)
    if files is None and (path.suffix.lower() in ONLY_STORED or _is_large(path)):
        files = [path]
    if files is not None:
        wanted = Wanted(
            elsewhere=True, features=None if feature_names is None else tuple(feature_names)
        )
        return open_shards(files, path, wanted, print_line).X
    if path.suffix.lower() == ".npy":
        return _read_npy(path)
    if path.suffix.lower() in TABLES:
        return _read_table(path, feature_names)
    data, colon, part = named.rpartition(":")
    if not colon or part not in PARTS:
        data, part = named, "test"
    rows: NDArray[np.generic] = getattr(load(data), part).X
    return rows


def _is_large(path: Path) -> bool:
    """Whether a file's rows may be too many for memory; a mapped array of pictures is not read."""
    if path.suffix.lower() not in (".npy", ".parquet") or not path.is_file():
        return False
    if not may_be_large(path):
        return False
    return path.suffix.lower() != ".npy" or len(locate_npy(path)[0]) == 2


def write_predictions(
    model: Model, rows: NDArray[np.generic], path: Path | str, engine: Engine | None = None
) -> None:
    """Classify rows and write what comes out, whole or not at all.

    Args:
        model: the classifier.
        rows: as stored, shape (N, D); of images also (N, channels, height, width).
        path: ends in .csv, .parquet or .npy; a file that is there is replaced.
        engine: what does the arithmetic; None is the native engine.

    Raises:
        SettingsError: for another ending.
        DataError: when rows do not fit the model.
        SaveError: when the file cannot be written.
    """
    path = Path(path)
    ending = check_output(path)
    rows = checked_rows(_flat(model, rows), model.features)
    tiles = (softmax(S) for S in model.score_tiles(rows, engine))
    with staged_file(path) as staging:
        if ending == ".npy":
            _write_npy(model, len(rows), tiles, staging)
        else:
            _write_table(model, tiles, staging)


def check_output(path: Path) -> str:
    """The ending of a file of predictions.

    Args:
        path: where predictions shall be written.

    Returns:
        ".csv", ".parquet" or ".npy".

    Raises:
        SettingsError: for another one.

    Example:
        >>> check_output(Path("out.CSV"))
        '.csv'
    """
    ending = path.suffix.lower()
    if ending not in OUTPUTS:
        raise SettingsError(
            f"predictions are written as {', '.join(OUTPUTS)}, but {path.name} was given."
        )
    return ending


def _read_npy(path: Path) -> NDArray[np.generic]:
    try:
        # A pickle could run code: only plain arrays are read.
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"there is no file {path}; name a .npy file of rows.") from None
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path} should be a .npy file of numbers, but it cannot be read ({error})."
        ) from error
    return np.asarray(rows)


def _read_table(path: Path, feature_names: Sequence[str] | None) -> NDArray[np.generic]:
    if not path.is_file():
        raise DataError(f"there is no file {path}; name a file of rows.")
    columns = open_csv(path) if path.suffix.lower() == ".csv" else open_parquet(path)
    if feature_names is not None:
        missing = [name for name in feature_names if name not in columns.column_names]
        if missing:
            raise DataError(
                f"{path} needs the model's {len(feature_names)} features as columns, but lacks "
                f"{len(missing)}: {', '.join(missing[:5])}."
            )
        columns = columns.select(list(feature_names))
    return table_of(columns, path, Wanted(elsewhere=True), print_line).X


def _flat(model: Model, rows: NDArray[np.generic]) -> NDArray[np.generic]:
    """Images as rows; those whose channels come last would be read in another order."""
    if rows.ndim != 4:
        return rows
    if rows.shape[1:] != model.image_shape:
        expected = ", ".join(map(str, model.image_shape or (model.features,)))
        raise DataError(
            f"rows of this model must be of shape (N, {expected}), but theirs is {rows.shape}; "
            "put the channels before height and width."
        )
    return rows.reshape(len(rows), -1)


def _write_npy(model: Model, count: int, tiles: Iterator[NDArray[Any]], path: Path) -> None:
    names = np.array(model.class_names)
    fields = np.dtype([("label", names.dtype), ("probabilities", np.float64, (model.classes,))])
    file = np.lib.format.open_memmap(path, "w+", fields, (count,))
    start = 0
    for tile in tiles:
        part = file[start : start + len(tile)]
        part["label"], part["probabilities"] = names[tile.argmax(axis=1)], tile
        start += len(tile)
    file.flush()


def _write_table(model: Model, tiles: Iterator[NDArray[Any]], path: Path) -> None:
    import pyarrow as pa
    from pyarrow.csv import CSVWriter
    from pyarrow.parquet import ParquetWriter

    columns = [("label", pa.string()), *((f"p_{n}", pa.float64()) for n in model.class_names)]
    schema = pa.schema(columns)
    writer = CSVWriter if path.suffix.lower() == ".csv" else ParquetWriter
    with writer(str(path), schema) as file:
        for tile in tiles:
            labels = pa.array([model.class_names[k] for k in tile.argmax(axis=1)], pa.string())
            arrays = [labels, *(pa.array(column) for column in np.ascontiguousarray(tile.T))]
            file.write_table(pa.table(arrays, schema=schema))

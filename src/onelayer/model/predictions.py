"""Predictions as a file: the label's name and every class's probability, a row a line.

    .csv, .parquet    columns label, then p_<class name> for each class
    .npy              a structured array with the fields label (text) and probabilities (K,)

Of many labels a row the label's column holds those of a probability above ½: in Parquet a list, in
.csv a text with ; between them, and in .npy 0 or 1 for each of the K labels.

What names each row comes first, under the name of its column: row (its number, from 0), file (of a
picture) or the column of --id.

Rows are read and written a tile at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data import load
from onelayer.data.formats.images import Shape
from onelayer.data.formats.registry import read_features
from onelayer.data.load import names_data_set
from onelayer.data.progress import print_line, quiet
from onelayer.engines import Engine
from onelayer.errors import DataError, SettingsError, home_path
from onelayer.files.atomic import staged_file
from onelayer.model.model import Model
from onelayer.model.rows import met_rows, score_tiles

OUTPUTS = (".csv", ".parquet", ".npy")

PARTS = ("train", "validation", "test")

# The name of a column, and what it calls each row, (N,).
Ids = tuple[str, NDArray[Any]]


def read_rows(
    named: str,
    feature_names: Sequence[str] | None = None,
    id: str | None = None,  # noqa: A002
    image_shape: Shape | None = None,
) -> tuple[NDArray[np.generic], Ids]:
    """The rows that a user names, as stored, and what names each: a column, a file, or its number.

    A name is a file, folder or pattern of rows or of pictures, without labels; or a data set, whose
    test rows are taken; or what `load` splits, as in DATA:validation.
    """
    data, _, part = named.rpartition(":")
    of_part = data != "" and part in PARTS and not os.path.exists(named)
    if of_part or names_data_set(named):
        if id is not None:
            raise SettingsError(f"--id has no effect on {named}, which is no table; leave it out.")
        rows = getattr(load(data), part) if of_part else load(named).test
        rows = rows.with_features(feature_names, "the model")
        X, ids, pictures = rows.X, rows.ids, rows.image_shape is not None
    else:
        path = home_path(named)
        table = read_features(path, feature_names, print_line, id, image_shape)
        X, ids, pictures = table.X, table.ids, table.image_shape is not None
    if ids is None:
        return X, ("row", np.arange(len(X)))
    return X, (id or ("file" if pictures else "id"), ids)


def write_predictions(
    model: Model,
    rows: NDArray[np.generic],
    path: Path | str,
    engine: Engine | None = None,
    ids: Ids | None = None,
) -> None:
    """Classify rows as stored, (N, D) or of images (N, channels, height, width), into a file."""
    ending = check_output(Path(path))
    rows = met_rows(model, _flat(model, rows))
    tiles = (model._probabilities(S) for S in score_tiles(model, rows, engine, quiet))
    with staged_file(Path(path)) as staging:
        if ending == ".npy":
            _write_npy(model, len(rows), tiles, staging, ids)
        else:
            _write_table(model, tiles, staging, ids)


def check_output(path: Path) -> str:
    """The suffix of a file of predictions; a SettingsError for one that is not supported."""
    ending = path.suffix.lower()
    if ending not in OUTPUTS:
        raise SettingsError(
            f"predictions are written as {', '.join(OUTPUTS)}, but {path.name} was given."
        )
    return ending


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


def _write_npy(
    model: Model, count: int, tiles: Iterator[NDArray[Any]], path: Path, ids: Any
) -> None:
    names = np.array(model.class_names)
    label = ("label", np.uint8, (model.classes,)) if model.many_labels else ("label", names.dtype)
    fields: list[Any] = [label, ("probabilities", np.float64, (model.classes,))]
    if ids is not None:
        values = np.array(ids[1].tolist())
        fields.insert(0, (ids[0], values.dtype))
    kind = np.dtype(fields)
    np.lib.format.open_memmap(path, "w+", kind, (count,))  # for its header
    start = 0
    # Written, not mapped: a full disk is an error of a write, and ends the process that maps.
    with path.open("r+b") as file:
        file.seek(-count * kind.itemsize, os.SEEK_END)
        for tile in tiles:
            part = np.empty(len(tile), kind)
            part["label"] = tile > 0.5 if model.many_labels else names[tile.argmax(axis=1)]
            part["probabilities"] = tile
            if ids is not None:
                part[ids[0]] = values[start : start + len(tile)]
            start += len(tile)
            file.write(part.tobytes())


def _write_table(model: Model, tiles: Iterator[NDArray[Any]], path: Path, ids: Any) -> None:
    import pyarrow as pa
    from pyarrow.csv import CSVWriter
    from pyarrow.parquet import ParquetWriter

    csv = path.suffix.lower() == ".csv"
    kind = pa.list_(pa.string()) if model.many_labels and not csv else pa.string()
    columns = [("label", kind), *((f"p_{n}", pa.float64()) for n in model.class_names)]
    named = [] if ids is None else [pa.array(ids[1])]
    schema = pa.schema([(ids[0], column.type) for column in named] + columns)
    writer = CSVWriter if csv else ParquetWriter
    start = 0
    with path.open("wb") as opened, writer(opened, schema) as file:
        for tile in tiles:
            labels = pa.array(_written_labels(model, tile, joined=csv), kind)
            arrays = [column.slice(start, len(tile)) for column in named]
            arrays += [labels, *(pa.array(column) for column in np.ascontiguousarray(tile.T))]
            file.write_table(pa.Table.from_arrays(arrays, schema=schema))
            start += len(tile)


def _written_labels(model: Model, tile: NDArray[Any], *, joined: bool) -> list[Any]:
    """The label of each row of probabilities, or its many labels as a list or joined by ;."""
    names = model.class_names
    if not model.many_labels:
        return [names[k] for k in tile.argmax(axis=1)]
    rows = [[names[k] for k in np.flatnonzero(row > 0.5)] for row in tile]
    return [";".join(row) for row in rows] if joined else rows

"""A table of columns becomes features and labels: numbers are kept, text is said to be left out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data.table import Table, Wanted, as_features, choose_labels, largest_value
from onelayer.data.telling import Report
from onelayer.errors import DataError

# pyarrow ships no types.
Columns = Any
Column = Any


def table_of(columns: Columns, path: Path, wanted: Wanted, tell: Report) -> Table:
    """Make features and labels of a pyarrow table.

    The features are all numeric columns but the labels', in order; or the one column of lists, all
    of one length, where there is one.

    Args:
        columns: a pyarrow table.
        path: its file, for messages.
        wanted: where the labels are.
        tell: told of columns that are left out.

    Returns:
        The rows, labels as the file has them.

    Raises:
        DataError: for names that are there twice, no rows, no numeric column, an empty cell, or
            lists of several lengths; it names the column and the row.
    """
    names = columns.column_names
    check_names(names, path)
    label = choose_labels(names, wanted, str(path), "column")
    if not columns.num_rows:
        raise DataError(f"{path} holds names of columns but no rows; give it at least one row.")
    labels = None if label is None else labels_of(columns[label], f"{path}, column {label!r}")
    others = [name for name in names if name != label]
    feature_names, X = _features(columns, others, path, tell)
    said = f"{path}, column {label!r}"
    return Table(X, labels, str(path), said, feature_names, max_value=largest_value(X))


def check_names(names: list[str], path: Path) -> None:
    """Refuse two columns of one name.

    Raises:
        DataError: when there are.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{path} has two columns {twice[0]!r}; give each column its own name.")


def read_label_column(columns: Columns, path: Path, column: str | None = None) -> NDArray[Any]:
    """Take labels from a table that holds nothing else, or from its column of labels.

    Args:
        columns: a pyarrow table.
        path: its file, for messages.
        column: which one; None for the only one, or the one with a usual name.

    Returns:
        (N,) labels.

    Raises:
        DataError: when it is not clear which column.
    """
    names = columns.column_names
    chosen = (
        names[0] if len(names) == 1 else choose_labels(names, Wanted(column), str(path), "column")
    )
    return labels_of(columns[chosen], f"{path}, column {chosen!r}")


def labels_of(column: Column, where: str) -> NDArray[Any]:
    """The labels that a column holds, of text, whole numbers or booleans.

    Args:
        column: pyarrow's.
        where: file and column, for messages.

    Returns:
        (N,) labels.

    Raises:
        DataError: for an empty cell, with its row.
    """
    import pyarrow as pa

    _check_filled(column, where)
    if pa.types.is_dictionary(column.type):
        column = pa.chunked_array([chunk.dictionary_decode() for chunk in column.chunks])
    values: NDArray[Any] = column.to_numpy()
    return values


def _features(
    columns: Columns, names: list[str], path: Path, tell: Report
) -> tuple[tuple[str, ...] | None, NDArray[Any]]:
    import pyarrow as pa

    types = {name: columns.schema.field(name).type for name in names}
    if not any(is_list(kind) for kind in types.values()):
        for name in names:
            if pa.types.is_string(types[name]):
                _check_text(columns[name], f"{path}, column {name!r}")
    kept = choose_features(types, path, tell)
    return None if is_list(types[kept[0]]) else tuple(kept), rows_of(columns, kept, path)


def choose_features(types: dict[str, Any], path: Path, tell: Report) -> list[str]:
    """Choose the columns that are features: the one of lists, or else all of numbers.

    Args:
        types: pyarrow's type of each column but the labels'.
        path: their file, for messages.
        tell: told of columns that are left out.

    Returns:
        Their names, one of them where it is one of lists.

    Raises:
        DataError: when there are several of lists, or none of numbers.
    """
    lists = [name for name, kind in types.items() if is_list(kind)]
    if len(lists) > 1:
        raise DataError(
            f"{path} has several columns of lists, {', '.join(lists)}; keep the one that holds the "
            "features."
        )
    kept = lists or [name for name, kind in types.items() if _is_number(kind)]
    if not kept:
        raise DataError(
            f"{path} has no numeric column besides the labels, only "
            f"{', '.join(f'{n} ({t})' for n, t in types.items()) or 'none at all'}; features must "
            "be numbers."
        )
    left = [f"{name} ({kind})" for name, kind in types.items() if name not in kept]
    if left:
        tell(f"{path}: left out, because they are no features: {', '.join(left)}.")
    return kept


def rows_of(columns: Columns, names: list[str], path: Path, start: int = 0) -> NDArray[Any]:
    """The rows that columns of features hold.

    Args:
        columns: a pyarrow table.
        names: of the features; one that holds lists, or any number that hold numbers.
        path: its file, for messages.
        start: number of its first row in the file, for messages.

    Returns:
        (N, D), in the smallest type that holds all of them exactly.

    Raises:
        DataError: for an empty cell, or lists of several lengths, with column and row.
    """
    if is_list(columns.schema.field(names[0]).type):
        return _lists(columns[names[0]], f"{path}, column {names[0]!r}", start)
    return _stack(columns, names, path, start)


def _is_number(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def is_list(kind: Any) -> bool:
    """Whether pyarrow's type is one of lists of numbers."""
    from pyarrow import types

    lists = (types.is_fixed_size_list, types.is_list, types.is_large_list)
    return any(is_kind(kind) for is_kind in lists) and _is_number(kind.value_type)


def _stack(columns: Columns, names: list[str], path: Path, start: int) -> NDArray[Any]:
    """Numeric columns side by side, in the smallest type that holds all of them exactly."""
    converted = []
    for name in names:
        where = f"{path}, column {name!r}"
        _check_filled(columns[name], where, start)
        values = np.asarray(columns[name].to_numpy())
        converted.append(as_features(values, lambda at, where=where: f"{where}, row {start + at}"))  # type: ignore[misc]
    X = np.empty((len(columns), len(names)), np.result_type(*converted))
    for column, values in enumerate(converted):
        X[:, column] = values
    return X


def _lists(column: Column, where: str, start: int) -> NDArray[Any]:
    """Lists of one length as rows; a view of the file where it is one piece."""
    import pyarrow as pa

    _check_filled(column, where, start)
    pieces = column.chunks
    if not pa.types.is_fixed_size_list(column.type):
        lengths = np.concatenate([piece.value_lengths().to_numpy() for piece in pieces])
        wrong = lengths != lengths[0]
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(
                f"{where}: every list must have the length of the first, {lengths[0]}, but row "
                f"{start + row} has {lengths[row]}; give each row the same number of features."
            )
    width = len(column[0])
    if not width:
        raise DataError(f"{where}: the lists are empty; give each row at least one feature.")
    flat = [piece.flatten() for piece in pieces if len(piece)]
    for before, piece in zip(np.cumsum([0] + [len(p) // width for p in flat]), flat, strict=False):
        _check_filled(piece, where, start + int(before), width)
    arrays = [piece.to_numpy(zero_copy_only=False) for piece in flat]
    values = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    X = values.reshape(-1, width)
    return as_features(X, lambda at: f"{where}, row {start + at // width}, element {at % width}")


def _check_filled(column: Column, where: str, start: int = 0, width: int = 1) -> None:
    if column.null_count:
        at = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise DataError(
            f"{where}: row {start + at // width} is empty or NaN; fill the value or drop the row."
        )


def _check_text(column: Column, where: str) -> None:
    """Refuse text among numbers: a column that one slip of the pen would leave out."""
    numbers, text = 0, None
    for row, value in enumerate(column.to_pylist()):
        if value is None or not reads_as_number(value):
            text = (row, value) if text is None else text
        else:
            numbers += 1
        if numbers and text is not None:
            raise DataError(
                f"{where}: it holds numbers and text, such as {text[1]!r} in row {text[0]}; write "
                "a number there, or take the column out."
            )


def reads_as_number(text: str) -> bool:
    """Whether text is a number, a NaN or an infinity.

    Example:
        >>> reads_as_number("1e3"), reads_as_number("cat")
        (True, False)
    """
    try:
        float(text)
    except ValueError:
        return False
    return True

"""A table of columns becomes features and labels: numbers are kept, text is said to be left out.

CSV, Parquet and Arrow files, opened by pyarrow.

Shards of columns: Parquet files by row groups, Arrow files by record batches.
"""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data.formats.base import (
    Table,
    Wanted,
    as_features,
    choose_labels,
    damage_of,
    features_type,
    first_line,
    largest_value,
)
from onelayer.data.progress import Log
from onelayer.data.streaming import Reader
from onelayer.data.streaming.rows import ShardInfo
from onelayer.errors import DataError

# pyarrow ships no types.
Columns = Any

Column = Any


def table_of(columns: Columns, path: Path, wanted: Wanted, log: Log) -> Table:
    """Make features and labels of a pyarrow table.

    The features are all numeric columns but the labels', in order; or the one column of lists, all
    of one length, where there is one.

    Args:
        columns: a pyarrow table.
        path: its file, for messages.
        wanted: where the labels are.
        log: told of columns that are left out.

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
    feature_names, X = _features(columns, others, path, log)
    said = f"{path}, column {label!r}"
    return Table(X, labels, str(path), said, feature_names, max_value=largest_value(X))


def is_frame(source: object) -> bool:
    """Whether an object is a data frame in memory: pandas, polars or a pyarrow table."""
    return hasattr(type(source), "columns")  # of a lazy frame the value would be computed


def frame_table(
    frame: Any, labels: str | NDArray[Any] | None, where: str, log: Log, option: str = "labels"
) -> Table:
    """Features and labels of a data frame in memory; `labels` names a column or holds them."""
    import pyarrow as pa

    pandas = type(frame).__module__.partition(".")[0] == "pandas"
    try:
        # A pandas index is no feature.
        columns = pa.Table.from_pandas(frame, preserve_index=False) if pandas else pa.table(frame)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(
            f"{where} cannot be read as a table of columns ({first_line(error)}); give each column "
            "one type, and collect a lazy frame."
        ) from error
    named = labels is None or isinstance(labels, str)
    wanted = Wanted(labels if isinstance(labels, str) else None, not named, option)
    table = table_of(columns, Path(where), wanted, log)
    return table if named else replace(table, labels=np.asarray(labels), labels_where=option)


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
    columns: Columns, names: list[str], path: Path, log: Log
) -> tuple[tuple[str, ...] | None, NDArray[Any]]:
    types = {name: columns.schema.field(name).type for name in names}
    if not any(is_list(kind) for kind in types.values()):
        for name in names:
            if is_text(types[name]):
                _check_text(columns[name], f"{path}, column {name!r}")
    kept = choose_features(types, path, log)
    return None if is_list(types[kept[0]]) else tuple(kept), rows_of(columns, kept, path)


def choose_features(types: dict[str, Any], path: Path, log: Log) -> list[str]:
    """Choose the columns that are features: the one of lists, or else all of numbers.

    Args:
        types: pyarrow's type of each column but the labels'.
        path: their file, for messages.
        log: told of columns that are left out.

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
        log(f"{path}: left out, because they are no features: {', '.join(left)}.")
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


def is_text(kind: Any) -> bool:
    """Whether pyarrow's type is one of text."""
    from pyarrow import types

    views = getattr(types, "is_string_view", lambda kind: False)  # of pyarrow 16 and later
    return bool(types.is_string(kind) or types.is_large_string(kind) or views(kind))


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


_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


def open_csv(path: Path) -> Columns:
    """Open a CSV file in UTF-8 with commas and a header line.

    Args:
        path: the file.

    Returns:
        A pyarrow table; row 0 is the line after the header.

    Raises:
        DataError: for lines of unequal length, or a missing header.
    """
    from pyarrow import csv

    with damage_of(path, "a CSV file with a header line"):
        with path.open("rb") as file:
            _refuse_utf16(path, file.read(2))
        # Quoted line breaks are allowed, so that rows are rows and not lines.
        opened = csv.read_csv(path, parse_options=csv.ParseOptions(newlines_in_values=True))
        names = opened.column_names  # decoded only now
    if all(reads_as_number(name) for name in names):
        raise DataError(
            f"{path}: the first line must name the columns, but it holds numbers "
            f"({', '.join(names[:4])}); add a line such as label,x1,x2."
        )
    _check_separator(path, names)
    _check_column_text(path, opened)
    return opened


def _refuse_utf16(path: Path, start: bytes) -> None:
    if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise DataError(f"{path} must be text in UTF-8, but it is UTF-16; save it as UTF-8.")


def _check_separator(path: Path, names: list[str]) -> None:
    """Refuse lines whose commas are other signs: the header is then one name with all in it."""
    for sign, called in (("\t", "tabs"), (";", "semicolons"), ("|", "bars")):
        if len(names) == 1 and sign in names[0]:
            raise DataError(
                f"{path} must have commas between its columns, but it has {called}; save it with "
                "commas."
            )


def _check_column_text(path: Path, opened: Columns) -> None:
    """Refuse bytes that are no UTF-8; pyarrow takes a column with some of them for binary."""
    import pyarrow as pa

    for name, column in zip(opened.column_names, opened.columns, strict=True):
        if not pa.types.is_binary(column.type):
            continue
        for row, value in enumerate(column.to_pylist()):
            try:
                (value or b"").decode()
            except UnicodeDecodeError:
                raise DataError(
                    f"{path} must be text in UTF-8, but column {name!r}, row {row} is {value!r}; "
                    "save it as UTF-8."
                ) from None


def open_parquet(path: Path) -> Columns:
    """Open a Parquet file as a pyarrow table.

    Raises:
        DataError: for a damaged file.
    """
    from pyarrow import parquet

    with damage_of(path, "a Parquet file"):
        with parquet.ParquetFile(path, page_checksum_verification=True) as file:
            opened = file.read()
        _validate(opened)
    return opened


def open_arrow(path: Path) -> Columns:
    """Open an Arrow file (Feather) or stream as a pyarrow table, mapped into memory.

    Raises:
        DataError: for a damaged file.
    """
    import pyarrow as pa

    with damage_of(path, "an Arrow file or stream"):
        with path.open("rb") as file:
            magic = file.read(6)
        mapped = pa.memory_map(str(path))
        if magic == b"ARROW1":
            opened = pa.ipc.open_file(mapped).read_all()
        else:
            _check_end(path)
            opened = pa.ipc.open_stream(mapped).read_all()
        _validate(opened)
    return opened


def _validate(opened: Columns) -> None:
    """Look for lengths, offsets and names that a damaged file has wrong."""
    opened.validate(full=True)
    opened.column_names  # noqa: B018  # decoded only when asked for


def _check_end(path: Path) -> None:
    # pyarrow takes a stream that breaks off between two batches for a whole one.
    with path.open("rb") as file:
        file.seek(-min(len(_END_OF_STREAM), path.stat().st_size), 2)
        end = file.read()
    if end != _END_OF_STREAM:
        raise ValueError("the mark at its end is missing: it is truncated or no Arrow stream")


_PARQUET, _ARROW = "a Parquet file", "an Arrow file"

# Pieces of a row group that are decoded at a time, and what Parquet's pages are read by.
_PIECE_BYTES, _PAGE_BYTES = 4 << 20, 1 << 20

# A record batch can only be read as a whole.
_MOST_BATCH_BYTES = 512 << 20

# pyarrow ships no types.
Schema = Any

Batch = Any

Opened = Any


@dataclass(frozen=True, eq=False)
class ColumnShard(ABC):
    """Rows of columns.

    Attributes:
        path: the file.
        info: what the rows are.
        blocks: where its row groups or record batches begin, and the number of rows as the last.
        pieces: which of the file's row groups or record batches these are; empty ones are not.
        columns: names of the columns of features, or the one of lists.
        label: name of the column of labels; None when they are elsewhere.
    """

    path: Path
    info: ShardInfo
    blocks: NDArray[np.int64]
    pieces: tuple[int, ...]
    columns: tuple[str, ...]
    label: str | None

    @property
    def where(self) -> str:
        """The file's path."""
        return str(self.path)

    def labels(self) -> NDArray[Any] | None:
        """The column of labels; no other is read."""
        return None if self.label is None else self._read_labels(self.label)

    @abstractmethod
    def _read_labels(self, label: str) -> NDArray[Any]:
        """The column of labels."""

    @abstractmethod
    def open(self) -> Reader:
        """A reader of the rows."""


class ParquetShard(ColumnShard):
    """Rows of a Parquet file; its row groups are its blocks."""

    def _read_labels(self, label: str) -> NDArray[Any]:
        with damage_of(self.path, _PARQUET), open_parquet_file(self.path) as file:
            return labels_of(file.read(columns=[label])[label], f"{self.path}, column {label!r}")

    def open(self) -> Reader:
        """A reader of the rows; in the order of the file each page is decoded once."""
        return _ParquetReader(self)


class ArrowShard(ColumnShard):
    """Rows of an Arrow file; its record batches are its blocks."""

    def _read_labels(self, label: str) -> NDArray[Any]:
        import pyarrow as pa

        with damage_of(self.path, _ARROW), open_arrow_file(self.path, [label]) as file:
            column = pa.Table.from_batches([file.get_batch(i) for i in self.pieces])[label]
            return labels_of(column, f"{self.path}, column {label!r}")

    def open(self) -> Reader:
        """A reader of the rows; one record batch is in memory at a time."""
        return _ArrowReader(self)


def open_parquet_shard(path: Path, wanted: Wanted, log: Log) -> ParquetShard:
    """Open a Parquet file as rows that stay in it.

    Args:
        path: the file; only its footer is read, and one row where rows are lists of any length.
        wanted: where the labels are.
        log: told of columns that are left out.

    Returns:
        The shard.

    Raises:
        DataError: for a damaged file, no rows, or columns that are no features.
    """
    with damage_of(path, _PARQUET), open_parquet_file(path) as file:
        about = file.metadata
        sizes = [about.row_group(i).num_rows for i in range(about.num_row_groups)]
        columns, label = _choose(file.schema_arrow, wanted, path, log)

        def first_row() -> Batch:
            return next(file.iter_batches(1, columns=list(columns), use_threads=False))

        return ParquetShard(path, *_layout(file.schema_arrow, columns, sizes, path, first_row),
                            columns, label)  # fmt: skip


def open_arrow_shard(path: Path, wanted: Wanted, log: Log) -> ArrowShard:
    """Open an Arrow file (Feather) as rows that stay in it.

    Args:
        path: the file, no stream; of its record batches the shortest column is read.
        wanted: where the labels are.
        log: told of columns that are left out.

    Returns:
        The shard.

    Raises:
        DataError: for a damaged file or a stream, no rows, columns that are no features, or a
            record batch that is too large to be read as a whole.
    """
    with damage_of(path, _ARROW):
        with path.open("rb") as start:
            if start.read(6) != b"ARROW1":
                raise DataError(
                    f"{path} is an Arrow stream, or no Arrow file: only a file says where its "
                    "record batches are; write it with pyarrow.ipc.new_file."
                )
        with open_arrow_file(path) as file:
            schema, batches = file.schema, file.num_record_batches
        columns, label = _choose(schema, wanted, path, log)
        others = [name for name in schema.names if name not in columns]
        with open_arrow_file(path, [label or (others or schema.names)[0]]) as file:
            sizes = [file.get_batch(i).num_rows for i in range(batches)]
        with open_arrow_file(path, columns) as file:
            filled = [i for i, size in enumerate(sizes) if size]
            layout = _layout(schema, columns, sizes, path, lambda: file.get_batch(filled[0]))
    info, blocks, *_ = layout
    most = int(np.diff(blocks).max())
    if most * info.features * info.dtype.itemsize > _MOST_BATCH_BYTES:
        fitting = max(1, _MOST_BATCH_BYTES // (info.features * info.dtype.itemsize))
        raise DataError(
            f"{path} has a record batch of {most} rows, which can only be read as a whole; write "
            f"it with max_chunksize={fitting} or less, or give stream=False (--no-stream) to map "
            "the file."
        )
    return ArrowShard(path, *layout, columns, label)


def open_parquet_file(path: Path) -> Opened:
    """Open a Parquet file to be read a few pages at a time, with its checksums compared."""
    from pyarrow import parquet

    return parquet.ParquetFile(
        path, buffer_size=_PAGE_BYTES, pre_buffer=False, page_checksum_verification=True
    )


@contextmanager
def open_arrow_file(path: Path, names: Sequence[str] = ()) -> Iterator[Opened]:
    """Open an Arrow file, unmapped, to read these columns or all of them."""
    import pyarrow as pa

    with pa.OSFile(str(path)) as source:
        schema = pa.ipc.open_file(source).schema
        chosen = [schema.get_field_index(name) for name in names]
        options = pa.ipc.IpcReadOptions(included_fields=chosen or None, use_threads=False)
        yield pa.ipc.open_file(source, options=options)


def _choose(
    schema: Schema, wanted: Wanted, path: Path, log: Log
) -> tuple[tuple[str, ...], str | None]:
    check_names(schema.names, path)
    label = choose_labels(schema.names, wanted, str(path), "column")
    if wanted.features is not None:
        missing = [name for name in wanted.features if name not in schema.names]
        if missing:
            raise DataError(
                f"{path} needs the model's {len(wanted.features)} features as columns, but lacks "
                f"{len(missing)}: {', '.join(missing[:5])}."
            )
        return wanted.features, label
    types = {name: schema.field(name).type for name in schema.names if name != label}
    return tuple(choose_features(types, path, log)), label


def _layout(
    schema: Schema, columns: tuple[str, ...], sizes: list[int], path: Path, first_batch: Any
) -> tuple[ShardInfo, NDArray[np.int64], tuple[int, ...]]:
    """What the rows are, where the pieces begin, and which of them hold any."""
    import pyarrow as pa

    if not sum(sizes):
        raise DataError(f"{path} holds names of columns but no rows; give it at least one row.")
    kinds = [schema.field(name).type for name in columns]
    names: tuple[str, ...] | None = columns
    if is_list(kinds[0]):
        fixed = pa.types.is_fixed_size_list(kinds[0])
        where = f"{path}, column {columns[0]!r}"
        width = kinds[0].list_size if fixed else len(first_batch()[columns[0]][0] or ())
        if not width:
            raise DataError(
                f"{where}: the first row is an empty list; give each row at least one feature."
            )
        kinds, names = [kinds[0].value_type], None
    else:
        width = len(columns)
    types = [features_type(np.dtype(kind.to_pandas_dtype()), str(path)) for kind in kinds]
    dtype = np.result_type(*types)
    filled = [i for i, size in enumerate(sizes) if size]
    blocks = np.cumsum([0, *(sizes[i] for i in filled)], dtype=np.int64)
    info = ShardInfo(sum(sizes), width, dtype, names, largest_value(np.zeros(0, dtype)))
    return info, blocks, tuple(filled)


class _BatchReader(ABC):
    """Reads rows out of pyarrow's batches, of which it holds one."""

    kind: str

    def __init__(self, shard: ColumnShard) -> None:
        self._shard = shard
        self._first = 0
        self._batch: Batch | None = None

    def read(self, start: int, into: NDArray[Any]) -> None:
        done = 0
        with damage_of(self._shard.path, self.kind):
            while done < len(into):
                row = start + done
                if self._batch is None or not 0 <= row - self._first < self._batch.num_rows:
                    self._first, self._batch = self._fetch(row)
                piece = self._batch.slice(row - self._first, len(into) - done)
                self._convert(piece, row, into[done : done + piece.num_rows])
                done += piece.num_rows

    def _convert(self, piece: Batch, row: int, into: NDArray[Any]) -> None:
        import pyarrow as pa

        shard = self._shard
        rows = rows_of(pa.Table.from_batches([piece]), list(shard.columns), shard.path, row)
        if rows.shape[1] != into.shape[1]:
            raise DataError(
                f"{shard.path}, column {shard.columns[0]!r}: every list must have the length of "
                f"the first, {into.shape[1]}, but row {row} has {rows.shape[1]}; give each row the "
                "same number of features."
            )
        into[...] = rows

    @abstractmethod
    def _fetch(self, row: int) -> tuple[int, Batch]:
        """The batch that a row is in, and the number of its first row."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""


class _ParquetReader(_BatchReader):
    kind = _PARQUET

    def __init__(self, shard: ColumnShard) -> None:
        super().__init__(shard)
        with damage_of(shard.path, self.kind):
            self._file = open_parquet_file(shard.path)
        row_bytes = shard.info.features * shard.info.dtype.itemsize
        self._each = max(1, _PIECE_BYTES // row_bytes)
        self._batches: Iterator[Batch] = iter(())
        self._group = self._next = -1

    def close(self) -> None:
        self._batches, self._batch = iter(()), None
        self._file.close()

    def _fetch(self, row: int) -> tuple[int, Batch]:
        shard = self._shard
        group = int(np.searchsorted(shard.blocks, row, "right")) - 1
        if group != self._group or row < self._next:
            # One row group, since a batch would go on into the next, which may not be asked for.
            self._group, self._next = group, int(shard.blocks[group])
            self._batches = self._file.iter_batches(
                self._each,
                row_groups=[shard.pieces[group]],
                columns=list(shard.columns),
                use_threads=False,
            )
        while True:
            first, batch = self._next, next(self._batches, None)
            if batch is None:
                raise ValueError(f"it ends before row {row}")
            self._next += batch.num_rows
            if row < self._next:
                return first, batch


class _ArrowReader(_BatchReader):
    kind = _ARROW

    def __init__(self, shard: ColumnShard) -> None:
        super().__init__(shard)
        self._opened = ExitStack()
        with damage_of(shard.path, self.kind):
            self._file = self._opened.enter_context(open_arrow_file(shard.path, shard.columns))

    def close(self) -> None:
        self._batch = None
        self._opened.close()

    def _fetch(self, row: int) -> tuple[int, Batch]:
        self._batch = None  # so that two are never in memory
        piece = int(np.searchsorted(self._shard.blocks, row, "right")) - 1
        return int(self._shard.blocks[piece]), self._file.get_batch(self._shard.pieces[piece])

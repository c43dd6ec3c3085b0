"""Shards of columns: Parquet files by row groups, Arrow files by record batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data.columns import (
    check_names,
    choose_features,
    is_list,
    labels_of,
    rows_of,
)
from onelayer.data.damage import damage_of
from onelayer.data.sharded import Form
from onelayer.data.table import Wanted, choose_labels, features_type, largest_value
from onelayer.data.telling import Report
from onelayer.errors import DataError
from onelayer.stored import Reader

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
        form: what the rows are.
        blocks: where its row groups or record batches begin, and the number of rows as the last.
        pieces: which of the file's row groups or record batches these are; empty ones are not.
        columns: names of the columns of features, or the one of lists.
        label: name of the column of labels; None when they are elsewhere.
    """

    path: Path
    form: Form
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


def open_parquet_shard(path: Path, wanted: Wanted, tell: Report) -> ParquetShard:
    """Open a Parquet file as rows that stay in it.

    Args:
        path: the file; only its footer is read, and one row where rows are lists of any length.
        wanted: where the labels are.
        tell: told of columns that are left out.

    Returns:
        The shard.

    Raises:
        DataError: for a damaged file, no rows, or columns that are no features.
    """
    with damage_of(path, _PARQUET), open_parquet_file(path) as file:
        about = file.metadata
        sizes = [about.row_group(i).num_rows for i in range(about.num_row_groups)]
        columns, label = _choose(file.schema_arrow, wanted, path, tell)

        def first_row() -> Batch:
            return next(file.iter_batches(1, columns=list(columns), use_threads=False))

        return ParquetShard(path, *_layout(file.schema_arrow, columns, sizes, path, first_row),
                            columns, label)  # fmt: skip


def open_arrow_shard(path: Path, wanted: Wanted, tell: Report) -> ArrowShard:
    """Open an Arrow file (Feather) as rows that stay in it.

    Args:
        path: the file, no stream; of its record batches the shortest column is read.
        wanted: where the labels are.
        tell: told of columns that are left out.

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
        columns, label = _choose(schema, wanted, path, tell)
        others = [name for name in schema.names if name not in columns]
        with open_arrow_file(path, [label or (others or schema.names)[0]]) as file:
            sizes = [file.get_batch(i).num_rows for i in range(batches)]
        with open_arrow_file(path, columns) as file:
            filled = [i for i, size in enumerate(sizes) if size]
            layout = _layout(schema, columns, sizes, path, lambda: file.get_batch(filled[0]))
    form, blocks, *_ = layout
    most = int(np.diff(blocks).max())
    if most * form.features * form.dtype.itemsize > _MOST_BATCH_BYTES:
        fitting = max(1, _MOST_BATCH_BYTES // (form.features * form.dtype.itemsize))
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
    schema: Schema, wanted: Wanted, path: Path, tell: Report
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
    return tuple(choose_features(types, path, tell)), label


def _layout(
    schema: Schema, columns: tuple[str, ...], sizes: list[int], path: Path, first_batch: Any
) -> tuple[Form, NDArray[np.int64], tuple[int, ...]]:
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
    form = Form(sum(sizes), width, dtype, names, largest_value(np.zeros(0, dtype)))
    return form, blocks, tuple(filled)


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
        row_bytes = shard.form.features * shard.form.dtype.itemsize
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

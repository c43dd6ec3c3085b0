"""Tables of columns: CSV, Parquet and Arrow files, and data frames in memory, by pyarrow.

The features are all numeric columns but the labels', in order; or the one column of lists, all of
one length, where there is one. Rows left in a file are read by row groups (Parquet) or record
batches (Arrow).
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data.formats.base import (
    ColumnSpec,
    RowsFile,
    Table,
    as_features,
    choose_labels,
    file_errors,
    first_line,
    largest_value,
    streamed_dtype,
    to_array,
)
from onelayer.data.progress import Log
from onelayer.data.streaming import Read, Shard
from onelayer.errors import DataError

# A record batch can only be read as a whole.
MAX_BATCH_BYTES = 512 << 20
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"

_ANY_COLUMNS = ColumnSpec()

# What of a row group is decoded at a time, and what Parquet's pages are read by.
_PIECE_BYTES, _LABEL_ROWS, _PAGE_BYTES = 4 << 20, 1 << 20, 1 << 20

# pyarrow ships no types.
Columns = Any
Column = Any
Schema = Any
Batch = Any


def is_frame(source: object) -> bool:
    """Whether an object is a data frame in memory: pandas, polars or a pyarrow table."""
    return hasattr(type(source), "columns")  # of a lazy frame the value would be computed


def frame_table(
    frame: Any, labels: Any, where: str, log: Log, spec: ColumnSpec = _ANY_COLUMNS
) -> Table:
    """Features and labels of a data frame; `labels` names a column, holds them, or is None."""
    import pyarrow as pa

    pandas = type(frame).__module__.partition(".")[0] == "pandas"
    if pandas:
        _check_names([str(name) for name in frame.columns], where)
    try:
        # A pandas index is no feature.
        columns = pa.Table.from_pandas(frame, preserve_index=False) if pandas else pa.table(frame)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(
            f"{where} cannot be read as a table of columns ({first_line(error)}); give each column "
            "one type, and collect a lazy frame."
        ) from error
    if labels is None or isinstance(labels, str):
        return _table(columns, where, replace(spec, labels=labels), log)
    table = _table(columns, where, replace(spec, elsewhere=True), log)
    return replace(table, labels=to_array(labels, spec.option), labels_where=spec.option)


class TableFile(RowsFile):
    """A file of columns."""

    @abstractmethod
    def read(self) -> Columns:
        """All columns, as a pyarrow table."""

    def table(self) -> Table:
        """The rows in memory."""
        with file_errors(self.path, self.kind):
            return _table(self.read(), self.where, self.spec, self.log)

    @classmethod
    def labels(cls, path: Path) -> NDArray[Any]:
        """The labels of a file that holds nothing else, or of its column of labels."""
        with file_errors(path, cls.kind):
            columns = cls(path, ColumnSpec(), lambda line: None).read()
            names = columns.column_names
            one = len(names) == 1
            name = names[0] if one else choose_labels(names, ColumnSpec(), str(path), "column")
            return _labels(columns[name], f"{path}, column {name!r}")


class PiecesFile(TableFile):
    """A file whose row groups or record batches can be read alone, and so can its columns."""

    streams = True

    @staticmethod
    @abstractmethod
    def open(path: Path, names: Sequence[str] = ()) -> AbstractContextManager[Any]:
        """The file, to read these columns or all of them."""

    @staticmethod
    @abstractmethod
    def sizes(file: Any) -> list[int]:
        """How many rows each piece has."""

    @staticmethod
    @abstractmethod
    def batches(file: Any, piece: int, names: Sequence[str], rows: int) -> Iterator[Batch]:
        """The opened columns of a piece, maybe at most so many rows at a time."""

    def shard(self) -> TableShard:
        """The rows left in the file; a row is read where rows are lists of unknown length."""
        path, where, spec = self.path, self.where, self.spec
        with file_errors(path, self.kind):
            with self.open(path) as file:
                schema = getattr(file, "schema_arrow", file.schema)
            names, label = _choose(schema, where, spec, self.log)
            others = [name for name in schema.names if name not in names]
            with self.open(path, [label or (others or schema.names)[0]]) as file:
                sizes = self.sizes(file)
            pieces = tuple(i for i, size in enumerate(sizes) if size)
            if not pieces:
                raise _no_rows(where)
            kinds, width = [schema.field(name).type for name in names], len(names)
            lists = _is_list(kinds[0])
            if lists:
                width = getattr(kinds[0], "list_size", 0)
                if not width:
                    with self.open(path, names) as file:
                        first = next(self.batches(file, pieces[0], names, 1))
                        width = len(first[names[0]][0] or ())
                if not width:
                    raise DataError(
                        f"{where}, column {names[0]!r}: the first row is an empty list; give each "
                        "row at least one feature."
                    )
                kinds = [kinds[0].value_type]
            stored = (np.dtype(kind.to_pandas_dtype()) for kind in kinds)
            dtype = np.result_type(*(streamed_dtype(one, where) for one in stored))
            labels = None if label is None else self._column(label, pieces)
            ids = None if spec.id is None else self._column(spec.id, pieces)
        return TableShard(
            path,
            np.cumsum([0, *(sizes[i] for i in pieces)], dtype=np.int64),
            width,
            dtype,
            None if lists else tuple(names),
            largest_value(dtype),
            labels,
            ids,
            type(self),
            pieces,
            tuple(names),
        )

    def _column(self, name: str, pieces: Sequence[int]) -> NDArray[Any]:
        """A column of labels or ids; no other is read."""
        import pyarrow as pa

        with self.open(self.path, [name]) as file:
            batches = (self.batches(file, i, [name], _LABEL_ROWS) for i in pieces)
            column = pa.Table.from_batches(chain.from_iterable(batches))[name]
            return _labels(column, f"{self.where}, column {name!r}")


class ParquetFile(PiecesFile):
    """A Parquet file; checksums of its pages are compared."""

    kind = "Parquet file"

    def read(self) -> Columns:
        """All columns."""
        from pyarrow import parquet

        with parquet.ParquetFile(self.path, page_checksum_verification=True) as file:
            return _validated(file.read())

    @staticmethod
    def open(path: Path, names: Sequence[str] = ()) -> Any:
        """The file, which is read a few pages at a time."""
        from pyarrow import parquet

        return parquet.ParquetFile(
            path, buffer_size=_PAGE_BYTES, pre_buffer=False, page_checksum_verification=True
        )

    @staticmethod
    def sizes(file: Any) -> list[int]:
        """How many rows each row group has."""
        about = file.metadata
        return [about.row_group(i).num_rows for i in range(about.num_row_groups)]

    @staticmethod
    def batches(file: Any, piece: int, names: Sequence[str], rows: int) -> Any:
        """A row group, since a batch would go on into the next, which may not be asked for."""
        return file.iter_batches(rows, row_groups=[piece], columns=list(names), use_threads=False)


class ArrowFile(PiecesFile):
    """An Arrow file (Feather), or a stream, mapped into memory."""

    kind = "Arrow file"

    def read(self) -> Columns:
        """All columns."""
        import pyarrow as pa

        mapped = pa.memory_map(str(self.path))
        if not _is_stream(self.path):
            return _validated(pa.ipc.open_file(mapped).read_all())
        # pyarrow takes a stream that breaks off between two batches for a whole one.
        with self.path.open("rb") as file:
            file.seek(-min(len(_END_OF_STREAM), self.path.stat().st_size), 2)
            if file.read() != _END_OF_STREAM:
                raise ValueError("its end mark is missing: truncated or no Arrow stream")
        return _validated(pa.ipc.open_stream(mapped).read_all())

    def shard(self) -> TableShard:
        """The rows left in the file; a record batch can only be read as a whole."""
        path, shard = self.path, super().shard()
        largest = int(np.diff(shard.blocks).max())
        if largest * shard.row_bytes > MAX_BATCH_BYTES:
            raise DataError(
                f"{path} has a record batch of {largest} rows, which can only be read as a whole; "
                f"write it with max_chunksize={max(1, MAX_BATCH_BYTES // shard.row_bytes)} or "
                "less, or give stream=False (--no-stream) to map the file."
            )
        return shard

    @staticmethod
    @contextmanager
    def open(path: Path, names: Sequence[str] = ()) -> Iterator[Any]:
        """The file, not mapped."""
        import pyarrow as pa

        if _is_stream(path):
            raise DataError(
                f"{path} is an Arrow stream, or no Arrow file: only a file says where its record "
                "batches are; write it with pyarrow.ipc.new_file."
            )
        with pa.OSFile(str(path)) as source:
            schema = pa.ipc.open_file(source).schema
            chosen = [schema.get_field_index(name) for name in names]
            options = pa.ipc.IpcReadOptions(included_fields=chosen or None, use_threads=False)
            yield pa.ipc.open_file(source, options=options)

    @staticmethod
    def sizes(file: Any) -> list[int]:
        """How many rows each record batch has, for which the opened columns are read."""
        return [_validated(file.get_batch(i)).num_rows for i in range(file.num_record_batches)]

    @staticmethod
    def batches(file: Any, piece: int, names: Sequence[str], rows: int) -> Iterator[Batch]:
        """The record batch."""
        yield _validated(file.get_batch(piece))


@dataclass(frozen=True, eq=False)
class TableShard(Shard):
    """Rows of columns that stay in their file; its row groups or record batches are its blocks."""

    file_type: type[PiecesFile]
    pieces: tuple[int, ...]  # the row groups or record batches that are not empty
    columns: tuple[str, ...]  # of features, or the one of lists

    @contextmanager
    def open(self) -> Iterator[Read]:
        """What reads the rows."""
        with ExitStack() as opened:
            with file_errors(self.path, "file"):
                file = opened.enter_context(self.file_type.open(self.path, self.columns))
            yield _BatchReader(self, file).read


class _BatchReader:
    """Reads rows out of pyarrow's batches, of which it holds one."""

    def __init__(self, shard: TableShard, file: Any) -> None:
        self._shard, self._file = shard, file
        self._batches: Iterator[Batch] = iter(())
        self._batch: Batch | None = None
        self._first = self._next = 0
        self._piece = -1

    def read(self, start: int, into: NDArray[Any]) -> None:
        import pyarrow as pa

        shard, done, where = self._shard, 0, str(self._shard.path)
        with file_errors(shard.path, "file"):
            while done < len(into):
                row = start + done
                if self._batch is None or not 0 <= row - self._first < self._batch.num_rows:
                    self._batch = self._fetch(row)
                part = self._batch.slice(row - self._first, len(into) - done)
                rows = _rows(pa.Table.from_batches([part]), shard.columns, where, row)
                if rows.shape[1] != into.shape[1]:
                    place = f"{where}, column {shard.columns[0]!r}"
                    raise _other_length(place, into.shape[1], row, rows.shape[1])
                into[done : done + len(rows)] = rows
                done += len(rows)

    def _fetch(self, row: int) -> Batch:
        """The batch that a row is in."""
        shard, self._batch = self._shard, None  # so that two are never in memory
        piece = int(np.searchsorted(shard.blocks, row, "right")) - 1
        if piece != self._piece or row < self._next:
            self._piece, self._next = piece, int(shard.blocks[piece])
            rows = max(1, _PIECE_BYTES // shard.row_bytes)
            self._batches = shard.file_type.batches(
                self._file, shard.pieces[piece], shard.columns, rows
            )
        for batch in self._batches:
            self._first, self._next = self._next, self._next + batch.num_rows
            if row < self._next:
                return batch
        raise ValueError(f"it ends before row {row}")


def _validated(columns: Columns) -> Columns:
    """The columns, once lengths, offsets and names that a damaged file has wrong are found."""
    columns.validate(full=True)
    columns.schema.names  # noqa: B018  # decoded only when asked for
    return columns


def _table(columns: Columns, where: str, spec: ColumnSpec, log: Log) -> Table:
    """Features and labels of a pyarrow table."""
    if not columns.num_rows:
        raise _no_rows(where)
    names, label = _choose(columns.schema, where, spec, log, columns)
    labels_where = f"{where}, column {label!r}"
    labels = None if label is None else _labels(columns[label], labels_where)
    X = _rows(columns, names, where)
    feature_names = None if _is_list(columns.schema.field(names[0]).type) else tuple(names)
    ids = None if spec.id is None else _labels(columns[spec.id], f"{where}, column {spec.id!r}")
    top = largest_value(X.dtype)
    return Table(X, labels, where, labels_where, feature_names, max_value=top, ids=ids)


def _choose(
    schema: Schema, where: str, spec: ColumnSpec, log: Log, columns: Columns = None
) -> tuple[list[str], str | None]:
    """Names of the features and of the labels; text among numbers is looked for in `columns`."""
    names = schema.names
    _check_names(names, where)
    label = choose_labels(names, spec, where, "column")
    _matching([] if spec.id is None else [spec.id], names, where, "id")
    if spec.features is not None:
        missing = [name for name in spec.features if name not in names]
        if missing:
            raise DataError(
                f"{where} needs the model's {len(spec.features)} features as columns, but lacks "
                f"{len(missing)}: {', '.join(missing[:5])}."
            )
        return list(spec.features), label
    others = [name for name in names if name not in (label, spec.id)]
    taken = others if spec.take is None else _matching(spec.take, others, where, "features")
    dropped = _matching(spec.drop, others, where, "drop", must=spec.must_drop)
    index = _index_columns(schema) if spec.take is None else []
    types = {n: schema.field(n).type for n in taken if n not in dropped and n not in index}
    lists = [name for name, kind in types.items() if _is_list(kind)]
    if len(lists) > 1:
        raise DataError(
            f"{where} has several columns of lists, {', '.join(lists)}; keep the one that holds "
            "the features."
        )
    if columns is not None and not lists:
        for name in (name for name, kind in types.items() if _is_text(kind)):
            _check_text(columns[name], f"{where}, column {name!r}")
    kept = lists or [name for name, kind in types.items() if _is_number(kind)]
    wrong = [f"{n} ({types[n]})" for n in types if n in (spec.take or ()) and n not in kept]
    if wrong:
        raise DataError(f"{where}: features must be numbers, but {', '.join(wrong)} is chosen.")
    if not kept:
        raise DataError(
            f"{where} has no numeric column besides the labels, only "
            f"{', '.join(f'{n} ({t})' for n, t in types.items()) or 'none at all'}; features must "
            "be numbers."
        )
    ignored = [f"{name} ({kind})" for name, kind in types.items() if name not in kept]
    ignored += [f"{name!r} (index)" for name in index if name in others and name not in dropped]
    if ignored:
        log(f"{where}: ignored columns that are no features: {', '.join(ignored)}.")
    return kept, label


def _check_names(names: Sequence[str], where: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{where} has two columns {twice[0]!r}; give each column its own name.")


def _matching(
    patterns: Sequence[str], names: Sequence[str], where: str, option: str, *, must: bool = True
) -> list[str]:
    """The columns of these names, or that match these patterns."""
    for pattern in patterns if must else ():
        if not any(fnmatchcase(name, pattern) or name == pattern for name in names):
            raise DataError(
                f"{where} has no column {pattern!r} for {option} (--{option}); it has "
                f"{', '.join(names[:12])}{', …' if len(names) > 12 else ''}."
            )
    return [n for n in names if n in patterns or any(fnmatchcase(n, p) for p in patterns)]


def _index_columns(schema: Schema) -> list[str]:
    """The columns that are the index of a data frame, by pandas's own metadata or by their name."""
    stored = (schema.pandas_metadata or {}).get("index_columns", ())
    return [
        name
        for name in schema.names
        if name in stored
        or re.fullmatch(r"__index_level_\d+__|Unnamed: 0|", name)
        or (name in ("index", "level_0") and "int" in str(schema.field(name).type))
    ]


def _labels(column: Column, where: str) -> NDArray[Any]:
    import pyarrow as pa

    _check_filled(column, where)
    if pa.types.is_dictionary(column.type):
        texts = pa.string() if _is_text(column.type.value_type) else column.type.value_type
        indices, chunks = pa.int64(), column.chunks
        column = pa.chunked_array(
            [c.dictionary.cast(texts).take(c.indices.cast(indices)) for c in chunks], texts
        )
    if pa.types.is_temporal(column.type):  # classes that are times are called as they are written
        column = column.cast(pa.string())
    values: NDArray[Any] = column.to_numpy()
    return values


def _rows(columns: Columns, names: Sequence[str], where: str, start: int = 0) -> NDArray[Any]:
    """(N, D) in the smallest dtype that holds all exactly; the first is row `start`."""
    if _is_list(columns.schema.field(names[0]).type):
        return _lists(columns[names[0]], f"{where}, column {names[0]!r}", start)
    converted = []
    for name in names:
        place = f"{where}, column {name!r}"
        _check_filled(columns[name], place, start)
        values = np.asarray(columns[name].to_numpy())
        converted.append(as_features(values, lambda at, place=place: f"{place}, row {start + at}"))  # type: ignore[misc]
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
            raise _other_length(where, lengths[0], start + row, lengths[row])
    width = len(column[0])
    if not width:
        raise DataError(f"{where}: the lists are empty; give each row at least one feature.")
    flat = pa.chunked_array([piece.flatten() for piece in pieces], column.type.value_type)
    _check_filled(flat, where, start, width)
    arrays = [piece.to_numpy(zero_copy_only=False) for piece in flat.chunks]
    X = (arrays[0] if len(arrays) == 1 else np.concatenate(arrays)).reshape(-1, width)
    return as_features(X, lambda at: f"{where}, row {start + at // width}, element {at % width}")


def _check_filled(column: Column, where: str, start: int = 0, width: int = 1) -> None:
    if column.null_count:
        at = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise DataError(
            f"{where}: row {start + at // width} is empty or NaN; fill the value or drop the row."
        )


def _check_text(column: Column, where: str) -> None:
    """Refuse text among numbers: a column that one typing error would leave out."""
    values = column.to_pylist()
    text = [row for row, v in enumerate(values) if v is None or not is_number_text(v)]
    if 0 < len(text) < len(values):
        raise DataError(
            f"{where}: it holds numbers and text, such as {values[text[0]]!r} in row {text[0]}; "
            "write a number there, or take the column out."
        )


def is_number_text(text: str) -> bool:
    """Whether a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_number(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    lists = (types.is_fixed_size_list, types.is_list, types.is_large_list)
    return any(is_kind(kind) for is_kind in lists) and _is_number(kind.value_type)


def _is_text(kind: Any) -> bool:
    return str(kind) in ("string", "large_string", "string_view")


def _is_stream(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(6) != b"ARROW1"


def _no_rows(where: str) -> DataError:
    return DataError(f"{where} holds names of columns but no rows; give it at least one row.")


def _other_length(where: str, expected: int, row: int, got: int) -> DataError:
    return DataError(
        f"{where}: every list must have the length of the first, {expected}, but row {row} has "
        f"{got}; give each row the same number of features."
    )

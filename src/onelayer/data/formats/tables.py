"""Tables of columns: CSV, Parquet and Arrow files, and data frames in memory, by pyarrow.

A column of lists, all of one length, is an array of features. Rows left in a file are read by row
groups (Parquet) or record batches (Arrow). `chosen_columns` says which columns are features.
"""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data.classes import lists_of, time_name
from onelayer.data.formats import base
from onelayer.data.formats.chosen_columns import (
    Batch,
    Column,
    Columns,
    Schema,
    choose_columns,
    is_list,
    is_text,
    note_numbers_as_names,
    stored_as,
    values_as,
)
from onelayer.data.identity import check_names
from onelayer.data.mapped import note_mapped
from onelayer.data.progress import Log
from onelayer.data.streaming import Read, Shard
from onelayer.errors import DataError

# A record batch can only be read as a whole.
MAX_BATCH_BYTES = 512 << 20
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
_ANY_COLUMNS = base.ColumnSpec()

# What of a row group is decoded at a time, and what Parquet's pages are read by.
_PIECE_BYTES, _LABEL_ROWS, _PAGE_BYTES = 4 << 20, 1 << 20, 1 << 20


def is_frame(source: object) -> bool:
    """Whether an object is a data frame: of pandas, polars, pyarrow or Hugging Face's datasets."""
    # Of a lazy frame the value would be computed.
    return hasattr(type(source), "columns") or _is_hugging_face(source)


def _is_hugging_face(source: object) -> bool:
    return all(hasattr(type(source), name) for name in ("column_names", "with_format", "map"))


def frame_table(
    frame: Any, labels: Any, where: str, log: Log, spec: base.ColumnSpec = _ANY_COLUMNS
) -> base.Table:
    """Features and labels of a data frame; `labels` names a column, holds them, or is None."""
    import pyarrow as pa

    if _is_hugging_face(frame):
        if not hasattr(type(frame), "__len__"):
            raise DataError(
                f"{where} is a stream of rows, {type(frame).__name__}; give a Dataset, which has a "
                "length."
            )
        frame = frame.with_format("arrow")[:]
    pandas = type(frame).__module__.partition(".")[0] == "pandas"
    if pandas:
        check_names([str(name) for name in frame.columns], where)
    try:
        # A pandas index is no feature.
        columns = pa.Table.from_pandas(frame, preserve_index=False) if pandas else pa.table(frame)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(
            f"{where} cannot be read as a table of columns ({base.first_line(error)}); give each "
            "column one type, and collect a lazy frame."
        ) from error
    note_numbers_as_names(columns.column_names, where, log)
    if labels is None or isinstance(labels, str):
        return _table(columns, where, replace(spec, labels=labels), log)
    table = _table(columns, where, replace(spec, elsewhere=True), log)
    return replace(
        table, labels=base.to_array(lists_of(labels), spec.option), labels_where=spec.option
    )


def note_other_order(frame: Any, values: Any, option: str, where: str, log: Log) -> None:
    """Tell where values of rows have the index of a frame of pandas in another order."""
    rows: Any = getattr(frame, "index", None)
    own: Any = getattr(values, "index", None)
    if not all(hasattr(index, "isin") for index in (rows, own)) or len(rows) != len(own):
        return
    if not rows.equals(own) and rows.isin(own).all() and own.isin(rows).all():
        log(
            f"{where}: {option} has the index of the rows in another order and is matched by "
            f"position; give {option}.loc[frame.index] to match it by the index."
        )


class TableFile(base.RowsFile):
    """A file of columns."""

    @abstractmethod
    def read(self) -> Columns:
        """All columns, as a pyarrow table."""

    def table(self) -> base.Table:
        with base.file_errors(self.path, self.kind):
            return _table(self.read(), self.where, self.spec, self.log, self.path.parent)

    @classmethod
    def labels(cls, path: Path) -> NDArray[Any]:
        """The labels of a file that holds nothing else, or of its column of labels."""
        with base.file_errors(path, cls.kind):
            columns = cls(path, _ANY_COLUMNS, lambda line: None).read()
            names = columns.column_names
            choose = base.choose_labels
            name = names[0] if len(names) == 1 else choose(names, _ANY_COLUMNS, str(path), "column")
            known = _class_names(columns.schema, name, path.parent)
            return _labels(columns[name], f"{path}, column {name!r}", known)


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
        with base.file_errors(path, self.kind):
            with self.open(path) as file:
                schema = getattr(file, "schema_arrow", file.schema)
            texts = lambda name: (batch[0] for batch in self._batches(name))  # noqa: E731
            names, label = choose_columns(schema, where, spec, self.log, texts)
            others = [name for name in schema.names if name not in names]
            first_label = label[0] if isinstance(label, tuple) else label
            with self.open(path, [first_label or (others or schema.names)[0]]) as file:
                sizes = self.sizes(file)
            pieces = tuple(i for i, size in enumerate(sizes) if size)
            if not pieces:
                raise _no_rows(where)
            kinds, width = [schema.field(name).type for name in names], len(names)
            lists = is_list(kinds[0])
            if lists:
                kinds = [stored_as(kinds[0])]
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
            stored = [np.dtype(kind.to_pandas_dtype()) for kind in kinds]
            dtype = np.result_type(*(base.streamed_dtype(one, where) for one in stored))
            labels: NDArray[Any] | None = None
            if isinstance(label, tuple):
                labels = _in_fields({name: self._column(name, schema) for name in label})
            elif label is not None:
                labels = self._column(label, schema)
            ids = None if spec.id is None else self._column(spec.id, schema)
            beside = {of: self._column(name, schema) for of, name in spec.beside.items()}
        blocks = np.cumsum([0, *(sizes[i] for i in pieces)], dtype=np.int64)
        columns, top = tuple(names), _largest(stored, dtype)
        known = None if lists else columns
        return TableShard(
            path, blocks, width, dtype, known, top, labels, ids, type(self), pieces, columns,
            beside=beside,
        )  # fmt: skip

    def _column(self, name: str, schema: Schema) -> NDArray[Any]:
        """A column of labels or ids; no other is read."""
        import pyarrow as pa

        column = pa.Table.from_batches(self._batches(name))[name]
        known = _class_names(schema, name, self.path.parent)
        return _labels(column, f"{self.where}, column {name!r}", known)

    def _batches(self, name: str) -> Iterator[Batch]:
        with self.open(self.path, [name]) as file:
            for piece, size in enumerate(self.sizes(file)):
                if size:
                    yield from self.batches(file, piece, [name], _LABEL_ROWS)


class ParquetFile(PiecesFile):
    """A Parquet file; checksums of its pages are compared."""

    kind = "Parquet file"

    def read(self) -> Columns:
        import pyarrow as pa
        from pyarrow import parquet

        source = pa.OSFile(os.fsencode(self.path))
        with parquet.ParquetFile(source, page_checksum_verification=True) as file:
            return _validated(file.read())

    @staticmethod
    def open(path: Path, names: Sequence[str] = ()) -> Any:
        import pyarrow as pa
        from pyarrow import parquet

        source = pa.OSFile(os.fsencode(path))
        return parquet.ParquetFile(
            source, buffer_size=_PAGE_BYTES, pre_buffer=False, page_checksum_verification=True
        )

    @staticmethod
    def sizes(file: Any) -> list[int]:
        about = file.metadata
        return [about.row_group(i).num_rows for i in range(about.num_row_groups)]

    @staticmethod
    def batches(file: Any, piece: int, names: Sequence[str], rows: int) -> Any:
        """A row group, since a batch would go on into the next, which may not be asked for."""
        return file.iter_batches(rows, row_groups=[piece], columns=list(names), use_threads=False)


class ArrowFile(PiecesFile):
    """An Arrow file (Feather), or a stream, mapped into memory."""

    kind = "Arrow file"

    def table(self) -> base.Table:
        """The rows in memory, or mapped where they are in the file as they are."""
        size = self.path.stat().st_size
        table = super().table()
        note_mapped(table.X, self.path, size)
        return table

    def read(self) -> Columns:
        import pyarrow as pa

        mapped = pa.memory_map(os.fsencode(self.path))
        if not _is_stream(self.path):
            return _validated(pa.ipc.open_file(mapped).read_all())
        _check_end(self.path)
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
        import pyarrow as pa

        with pa.OSFile(os.fsencode(path)) as source:
            if _is_stream(path):
                yield _Stream(path, source, names)
                return
            schema = pa.ipc.open_file(source).schema
            chosen = [schema.get_field_index(name) for name in names]
            options = pa.ipc.IpcReadOptions(included_fields=chosen or None, use_threads=False)
            yield pa.ipc.open_file(source, options=options)

    @staticmethod
    def sizes(file: Any) -> list[int]:
        """How many rows each record batch has, for which the opened columns are read."""
        if isinstance(file, _Stream) and file.sizes is not None:
            return file.sizes
        return [_validated(file.get_batch(i)).num_rows for i in range(file.num_record_batches)]

    @staticmethod
    def batches(file: Any, piece: int, names: Sequence[str], rows: int) -> Iterator[Batch]:
        yield _validated(file.get_batch(piece))


class _Stream:
    """An Arrow stream read as a file is: the heads of its messages say where they are."""

    def __init__(self, path: Path, source: Any, names: Sequence[str]) -> None:
        import pyarrow as pa

        _check_end(path)
        self._source, self._names = source, names
        # Of each record batch where it is, and the messages before it that it needs.
        self._places: list[tuple[list[tuple[int, int]], tuple[int, int]]] = []
        needed, sizes = list[tuple[int, int]](), list[int]()
        with pa.memory_map(os.fsencode(path)) as mapped:
            self.schema, start = pa.ipc.open_stream(mapped).schema, 0
            mapped.seek(0)
            for message in pa.ipc.MessageReader.open_stream(mapped):
                place, start = (start, mapped.tell()), mapped.tell()
                if message.type != "record batch":  # the schema, or a dictionary
                    needed.append(place)
                    continue
                self._places.append((needed[:], place))
                if len(needed) == 1:
                    sizes.append(pa.ipc.read_record_batch(message, self.schema).num_rows)
        self.num_record_batches = len(self._places)
        self.sizes = sizes if len(sizes) == len(self._places) else None

    def get_batch(self, number: int) -> Batch:
        """A record batch, with the opened columns."""
        import pyarrow as pa

        needed, place = self._places[number]
        raw = b"".join(self._read(*each) for each in (*needed, place))
        chosen = [self.schema.get_field_index(name) for name in self._names]
        options = pa.ipc.IpcReadOptions(included_fields=chosen or None, use_threads=False)
        return pa.ipc.open_stream(raw, options=options).read_next_batch()

    def _read(self, start: int, stop: int) -> bytes:
        self._source.seek(start)
        return bytes(self._source.read(stop - start))


@dataclass(frozen=True, eq=False)
class TableShard(Shard):
    """Rows of columns that stay in their file; its row groups or record batches are its blocks."""

    file_type: type[PiecesFile]
    pieces: tuple[int, ...]  # the row groups or record batches that are not empty
    columns: tuple[str, ...]  # of features, or the one of lists

    @contextmanager
    def open(self) -> Iterator[Read]:
        with ExitStack() as opened:
            with base.file_errors(self.path, "file"):
                file = opened.enter_context(self.file_type.open(self.path, self.columns))
            yield _BatchReader(self, file).read

    def in_order(self, names: tuple[str, ...]) -> TableShard:
        return replace(self, columns=names, feature_names=names, features=len(names))


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
        with base.file_errors(shard.path, "file"):
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


def _table(
    columns: Columns, where: str, spec: base.ColumnSpec, log: Log, folder: Path | None = None
) -> base.Table:
    """Features and labels of a pyarrow table, which lies in a folder."""
    if not columns.num_rows:
        raise _no_rows(where)
    schema = columns.schema
    names, label = choose_columns(schema, where, spec, log, lambda name: columns[name].chunks)
    labels, labels_where = None, f"{where}, column {label!r}"
    if isinstance(label, tuple):
        labels_where = f"{where}, columns {label[0]!r} to {label[-1]!r}"
        labels = _in_fields({n: _labels(columns[n], f"{where}, column {n!r}") for n in label})
    elif label is not None:
        labels = _labels(columns[label], labels_where, _class_names(schema, label, folder))
    X = _rows(columns, names, where)
    feature_names = None if is_list(columns.schema.field(names[0]).type) else tuple(names)
    ids = None if spec.id is None else _labels(columns[spec.id], f"{where}, column {spec.id!r}")
    beside = {
        of: _labels(columns[name], f"{where}, column {name!r}") for of, name in spec.beside.items()
    }
    kinds = (stored_as(schema.field(name).type) for name in names)
    top = _largest(
        [np.dtype(getattr(k, "value_type", k).to_pandas_dtype()) for k in kinds], X.dtype
    )
    return base.Table(
        X, labels, where, labels_where, feature_names, max_value=top, ids=ids, beside=beside
    )


def _class_names(schema: Schema, label: str | None, folder: Path | None) -> list[str] | None:
    """The names of integer labels that Hugging Face's data sets keep beside them, or None."""
    stored = (schema.metadata or {}).get(b"huggingface", b"{}")
    with suppress(OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        about = json.loads(stored).get("info")
        if about is None and folder is not None:
            about = json.loads((folder / "dataset_info.json").read_bytes())
        names = about["features"][label]["names"]
        if all(isinstance(name, str) for name in names):
            return list(names)
    return None


def _labels(column: Column, where: str, names: list[str] | None = None) -> NDArray[Any]:
    """A column as labels, or as the class names that its numbers stand for."""
    import pyarrow as pa

    _check_filled(column, where)
    if names is not None and pa.types.is_integer(column.type):
        numbers: NDArray[np.int64] = column.to_numpy()
        wrong = (numbers < 0) | (numbers >= len(names))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(
                f"{where}: row {row} is {numbers[row]}, and of the {len(names)} class names none "
                "is of this number; drop the rows without a label."
            )
        return np.array(names, object)[numbers]
    if pa.types.is_dictionary(column.type):
        kind = pa.large_string() if is_text(column.type) else column.type.value_type
        column = pa.chunked_array([values_as(chunk, kind) for chunk in column.chunks], kind)
    is_time = pa.types.is_timestamp(column.type) or pa.types.is_time(column.type)
    if is_time or pa.types.is_date(column.type):  # classes that are times are called as written
        texts = column.cast(pa.string()).to_pylist()
        return np.array([time_name(text) for text in texts], object)
    values: NDArray[Any] = column.to_numpy()
    return values


def _in_fields(columns: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Columns of one label each as one array (N,) with a field for each, which keeps the names."""
    kinds = [(name, values.dtype) for name, values in columns.items()]
    joined = np.empty(len(next(iter(columns.values()))), kinds)
    for name, values in columns.items():
        joined[name] = values
    return joined


def _rows(columns: Columns, names: Sequence[str], where: str, start: int = 0) -> NDArray[Any]:
    """(N, D) in the smallest dtype that holds all exactly; the first is row `start`."""
    if is_list(columns.schema.field(names[0]).type):
        return _lists(columns[names[0]], f"{where}, column {names[0]!r}", start)
    converted = []
    for name in names:
        place = f"{where}, column {name!r}"
        _check_filled(columns[name], place, start)

        def locate(at: int, place: str = place) -> str:
            return f"{place}, row {start + at}"

        converted.append(base.as_features(np.asarray(columns[name].to_numpy()), locate))
    X = np.empty((len(columns), len(names)), np.result_type(*converted))
    for column, values in enumerate(converted):
        X[:, column] = values
    return X


def _lists(column: Column, where: str, start: int) -> NDArray[Any]:
    """Lists of one length as rows; a view of the file where it is one piece."""
    import pyarrow as pa

    _check_filled(column, where, start)
    kind, storage = column.type, stored_as(column.type)
    if storage != kind:
        order = [axis for axis in kind.permutation or () if kind.shape[axis] > 1]
        if order != sorted(order):
            raise DataError(
                f"{where}: the dimensions of the tensors are stored in another order, {order}; "
                "write them in their own."
            )
        column = pa.chunked_array([piece.storage for piece in column.chunks], storage)
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
    return base.as_features(
        X, lambda at: f"{where}, row {start + at // width}, element {at % width}"
    )


def _check_filled(column: Column, where: str, start: int = 0, width: int = 1) -> None:
    if column.null_count:
        at = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise DataError(
            f"{where}: row {start + at // width} is empty or NaN; fill the value or drop the row."
        )


def _largest(stored: Sequence[np.dtype[Any]], dtype: np.dtype[Any]) -> float:
    """The largest value of features of some types that are held as one; of booleans it is 1."""
    return max(map(base.largest_value, stored)) if dtype == np.uint8 else 1.0


def _check_end(path: Path) -> None:
    # pyarrow takes a stream that breaks off between two batches for a whole one.
    with path.open("rb") as file:
        file.seek(-min(len(_END_OF_STREAM), path.stat().st_size), 2)
        if file.read() != _END_OF_STREAM:
            raise ValueError("its end mark is missing: truncated or no Arrow stream")


def _is_stream(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(6) != b"ARROW1"


def _no_rows(where: str) -> DataError:
    return base.NoRowsError(
        f"{where} holds names of columns but no rows; give it at least one row."
    )


def _other_length(where: str, expected: int, row: int, got: int) -> DataError:
    return DataError(
        f"{where}: every list must have the length of the first, {expected}, but row {row} has "
        f"{got}; give each row the same number of features."
    )

"""Lines of a label and index:value pairs, as LIBSVM and SVMlight have them, read as sparse rows.

    1 qid:7 3:0.5 10:2 # a comment

A label is a number; of many labels a row there are commas between them. Indices count from 0 or
from 1: which of both is said by all files of a data set together.
"""

from __future__ import annotations

import bz2
import gzip
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import IO, Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from onelayer.data.formats import base
from onelayer.data.formats.arrays import check_no_columns
from onelayer.data.memory import available_memory, format_bytes
from onelayer.data.sparse import SparseRows
from onelayer.errors import DataError, SettingsError, one_line

Key = TypeVar("Key")

# What is read of a file at a time.
_READ_BYTES = 8 << 20

# What a row and its label take in memory, and how often values are there as they are joined.
_ROW_BYTES, _COPIES = 160, 2

_SPACES = bytes.maketrans(b"\t\r\v\f", b"    ")
_SPACE, _NEWLINE = b" \n"
# The label and the query of a line with single spaces.
_HEAD = re.compile(rb"^(?:([^: \n]*)(?: |$))?(?:qid:([^ \n]*)(?: |$))?", re.MULTILINE)
_COMMENT = re.compile(rb"#[^\n]*")
_INDEX = re.compile(rb"[0-9]{1,18}")
_VALUE = re.compile(rb"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_UTF8_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class _Lines:
    """The rows of some lines; a line that holds nothing, or a comment, is none."""

    numbers: NDArray[np.int64]  # of the line of each row, from 1
    heads: list[tuple[bytes, bytes]]  # label and query of each row, empty where there is none
    counts: NDArray[np.int64]  # of the values of each row
    indices: NDArray[np.int64]
    values: NDArray[np.floating]

    @property
    def nbytes(self) -> int:
        return self.indices.nbytes + self.values.nbytes + _ROW_BYTES * len(self.heads)


class SvmlightFile(base.RowsFile):
    """A text file of LIBSVM or SVMlight, maybe compressed."""

    kind = "svmlight file"

    def table(self) -> base.Table:
        check_no_columns(self.spec, self.where)
        if self.spec.labels is not None:
            raise SettingsError(
                f"{self.spec.option} names no column of {self.where}, whose lines begin with their "
                "labels; leave it out, or give a file of labels."
            )
        for option, name in self.spec.beside.items():
            if name != "qid":
                raise DataError(
                    f"{self.where} has no column {name!r} for {option} (--{option}); it has qid."
                )
        with base.file_errors(self.path, self.kind):
            parts = [*self._parts()]
        if not any(part.heads for part in parts):
            raise base.NoRowsError(f"{self.where} has no rows; write a label and values a line.")
        counts, indices, values = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("counts", "indices", "values")
        )
        width = int(indices.max(initial=-1)) + 1
        indices = indices.astype(np.int32) if width <= np.iinfo(np.int32).max else indices
        ends = np.concatenate([[0], np.cumsum(counts)])
        return base.Table(
            SparseRows(values, indices, ends, width, self.where),  # type: ignore[arg-type]
            None if self.spec.elsewhere else self._labels(parts),
            self.where,
            f"{self.where}, labels",
            beside={option: self._queries(parts) for option in self.spec.beside},
            lowest_index=int(indices.min(initial=1)),
        )

    def _parts(self) -> Iterator[_Lines]:
        """The rows of some lines at a time, as long as memory has room for them."""
        left = most = available_memory()
        packed: Any = {".gz": gzip.open, ".bz2": bz2.open}.get(self.path.suffix.lower(), open)
        with packed(self.path, "rb") as file:
            for number, block in _blocks(file, most // 4):
                part = self._parse(block, number)
                left -= _COPIES * part.nbytes
                if left < 0:
                    raise DataError(
                        f"{self.where} holds more rows than fit into the {format_bytes(most)} of "
                        "memory that are left; split it."
                    )
                yield part

    def _parse(self, block: bytes, number: int) -> _Lines:
        """The rows of whole lines, the first of which has that number."""
        text = block.translate(_SPACES)
        text = _COMMENT.sub(b"", text) if b"#" in text else text
        while b"  " in text:
            text = text.replace(b"  ", b" ")
        text = text.replace(b" \n", b"\n").replace(b"\n ", b"\n").strip(b" ")
        pairs = _HEAD.sub(b"", text)
        held = np.diff(_line_ends(text), prepend=-1) > 1
        heads = [*compress(_HEAD.findall(text), held)]
        ends = _line_ends(pairs)
        spaces = np.searchsorted(np.flatnonzero(np.frombuffer(pairs, np.uint8) == _SPACE), ends)
        counts = (np.diff(spaces, prepend=0) + (np.diff(ends, prepend=-1) > 1))[held]
        indices, values = self._read_pairs(pairs, block, number)
        falls, ends = np.diff(indices) <= 0, np.cumsum(counts)
        falls[ends[(ends > 0) & (ends < len(indices))] - 1] = False
        right = (indices >= 0).all() and np.isfinite(values).all() and not falls.any()
        if not right or not all(map(_is_label, {label for label, _ in heads})):
            self._refuse(block, number)
        with np.errstate(over="ignore"):
            single = values.astype(np.float32)
        exact = bool((single == values).all())
        numbers = np.flatnonzero(held) + number
        return _Lines(numbers, heads, counts, indices, single if exact else values)

    def _read_pairs(
        self, pairs: bytes, block: bytes, number: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        import pyarrow as pa
        from pyarrow import csv

        if not pairs.strip():
            return np.empty(0, np.int64), np.empty(0)
        types = {"index": pa.int64(), "value": pa.float64()}
        try:
            table = csv.read_csv(
                pa.BufferReader(pairs.replace(b" ", b"\n")),
                csv.ReadOptions(column_names=[*types]),
                csv.ParseOptions(delimiter=":", quote_char=False),
                csv.ConvertOptions(column_types=types, null_values=[]),
            )
        except pa.ArrowInvalid:
            self._refuse(block, number)
        return table["index"].to_numpy(), table["value"].to_numpy()

    def _refuse(self, block: bytes, number: int) -> NoReturn:
        """Raise `DataError` for the first of these lines that is wrong."""
        for place, line in enumerate(block.translate(_SPACES).split(b"\n"), number):
            if fault := _fault(_COMMENT.sub(b"", line).strip()):
                raise self._error(place, fault)
        raise self._error(number, "this line or one after it cannot be read")

    def _error(self, line: int, fault: str) -> DataError:
        return DataError(f"{self.where}, line {line}: {fault}; correct the line.")

    def _labels(self, parts: Sequence[_Lines]) -> NDArray[Any]:
        """A number a row, or where a row has commas a list of numbers."""
        words, places = [w for p in parts for w, _ in p.heads], [p.numbers for p in parts]
        distinct = set(words)
        if not any(b"," in word for word in distinct):
            if b"" in distinct:
                empty = int(np.concatenate(places)[words.index(b"")])
                raise self._error(empty, "there is no label before the first index:value pair")
            values = {word: float(word) for word in distinct}
            return np.array([values[word] for word in words])
        labels = np.empty(len(words), object)
        for row, (at, word) in enumerate(zip(np.concatenate(places).tolist(), words, strict=True)):
            found = [float(one) for one in word.split(b",") if one]
            if wrong := [one for one in found if not one.is_integer()]:
                raise self._error(at, f"many labels a row must be integers, but one is {wrong[0]}")
            labels[row] = [int(one) for one in found]
        return labels

    def _queries(self, parts: Sequence[_Lines]) -> NDArray[Any]:
        words = [word.decode("latin-1") for part in parts for _, word in part.heads]
        if "" in words:
            at = int(np.concatenate([part.numbers for part in parts])[words.index("")])
            raise self._error(at, "there is no qid")
        return np.array(words)


def number_columns(tables: Mapping[Key, base.Table]) -> dict[Key, base.Table]:
    """Parts whose files number their columns get the same ones, from 1 on where none has a 0.

    That is the rule of scikit-learn's `load_svmlight_files`.
    """
    lowest = [t.lowest_index for t in tables.values() if t.lowest_index is not None]
    if not lowest:
        return dict(tables)
    first = min(1, *lowest)
    ends = {key: t.X.shape[1] - first * (t.lowest_index is not None) for key, t in tables.items()}
    features, found = max(1, *ends.values()), dict(tables)
    for key, table in tables.items():
        if table.lowest_index is not None:
            base.check_columns(features, table.where)
            X: Any = table.X
            X = X.renumbered(-first, features)
            X.first_index = first
            found[key] = replace(table, X=X, lowest_index=None)
    return found


def _blocks(file: IO[bytes], most: int) -> Iterator[tuple[int, bytes]]:
    """Whole lines, and the number of the first of them, from 1."""
    number, kept = 1, [file.read(len(_UTF8_MARK)).removeprefix(_UTF8_MARK)]
    while chunk := file.read(_READ_BYTES):
        lines, sign, rest = chunk.rpartition(b"\n")
        if sign:
            block = b"".join((*kept, lines, sign))
            yield number, block
            number, kept = number + block.count(b"\n"), []
        kept.append(rest)
        if sum(map(len, kept)) > most:
            raise DataError(
                f"{file.name}, line {number}: it takes more than the {format_bytes(most)} that "
                "there is room for; download or write the file again."
            )
    yield number, b"".join(kept)


def _line_ends(text: bytes) -> NDArray[np.int64]:
    """Where each line ends; a text that ends in a newline has an empty line after it."""
    return np.append(np.flatnonzero(np.frombuffer(text, np.uint8) == _NEWLINE), len(text))


def _parts_of(line: bytes) -> tuple[bytes, bytes, bytes]:
    """The label, the query and the index:value pairs of a line, with single spaces."""
    label, query = b"", b""
    head, _, rest = line.partition(b" ")
    if b":" not in head:
        label, line = head, rest
    if line.startswith(b"qid:"):
        query, _, line = line[4:].partition(b" ")
    return label, query, line


def _is_label(label: bytes) -> bool:
    """Whether a label is a finite number, several with commas between them, or none."""
    try:
        return not label or all(np.isfinite(float(one)) for one in label.split(b","))
    except ValueError:
        return False


def _fault(line: bytes) -> str:
    """What is wrong with a line; empty if nothing is."""
    label, _, pairs = _parts_of(b" ".join(line.split()))
    if not _is_label(label):
        return f"the label {_shown(label)} is not a finite number"
    before = -1
    for pair in pairs.split():
        index, _, value = pair.partition(b":")
        if not _INDEX.fullmatch(index) or not _VALUE.fullmatch(value):
            return f"{_shown(pair)} is no pair of an index, 0 or above, and a finite number"
        if int(index) <= before:
            return f"the index {int(index)} comes after {before}, but indices must ascend"
        before = int(index)
        if not np.isfinite(float(value)):
            return f"{_shown(pair)} is beyond the largest number"
    return ""


def _shown(word: bytes) -> str:
    return repr(one_line(word[:40].decode("utf-8", "replace")))

"""Delimited text, CSV and its kin, and labels as text."""

from __future__ import annotations

import codecs
import io
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data.formats.base import choose_labels, file_errors
from onelayer.data.formats.chosen_columns import (
    NUMBER,
    Columns,
    is_text,
    matching,
    note_numbers_as_names,
)
from onelayer.data.formats.tables import TableFile
from onelayer.data.memory import available_memory, format_bytes
from onelayer.errors import DataError

# What stands for a missing value beside numbers, and what may stand between columns.
_MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None")
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}

# How pyarrow tells of a line of another length.
_UNEVEN = r"Row #(\d+): Expected (\d+) columns, got (\d+)"

# What is read of a compressed file at a time, and what a cell and a row's label take in memory.
_READ_BYTES, _CELL_BYTES, _ROW_BYTES = 1 << 20, 16, 80


def as_written(texts: Sequence[str]) -> list[Any]:
    """Texts as numbers or booleans where each would be written back alike, or None if missing."""
    kept = [text for text in texts if text not in _MISSING]
    if kept and all(text.lower() in ("true", "false") for text in texts):
        return [text.lower() == "true" for text in texts]
    for kind in (int, float):
        try:
            if kept and all(str(kind(text)) == text and abs(kind(text)) < 1 << 63 for text in kept):
                return [None if text in _MISSING else kind(text) for text in texts]
        except (ValueError, OverflowError):
            pass
    return list(texts)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def label_array(texts: list[str]) -> NDArray[Any]:
    """Labels that are written as text, one each."""
    values = as_written(texts)
    return np.array(texts, object) if None in values or values == texts else np.array(values)


def read_lines(path: Path) -> NDArray[Any]:
    """The labels of a text file, one a line."""
    with file_errors(path, "text file in UTF-8"):
        text = path.read_text("utf-8-sig").rstrip()
    return label_array([line.strip() for line in text.splitlines()])


class _Bounded(io.RawIOBase):
    """Decompressed text that is refused where what it holds would not fit into memory."""

    def __init__(self, file: Any, where: str, sign: str) -> None:
        super().__init__()
        self._file, self._where, self._sign = file, where, sign.encode()
        self._left = self._most = available_memory()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        raw: bytes = self._file.read(size if 0 <= size < _READ_BYTES else _READ_BYTES)
        held = raw.count(self._sign) * _CELL_BYTES + raw.count(b"\n") * _ROW_BYTES
        self._left -= len(raw) + held
        if self._left < 0:
            raise DataError(
                f"{self._where} unpacks to more than fits into the {format_bytes(self._most)} of "
                "memory that are left; unpack it and write it as .parquet, which can stay on disk."
            )
        return raw


class CsvFile(TableFile):
    """A CSV file in UTF-8, maybe compressed; the header tells what separates its columns."""

    kind = "CSV file with a header line"

    def read(self) -> Columns:
        """All columns; refuses lines of unequal length, and other encodings."""
        import pyarrow as pa
        from pyarrow import compute, csv

        path, spec = self.path, self.spec
        with self._unpacked() as file:
            sign, point = self._dialect(file.read(1 << 16))
        # Quoted line breaks are allowed, so that rows are rows and not lines.
        parse = csv.ParseOptions(delimiter=sign, newlines_in_values=True)
        with self._opened(sign) as file, csv.open_csv(file, parse_options=parse) as header:
            names = header.schema.names
        numbered = len(names) > 2 and names == list(map(str, range(len(names))))  # as by pandas
        if all(map(_is_number, names)) and not numbered:
            raise DataError(
                f"{path}: the first line must name the columns, but it holds numbers "
                f"({', '.join(names[:4])}); add a line such as label,x1,x2."
            )
        note_numbers_as_names(names, self.where, self.log)
        label = names[0] if len(names) == 1 else choose_labels(names, spec, self.where, "column")
        texts_beside = (
            name for of, name in spec.beside.items() if of not in ("weights", "offsets")
        )
        named = (label if isinstance(label, str) else None, spec.id, *texts_beside)
        as_text = dict.fromkeys((name for name in named if name in names), pa.binary())
        convert = csv.ConvertOptions(column_types=as_text, decimal_point=point)
        with self._opened(sign) as file:
            columns = csv.read_csv(file, parse_options=parse, convert_options=convert)
        if point == ",":
            self._check_points(columns, [*as_text, *matching(spec.drop, names, "", "", must=False)])
        for i, (name, column) in enumerate(zip(names, columns.columns, strict=True)):
            if column.type != "binary":  # as a column is, too, where some of it is not UTF-8
                continue
            known = column.unique()
            texts = []
            for value in known.to_pylist():
                texts.append((value or b"").decode(errors="ignore"))
                if texts[-1].encode() != (value or b""):
                    raise DataError(
                        f"{path} must be UTF-8, but column {name!r}, row "
                        f"{compute.index(column, value)} is {value!r}; save it as UTF-8."
                    )
            stripped = [text.strip() for text in texts]
            if stripped != texts:
                self.log(f"{self.where}, column {name!r}: spaces around the texts are left out.")
            written = pa.array(as_written(stripped) if name == label else stripped)
            indices = compute.index_in(column, value_set=known)
            columns = columns.set_column(i, name, pa.chunked_array([written]).take(indices))
        return columns

    @contextmanager
    def _opened(self, sign: str) -> Iterator[Any]:
        """The text, of a compressed file no more than memory has room for."""
        import pyarrow as pa

        with self._unpacked() as file:
            try:
                yield _Bounded(file, self.where, sign) if self._zipped else file
            except pa.ArrowInvalid as error:
                if (told := re.search(_UNEVEN, str(error))) is None:
                    raise
                line, expected, got = told.groups()
                raise DataError(
                    f"{self.where}: every line needs the header's {expected} columns, but line "
                    f"{line} has {got}; correct or remove it."
                ) from error

    def _unpacked(self) -> Any:
        import pyarrow as pa

        source = pa.OSFile(os.fsencode(self.path))
        return pa.input_stream(source, compression="gzip" if self._zipped else None)

    @property
    def _zipped(self) -> bool:
        return self.path.suffix.lower() == ".gz"

    def _check_points(self, columns: Columns, besides: Sequence[str]) -> None:
        """Refuse columns that have decimal points where others have commas, and so are text."""
        from pyarrow import compute

        for name in (name for name in columns.column_names if name not in besides):
            if is_text(columns.schema.field(name).type):
                number = compute.match_substring_regex(columns[name], NUMBER)
                if (
                    compute.all(number).as_py()
                    and (row := compute.index(number, True).as_py()) >= 0
                ):
                    raise DataError(
                        f"{self.where}, column {name!r}: row {row} is {columns[name][row]}, but "
                        "other columns have decimal commas; write all numbers with one of both."
                    )

    def _dialect(self, head: bytes) -> tuple[str, str]:
        """What is between columns, and the decimal point, by the beginning of the file."""
        if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise DataError(f"{self.where} must be UTF-8, but it is UTF-16; save it as UTF-8.")
        line = head.partition(b"\n")[0]
        try:
            line.decode()
        except UnicodeDecodeError as error:
            if len(line) < len(head):  # else it may be cut within a letter
                raise DataError(
                    f"{self.where} must be UTF-8, but its first line has the byte "
                    f"{line[error.start]:#x}; save it as UTF-8."
                ) from error
        first = re.sub('"[^"]*"', "", line.decode("latin-1"))
        sign = max(_DELIMITERS, key=first.count)
        if sign == ",":
            return sign, "."
        cells = re.split(f"[{re.escape(sign)}\r\n]", head.decode("latin-1").replace('"', ""))
        found = {char for char in ".," for c in cells if re.fullmatch(rf"[+-]?\d+[{char}]\d+", c)}
        point = "," if found == {","} else "."
        with_commas = " with decimal commas" if point == "," else ""
        self.log(f"{self.where}: the columns are separated by {_DELIMITERS[sign]}{with_commas}.")
        return sign, point

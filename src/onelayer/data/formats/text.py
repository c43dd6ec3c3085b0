"""Delimited text, CSV and its kin, and labels as text."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data.formats.base import choose_labels, file_errors
from onelayer.data.formats.tables import Columns, TableFile, is_number_text
from onelayer.errors import DataError

# What stands for a missing value beside numbers, and what may stand between columns.
_MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None")
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_HEAD_BYTES = 1 << 16


def as_written(texts: Sequence[str]) -> list[Any]:
    """Texts as numbers or booleans where each would be written back alike, else as they are.

    007, 01 and 1 are three texts. What is missing beside numbers becomes None.
    """
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


def label_array(texts: list[str]) -> NDArray[Any]:
    """Labels that are written as text, one each."""
    values = as_written(texts)
    return np.array(texts, object) if None in values or values == texts else np.array(values)


def read_lines(path: Path) -> NDArray[Any]:
    """The labels of a text file, one a line."""
    with file_errors(path, "text file in UTF-8"):
        text = path.read_text("utf-8-sig").rstrip()
    return label_array([line.strip() for line in text.splitlines()])


class CsvFile(TableFile):
    """A CSV file in UTF-8 with a header line, maybe compressed; row 0 is the line after the header.

    What separates its columns is seen in the header. Labels are read as they are written.
    """

    kind = "CSV file with a header line"

    def read(self) -> Columns:
        """All columns; refuses lines of unequal length, and other encodings."""
        import pyarrow as pa
        from pyarrow import csv

        path, spec = self.path, self.spec
        sign, point = self._dialect()
        # Quoted line breaks are allowed, so that rows are rows and not lines.
        parse = csv.ParseOptions(delimiter=sign, newlines_in_values=True)
        with csv.open_csv(path, parse_options=parse) as header:
            names = header.schema.names
        if all(is_number_text(name) for name in names):
            raise DataError(
                f"{path}: the first line must name the columns, but it holds numbers "
                f"({', '.join(names[:4])}); add a line such as label,x1,x2."
            )
        label = names[0] if len(names) == 1 else choose_labels(names, spec, self.where, "column")
        as_text = dict.fromkeys((name for name in (label, spec.id) if name in names), pa.binary())
        convert = csv.ConvertOptions(column_types=as_text, decimal_point=point)
        columns = csv.read_csv(path, parse_options=parse, convert_options=convert)
        for i, (name, column) in enumerate(zip(names, columns.columns, strict=True)):
            if column.type != "binary":  # as a column is, too, where some of it is not UTF-8
                continue
            values = [value or b"" for value in column.to_pylist()]
            for row, value in enumerate(values):
                if value.decode(errors="ignore").encode() != value:
                    raise DataError(
                        f"{path} must be UTF-8, but column {name!r}, row {row} is {value!r}; save "
                        "it as UTF-8."
                    )
            texts = [value.decode() for value in values]
            written = pa.array(as_written(texts) if name == label else texts)
            columns = columns.set_column(i, name, pa.chunked_array([written]))
        return columns

    def _dialect(self) -> tuple[str, str]:
        """What is between columns, and the decimal point."""
        import pyarrow as pa

        with pa.input_stream(str(self.path)) as file:
            head = file.read(_HEAD_BYTES)
        if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise DataError(f"{self.where} must be UTF-8, but it is UTF-16; save it as UTF-8.")
        first = re.sub('"[^"]*"', "", head.decode("latin-1").partition("\n")[0])
        sign = max(_DELIMITERS, key=first.count)
        if sign == ",":
            return sign, "."
        cells = re.split(f"[{re.escape(sign)}\r\n]", head.decode("latin-1"))
        found = {char for char in ".," for c in cells if re.fullmatch(rf"[+-]?\d+[{char}]\d+", c)}
        point = "," if found == {","} else "."
        with_commas = " with decimal commas" if point == "," else ""
        self.log(f"{self.where}: the columns are separated by {_DELIMITERS[sign]}{with_commas}.")
        return sign, point

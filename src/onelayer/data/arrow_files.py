"""CSV, Parquet and Arrow files, opened by pyarrow."""

from __future__ import annotations

import codecs
from pathlib import Path

from onelayer.data.columns import Columns, reads_as_number
from onelayer.data.damage import damage_of
from onelayer.errors import DataError

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
    _check_text(path, opened)
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


def _check_text(path: Path, opened: Columns) -> None:
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

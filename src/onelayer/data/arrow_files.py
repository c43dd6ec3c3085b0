"""CSV, Parquet and Arrow files, opened by pyarrow."""

from __future__ import annotations

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
        # Quoted line breaks are allowed, so that rows are rows and not lines.
        opened = csv.read_csv(path, parse_options=csv.ParseOptions(newlines_in_values=True))
        names = opened.column_names  # decoded only now
    if all(reads_as_number(name) for name in names):
        raise DataError(
            f"{path}: the first line must name the columns, but it holds numbers "
            f"({', '.join(names[:4])}); add a line such as label,x1,x2."
        )
    return opened


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

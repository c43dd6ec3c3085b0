"""Whether rows stay in their files: by choice, or because they would take too much memory."""

from __future__ import annotations

from pathlib import Path

from onelayer.data.shards import SUFFIXES
from onelayer.data.telling import Report
from onelayer.stored import StoredRows, available_memory, sized

# To load and to split rows takes up to three times their bytes.
SHARE = 0.25
# A compressed file can become so many times larger as it is read.
_COMPRESSION = 8


def may_be_large(path: Path) -> bool:
    """Whether the rows of a file may be too many for memory, by its size alone."""
    streamed = path.suffix.lower() in SUFFIXES
    return streamed and path.stat().st_size * _COMPRESSION > SHARE * available_memory()


def stays_in_files(X: StoredRows, files: int, stream: bool | None, tell: Report) -> bool:
    """Decide whether rows are read as they are needed, or once into memory.

    Args:
        X: the rows.
        files: how many they are in.
        stream: what the user said; None lets their bytes decide.
        tell: told when they stay where they are.

    Returns:
        True where they stay in their files.
    """
    left = available_memory()
    stays = X.nbytes > SHARE * left if stream is None else stream
    if stays:
        few = f"more than a quarter of the {sized(left)} of memory that are left"
        tell(
            f"{X.where}: {sized(X.nbytes)} of rows in {files} file{'s' if files > 1 else ''} "
            f"stay on disk, {'as was asked for' if stream else few}; {X.tile_rows:,} are read at "
            "a time."
        )
    return stays

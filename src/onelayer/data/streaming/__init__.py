"""Rows that stay in their files: read a tile at a time, ahead of the arithmetic."""

from onelayer.data.streaming.memory import available_memory, format_bytes, resident_memory
from onelayer.data.streaming.prefetch import (
    Tile,
    TileBuffer,
    block_order,
    iter_tiles,
    tile_memory,
)
from onelayer.data.streaming.rows import Reader, StoredRows, stored_rows

__all__ = [
    "Reader",
    "StoredRows",
    "Tile",
    "TileBuffer",
    "available_memory",
    "block_order",
    "format_bytes",
    "iter_tiles",
    "resident_memory",
    "stored_rows",
    "tile_memory",
]

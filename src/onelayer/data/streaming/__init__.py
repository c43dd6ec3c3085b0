"""Rows that stay in their files: read a stretch at a time, ahead of the arithmetic."""

from onelayer.data.streaming.memory import available_memory, resident_memory, sized
from onelayer.data.streaming.prefetch import Overwritten, Stretch, block_order, walk, walked_bytes
from onelayer.data.streaming.rows import ChosenRows, Reader, StoredRows, stored_rows

__all__ = [
    "ChosenRows",
    "Overwritten",
    "Reader",
    "StoredRows",
    "Stretch",
    "available_memory",
    "block_order",
    "resident_memory",
    "sized",
    "stored_rows",
    "walk",
    "walked_bytes",
]

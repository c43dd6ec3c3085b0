"""Rows that stay in their files: read a stretch at a time, ahead of the arithmetic."""

from onelayer.stored.block_order import block_order
from onelayer.stored.memory import available_memory, resident_memory, sized
from onelayer.stored.plan import Stretch
from onelayer.stored.rows import ChosenRows, Reader, StoredRows, stored_rows
from onelayer.stored.walk import Overwritten, walk, walked_bytes

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

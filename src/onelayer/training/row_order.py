"""The order in which an epoch visits the rows, and which of them are flipped.

Both follow from a seed and the epoch alone, so training can resume from any step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onelayer.data.memory import available_memory, format_bytes
from onelayer.data.streaming import StoredRows, block_order, tile_memory
from onelayer.errors import SettingsError

# A flip seed that equals the shuffle seed must not draw from the same stream.
_FLIPS = 1


def row_order(
    shuffle_seed: int | None, epoch: int, rows: int, stored: StoredRows | None = None
) -> NDArray[np.int64] | None:
    """The order in which an epoch (from 1) visits N rows: a permutation, or None for file order.

    Rows that stay in their files, `stored`, are shuffled by blocks and then inside a window of them
    (`onelayer.data.streaming`); others all alike. Raises SettingsError for files with
    blocks too large to be mixed in memory.

    Example:
        >>> sorted(row_order(shuffle_seed=7, epoch=1, rows=3).tolist())
        [0, 1, 2]
    """
    if shuffle_seed is None:
        return None
    if stored is not None:
        return block_order(stored.blocks, _window(stored), shuffle_seed, epoch)
    return np.random.default_rng([shuffle_seed, epoch]).permutation(rows)


def _window(stored: StoredRows) -> int:
    """Rows that are mixed at once."""
    needed, left = tile_memory(stored, ordered=True), available_memory()
    if needed > left:
        largest = int(np.diff(stored.blocks).max())
        raise SettingsError(
            f"shuffle_seed mixes rows of {stored.where} inside whole row groups or record batches, "
            f"but the largest has {largest:,} rows and two take {format_bytes(needed)} of the "
            f"{format_bytes(left)} that are left; write smaller ones (row_group_size or "
            f"max_chunksize = {stored.tile_rows:,}), or leave the seed out."
        )
    return stored.window_rows


def mirrored_rows(flip_seed: int | None, epoch: int, rows: int) -> NDArray[np.bool_] | None:
    """Which of the rows that an epoch visits are flipped, by place in its order, shape (N,).

    Each with a chance of one half; None for no row.
    """
    if flip_seed is None:
        return None
    return np.random.default_rng([flip_seed, epoch, _FLIPS]).random(rows) < 0.5

"""The order in which an epoch visits the rows, and which are flipped: by seed and epoch alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onelayer.data.memory import available_memory, format_bytes
from onelayer.data.streaming import StoredRows, block_order, tile_memory
from onelayer.errors import SettingsError


def row_order(
    shuffle_seed: int | None, epoch: int, rows: int, stored: StoredRows | None = None
) -> NDArray[np.int64] | None:
    """The order of N rows in an epoch (from 1), of `stored` ones by blocks; None: file order."""
    if shuffle_seed is None:
        return None
    if stored is not None:
        return block_order(stored.blocks, _window(stored), shuffle_seed, epoch)
    return np.random.default_rng([shuffle_seed, epoch]).permutation(rows)


def _window(stored: StoredRows) -> int:
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
    """Which rows an epoch flips, by place in its order, (N,), each by a chance of ½; or None."""
    if flip_seed is None:
        return None
    # A flip seed that equals the shuffle seed must not draw from the same stream.
    return np.random.default_rng([flip_seed, epoch, 1]).random(rows) < 0.5

"""Which rows an epoch visits in which order, and which of them it mirrors.

Both depend on a seed and the epoch only, so training can go on from any epoch, and a run sees the
same rows whatever it is trained beside.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onelayer.errors import SettingsError
from onelayer.stored import StoredRows, available_memory, block_order, sized, walked_bytes

# A flip seed that equals the shuffle seed must not draw from the same stream.
_FLIPS = 1


def row_order(
    shuffle_seed: int | None, epoch: int, rows: int, stored: StoredRows | None = None
) -> NDArray[np.int64] | None:
    """Order in which an epoch visits the rows: file order, or drawn anew for each epoch.

    Args:
        shuffle_seed: None for file order.
        epoch: 1, 2, …
        rows: N.
        stored: the rows where they stay in their files, which are shuffled by blocks and then
            inside a window of them (`onelayer.stored.block_order`); None permutes all alike.

    Returns:
        A permutation of 0 … N−1, shape (N,), or None for file order.

    Raises:
        SettingsError: for files with blocks too large to be mixed in memory.

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
    needed, left = walked_bytes(stored, ordered=True), available_memory()
    if needed > left:
        largest = int(np.diff(stored.blocks).max())
        raise SettingsError(
            f"shuffle_seed mixes rows of {stored.where} inside whole row groups or record batches, "
            f"but the largest has {largest:,} rows and two take {sized(needed)} of the "
            f"{sized(left)} that are left; write smaller ones (row_group_size or "
            f"max_chunksize = {stored.tile_rows:,}), or leave the seed out."
        )
    return stored.window_rows


def mirrored_rows(flip_seed: int | None, epoch: int, rows: int) -> NDArray[np.bool_] | None:
    """Which of the rows that an epoch visits are mirrored: each with a chance of one half.

    Args:
        flip_seed: None for no row.
        epoch: 1, 2, …
        rows: N.

    Returns:
        By place in the order of visits, shape (N,), or None for no row.

    Example:
        >>> mirrored_rows(flip_seed=0, epoch=1, rows=4)
        array([False,  True,  True, False])
    """
    if flip_seed is None:
        return None
    return np.random.default_rng([flip_seed, epoch, _FLIPS]).random(rows) < 0.5

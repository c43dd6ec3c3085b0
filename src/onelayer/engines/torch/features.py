"""Rows as the equations see them: flipped if asked for, converted, scaled, with a 1 appended.

x̃ = (x · scale + offset, 1, 0 …): the 1 is the bias's feature, so that W and b of all runs are one
matrix and one product, and the zeros round the width up to what matrix units like.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.data.rows import Rows
from onelayer.engines.base import Weights
from onelayer.engines.torch.device import Products, tile_bytes
from onelayer.engines.torch.distributed import Ranks
from onelayer.engines.torch.storage import Storage

TYPES = {"float32": torch.float32, "float64": torch.float64}

MAX_TILE_ROWS = 16384

# Below this many multiplications a second thread costs more than it brings.
WORTH_THREADS = 4e6


@dataclass(frozen=True, eq=False)
class Machine:
    """One device, its products, its rows and its peers."""

    device: Any
    products: Products
    storage: Storage
    ranks: Ranks

    @contextmanager
    def at_work(self, multiplications: float) -> Iterator[None]:
        """Arithmetic within the block: nothing is recorded, products are as precise as chosen.

        Threads of the CPU wait for each other in every operation, which takes longer than a small
        one, so for few multiplications one thread is used.
        """
        threads = torch.get_num_threads()
        alone = self.device.type == "cpu" and multiplications < WORTH_THREADS and threads > 1
        if alone:
            torch.set_num_threads(1)
        try:
            with torch.no_grad(), self.products.in_force():
                yield
        finally:
            if alone:
                torch.set_num_threads(threads)


def rows_at_a_time(device: Any, dtype: Any, numbers: int) -> int:
    """How many rows, of that many numbers each, a device works on at one time."""
    fitting = tile_bytes(device) // (numbers * int(dtype.itemsize))
    return max(1, min(MAX_TILE_ROWS, fitting))


def on_device(array: NDArray[Any], device: Any, dtype: Any | None = None) -> Any:
    """A copy of a small array on the device."""
    tensor = torch.from_numpy(np.array(array, order="C"))
    return (tensor if dtype is None else tensor.to(dtype)).to(device)


def wide(device: Any) -> Any:
    """The type that sums over rows are kept in; Apple's GPUs have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


ALIGNMENT = 16


def width_of(features: int) -> int:
    """Columns of x̃ and of the joined weights, for D features."""
    return -(-(features + 1) // ALIGNMENT) * ALIGNMENT


def join(weights: Weights, device: Any) -> Any:
    """W and b of all runs as rows of one matrix on the device, (R·K, width)."""
    R, K, D = weights.W.shape
    joined = np.zeros((R * K, width_of(D)), weights.W.dtype)
    joined[:, :D] = weights.W.reshape(R * K, D)
    joined[:, D] = weights.b.reshape(R * K)
    return torch.from_numpy(joined).to(device)


def part(joined: Any, runs: int, features: int) -> Weights:
    """The matrix as W (R, K, D) and b (R, K), in new arrays."""
    whole = joined.cpu().numpy()
    W = np.ascontiguousarray(whole[:, :features]).reshape(runs, -1, features)
    return Weights(W, np.ascontiguousarray(whole[:, features]).reshape(runs, -1))


class Features:
    """Writes stored rows into a buffer as the equations see them."""

    def __init__(self, rows: Rows, dtype: Any, machine: Machine) -> None:
        self._products, self._dtype, self._D = machine.products, dtype, rows.X.shape[1]
        self._width = rows.image_width
        self._plain = bool((rows.scale == 1.0).all() and not rows.offset.any())
        self._scale, self._offset = (
            torch.from_numpy(np.array(of_features, np.float64)).to(dtype).to(machine.device)
            for of_features in (rows.scale, rows.offset)
        )
        self._shifts = bool(rows.offset.any())
        self._device = machine.device

    def buffer(self, rows: int) -> Any:
        """A buffer for rows, its last columns filled in."""
        kind = self._products.factor_type(self._dtype)
        made = torch.zeros((rows, width_of(self._D)), dtype=kind, device=self._device)
        made[:, self._D] = 1.0
        return made

    def write(self, out: Any, stored: Any, flipped: Any | None = None) -> None:
        """Write stored rows (n, D) into a buffer's first columns, those of `flipped` mirrored."""
        if flipped is not None:
            lines = stored.view(len(stored), self._D // self._width, self._width)
            mirrored = lines.flip(2).view(stored.shape)
            stored = torch.where(flipped[:, None], mirrored, stored)
        place = out[:, : self._D]
        if self._plain and place.dtype == stored.dtype:
            place.copy_(stored)
            return
        direct = place.dtype == self._dtype
        scaled = place.copy_(stored) if direct else stored.to(self._dtype)
        if not self._plain:
            scaled = scaled.mul_(self._scale) if direct else scaled * self._scale
            if self._shifts:
                scaled.add_(self._offset)
        rounded = self._products.factor(scaled)
        if rounded is not place:
            place.copy_(rounded)


@dataclass(frozen=True, eq=False)
class Tile:
    """Rows of a full pass on the device.

    Attributes:
        place: which of the visited rows they are, in the pass's order.
        X: features and a 1, shape (n, width).
        y: class index of each, shape (n,).
        weights: of each, shape (n,) in the arithmetic type; None is one each.
    """

    place: slice
    X: Any
    y: Any
    weights: Any | None


def tiles(rows: Rows, dtype: Any, scores: int, machine: Machine) -> Iterator[Tile]:
    """This process's part of the rows of a full pass; a tile is valid until the next one.

    `scores` is how many there are of a row, R·K: a tile has room for a few copies of them.
    """
    machine.ranks.check_same(rows)
    start, stop = machine.ranks.part(0, rows.count)
    width = width_of(rows.X.shape[1])
    step = rows_at_a_time(machine.device, dtype, width + 4 * scores)
    places = [slice(i, min(i + step, stop)) for i in range(start, stop, step)]
    features = Features(rows, dtype, machine)
    buffer = features.buffer(min(step, stop - start))
    chosen = (place if rows.index is None else rows.index[place] for place in places)
    labels, weights = rows.labels, rows.row_weights
    for place, stored in zip(places, machine.storage.tiles(rows.X, chosen), strict=True):
        X = buffer[: len(stored)]
        features.write(X, stored)
        yield Tile(
            place,
            X,
            on_device(labels[place], machine.device),
            None if weights is None else on_device(weights[place], machine.device, dtype),
        )

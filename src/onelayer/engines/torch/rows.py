"""Rows on the device: as stored, whole or streamed, and as the equations see them.

    x̃ = (x · scale + offset, 1, 0 …)

The 1 is the bias's feature, so that W and b of all runs are one matrix and one product; the zeros
round the width up to what matrix units like. A stream is double buffered: while the device works on
one tile, a thread gathers the next into pinned memory, from where it is copied on a stream of its
own. On the CPU rows are read where they are; from a mapped file only those that are asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple
from weakref import ref

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.data.rows import Rows
from onelayer.data.sparse import sparse_rows
from onelayer.data.streaming import TileBuffer
from onelayer.engines.base import Weights
from onelayer.engines.torch.device import Products, on_device, storable_bytes, tile_bytes, wide
from onelayer.engines.torch.distributed import Ranks, owner
from onelayer.errors import SettingsError

TYPES = {"float32": torch.float32, "float64": torch.float64}

STORED_TYPES = {
    "uint8": torch.uint8, "float16": torch.float16, "bfloat16": torch.bfloat16, **TYPES,
}  # fmt: skip

# To pin memory for less takes longer than it saves.
FEW_BYTES = 8 << 20

MAX_TILE_ROWS = 16384

# Below this many multiplications a second thread costs more than it brings.
WORTH_THREADS = 4e6

ALIGNMENT = 16

Choice = slice | NDArray[np.int64]


class Storage:
    """Rows for one device. Rows that it holds must not be changed by anyone.

    Rows that are read ahead from files lie in memory that is overwritten, and are never held.
    """

    def __init__(self, device: Any) -> None:
        self._device = device
        self._held: list[_Held] = []

    def tiles(self, X: NDArray[Any], choices: Iterable[Choice]) -> Iterator[Any]:
        """Stored rows on the device, tensors (n, D), one choice of rows after the other.

        Each is in the type that X is stored in and holds until the next is asked for.
        """
        whole = self._whole(X)
        if whole is not None:
            for choice in choices:
                yield whole[choice] if isinstance(choice, slice) else _picked(whole, choice)
        elif self._device.type == "cuda":
            yield from stream(X, choices, self._device)
        else:
            for choice in choices:
                yield as_tensor(X[choice], self._device).to(self._device)

    def _whole(self, X: NDArray[Any]) -> Any | None:
        """All of X on the device, if it is there or fits."""
        if sparse_rows(X) is not None:
            raise SettingsError("sparse rows need the engine native (--engine native).")
        if self._device.type == "cpu" or isinstance(owner(X), TileBuffer):
            return None
        self._held = [held for held in self._held if held.owner() is not None]
        for held in self._held:
            start = held.span.place_of(_Span.of(X))
            if start is not None:
                return held.rows[start : start + len(X)]
        dtype = stored_type(X.dtype, self._device)
        if X.size * dtype.itemsize > storable_bytes(self._device):
            return None
        whole = _Span.of(X)
        self._held = [
            held for held in self._held
            if not (whole.begin <= held.span.begin and held.span.end <= whole.end)
        ]  # fmt: skip
        self._held.append(_Held(ref(owner(X)), whole, self._bring(X, dtype)))
        return self._held[-1].rows

    def _bring(self, X: NDArray[Any], dtype: Any) -> Any:
        rows = torch.empty(X.shape, dtype=dtype, device=self._device)
        step = max(1, tile_bytes(self._device) // (X.shape[1] * dtype.itemsize))
        places = [slice(i, i + step) for i in range(0, len(X), step)]
        if self._device.type == "cuda" and X.nbytes > FEW_BYTES:
            tiles = stream(X, places, self._device)
        else:
            tiles = (as_tensor(X[place], self._device) for place in places)
        for place, tile in zip(places, tiles, strict=True):
            rows[place].copy_(tile)
        return rows


class _Span(NamedTuple):
    """Where an array's rows lie in memory, and what they are."""

    begin: int
    end: int
    stride: int
    features: int
    layout: str

    @classmethod
    def of(cls, X: NDArray[Any]) -> _Span:
        begin, stride = X.__array_interface__["data"][0], X.strides[0]
        layout = f"{X.dtype.name}{X.strides[1]}"
        return cls(begin, begin + stride * len(X), stride, X.shape[1], layout)

    def place_of(self, other: _Span) -> int | None:
        """Which of these rows the other's begin at, if all of them are among these."""
        if self[2:] != other[2:] or not self.begin <= other.begin <= other.end <= self.end:
            return None
        start, between = divmod(other.begin - self.begin, self.stride or 1)
        return start if between == 0 else None


class _Held(NamedTuple):
    """Rows on the device, and the memory that they were read from."""

    owner: Any
    span: _Span
    rows: Any


def stream(X: NDArray[Any], choices: Iterable[Choice], device: Any) -> Iterator[Any]:
    """Tiles of rows on the device, (n, D); on the CPU the same is done without pinned memory."""
    side = torch.cuda.Stream(device) if device.type == "cuda" else None

    def bring(choice: Choice) -> tuple[Any, Any]:
        """Gather rows and send them off; PyTorch reuses memory only when all work on it is done."""
        rows = as_tensor(X[choice], device)
        with torch.cuda.stream(side):
            tile = (rows.pin_memory() if side else rows).to(device, non_blocking=True)
            return tile, side.record_event() if side else None

    coming = iter(choices)
    with ThreadPoolExecutor(1, "onelayer-rows") as reader:
        started = [reader.submit(bring, choice) for choice in islice(coming, 2)]
        while started:
            tile, sent = started.pop(0).result()
            if sent is not None:
                now = torch.cuda.current_stream(device)
                now.wait_event(sent)
                tile.record_stream(now)
            yield tile
            started += [reader.submit(bring, choice) for choice in islice(coming, 1)]


def stored_type(dtype: np.dtype[Any], device: Any) -> Any:
    """The type in which rows of that type are kept on a device; others than floats are widened."""
    found = STORED_TYPES.get(dtype.name, torch.float64)
    return torch.float32 if found == torch.float64 and device.type == "mps" else found


def as_tensor(rows: NDArray[Any], device: Any) -> Any:
    """A few rows as a tensor in the host's memory, shared where the type and the layout allow."""
    dtype = stored_type(rows.dtype, device)
    if rows.dtype.name == "bfloat16":
        return torch.from_numpy(np.array(rows, order="C").view(np.int16)).view(torch.bfloat16)
    if rows.dtype.name not in STORED_TYPES or not rows.dtype.isnative:
        rows = rows.astype(np.float64)
    if not rows.flags.writeable or any(stride < 0 for stride in rows.strides):
        # PyTorch warns of memory that is read-only, as a mapped file's is, though none is written.
        rows = np.array(rows, order="C")
    return torch.from_numpy(rows).to(dtype)


def _picked(whole: Any, choice: NDArray[np.int64]) -> Any:
    index = torch.from_numpy(np.ascontiguousarray(choice, np.int64)).to(whole.device)
    return whole.index_select(0, index)


@dataclass(frozen=True, eq=False)
class Machine:
    """One device, its products, its rows and its peers."""

    device: Any
    products: Products
    storage: Storage
    ranks: Ranks

    @classmethod
    def on(cls, device: Any, precision: str, ranks: Ranks) -> Machine:
        """The device at work with these peers."""
        return cls(device, Products(precision, device), Storage(device), ranks)

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
    whole = joined.cpu().numpy().reshape(runs, -1, joined.shape[1])
    return Weights(whole[:, :, :features], whole[:, :, features]).copy()


class Features:
    """Writes stored rows into a buffer as the equations see them."""

    def __init__(self, rows: Rows, dtype: Any, machine: Machine) -> None:
        self._products, self._dtype, self._device = machine.products, dtype, machine.device
        self._D, self._line = rows.X.shape[1], rows.image_width
        self._wide = wide(machine.device) if rows.extreme else dtype
        self._shifts = bool(rows.offset.any())
        self._plain = not self._shifts and bool((rows.scale == 1.0).all())
        self._scale, self._offset = (
            on_device(of_features, machine.device, self._wide)
            for of_features in (rows.scale, rows.offset)
        )

    def buffer(self, rows: int) -> Any:
        """A buffer for rows, its last columns filled in."""
        kind = self._products.factor_type(self._dtype)
        made = torch.zeros((rows, width_of(self._D)), dtype=kind, device=self._device)
        made[:, self._D] = 1.0
        return made

    def write(self, out: Any, stored: Any, flipped: Any | None = None) -> None:
        """Write stored rows (n, D) into a buffer's first columns, those of `flipped` mirrored."""
        if flipped is not None:
            lines = stored.view(len(stored), self._D // self._line, self._line)
            stored = torch.where(flipped[:, None], lines.flip(2).view(stored.shape), stored)
        place = out[:, : self._D]
        direct = place.dtype == self._wide
        scaled = place.copy_(stored) if direct else stored.to(self._wide)
        if not self._plain:
            scaled = scaled.mul_(self._scale) if direct else scaled * self._scale
            if self._shifts:
                scaled.add_(self._offset)
        rounded = self._products.factor(scaled.to(self._dtype))
        if rounded is not place:
            place.copy_(rounded)


class Tile(NamedTuple):
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

    def weighed(self, values: Any) -> Any:
        """Values of rows times the rows' weights; zero where these are, even of an infinity."""
        if self.weights is None:
            return values
        weights = self.weights.to(values.dtype).view(-1, *[1] * (values.ndim - 1))
        return torch.where(weights > 0.0, weights * values, 0.0)


def tiles(rows: Rows, dtype: Any, scores: int, machine: Machine) -> Iterator[Tile]:
    """This process's part of the rows of a full pass; a tile is valid until the next one.

    `scores` is how many there are of a row, R·K: a tile has room for a few copies of them.
    """
    machine.ranks.check_same(rows)
    start, stop = machine.ranks.part(0, rows.count)
    of_a_row = (width_of(rows.X.shape[1]) + 4 * scores) * dtype.itemsize
    step = max(1, min(MAX_TILE_ROWS, tile_bytes(machine.device) // of_a_row))
    places = [slice(i, min(i + step, stop)) for i in range(start, stop, step)]
    features = Features(rows, dtype, machine)
    buffer = features.buffer(min(step, stop - start))
    chosen = (place if rows.index is None else rows.index[place] for place in places)
    labels, weights = rows.labels, rows.row_weights
    for place, stored in zip(places, machine.storage.tiles(rows.X, chosen), strict=True):
        X = buffer[: len(stored)]
        features.write(X, stored)
        w = None if weights is None else on_device(weights[place], machine.device, dtype)
        yield Tile(place, X, on_device(labels[place], machine.device), w)


def scored(rows: Rows, W: Any, runs: int, machine: Machine) -> Iterator[tuple[Tile, Any]]:
    """Tiles of this process's rows with their scores (n, R, K), by joined weights (R·K, width)."""
    factor = machine.products.factor(W)
    with machine.at_work(rows.count * W.numel()):
        for tile in tiles(rows, W.dtype, len(W), machine):
            yield tile, machine.products.multiply(tile.X, factor.T).view(len(tile.X), runs, -1)

"""Rows as stored: on the device whole where they fit, else streamed to it tile by tile.

A stream is double buffered: while the device works on one tile, a thread gathers the next into
pinned memory, from where it is copied on a stream of its own. On the CPU rows are read where they
are; from a file that is memory-mapped only the rows that are asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any
from weakref import ref

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.data.streaming import TileBuffer
from onelayer.engines.torch.device import storable_bytes, tile_bytes

# To pin memory for less takes longer than it saves.
FEW_BYTES = 8 << 20

Choice = slice | NDArray[np.int64]

STORED_TYPES = {
    "uint8": torch.uint8,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}


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
                yield _chosen(whole, choice)
        elif self._device.type == "cuda":
            yield from stream(X, choices, self._device)
        else:
            for choice in choices:
                yield as_tensor(X[choice], self._device).to(self._device)

    def _whole(self, X: NDArray[Any]) -> Any | None:
        """All of X on the device, if it is there or fits."""
        if self._device.type == "cpu" or isinstance(owner(X), TileBuffer):
            return None
        self._held = [held for held in self._held if held.alive]
        for held in self._held:
            start = held.place_of(X)
            if start is not None:
                return held.rows[start : start + len(X)]
        dtype = stored_type(X.dtype, self._device)
        if X.size * dtype.itemsize > storable_bytes(self._device):
            return None
        self._held = [held for held in self._held if not held.within(X)]
        return self._bring(X, dtype)

    def _bring(self, X: NDArray[Any], dtype: Any) -> Any:
        rows = torch.empty(X.shape, dtype=dtype, device=self._device)
        if X.nbytes <= FEW_BYTES:
            rows.copy_(as_tensor(X, self._device))
            self._held.append(_Held(ref(owner(X)), _span(X), rows))
            return rows
        step = max(1, tile_bytes(self._device) // (X.shape[1] * dtype.itemsize))
        ends = [slice(i, i + step) for i in range(0, len(X), step)]
        tiles = (
            stream(X, ends, self._device)
            if self._device.type == "cuda"
            else (as_tensor(X[end], self._device) for end in ends)
        )
        for end, tile in zip(ends, tiles, strict=True):
            rows[end].copy_(tile)
        self._held.append(_Held(ref(owner(X)), _span(X), rows))
        return rows


@dataclass(frozen=True, eq=False)
class _Held:
    """Rows on the device, and the memory that they were read from."""

    owner: Any
    span: tuple[int, int, int, int, str]
    rows: Any

    @property
    def alive(self) -> bool:
        return self.owner() is not None

    def place_of(self, X: NDArray[Any]) -> int | None:
        """Which of the rows X starts at, if they hold all of it."""
        first, last, stride, features, dtype = self.span
        begin, end, *layout = _span(X)
        if layout != [stride, features, dtype] or not first <= begin <= end <= last:
            return None
        start, between = divmod(begin - first, stride) if stride else (0, 0)
        return start if between == 0 else None

    def within(self, X: NDArray[Any]) -> bool:
        """Whether X covers all that is held here."""
        begin, end, *_ = _span(X)
        return begin <= self.span[0] and self.span[1] <= end


def stream(X: NDArray[Any], choices: Iterable[Choice], device: Any) -> Iterator[Any]:
    """Tiles of rows on the device, tensors (n, D); the next is on its way while one is worked on.

    On the CPU the same is done without pinned memory.
    """
    lanes = [_Lane(X, device), _Lane(X, device)]
    coming = iter(choices)
    with ThreadPoolExecutor(1, "onelayer-rows") as reader:
        started: list[tuple[_Lane, Future[Any]]] = [
            (lane, reader.submit(lane.fetch, choice))
            for lane, choice in zip(lanes, islice(coming, 2), strict=False)
        ]
        while started:
            lane, fetched = started.pop(0)
            tile = fetched.result()
            lane.arrive()
            yield tile
            lane.release()
            for choice in islice(coming, 1):
                started.append((lane, reader.submit(lane.fetch, choice)))


class _Lane:
    """One of the two buffers of a stream, in the host's memory and on the device."""

    def __init__(self, X: NDArray[Any], device: Any) -> None:
        self._X, self._device = X, device
        self._dtype = stored_type(X.dtype, device)
        self._host = self._here = torch.empty(0)
        on_gpu = device.type == "cuda"
        self._side = torch.cuda.Stream(device) if on_gpu else None
        self._copied: Any = torch.cuda.Event() if on_gpu else _NoEvent()
        self._used: Any = torch.cuda.Event() if on_gpu else _NoEvent()

    def fetch(self, choice: Choice) -> Any:
        """Gather rows into pinned memory and send them off; called by the reading thread."""
        rows = as_tensor(self._X[choice], self._device)
        count = len(rows)
        # What was copied from here before must have left, and what it became must be used up.
        self._copied.synchronize()
        if len(self._host) < count:
            shape = (count, rows.shape[1])
            self._host = torch.empty(shape, dtype=self._dtype, pin_memory=self._side is not None)
            self._here = torch.empty(shape, dtype=self._dtype, device=self._device)
        self._host[:count].copy_(rows)
        with torch.cuda.stream(self._side):
            self._used.wait(self._side)
            self._here[:count].copy_(self._host[:count], non_blocking=True)
            self._copied.record(self._side)
        return self._here[:count]

    def arrive(self) -> None:
        """Let the device's work wait for the rows."""
        self._copied.wait()

    def release(self) -> None:
        """Say that all work on the rows has been given to the device."""
        self._used.record()


class _NoEvent:
    """On the CPU everything has happened when a call returns."""

    def synchronize(self) -> None: ...
    def wait(self, stream: Any = None) -> None: ...
    def record(self, stream: Any = None) -> None: ...


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


def _chosen(whole: Any, choice: Choice) -> Any:
    if isinstance(choice, slice):
        return whole[choice]
    index = torch.from_numpy(np.ascontiguousarray(choice, np.int64)).to(whole.device)
    return whole.index_select(0, index)


def owner(X: NDArray[Any]) -> NDArray[Any]:
    """The array whose memory X looks at; it lives as long as any look at it."""
    while isinstance(X.base, np.ndarray):
        X = X.base
    return X


def _span(X: NDArray[Any]) -> tuple[int, int, int, int, str]:
    """First byte, end of the last row, bytes from row to row, features and type of rows."""
    begin = X.__array_interface__["data"][0]
    stride = X.strides[0]
    return begin, begin + stride * len(X), stride, X.shape[1], f"{X.dtype.name}{X.strides[1]}"

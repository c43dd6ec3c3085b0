"""The processes that share the rows of a training, started by torchrun, and the sums over them.

Every process holds all weights and takes every step; each batch is cut among them, so the number of
processes changes which of them adds up what, and nothing else. Every sum reaches all processes with
the same bits, so all of them take the same steps and decide alike. Ctrl-C is a decision too: it is
kept until the next exchange, and ends all at the same point. NCCL connects GPUs, gloo CPUs.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import reduce
from itertools import accumulate, pairwise
from typing import Any
from weakref import ref

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch.distributed.constants import default_pg_timeout

from onelayer.data.rows import Rows
from onelayer.engines.base import State
from onelayer.engines.processes import attempt, meeting_place, processes, rank
from onelayer.errors import DataError, OnelayerError, SettingsError


class Ranks:
    """One process alone; `Cluster` has the ranks of several.

    Attributes:
        rank: number of this process, 0 … size − 1.
        size: how many there are.
    """

    rank = 0
    size = 1

    def part(self, start: int, stop: int) -> tuple[int, int]:
        """The part of `start` to `stop` that is this process's own: contiguous, perhaps empty."""
        count = stop - start
        return start + count * self.rank // self.size, start + count * (self.rank + 1) // self.size

    def largest_part(self, count: int) -> int:
        """The most rows that any process has of `count`."""
        return -(-count // self.size)

    def sum_(self, tensor: Any) -> None:
        """Put the sum over all processes in the place of a tensor on the device."""

    def sums(self, *arrays: NDArray[np.generic]) -> tuple[NDArray[np.float64], ...]:
        """The sums of arrays over all processes, in float64, in one exchange."""
        return tuple(np.asarray(array, np.float64) for array in arrays)

    def gather(self, own: NDArray[Any], total: int) -> NDArray[Any]:
        """What each process has of `total` rows, along axis 1, put together in their order."""
        return own

    def agree(self, steps: int) -> None:
        """After that many steps, raise KeyboardInterrupt if Ctrl-C was pressed for any process."""

    def check_same(self, rows: Rows) -> None:
        """Refuse rows that are not the same for all processes."""

    def check_start(self, state: State) -> None:
        """Refuse to begin where the runs of not all processes stand alike."""


# Steps after which the processes ask each other for Ctrl-C; an exchange is about a step's length.
STEPS_BETWEEN = 16

# Rows that are looked at to tell whether all processes read the same ones.
SAMPLED_ROWS = 64

STORE_TIMEOUT = timedelta(seconds=5)

# How long a process waits for the others and for a launcher's store, and until it says so.
MEETING_SECONDS, AGENT_SECONDS, NOTICE_SECONDS = 300.0, 10.0, 5.0


class Cluster(Ranks):
    """The processes of a group of torch.distributed, the same engine in each."""

    def __init__(self, device: Any, group: Any = None) -> None:
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)
        self._device, self._group = device, group
        self._steps = 0
        self._same: list[Any] = []

    def sum_(self, tensor: Any) -> None:
        with _one_sentence():
            dist.all_reduce(tensor, group=self._group)

    def sums(self, *arrays: NDArray[np.generic]) -> tuple[NDArray[np.float64], ...]:
        flat = [np.asarray(array, np.float64).ravel() for array in arrays]
        packed = torch.from_numpy(np.concatenate([*flat, [float(_CTRL_C.pressed)]]))
        with _one_sentence():
            dist.all_reduce(packed, group=self._group)
        whole = packed.numpy()
        if whole[-1]:
            _CTRL_C.pressed = False
            raise KeyboardInterrupt
        ends = accumulate((len(part) for part in flat), initial=0)
        return tuple(
            whole[start:stop].reshape(np.shape(array))
            for (start, stop), array in zip(pairwise(ends), arrays, strict=True)
        )

    def gather(self, own: NDArray[Any], total: int) -> NDArray[Any]:
        rows_first = torch.from_numpy(own).swapaxes(0, 1)
        mine = rows_first.new_zeros((self.largest_part(total), *rows_first.shape[1:]))
        mine[: len(rows_first)] = rows_first
        everyone = [torch.empty_like(mine) for _ in range(self.size)]
        with _one_sentence():
            dist.all_gather(everyone, mine, group=self._group)
        ends = pairwise(total * r // self.size for r in range(self.size + 1))
        parts = [e[: stop - start] for e, (start, stop) in zip(everyone, ends, strict=True)]
        return np.ascontiguousarray(torch.cat(parts).swapaxes(0, 1).numpy())

    def agree(self, steps: int) -> None:
        self._steps += steps
        if self._steps >= STEPS_BETWEEN:
            self._steps = 0
            self.sums()

    def check_same(self, rows: Rows) -> None:
        """As said there; each set of rows is looked at once."""
        self._same = [known for known in self._same if known() is not None]
        if any(known() is owner(rows.y) for known in self._same):
            return
        everyone = self._exchanged("rows", len(rows.y), rows.X.shape[1], *_sums_of(rows))
        for other, theirs in enumerate(everyone):
            if theirs != everyone[0]:
                raise DataError(_difference(other, theirs, everyone[0]))
        self._same.append(ref(owner(rows.y)))

    def check_start(self, state: State) -> None:
        _require_same_start(self._exchanged("start", _sum_of_state(state)))

    def _exchanged(self, about: str, *numbers: int) -> list[tuple[Any, ...]]:
        """The numbers of every process, in the order of their ranks; all must be about the same."""
        everyone: list[Any] = [None] * self.size
        with _one_sentence():
            dist.all_gather_object(everyone, (about, numbers), group=self._group)
        # One that begins anew compares rows while others, which resume, are about to take steps.
        _require_same_start([topic for topic, _ in everyone])
        return [theirs for _, theirs in everyone]


def join_cluster(device: Any) -> Cluster:
    """Meet the other processes that the launcher started; can be called several times.

    Raises OnelayerError when they cannot be met.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        with _one_sentence():
            _meet(backend)
        atexit.register(_leave)
        _CTRL_C.listen()
    return Cluster(device)


def _meet(backend: str) -> None:
    """Meet in the launcher's store, apart from what an earlier start has left in it.

    After a restart it still holds the addresses of processes that are gone. Variables that another
    launcher has left over are found out here: nobody comes.
    """
    address, port = meeting_place()
    elastic = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == str(True)
    hosts, place = rank() == 0 and not elastic, f"{address}:{port}"
    if not hosts:  # asked here, since torch reports each attempt in forty lines
        seconds = AGENT_SECONDS if elastic else MEETING_SECONDS
        _wait(lambda: _is_open(address, port), f"nobody answers at {place}", seconds)
    store = dist.TCPStore(address, port, is_master=hosts, wait_for_workers=False)
    here = f"onelayer/here/{attempt()}"
    store.add(here, 1)
    absent = f"not all of {processes()} processes have come to {place}"
    _wait(lambda: bool(store.add(here, 0) >= processes()), absent, MEETING_SECONDS)
    store.set_timeout(default_pg_timeout)
    dist.init_process_group(
        backend,
        store=dist.PrefixStore(f"onelayer/start/{attempt()}", store),
        rank=rank(),
        world_size=processes(),
    )


def _wait(ready: Callable[[], bool], why: str, seconds: float) -> None:
    """Wait for other processes, with a line after a while; OnelayerError after `seconds`."""
    began, said = time.monotonic(), False
    while not ready():
        waited = time.monotonic() - began
        if waited > seconds:
            raise OnelayerError(
                f"{why} within {seconds:g} s, but RANK and WORLD_SIZE in the environment say that "
                "several were started; start all of them, or unset both to work alone."
            )
        if waited > NOTICE_SECONDS and not said:
            said = True
            line = f"waiting: {why}, as RANK and WORLD_SIZE in the environment ask for"
            print(f"{line}; at most {seconds:g} s.", file=sys.__stderr__)
        time.sleep(0.02)


def _is_open(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), STORE_TIMEOUT.total_seconds()):
            return True
    except OSError:
        return False


def is_first_to_fail() -> bool:
    """Whether no other process of this start has failed before, so that one of them alone says why.

    It asks the launcher's own store, which is there before the processes have met.
    """
    try:
        address, port = meeting_place()
        if not _is_open(address, port):
            return True
        store = dist.TCPStore(address, port, is_master=False, timeout=STORE_TIMEOUT)
        return bool(store.add(f"onelayer/failed/{attempt()}", 1) == 1)
    except (RuntimeError, SettingsError):
        return True


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


class _CtrlC:
    """Remembers the first Ctrl-C until it is asked; a second one before that ends at once."""

    pressed = False

    def listen(self) -> None:
        """Take the place of Python's own answer to Ctrl-C, where that can be done."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._press)

    def _press(self, number: int, frame: Any) -> None:
        if self.pressed:
            signal.default_int_handler(number, frame)
        self.pressed = True


_CTRL_C = _CtrlC()


@contextmanager
def _one_sentence() -> Iterator[None]:
    """A process that is gone shows in the others as an error of the network: say what it means."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise OnelayerError(
            "another process of this training ended or cannot be reached, so this one ends too: "
            f"{reason}."
        ) from error


def _sums_of(rows: Rows) -> tuple[int, int, int]:
    """Checksums of the labels, of some rows and of how they are scaled."""
    some = np.linspace(0, len(rows.y) - 1, min(SAMPLED_ROWS, len(rows.y))).astype(np.int64)
    X = rows.X[some]
    scaling = np.concatenate([rows.scale, rows.offset])
    return zlib.crc32(rows.y.tobytes()), zlib.crc32(X.tobytes()), zlib.crc32(scaling.tobytes())


def _sum_of_state(state: State) -> int:
    """Checksum of all that the next step depends on."""
    parts = [state.weights, *(state.slots[name] for name in sorted(state.slots))]
    arrays = (array for part in parts for array in part)
    return reduce(lambda crc, array: zlib.crc32(array.tobytes(), crc), arrays, 0)


def owner(X: NDArray[Any]) -> NDArray[Any]:
    """The array whose memory X looks at; it lives as long as any look at it."""
    while isinstance(X.base, np.ndarray):
        X = X.base
    return X


def _require_same_start(everyone: list[Any]) -> None:
    for other, theirs in enumerate(everyone):
        if theirs != everyone[0]:
            raise SettingsError(
                f"every process must begin where process 0 does, but process {other} begins "
                "elsewhere; give all machines the same command, and a run folder that all of them "
                "see, since training resumes from the checkpoints there."
            )


def _difference(other: int, theirs: tuple[int, ...], first: tuple[int, ...]) -> str:
    sizes = [f"{rows:,} rows of {features:,} features" for rows, features, *_ in (first, theirs)]
    if sizes[0] == sizes[1]:
        sizes[1] = "other rows of the same number"
    return (
        f"every process must read the same rows, but process 0 has {sizes[0]} and process {other} "
        f"has {sizes[1]}; give all machines the same data and the same command."
    )

"""What arithmetic is done on and with: a device, its rows, its products, its peers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onelayer.engines.torch.devices import tile_bytes
from onelayer.engines.torch.precision import Products
from onelayer.engines.torch.ranks import Ranks
from onelayer.engines.torch.storage import Storage

TYPES = {"float32": torch.float32, "float64": torch.float64}

MOST_TILE_ROWS = 16384
# Below so many multiplications a second thread costs more than it brings.
WORTH_THREADS = 4e6


@dataclass(frozen=True, eq=False)
class Machine:
    """One device, and what is there."""

    device: Any
    products: Products
    storage: Storage
    ranks: Ranks

    @contextmanager
    def at_work(self, multiplications: float) -> Iterator[None]:
        """Arithmetic within the block: nothing is recorded, products are as precise as chosen.

        Args:
            multiplications: of a tile or a step. Threads of the CPU wait for each other in every
                operation, which takes longer than a small one.
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
    """How many rows of so many numbers a device works on at one time."""
    fitting = tile_bytes(device) // (numbers * int(dtype.itemsize))
    return max(1, min(MOST_TILE_ROWS, fitting))


def on_device(array: NDArray[Any], device: Any, dtype: Any | None = None) -> Any:
    """A copy of a small array on the device."""
    tensor = torch.from_numpy(np.array(array, order="C"))
    return (tensor if dtype is None else tensor.to(dtype)).to(device)


def wide(device: Any) -> Any:
    """The type that sums over rows are kept in; Apple's GPUs have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64

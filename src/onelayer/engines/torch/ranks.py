"""The processes that share the rows of a training, and the sums over them.

Every process holds all weights and takes every step; rows are cut among them, each batch on its
own, so the number of processes changes which of them adds up what, and nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.engines.descent import State
from onelayer.engines.rows import Rows


class Ranks:
    """One process alone; `onelayer.engines.torch.cluster` has the ranks of several.

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
        """The most that any process has of so many rows."""
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
        """After so many steps, stop by KeyboardInterrupt if Ctrl-C was pressed for any process."""

    def check_same(self, rows: Rows) -> None:
        """Refuse rows that are not the same for all processes."""

    def check_start(self, state: State) -> None:
        """Refuse to begin where the runs of not all processes stand alike."""

"""Measures the curvature that runs meet while they train."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onelayer.engines import Engine, Rows, Weights
from onelayer.optimum.curvature import largest_curvature

# Between epochs the curvature changes by more than this, and on a chart less is not seen.
ENOUGH = 1e-2
EVERY_EPOCH_UP_TO = 10
GROWTH = 1.25


class CurvatureMeter:
    """λmax(H) of chosen runs; each measurement starts at the last one's direction."""

    def __init__(self, engine: Engine, rows: Rows, positions: Sequence[int]) -> None:
        self._engine, self._rows, self._positions = engine, rows, tuple(positions)
        self._directions: dict[int, NDArray[np.float64]] = {}
        self._next = dict.fromkeys(self._positions, 0)

    def due(self, positions: Sequence[int], epoch: int, *, last: bool) -> list[int]:
        """Which of these runs are to be measured at this epoch; at their last one, all."""
        chosen = [i for i in positions if i in self._next]
        return [i for i in chosen if last or epoch >= self._next[i]]

    def measure(self, i: int, weights: Weights, l2: float) -> float:
        """Measure run i where it stands; it is due again after the next epoch or later.

        Args:
            i: position of the run.
            weights: its weights, W (1, K, D) and b (1, K).
            l2: its λ.

        Returns:
            λmax of the Hessian of J on the training rows.
        """
        value, direction = largest_curvature(
            self._engine, self._rows, weights, l2, start=self._directions.get(i), enough=ENOUGH
        )
        self._directions[i] = direction
        epoch = self._next[i]
        late = epoch >= EVERY_EPOCH_UP_TO
        self._next[i] = int(np.ceil(epoch * GROWTH)) if late else epoch + 1
        return value

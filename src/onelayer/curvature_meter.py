"""Measures the curvature that runs meet while they train."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onelayer.engines import Engine, Rows, Weights
from onelayer.optimum.curvature import largest_curvature
from onelayer.plan import Run

# Between epochs the curvature changes by more than this, and on a chart less is not seen.
ENOUGH = 1e-2
EVERY_EPOCH_UP_TO = 10
GROWTH = 1.25


class CurvatureMeter:
    """λmax(H) of chosen runs; each measurement starts at the last one's direction.

    Attributes:
        directions: where the next measurement starts, by position; replaced, never changed.
        next_due: the epoch at which each run is measured next, by position.
    """

    def __init__(self, engine: Engine, rows: Rows, positions: Sequence[int]) -> None:
        self._engine, self._rows = engine, rows
        self.directions: dict[int, NDArray[np.float64]] = {}
        self.next_due = dict.fromkeys(tuple(positions), 0)

    def due(self, positions: Sequence[int], epoch: int, *, last: bool) -> list[int]:
        """Which of these runs are to be measured at this epoch; at their last one, all."""
        chosen = [i for i in positions if i in self.next_due]
        return [i for i in chosen if last or epoch >= self.next_due[i]]

    def measure(self, i: int, weights: Weights, run: Run) -> float:
        """Measure run i where it stands; it is due again after the next epoch or later.

        Args:
            i: position of the run.
            weights: its weights, W (1, K, D) and b (1, K).
            run: its setting; λ and the loss are used.

        Returns:
            λmax of the Hessian of J on the training rows.
        """
        value, direction = largest_curvature(
            self._engine,
            self._rows,
            weights,
            run.l2,
            loss=run.loss,
            start=self.directions.get(i),
            enough=ENOUGH,
        )
        self.directions[i] = direction
        epoch = self.next_due[i]
        late = epoch >= EVERY_EPOCH_UP_TO
        self.next_due[i] = int(np.ceil(epoch * GROWTH)) if late else epoch + 1
        return value

"""What every answer is judged by: the cost in float64, by NumPy, and J* with a proof.

J* is the cost of a model that onelayer found to a relative gap of 1e-10, counted again by
`onelayer.objective.cost`, block by block in float64. That it is the least there is does not rest on
onelayer's word alone: scikit-learn comes to the same J* on its own way, and the page says how near.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from benchmarks.optimum.problem import CLASSES, Task
from benchmarks.problem import Data
from onelayer.data import Dataset
from onelayer.objective.cost import cost
from onelayer.solver import solve

BLOCK_ROWS = 1000
REFERENCE_TOLERANCE = 1e-10


@dataclass(frozen=True, eq=False)
class Judge:
    """Costs of models on a task's rows, in float64."""

    task: Task
    data: Data

    def cost(self, W: ArrayLike, b: ArrayLike, l2: float) -> float:
        """J(W, b): the oracle's cost of blocks of rows, and the penalty once."""
        W = np.asarray(W, np.float64)
        total = 0.0
        for start in range(0, len(self.data.y), BLOCK_ROWS):
            y = self.data.y[start : start + BLOCK_ROWS]
            X = self.data.X[start : start + BLOCK_ROWS] / self.task.largest
            total += len(y) * cost(X, y, W, b)
        return total / len(self.data.y) + l2 * float(np.sum(W * W))

    def excess(self, W: ArrayLike, b: ArrayLike, l2: float, least: float) -> float:
        """How far a model's cost is above the least, relative to it; negative where below."""
        return self.cost(W, b, l2) / least - 1.0


def dataset_of(task: Task, data: Data) -> Dataset:
    """The rows as onelayer takes them."""
    names = tuple(str(k) for k in range(CLASSES))
    return Dataset(data.X, data.y, names, max_value=task.largest, name=task.name)


def reference(judge: Judge, l2: float) -> tuple[float, float]:
    """J* as the oracle counts it, and the proven bound on its relative error."""
    optimum = solve(dataset_of(judge.task, judge.data), l2, tol=REFERENCE_TOLERANCE, scaling="unit")
    least = judge.cost(optimum.W, optimum.b, l2)
    return least, optimum.require_certificate().gap / least

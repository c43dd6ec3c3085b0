"""Whole trajectories by the oracle, one row of equations a step, to hold engines against."""

from __future__ import annotations

import numpy as np

from onelayer import objective
from onelayer.data import Dataset
from onelayer.plan import Run
from onelayer.row_order import row_order
from onelayer.scaling import Scaling


def oracle_trajectory(
    dataset: Dataset, scaling: Scaling, run: Run, W: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weights after all epochs of a run, by the float64 equations alone."""
    X, y, W, b = scaling.apply(dataset.X), dataset.y, W.astype(float), b.astype(float)
    for epoch in range(1, run.epochs + 1):
        order = row_order(run.shuffle_seed, epoch, len(y))
        order = np.arange(len(y)) if order is None else order
        for start in range(0, len(y), run.batch_size):
            batch = order[start : start + run.batch_size]
            g = objective.gradient(X[batch], y[batch], W, b, run.l2)
            W, b = W - run.learning_rate * g.W, b - run.learning_rate * g.b
    return W, b


def trajectory_tolerance(run: Run, dataset: Dataset, dtype: type) -> float:
    """Bound on how far rounding can carry a weight from the oracle's over a whole trajectory.

    A step adds η·g to a weight, where g is a mean of |x| ≤ 1 terms over the batch. Its scores are
    sums of D + 1 terms, so p and g carry an error of about (D + B)·u; a step adds η times that and
    u for the update itself, and steps with η < 2/L do not magnify what came before.
    """
    unit = np.finfo(dtype).eps
    batches = -(-len(dataset.y) // run.batch_size) * run.epochs
    features = dataset.X.shape[1]
    return float(batches * unit * (run.learning_rate * (features + run.batch_size) + 1))

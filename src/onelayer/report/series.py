"""What several runs measured over the epochs, one by one and together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Series:
    """One curve, measured by several runs.

    Attributes:
        label: what the legend calls it.
        values: one row a run, one column an epoch from 0, shape (n, epochs + 1); NaN where a run
            had stopped.
        runs: what each row is called, n names.
    """

    label: str
    values: NDArray[np.float64]
    runs: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Band:
    """Mean, smallest and largest value of a series at each epoch, and over how many runs."""

    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    n: NDArray[np.int64]


def band_of(values: NDArray[np.float64]) -> Band:
    """Summarise runs epoch by epoch, over those that were still finite.

    Args:
        values: shape (n, epochs + 1), NaN where a run had stopped.

    Returns:
        Arrays of shape (epochs + 1,); NaN at epochs that no run reached.

    Example:
        >>> band_of(np.array([[1.0, 2.0], [3.0, np.nan]])).mean
        array([2., 2.])
    """
    there = np.isfinite(values)
    n = there.sum(axis=0)
    with np.errstate(over="ignore"):
        total = np.where(there, values, 0.0).sum(axis=0)
    mean = np.where(n > 0, total / np.maximum(n, 1), np.nan)
    low = np.where(there, values, np.inf).min(axis=0)
    high = np.where(there, values, -np.inf).max(axis=0)
    return Band(mean, np.where(n > 0, low, np.nan), np.where(n > 0, high, np.nan), n)

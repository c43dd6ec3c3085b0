"""Features that alone leave weights without a penalty no single optimum.

A feature x separates classes alone where a number τ parts them: x ≤ τ in all rows of some classes,
x ≥ τ in those of the others, and not all x are τ. Then the loss falls for ever along (x − τ) of the
latter, whatever other features do. A dummy that rows of one class alone have is one, with τ = 0;
the bias is the part of τ, which without an intercept is 0. A constant feature changes nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from onelayer.data.rows import Rows
from onelayer.solver.free import read_columns

# Rows by which most features are ruled out, before all rows are read of the others.
FEW_ROWS = 512


class LoneFeature(NamedTuple):
    """A feature that leaves no single optimum."""

    feature: int
    is_constant: bool  # else it separates classes


def find_lone_feature(rows: Rows, classes: int) -> LoneFeature | None:
    """The first feature that separates classes alone, or is constant, in rows that weigh; or None.

    Of many labels a row it separates the rows that have a label from the others.
    """
    index = np.arange(len(rows.y)) if rows.index is None else rows.index
    if rows.weights is not None:
        index = index[rows.weights[index] > 0.0]
    features = np.arange(rows.X.shape[1])
    separates = constant = np.zeros(0, np.bool_)
    for chosen in (index[:: max(1, len(index) // FEW_ROWS)], index):
        low, high = _ranges(replace(rows, index=chosen), features, classes)
        there = (low < np.inf) | (len(chosen) < len(index))  # a class that few rows lack may come
        separates, constant = _verdicts(low, high, there, intercept=rows.intercept)
        features = features[separates | constant]
        if not len(features):
            return None
    is_constant = constant[separates | constant]
    return LoneFeature(int(features[0]), bool(is_constant[0]))


def _ranges(
    rows: Rows, features: NDArray[np.int64], classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The least and the largest value of features (u,) in each class, (labels or 1, classes, u)."""
    X, y = read_columns(rows, features), rows.labels
    problems, classes = (y.T, 2) if y.ndim == 2 else (y[None], classes)
    low = np.full((len(problems), classes, len(features)), np.inf)
    high = -low
    for p, of_rows in enumerate(problems):
        for k in range(classes):
            if (members := of_rows == k).any():
                own = X[:, members]
                low[p, k], high[p, k] = own.min(axis=1), own.max(axis=1)
    return low, high


def _verdicts(
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    there: NDArray[np.bool_],
    *,
    intercept: bool,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether each feature separates classes of a problem, and whether it is constant, (u,)."""
    least, most = low.min(axis=1), high.max(axis=1)
    if not intercept:
        below, above = high <= 0.0, low >= 0.0
        constant = (least == 0.0) & (most == 0.0)
        both = (below & there).any(axis=1) & (above & there).any(axis=1)
        parts = (below | above).all(axis=1) & both & ~constant
        return parts.any(axis=0), constant.any(axis=0)
    order = np.lexsort((high, low), axis=1)
    low, high = (np.take_along_axis(of, order, axis=1) for of in (low, high))
    there = np.take_along_axis(there, order, axis=1)
    constant = least == most
    apart = np.maximum.accumulate(high, axis=1)[:, :-1] <= low[:, 1:]
    parts = (apart & there[:, 1:]).any(axis=1) & ~constant
    return parts.any(axis=0), constant.any(axis=0)

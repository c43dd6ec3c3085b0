"""How well one model does on some rows: loss and accuracy, each with its standard error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onelayer.engines import Engine, Rows
from onelayer.optimum.bias import scores_of
from onelayer.optimum.products import inner


@dataclass(frozen=True)
class Score:
    """Loss and accuracy of a model on some rows.

    Attributes:
        loss: mean cross-entropy, nats; by weight where rows have weights.
        loss_error: its standard error over the rows.
        accuracy: share of rows classified right, by weight.
        accuracy_error: its standard error, √(a (1 − a) / n).
        rows: how many rows, n; the errors take (Σ w)² / Σ w² in its place (Kish 1965).
    """

    loss: float
    loss_error: float
    accuracy: float
    accuracy_error: float
    rows: int


def score(engine: Engine, rows: Rows, W: NDArray[np.floating], b: NDArray[np.floating]) -> Score:
    """Score one model.

    Args:
        engine: what does the arithmetic.
        rows: the rows to judge by.
        W: weights, shape (K, D); their type is the arithmetic's.
        b: bias, shape (K,).

    Returns:
        Loss and accuracy; of equal scores the first class counts.
    """
    found = scores_of(engine, rows, W).judge(np.asarray(b, np.float64))
    weights = rows.row_weights
    n = rows.count if weights is None else rows.mass**2 / inner(weights, weights)
    variance = max(found.square - found.loss**2, 0.0)
    return Score(
        loss=found.loss,
        loss_error=math.sqrt(variance / n),
        accuracy=found.right,
        accuracy_error=math.sqrt(max(found.right * (1.0 - found.right), 0.0) / n),
        rows=rows.count,
    )

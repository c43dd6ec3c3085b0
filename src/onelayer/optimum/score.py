"""How well one model does on some rows: loss and accuracy, each with its standard error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onelayer.engines import Engine, Rows, Weights, tiles
from onelayer.objective import log_softmax
from onelayer.optimum.products import inner

TILE_ROWS = 16384


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
    weights = Weights(np.ascontiguousarray(W[None]), np.ascontiguousarray(b[None], W.dtype))
    y, total, squares, right = rows.labels, 0.0, 0.0, 0.0
    of_row = np.ones(rows.count) if rows.row_weights is None else rows.row_weights
    for place, tile in tiles(rows, TILE_ROWS):
        S = engine.scores(tile, weights)[0]
        labels = y[place]
        losses = -log_softmax(S)[np.arange(len(labels)), labels]
        w = of_row[place]
        total += inner(w, losses)
        squares += inner(w, losses**2)
        right += inner(w, (S.argmax(axis=1) == labels).astype(float))
    mean, share = total / rows.mass, right / rows.mass
    n = rows.mass**2 / inner(of_row, of_row)
    variance = max(squares / rows.mass - mean**2, 0.0)
    return Score(
        loss=mean,
        loss_error=math.sqrt(variance / n),
        accuracy=share,
        accuracy_error=math.sqrt(max(share * (1.0 - share), 0.0) / n),
        rows=rows.count,
    )

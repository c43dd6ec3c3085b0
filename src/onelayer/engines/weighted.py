"""Passes over rows with weights, from an engine's scores and weighted sums.

    loss = Σ w ℓ / Σ w        G = Σ w (p − y) xᵀ / Σ w        g = Σ w (p − y) / Σ w

Scores are made for a tile of rows at a time, so memory stays bounded for any number of rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from onelayer.engines.protocol import Engine, FullGradient, Rows, Weights

Float64 = NDArray[np.float64]

# Scores, probabilities and their products of one tile: a handful of arrays of this size.
TILE_BYTES = 8 << 20


def weighted_gradient(engine: Engine, rows: Rows, weights: Weights) -> FullGradient:
    """Mean cross-entropy by weight, and its gradient, in two half passes over each tile.

    Args:
        engine: gives the scores and the sums.
        rows: the rows, with weights.
        weights: W (R, K, D) and b (R, K).

    Returns:
        Loss (R,) and gradients (R, K, D) and (R, K), without the l2 term.
    """
    runs, classes, features = weights.W.shape
    loss, G = np.zeros(runs), np.zeros((runs, classes, features))
    g = np.zeros((runs, classes))
    for part, of_row, S in _tiles(engine, rows, weights):
        loss += _take_losses(S, part.labels) @ of_row
        S *= of_row[:, None].astype(S.dtype)
        G += engine.weighted_sums(part, S)
        g += S.sum(axis=1, dtype=np.float64)
    return FullGradient(loss / rows.mass, G / rows.mass, g / rows.mass)


def weighted_loss(engine: Engine, rows: Rows, weights: Weights) -> Float64:
    """Mean cross-entropy by weight.

    Args:
        engine: gives the scores.
        rows: the rows, with weights.
        weights: W (R, K, D) and b (R, K).

    Returns:
        Loss, shape (R,).
    """
    tiles = _tiles(engine, rows, weights)
    total = sum(_take_losses(S, part.labels) @ of_row for part, of_row, S in tiles)
    return np.asarray(total / rows.mass)


def _tiles(
    engine: Engine, rows: Rows, weights: Weights
) -> Iterator[tuple[Rows, Float64, NDArray[np.floating]]]:
    """Tiles of rows, the weights of their rows, and their scores (R, B, K)."""
    runs, classes = weights.b.shape
    step = max(256, TILE_BYTES // (runs * classes * weights.W.itemsize))
    of_row = np.ones(rows.count) if rows.row_weights is None else rows.row_weights
    for start in range(0, rows.count, step):
        part = rows.part(start, min(start + step, rows.count))
        yield part, of_row[start : start + step], engine.scores(part, weights)


def _take_losses(S: NDArray[np.floating], y: NDArray[np.int64]) -> Float64:
    """The cross-entropy of each row, shape (R, B); the scores become the residual p − y."""
    row = np.arange(len(y))
    with np.errstate(over="ignore", invalid="ignore"):
        S -= S.max(axis=2, keepdims=True)
        own = S[:, row, y].astype(np.float64)
        np.exp(S, out=S)
        total = S.sum(axis=2, keepdims=True)
        S /= total
        S[:, row, y] -= 1.0
        return np.asarray(np.log(total[:, :, 0].astype(np.float64)) - own)

"""The engine to read: R runs side by side in plain NumPy.

The weights of all runs are rows of one matrix, (R·K, D), so a batch is read and converted once
and both products are one matrix multiplication for the whole grid:

    S = X Wᵀ + b        (B, R·K)
    G = (P − Y)ᵀ X / B  (R·K, D)
    W ← (1 − 2ηλ) W − η G

The arithmetic type is that of the weights. BLAS sums in an order that depends on the shapes, so a
run trained beside others agrees with the same run trained alone to rounding, not bit for bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onelayer.engines.protocol import Evaluation, FullGradient, Rows, Weights

Floats = NDArray[np.floating]

# Rows of a tile when no step is taken: large enough for BLAS, small enough for the cache.
TILE_ROWS = 256


class ReferenceEngine:
    """NumPy on the arithmetic type of the weights."""

    name = "reference"

    def describe(self) -> dict[str, str]:
        """Name the engine and the NumPy that does its arithmetic."""
        return {"engine": self.name, "numpy": np.__version__}

    def begin(
        self, weights: Weights, learning_rate: NDArray[np.float64], l2: NDArray[np.float64]
    ) -> ReferenceTrainer:
        """Start R runs from a copy of these weights."""
        return ReferenceTrainer(weights, learning_rate, l2)

    def gradient(self, rows: Rows, weights: Weights) -> FullGradient:
        """Mean cross-entropy over all rows and its gradient, without the l2 term, tile by tile."""
        runs, classes, _ = weights.W.shape
        loss, G = np.zeros(runs), np.zeros(weights.W.shape)
        g = np.zeros((runs, classes))
        for tile in _tiles(rows):
            X, y = _read(rows, tile, weights.W.dtype)
            residual, row_losses = _residual(_scores(X, weights), y)
            _weigh(rows, tile, residual, row_losses)
            loss += row_losses.sum(axis=0, dtype=np.float64)
            G += np.einsum("brk,bd->rkd", residual, X, optimize=True)
            g += residual.sum(axis=0)
        return FullGradient(loss / rows.mass, G / rows.mass, g / rows.mass)

    def scores(self, rows: Rows, weights: Weights) -> Floats:
        """Scores W x + b of every row, shape (R, N, K), in the type of the weights."""
        tiles = [_scores(_read(rows, t, weights.W.dtype)[0], weights) for t in _tiles(rows)]
        return np.ascontiguousarray(np.concatenate(tiles).swapaxes(0, 1))

    def weighted_sums(self, rows: Rows, factors: Floats) -> NDArray[np.float64]:
        """Σ over rows of factors (R, N, K) times the scaled row, shape (R, K, D)."""
        runs, _, classes = factors.shape
        sums = np.zeros((runs, classes, rows.X.shape[1]))
        for tile in _tiles(rows):
            X, _ = _read(rows, tile, factors.dtype)
            sums += np.einsum("rbk,bd->rkd", factors[:, tile], X, optimize=True)
        return sums


class ReferenceTrainer:
    """R runs in training; see `onelayer.engines.protocol.Trainer`."""

    def __init__(
        self, weights: Weights, learning_rate: NDArray[np.float64], l2: NDArray[np.float64]
    ) -> None:
        self._runs, self._classes, features = weights.W.shape
        self._dtype = weights.W.dtype
        self._W = weights.W.reshape(-1, features).copy()
        self._b = weights.b.reshape(-1).copy()
        self._step = np.repeat(learning_rate, self._classes).astype(self._dtype)
        self._shrink = np.repeat(1.0 - 2.0 * learning_rate * l2, self._classes).astype(self._dtype)

    def epoch(self, rows: Rows, order: NDArray[np.int64] | None, batch_size: int) -> None:
        """Take one step for each batch; overflow is left to show in the cost."""
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, len(rows.y if order is None else order), batch_size):
                batch = slice(start, start + batch_size)
                chosen = batch if order is None else order[batch]
                weights = None if rows.weights is None else rows.weights[chosen]
                self._take_step(*_convert(rows, chosen, self._dtype), weights)

    def evaluate(self, rows: Rows) -> Evaluation:
        """Loss and number of right rows of each run, tile by tile."""
        loss, correct = np.zeros(self._runs), np.zeros(self._runs, np.int64)
        with np.errstate(over="ignore", invalid="ignore"):
            for tile in _tiles(rows):
                X, y = _read(rows, tile, self._dtype)
                S = self._scores(X)
                losses = _row_losses(S, y)[0]
                _weigh(rows, tile, losses)
                loss += losses.sum(axis=0, dtype=np.float64)
                correct += (S.argmax(axis=2) == y[:, None]).sum(axis=0)
        return Evaluation(loss / rows.mass, correct)

    def predict(self, rows: Rows) -> NDArray[np.int64]:
        """Class index of the largest score, shape (R, N)."""
        with np.errstate(over="ignore", invalid="ignore"):
            tiles = [
                self._scores(_read(rows, t, self._dtype)[0]).argmax(axis=2) for t in _tiles(rows)
            ]
        return np.concatenate(tiles).T.astype(np.int64)

    def weights(self) -> Weights:
        """A copy of W (R, K, D) and b (R, K)."""
        shape = (self._runs, self._classes)
        return Weights(self._W.reshape(*shape, -1).copy(), self._b.reshape(shape).copy())

    def _scores(self, X: Floats) -> Floats:
        """Scores of a tile, shape (B, R, K)."""
        S: Floats = X @ self._W.T + self._b
        return S.reshape(len(X), self._runs, self._classes)

    def _take_step(
        self, X: Floats, y: NDArray[np.int64], weights: NDArray[np.float64] | None
    ) -> None:
        P = self._scores(X)
        P -= P.max(axis=2, keepdims=True)
        np.exp(P, out=P)
        P /= P.sum(axis=2, keepdims=True)
        P[np.arange(len(y)), :, y] -= 1
        residual = P.reshape(len(y), -1)
        residual *= self._step / len(y)
        if weights is not None:
            residual *= weights.astype(self._dtype)[:, None]
        self._W *= self._shrink[:, None]
        self._W -= residual.T @ X
        self._b -= residual.sum(axis=0)


def _tiles(rows: Rows) -> list[slice]:
    return [slice(i, i + TILE_ROWS) for i in range(0, rows.count, TILE_ROWS)]


def _read(
    rows: Rows, tile: slice, dtype: np.dtype[np.floating]
) -> tuple[Floats, NDArray[np.int64]]:
    """A tile of the rows that count."""
    return _convert(rows, tile if rows.index is None else rows.index[tile], dtype)


def _convert(
    rows: Rows, chosen: slice | NDArray[np.int64], dtype: np.dtype[np.floating]
) -> tuple[Floats, NDArray[np.int64]]:
    """Rows as the equations see them: converted and scaled."""
    X = rows.X[chosen].astype(dtype)
    X *= rows.scale.astype(dtype)
    if rows.offset.any():
        X += rows.offset.astype(dtype)
    return X, rows.y[chosen]


def _weigh(rows: Rows, tile: slice, *values: Floats) -> None:
    """Multiply what was found for each row of a tile, on the first axis, by the row's weight."""
    weights = rows.row_weights
    if weights is None:
        return
    for value in values:
        value *= weights[tile].astype(value.dtype).reshape(-1, *[1] * (value.ndim - 1))


def _scores(X: Floats, weights: Weights) -> Floats:
    """Scores of a tile, shape (B, R, K)."""
    runs, classes, features = weights.W.shape
    S: Floats = X @ weights.W.reshape(-1, features).T + weights.b.reshape(-1)
    return S.reshape(len(X), runs, classes)


def _row_losses(S: Floats, y: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Cross-entropy of each row, and log 1ᵀ exp(s), both (B, R)."""
    own = np.take_along_axis(S, y[:, None, None], axis=2)[:, :, 0]
    top = S.max(axis=2)
    log_sum: Floats = top + np.log(np.exp(S - top[:, :, None]).sum(axis=2))
    return log_sum - own, log_sum


def _residual(S: Floats, y: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Residual p − y of each row, (B, R, K), and its cross-entropy, (B, R)."""
    losses, log_sum = _row_losses(S, y)
    P = np.exp(S - log_sum[:, :, None])
    P[np.arange(len(y)), :, y] -= 1
    return P, losses

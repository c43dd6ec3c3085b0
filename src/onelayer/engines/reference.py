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

from onelayer.engines.protocol import Evaluation, Rows, Weights

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
            for start in range(0, len(rows.y), batch_size):
                batch = slice(start, start + batch_size)
                self._take_step(*self._read(rows, batch if order is None else order[batch]))

    def evaluate(self, rows: Rows) -> Evaluation:
        """Loss and number of right rows of each run, tile by tile."""
        loss, correct = np.zeros(self._runs), np.zeros(self._runs, np.int64)
        with np.errstate(over="ignore", invalid="ignore"):
            for tile in _tiles(rows):
                X, y = self._read(rows, tile)
                S = self._scores(X)
                own = np.take_along_axis(S, y[:, None, None], axis=2)[:, :, 0]
                top = S.max(axis=2)
                log_sum = top + np.log(np.exp(S - top[:, :, None]).sum(axis=2))
                loss += (log_sum - own).sum(axis=0, dtype=np.float64)
                correct += (S.argmax(axis=2) == y[:, None]).sum(axis=0)
        return Evaluation(loss / len(rows.y), correct)

    def predict(self, rows: Rows) -> NDArray[np.int64]:
        """Class index of the largest score, shape (R, N)."""
        with np.errstate(over="ignore", invalid="ignore"):
            tiles = [self._scores(self._read(rows, t)[0]).argmax(axis=2) for t in _tiles(rows)]
        return np.concatenate(tiles).T.astype(np.int64)

    def weights(self) -> Weights:
        """A copy of W (R, K, D) and b (R, K)."""
        shape = (self._runs, self._classes)
        return Weights(self._W.reshape(*shape, -1).copy(), self._b.reshape(shape).copy())

    def _read(
        self, rows: Rows, chosen: slice | NDArray[np.int64]
    ) -> tuple[Floats, NDArray[np.int64]]:
        X = rows.X[chosen].astype(self._dtype)
        X *= rows.scale.astype(self._dtype)
        if rows.offset.any():
            X += rows.offset.astype(self._dtype)
        return X, rows.y[chosen]

    def _scores(self, X: Floats) -> Floats:
        """Scores of a tile, shape (B, R, K)."""
        S: Floats = X @ self._W.T + self._b
        return S.reshape(len(X), self._runs, self._classes)

    def _take_step(self, X: Floats, y: NDArray[np.int64]) -> None:
        P = self._scores(X)
        P -= P.max(axis=2, keepdims=True)
        np.exp(P, out=P)
        P /= P.sum(axis=2, keepdims=True)
        P[np.arange(len(y)), :, y] -= 1
        residual = P.reshape(len(y), -1)
        residual *= self._step / len(y)
        self._W *= self._shrink[:, None]
        self._W -= residual.T @ X
        self._b -= residual.sum(axis=0)


def _tiles(rows: Rows) -> list[slice]:
    return [slice(i, i + TILE_ROWS) for i in range(0, len(rows.y), TILE_ROWS)]

"""The engine to read: R runs side by side in plain NumPy.

The weights of all runs are rows of one matrix, (R·K, D), so a batch is read and converted once
and both products are one matrix multiplication for the whole grid:

    S = X Wᵀ + b                  (B, R·K)
    G = (P − T)ᵀ X / B + 2λ W     (R·K, D)
    V ← μ V + G
    W ← W − η V, or W ← W − η (G + μ V)
    A ← A + α (W − A)

The arithmetic type is that of the weights. BLAS sums in an order that depends on the shapes, so a
run trained beside others agrees with the same run trained alone to rounding, not bit for bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onelayer.data.rows import Rows
from onelayer.engines.base import (
    AVERAGE,
    VELOCITY,
    Evaluation,
    FullGradient,
    Method,
    State,
    Steps,
    Weights,
)
from onelayer.objective.loss import SIGMOID, SOFTMAX, softmax_and_log_sum
from onelayer.objective.penalty import Penalty

Floats = NDArray[np.floating]

# Rows of a tile when no step is taken: large enough for BLAS, small enough for the cache.
TILE_ROWS = 256


class ReferenceEngine:
    """NumPy on the arithmetic type of the weights."""

    name = "reference"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.describe()})"

    def describe(self) -> dict[str, str]:
        """Name the engine and the NumPy that does its arithmetic."""
        return {"engine": self.name, "numpy": np.__version__}

    def begin(self, state: State, method: Method) -> ReferenceTrainer:
        """Start R runs from a copy of where they stand."""
        return ReferenceTrainer(state, method)

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
    """R runs in training; see `onelayer.engines.base.Trainer`.

    The bias of a column is kept beside its weights as feature D, so both take the same step.
    """

    def __init__(self, state: State, method: Method) -> None:
        self._runs, self._classes, _ = state.weights.W.shape
        self._dtype = state.weights.W.dtype
        self._method = method
        self._weights = _joined(state.weights)
        self._slots = {name: _joined(slot) for name, slot in state.slots.items()}
        for name in method.slots:
            self._slots.setdefault(name, np.zeros_like(self._weights))

    def epoch(self, rows: Rows, steps: Steps) -> None:
        """Take one step for each batch; overflow is left to show in the cost."""
        count = len(rows.y if steps.order is None else steps.order)
        if steps.averaging is not None:
            self._slots.setdefault(AVERAGE, self._weights.copy())
        with np.errstate(over="ignore", invalid="ignore"):
            for t, start in enumerate(range(0, count, steps.batch_size)):
                place = slice(start, start + steps.batch_size)
                chosen = place if steps.order is None else steps.order[place]
                flipped = None if steps.flipped is None else steps.flipped[place]
                gradient = self._gradient(rows, chosen, flipped)
                self._take_step(gradient, self._columns(steps.learning_rate[t]))
                if steps.averaging is not None:
                    self._update_average(self._columns(steps.averaging[t]))

    def evaluate(self, rows: Rows) -> Evaluation:
        """Loss and number of right rows of each run's model, tile by tile."""
        loss, correct = np.zeros(self._runs), np.zeros(self._runs, np.int64)
        with np.errstate(over="ignore", invalid="ignore"):
            for tile in _tiles(rows):
                X, y = _read(rows, tile, self._dtype)
                S = self._scores(X, self._model)
                losses = _method_losses(S, y, self._method)
                _weigh(rows, tile, losses)
                loss += losses.sum(axis=0, dtype=np.float64)
                correct += (S.argmax(axis=2) == y[:, None]).sum(axis=0)
        return Evaluation(loss / rows.mass, correct)

    def predict(self, rows: Rows) -> NDArray[np.int64]:
        """Class index of the largest score, shape (R, N)."""
        with np.errstate(over="ignore", invalid="ignore"):
            tiles = [
                self._scores(_read(rows, t, self._dtype)[0], self._model).argmax(axis=2)
                for t in _tiles(rows)
            ]
        return np.concatenate(tiles).T.astype(np.int64)

    def weights(self) -> Weights:
        """A copy of the model, W (R, K, D) and b (R, K)."""
        return self._parted(self._model)

    def state(self) -> State:
        """A copy of where the runs stand."""
        slots = {name: self._parted(slot) for name, slot in self._slots.items()}
        return State(self._parted(self._weights), slots)

    @property
    def _model(self) -> Floats:
        return self._slots.get(AVERAGE, self._weights)

    def _parted(self, joined: Floats) -> Weights:
        shape = (self._runs, self._classes)
        return Weights(
            joined[:, :-1].reshape(*shape, -1).copy(), joined[:, -1].reshape(shape).copy()
        )

    def _columns(self, of_runs: NDArray[np.generic]) -> Floats:
        """A number of each run, as one of each column, (R·K, 1)."""
        columns: Floats = np.repeat(of_runs, self._classes).astype(self._dtype)[:, None]
        return columns

    def _scores(self, X: Floats, weights: Floats) -> Floats:
        """Scores of a tile, shape (B, R, K)."""
        S: Floats = X @ weights[:, :-1].T + weights[:, -1]
        return S.reshape(len(X), self._runs, self._classes)

    def _gradient(
        self, rows: Rows, chosen: slice | NDArray[np.int64], flipped: NDArray[np.bool_] | None
    ) -> Floats:
        """The batch's gradient of W and, as last column, b: (R·K, D + 1)."""
        X, y = _convert(rows, chosen, self._dtype, flipped)
        residual = _method_residual(self._scores(X, self._weights), y, self._method)
        residual /= len(y)
        if rows.weights is not None:
            residual *= rows.weights[chosen].astype(self._dtype)[:, None, None]
        columns = residual.reshape(len(y), -1)
        gradient = np.empty_like(self._weights)
        np.matmul(columns.T, X, out=gradient[:, :-1])
        gradient[:, :-1] += Penalty.of(self._method, self._columns).gradient(self._weights[:, :-1])
        columns.sum(axis=0, out=gradient[:, -1])
        return gradient

    def _update_average(self, share: Floats) -> None:
        """A ← A + α (W − A); α = 1 is the weights as they are, without rounding."""
        average = self._slots[AVERAGE]
        average += share * (self._weights - average)
        np.copyto(average, self._weights, where=share == 1)

    def _take_step(self, gradient: Floats, learning_rate: Floats) -> None:
        velocity = self._slots.get(VELOCITY)
        if velocity is None:
            self._weights -= learning_rate * gradient
            return
        momentum = self._columns(self._method.momentum)
        velocity *= momentum
        velocity += gradient
        ahead = gradient + momentum * velocity
        nesterov = self._columns(self._method.nesterov) != 0
        self._weights -= learning_rate * np.where(nesterov, ahead, velocity)


def _joined(weights: Weights) -> Floats:
    """W and b of all runs side by side, the bias as last feature: (R·K, D + 1)."""
    W, b = weights
    return np.concatenate([W.reshape(-1, W.shape[2]), b.reshape(-1, 1).astype(W.dtype)], axis=1)


def _tiles(rows: Rows) -> list[slice]:
    return [slice(i, i + TILE_ROWS) for i in range(0, rows.count, TILE_ROWS)]


def _read(
    rows: Rows, tile: slice, dtype: np.dtype[np.floating]
) -> tuple[Floats, NDArray[np.int64]]:
    """A tile of the rows that count."""
    return _convert(rows, tile if rows.index is None else rows.index[tile], dtype)


def _convert(
    rows: Rows,
    chosen: slice | NDArray[np.int64],
    dtype: np.dtype[np.floating],
    flipped: NDArray[np.bool_] | None = None,
) -> tuple[Floats, NDArray[np.int64]]:
    """Rows as the equations see them: mirrored where asked for, converted and scaled."""
    X = rows.X[chosen].astype(dtype)
    if flipped is not None:
        lines = X[flipped].reshape(-1, X.shape[1] // rows.image_width, rows.image_width)
        X[flipped] = lines[:, :, ::-1].reshape(-1, X.shape[1])
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
    log_sum: Floats = softmax_and_log_sum(S)[1]
    return log_sum - own, log_sum


def _residual(S: Floats, y: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Residual p − y of each row, (B, R, K), and its cross-entropy, (B, R)."""
    losses, log_sum = _row_losses(S, y)
    P = np.exp(S - log_sum[:, :, None])
    P[np.arange(len(y)), :, y] -= 1
    return P, losses


def _targets(S: Floats, y: NDArray[np.int64], smoothing: Floats) -> Floats:
    """(1 − ε) onehot(y) + ε/K, shape (B, R, K), for ε of shape (R, 1)."""
    T = np.broadcast_to(smoothing / S.shape[2], S.shape).copy()
    T[np.arange(len(y)), :, y] += 1 - smoothing[:, 0]
    return T


def _method_losses(S: Floats, y: NDArray[np.int64], method: Method) -> Floats:
    """Loss of each row by each run's own loss, (B, R): −Σ t log p, or its mean over K of σ's."""
    T = _targets(S, y, method.label_smoothing.astype(S.dtype)[:, None])
    losses = SOFTMAX.values(S, T)
    if method.sigmoid.any():
        losses = np.where(method.sigmoid, SIGMOID.values(S, T), losses)
    return losses


def _method_residual(S: Floats, y: NDArray[np.int64], method: Method) -> Floats:
    """∂(a row's loss)/∂s, (B, R, K): p − t, or (σ(s) − t) / K."""
    T = _targets(S, y, method.label_smoothing.astype(S.dtype)[:, None])
    residual: Floats = SOFTMAX.residual(S, T)
    if (of := method.sigmoid).any():
        residual[:, of] = SIGMOID.residual(S[:, of], T[:, of])
    return residual

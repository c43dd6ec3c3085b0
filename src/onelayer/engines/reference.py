"""The engine to read: R runs side by side in plain NumPy.

The weights of all runs are rows of one matrix, with b as their last feature, so a batch is read and
converted once and both products are one matrix multiplication for the whole grid:

    S = X̃ W̃ᵀ                     (B, R·K)
    G = (P − T)ᵀ X̃ / B + 2λ W     (R·K, D + 1), no λ for b

Steps are those of `onelayer.engines.base`, on W̃. Sparse rows are made dense a batch or a tile at a
time, which is simple and not fast. The arithmetic type is that of the weights. BLAS
sums in an order that depends on the shapes, so a run trained beside others agrees with the same run
trained alone to rounding, not bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data.rows import Rows
from onelayer.data.sparse import sparse_rows
from onelayer.engines import base
from onelayer.objective.loss import MANY_LABELS, SIGMOID, SOFTMAX, log_softmax
from onelayer.objective.penalty import Penalty

Floats = NDArray[np.floating]

# Rows of a tile when no step is taken, large enough for BLAS and small enough for the cache, and
# entries, at most.
TILE_ROWS, TILE_ENTRIES = 256, 1 << 22


class ReferenceEngine(base.Engine):
    """NumPy on the arithmetic type of the weights."""

    name = "reference"

    def describe(self) -> dict[str, str]:
        return {"engine": self.name, "numpy": np.__version__}

    def begin(self, state: base.State, method: base.Method) -> ReferenceTrainer:
        return ReferenceTrainer(state, method)

    def gradient(self, rows: Rows, weights: base.Weights) -> base.FullGradient:
        R, joined = len(weights.W), _joined(weights)
        plain, loss, G = base.Method.plain(np.zeros(R)), np.zeros(R), np.zeros(joined.shape)
        for place in _places(rows):
            X, y, w = _read(rows, place, joined.dtype)
            S = _scores(X, joined, R)
            loss += (w * _losses(S, y, plain)).sum(axis=0, dtype=np.float64)
            G += (w[:, None] * _residual(S, y, plain)).reshape(len(y), -1).T @ X
        W, b = (np.asarray(part, np.float64) for part in _parted(G / rows.mass, R))
        return base.FullGradient(loss / rows.mass, W, b)

    def evaluate(
        self, rows: Rows, weights: base.Weights, method: base.Method | None = None
    ) -> base.Evaluation:
        method = method or base.Method.plain(np.zeros(len(weights.W)))
        return _evaluate(rows, _joined(weights), method)

    def classify(self, rows: Rows, weights: base.Weights) -> base.RowFigures:
        R, joined, found = len(weights.W), _joined(weights), list[base.RowFigures]()
        with np.errstate(over="ignore", invalid="ignore"):
            for place in _places(rows):
                X, y, _ = _read(rows, place, joined.dtype)
                found.append(_figures(_scores(X, joined, R).swapaxes(0, 1), y))
        return base.RowFigures(*(np.concatenate(of, axis=1) for of in zip(*found, strict=True)))

    def scores(self, rows: Rows, weights: base.Weights) -> Floats:
        R, joined = len(weights.W), _joined(weights)
        tiles = [_scores(_read(rows, p, joined.dtype)[0], joined, R) for p in _places(rows)]
        return np.ascontiguousarray(np.concatenate(tiles).swapaxes(0, 1))

    def weighted_sums(self, rows: Rows, factors: Floats) -> NDArray[np.float64]:
        sums = np.zeros((factors.shape[0], factors.shape[2], rows.X.shape[1]))
        start = 0
        for place in _places(rows):
            X = _read(rows, place, factors.dtype)[0][:, :-1]
            of_rows = factors[:, start : start + len(X)]
            start += len(X)
            sums += np.einsum("rbk,bd->rkd", of_rows, X, optimize=True)
        return sums

    def class_sums(self, rows: Rows, classes: int) -> base.ClassSums:
        sums, squares = np.zeros((classes, rows.X.shape[1])), np.zeros(rows.X.shape[1])
        for place in _places(rows):
            X, y = _stored(rows, place), rows.y[place]
            weights = np.ones(len(y)) if rows.weights is None else rows.weights[place]
            of_class = np.where(np.arange(classes)[:, None] == y, weights, 0.0)
            sums += of_class @ X
            squares += weights @ (X * X)
        return base.ClassSums(sums, squares)


class ReferenceTrainer(base.Trainer):
    """R runs in training by NumPy."""

    def __init__(self, state: base.State, method: base.Method) -> None:
        state = state.copy(method.slots)
        self._R, self._K, _ = state.weights.W.shape
        self._method, self._weights = method, _joined(state.weights)
        self._slots = {name: _joined(slot) for name, slot in state.slots.items()}

    def epoch(self, rows: Rows, steps: base.Steps) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            count = len(rows.y if steps.order is None else steps.order)
            if steps.averaging is not None:
                self._slots.setdefault(base.AVERAGE, self._weights.copy())
            for t, start in enumerate(range(0, count, steps.batch_size)):
                place = slice(start, start + steps.batch_size)
                chosen = place if steps.order is None else steps.order[place]
                flipped = None if steps.flipped is None else steps.flipped[place]
                gradient = self._gradient(*_read(rows, chosen, self._weights.dtype, flipped))
                self._take_step(gradient, self._columns(steps.learning_rate[t]))
                if self._method.l1.any():
                    self._take_prox(self._method.lengths(steps.learning_rate[t]))
                if steps.averaging is not None:
                    self._update_average(self._columns(steps.averaging[t]))

    def evaluate(self, rows: Rows) -> base.Evaluation:
        return _evaluate(rows, self._model, self._method)

    def weights(self) -> base.Weights:
        return _parted(self._model, self._R)

    def state(self) -> base.State:
        slots = {name: _parted(slot, self._R) for name, slot in self._slots.items()}
        return base.State(_parted(self._weights, self._R), slots)

    @property
    def _model(self) -> Floats:
        return self._slots.get(base.AVERAGE, self._weights)

    def _columns(self, of_runs: NDArray[np.generic]) -> Floats:
        """A number of each run, as one of each column, (R·K, 1)."""
        columns: Floats = np.repeat(of_runs, self._K).astype(self._weights.dtype)[:, None]
        return columns

    def _gradient(self, X: Floats, y: NDArray[np.int64], w: Floats) -> Floats:
        """The batch's gradient of W̃, (R·K, D + 1)."""
        S = _scores(X, self._weights, self._R)
        residual = w[:, None] * (_residual(S, y, self._method) / len(y))
        gradient: Floats = residual.reshape(len(y), -1).T @ X
        gradient[:, :-1] += Penalty.of(self._method, self._columns).gradient(self._weights[:, :-1])
        gradient[np.repeat(self._method.no_intercept, self._K), -1] = 0.0
        return gradient

    def _update_average(self, share: Floats) -> None:
        """A ← A + α (W − A); α = 1 is the weights as they are, without rounding."""
        average = self._slots[base.AVERAGE]
        average += share * (self._weights - average)
        np.copyto(average, self._weights, where=share == 1)

    def _take_step(self, gradient: Floats, learning_rate: Floats) -> None:
        velocity = self._slots.get(base.VELOCITY)
        if velocity is None:
            self._weights -= learning_rate * gradient
            return
        momentum = self._columns(self._method.momentum)
        velocity *= momentum
        velocity += gradient
        ahead = gradient + momentum * velocity
        nesterov = self._columns(self._method.nesterov) != 0
        self._weights -= learning_rate * np.where(nesterov, ahead, velocity)

    def _take_prox(self, lengths: NDArray[np.float64]) -> None:
        """The proximal step of the penalty; the velocity has the subgradient that it took."""
        dtype = self._weights.dtype
        for run, length in enumerate(lengths.astype(dtype)):
            of_run = slice(run * self._K, (run + 1) * self._K), slice(None, -1)
            l1, W = dtype.type(self._method.l1[run]), self._weights[of_run]
            near = Penalty(0.0, l1, bool(self._method.grouped[run])).prox(W, length)
            if base.VELOCITY in self._slots and length > 0:
                self._slots[base.VELOCITY][of_run] += (W - near) / length
            W[...] = near


def _evaluate(rows: Rows, joined: Floats, method: base.Method) -> base.Evaluation:
    R = len(method.l2)
    sums, correct = np.zeros((3, R)), np.zeros(R, np.int64)
    with np.errstate(over="ignore", invalid="ignore"):
        for place in _places(rows):
            X, y, w = _read(rows, place, joined.dtype)
            S = _scores(X, joined, R)
            losses, right = _losses(S, y, method), _right(S, y)
            losses = np.where(w > 0, losses, 0)
            sums += [(w * of).sum(axis=0, dtype=np.float64) for of in (losses, losses**2, right)]
            correct += right.sum(axis=0)
    loss, square, accuracy = sums / rows.mass
    return base.Evaluation(loss, square, accuracy, correct)


def _right(S: Floats, y: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether each row's class, or all of its labels, are right, (B, R)."""
    if y.ndim == 2:
        return np.asarray(((S > 0) == _by_column(S, y)).all(axis=2))
    return np.asarray(S.argmax(axis=2) == y[:, None])


def _figures(S: Floats, y: NDArray[np.int64]) -> base.RowFigures:
    """The figures of a tile by its scores (R, B, K)."""
    classes, logs = S.argmax(axis=2), log_softmax(S)
    confidence = np.exp(np.take_along_axis(logs, classes[:, :, None], 2)[:, :, 0])
    confidence[~np.isfinite(S).all(axis=2)] = np.nan
    each = np.broadcast_to(y[:, None], (*S.shape[:2], 1))
    own = np.take_along_axis(S, each, 2)
    before = (own < S) | ((own == S) & (np.arange(S.shape[2]) < each))
    loss = -np.take_along_axis(logs, each, 2)[:, :, 0]
    return base.RowFigures(
        classes, confidence.astype(np.float64), loss.astype(np.float64), before.sum(axis=2)
    )


def _joined(weights: base.Weights) -> Floats:
    """W̃: W and b of all runs side by side, the bias as last feature, (R·K, D + 1)."""
    W, b = weights
    return np.concatenate([W.reshape(-1, W.shape[2]), b.reshape(-1, 1).astype(W.dtype)], axis=1)


def _parted(joined: Floats, runs: int) -> base.Weights:
    """W̃ as W (R, K, D) and b (R, K), in new arrays."""
    whole = joined.reshape(runs, -1, joined.shape[1])
    return base.Weights(whole[:, :, :-1], whole[:, :, -1]).copy()


def _places(rows: Rows) -> list[slice | NDArray[np.int64]]:
    """Which rows count, a tile at a time."""
    each = min(TILE_ROWS, max(1, TILE_ENTRIES // rows.X.shape[1]))
    tiles = (slice(i, min(i + each, rows.count)) for i in range(0, rows.count, each))
    return [tile if rows.index is None else rows.index[tile] for tile in tiles]


def _stored(rows: Rows, chosen: slice | NDArray[np.int64]) -> NDArray[np.float64]:
    """Rows as stored, (B, D), in float64."""
    sparse = sparse_rows(rows.X)
    return (rows.X[chosen] if sparse is None else sparse[chosen].toarray()).astype(np.float64)


def _read(
    rows: Rows,
    chosen: slice | NDArray[np.int64],
    dtype: np.dtype[np.floating],
    flipped: NDArray[np.bool_] | None = None,
) -> tuple[Floats, NDArray[np.int64], Floats]:
    """X̃ (B, D + 1): rows mirrored where asked for, scaled, and a 1; labels; weights (B, 1)."""
    y, D = rows.y[chosen], rows.X.shape[1]
    features = _stored(rows, chosen)
    if flipped is not None:
        lines = features[flipped].reshape(-1, D // rows.image_width, rows.image_width)
        features[flipped] = lines[:, :, ::-1].reshape(-1, D)
    # Scaled in float64: float32 would round away what tells features far from 0 apart.
    features *= rows.scale
    features += rows.offset
    X = np.ones((len(y), D + 1), dtype)
    X[:, :-1] = features
    weights = np.ones(len(y)) if rows.weights is None else rows.weights[chosen]
    return X, y, weights.astype(dtype)[:, None]


def _scores(X: Floats, joined: Floats, runs: int) -> Floats:
    """Scores of a tile, shape (B, R, K)."""
    S: Floats = X @ joined.T
    return S.reshape(len(X), runs, -1)


def _by_column(S: Floats, y: NDArray[Any]) -> NDArray[Any]:
    """Many labels (B, L) of each score (B, R, K): K = L labels, or of L runs one label each."""
    return y[:, None, :] if S.shape[2] == y.shape[1] else y[:, :, None]


def _targets(S: Floats, y: NDArray[np.int64], method: base.Method) -> Floats:
    """(1 − ε) onehot(y) + ε/K, or (1 − ε) y + ε/2 of many labels, shape (B, R, K)."""
    smoothing = method.label_smoothing.astype(S.dtype)
    if y.ndim == 2:
        each: Floats = smoothing[:, None] / 2 + (1 - smoothing[:, None]) * _by_column(S, y)
        return np.broadcast_to(each, S.shape)
    T = np.broadcast_to(smoothing[:, None] / S.shape[2], S.shape).copy()
    T[np.arange(len(y)), :, y] += 1 - smoothing
    return T


def _losses(S: Floats, y: NDArray[np.int64], method: base.Method) -> Floats:
    """Loss of each row by each run's own loss, (B, R)."""
    T = _targets(S, y, method)
    if y.ndim == 2:
        return MANY_LABELS.values(S, T)
    losses = SOFTMAX.values(S, T)
    if method.sigmoid.any():
        losses = np.where(method.sigmoid, SIGMOID.values(S, T), losses)
    return losses


def _residual(S: Floats, y: NDArray[np.int64], method: base.Method) -> Floats:
    """∂(a row's loss)/∂s, (B, R, K)."""
    T = _targets(S, y, method)
    if y.ndim == 2:
        return MANY_LABELS.residual(S, T).astype(S.dtype)
    residual: Floats = SOFTMAX.residual(S, T)
    if (of := method.sigmoid).any():
        residual[:, of] = SIGMOID.residual(S[:, of], T[:, of])
    return residual

"""The engine to use: R runs side by side in the C++ kernel, at the machine's speed.

A run's weights are the same bits trained alone or beside others, on any number of threads, in
order or by an identity index, and from bytes or the same values as floats. Another instruction
set may give other last bits, so its name is part of `describe`.
"""

from __future__ import annotations

import warnings
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from onelayer import _native
from onelayer.engines.descent import Method, State, Steps, Weights
from onelayer.engines.protocol import Evaluation, FullGradient
from onelayer.engines.rows import Rows

Floats = NDArray[np.floating]

STORED_TYPES = tuple(np.dtype(name) for name in ("uint8", "float16", "float32", "float64"))


class NativeEngine:
    """The C++ kernel, on `threads` threads (by default the cores this process may use)."""

    name = "native"

    def __init__(self, threads: int | None = None) -> None:
        self._threads = _native.default_threads() if threads is None else threads
        self._converted = _ConvertedRows()

    def describe(self) -> dict[str, str]:
        """Name the engine, the instruction set that gives its bits, and its threads."""
        return {
            "engine": self.name,
            "instruction_set": _native.instruction_set(),
            "threads": str(self._threads),
        }

    def begin(self, state: State, method: Method) -> NativeTrainer:
        """Start R runs from a copy of where they stand."""
        return NativeTrainer(state, method, self._threads)

    def gradient(self, rows: Rows, weights: Weights) -> FullGradient:
        """Mean cross-entropy over all rows and its gradient, without the l2 term, in one pass."""
        X, y = self._converted.features(rows, weights.W.dtype), np.ascontiguousarray(rows.y)
        W, b = (np.ascontiguousarray(part) for part in weights)
        means = _native.full_gradient(
            X, y, W, b, *_affine(rows), self._threads, rows.index, _of_rows(rows)
        )
        return FullGradient(*(_by_weight(rows, mean) for mean in means))

    def scores(self, rows: Rows, weights: Weights) -> Floats:
        """Scores W x + b of every row, shape (R, N, K), in the type of the weights."""
        X, y = self._converted.features(rows, weights.W.dtype), np.ascontiguousarray(rows.y)
        W, b = (np.ascontiguousarray(part) for part in weights)
        return _native.scores(X, y, W, b, *_affine(rows), self._threads, rows.index)

    def weighted_sums(self, rows: Rows, factors: Floats) -> NDArray[np.float64]:
        """Σ over rows of factors (R, N, K) times the scaled row, shape (R, K, D)."""
        X, factors = self._converted.features(rows, factors.dtype), np.ascontiguousarray(factors)
        return _native.weighted_sums(X, factors, *_affine(rows), self._threads, rows.index)


class NativeTrainer:
    """R runs in training; see `onelayer.engines.protocol.Trainer`."""

    def __init__(self, state: State, method: Method, threads: int) -> None:
        self._W = np.array(state.weights.W, order="C")
        self._b = np.array(state.weights.b, dtype=self._W.dtype, order="C")
        self._l2 = np.ascontiguousarray(method.l2, np.float64)
        self._threads = threads
        self._converted = _ConvertedRows()

    def epoch(self, rows: Rows, steps: Steps) -> None:
        """Take one step for each batch; Ctrl-C ends after a whole step and keeps it."""
        _native.train_epoch(
            self._converted.features(rows, self._W.dtype), np.ascontiguousarray(rows.y),
            steps.order, steps.batch_size, self._W, self._b,
            np.ascontiguousarray(steps.learning_rate[0]), self._l2, *_affine(rows), self._threads,
            _of_rows(rows),
        )  # fmt: skip

    def evaluate(self, rows: Rows) -> Evaluation:
        """Loss and number of right rows of each run."""
        loss, correct, _ = self._judge(rows, predictions=False)
        return Evaluation(_by_weight(rows, loss), correct)

    def predict(self, rows: Rows) -> NDArray[np.int64]:
        """Class index of the largest score, shape (R, N)."""
        classes = self._judge(rows, predictions=True)[2]
        assert classes is not None  # noqa: S101  # asked for above
        return classes.astype(np.int64)

    def weights(self) -> Weights:
        """A copy of W (R, K, D) and b (R, K)."""
        return Weights(self._W.copy(), self._b.copy())

    def state(self) -> State:
        """A copy of where the runs stand."""
        return State(self.weights())

    def _judge(
        self, rows: Rows, *, predictions: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int32] | None]:
        return _native.evaluate(
            self._converted.features(rows, self._W.dtype), np.ascontiguousarray(rows.y), self._W,
            self._b, *_affine(rows), predictions, self._threads, rows.index,
            _of_rows(rows),
        )  # fmt: skip


class _ConvertedRows:
    """X as stored, or converted once where the kernel cannot read it in place."""

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[Rows, NDArray[np.generic]] = WeakKeyDictionary()

    def features(self, rows: Rows, arithmetic: np.dtype[np.generic]) -> NDArray[np.generic]:
        X = rows.X
        if X.dtype in STORED_TYPES and (X.shape[1] == 1 or X.strides[1] == X.itemsize):
            return X
        if rows not in self._kept:
            kept = X.dtype if X.dtype in STORED_TYPES else arithmetic
            warnings.warn(
                f"X ({X.dtype}) is copied once, as contiguous {kept} rows; "
                "uint8, float16, float32 and float64 rows are read in place.",
                stacklevel=4,
            )
            self._kept[rows] = np.ascontiguousarray(X, kept)
        return self._kept[rows]


def _affine(rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return (
        np.ascontiguousarray(rows.scale, np.float64),
        np.ascontiguousarray(rows.offset, np.float64),
    )


def _of_rows(rows: Rows) -> NDArray[np.float64] | None:
    return None if rows.weights is None else np.ascontiguousarray(rows.weights, np.float64)


def _by_weight(rows: Rows, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """The kernel divides sums by the rows' number; with weights it is Σ w that divides."""
    return mean if rows.weights is None else mean * (rows.count / rows.mass)

"""The engine to use: R runs side by side in the C++ kernel, at the machine's speed.

A run's weights are the same bits trained alone or beside others, on any number of threads, in
order or by an identity index, from bytes or the same values as floats, and in whole passes or in
parts, whether or not it was interrupted between them. Another instruction set may give other last
bits, so its name is part of `describe`.
"""

from __future__ import annotations

import warnings
from dataclasses import fields
from typing import TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from onelayer import _native
from onelayer.data.rows import Rows
from onelayer.engines.base import (
    AVERAGE,
    Evaluation,
    FullGradient,
    Method,
    State,
    Steps,
    Weights,
)

Floats = NDArray[np.floating]

Scalar = TypeVar("Scalar", bound=np.generic)

STORED_TYPES = tuple(np.dtype(name) for name in ("uint8", "float16", "float32", "float64"))


class NativeEngine:
    """The C++ kernel, on `threads` threads (by default the cores this process may use)."""

    name = "native"

    def __init__(self, threads: int | None = None) -> None:
        self._threads = _native.default_threads() if threads is None else threads
        self._converted = _ConvertedRows()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.describe()})"

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
            X, y, W, b, *_affine(rows), self._threads, rows.index, _in_line(rows.weights)
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
    """R runs in training; see `onelayer.engines.base.Trainer`."""

    def __init__(self, state: State, method: Method, threads: int) -> None:
        self._dtype = state.weights.W.dtype
        self._weights = self._copied(state.weights)
        self._slots = {name: self._copied(slot) for name, slot in state.slots.items()}
        for name in method.slots:
            zeros = Weights(*(np.zeros_like(part) for part in self._weights))
            self._slots.setdefault(name, zeros)
        # The kernel takes a setting that is missing for 0.
        self._settings = {
            item.name: np.ascontiguousarray(array, np.float64)
            for item in fields(method)
            if (array := getattr(method, item.name)).any()
        }
        self._threads = threads
        self._converted = _ConvertedRows()

    def epoch(self, rows: Rows, steps: Steps) -> None:
        """Take one step for each batch; Ctrl-C ends after a whole step and keeps it."""
        learning_rate = np.ascontiguousarray(steps.learning_rate, np.float64)
        settings = {**self._settings, "learning_rate": learning_rate}
        if steps.averaging is not None:
            settings["averaging"] = np.ascontiguousarray(steps.averaging)
            if AVERAGE not in self._slots:
                self._slots[AVERAGE] = self._copied(self._weights)
        _native.train_epoch(
            self._converted.features(rows, self._dtype), np.ascontiguousarray(rows.y),
            _in_line(steps.order), steps.batch_size, *self._weights, *_affine(rows), self._threads,
            settings, self._slots, _in_line(rows.weights), _in_line(steps.flipped),
            rows.image_width,
        )  # fmt: skip

    def evaluate(self, rows: Rows) -> Evaluation:
        """Loss and number of right rows of each run."""
        loss, correct, _ = self._evaluate(rows, predictions=False)
        return Evaluation(_by_weight(rows, loss), correct)

    def predict(self, rows: Rows) -> NDArray[np.int64]:
        """Class index of the largest score, shape (R, N)."""
        classes = self._evaluate(rows, predictions=True)[2]
        assert classes is not None  # noqa: S101  # asked for above
        return classes.astype(np.int64)

    def weights(self) -> Weights:
        """A copy of the model, W (R, K, D) and b (R, K)."""
        return self._copied(self._model)

    def state(self) -> State:
        """A copy of the state."""
        slots = {name: self._copied(slot) for name, slot in self._slots.items()}
        return State(self._copied(self._weights), slots)

    @property
    def _model(self) -> Weights:
        return self._slots.get(AVERAGE, self._weights)

    def _copied(self, weights: Weights) -> Weights:
        return Weights(*(np.array(part, self._dtype, order="C") for part in weights))

    def _evaluate(
        self, rows: Rows, *, predictions: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int32] | None]:
        return _native.evaluate(
            self._converted.features(rows, self._dtype), np.ascontiguousarray(rows.y),
            *self._model, *_affine(rows), predictions, self._threads, rows.index,
            _in_line(rows.weights), self._settings,
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


def _in_line(array: NDArray[Scalar] | None) -> NDArray[Scalar] | None:
    return None if array is None else np.ascontiguousarray(array)


def _by_weight(rows: Rows, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """The kernel divides sums by the rows' number; with weights it is Σ w that divides."""
    return mean if rows.weights is None else mean * (rows.count / rows.mass)

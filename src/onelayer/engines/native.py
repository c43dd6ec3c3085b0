"""The engine to use: R runs side by side in the C++ kernel, at the machine's speed.

A run's weights are the same bits trained alone or beside others, on any number of threads, in
order or by an identity index, from bytes or the same values as floats, and in whole passes or in
parts, whether or not it was interrupted between them, with every instruction set.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from onelayer import _native
from onelayer.data.rows import Rows
from onelayer.data.sparse import sparse_rows
from onelayer.engines import base
from onelayer.errors import SettingsError

Floats = NDArray[np.floating]

STORED_TYPES = tuple(np.dtype(name) for name in ("uint8", "float16", "float32", "float64"))

# Of the kernel's sums (shapes.hpp, passes.cpp): the most features of a slice, the lanes of float32
# that add them, and the rows of a tile.
SLICE_FEATURES, LANES, SUM_ROWS = 768, 8, 192

# Sums over sparse rows are float64: a weight times its scale and the score are rounded to float32.
SPARSE_ROUNDINGS = base.Roundings(score=2, rows=1)

# A full pass of fewer products takes one thread, since a second one starts in about their time: on
# a two-core EPYC scores of 1.15e6 took 71 µs on one thread and 111 on two, 7.9e6 136 and 144. Where
# others use the cores too, threads that wait for each other cost far more.
FEW_PRODUCTS = 1.6e7


# What solvers take of the kernel beside passes.
coordinate_descent, newton = _native.coordinate_descent, _native.newton
products, combination = _native.products, _native.combination
without_shared, add_penalty = _native.without_shared, _native.add_penalty
ArrayColumns = _native.ArrayColumns
SparseColumns = _native.SparseColumns
DualSolution = _native.DualSolution
PairSearch = _native.PairSearch


def default_threads() -> int:
    """ONELAYER_THREADS, or else the cores that this process may use, OMP_NUM_THREADS at most.

    A process that joblib started has its part of the cores by OMP_NUM_THREADS. A thread that it
    started, or a process without that number, takes one: the others need the rest.
    """
    allowed = frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    cores = _cores(_native.default_threads, os.environ.get("ONELAYER_THREADS"), allowed)
    if os.environ.get("ONELAYER_THREADS"):
        return cores
    limit = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    limited = limit.isdecimal() and int(limit) > 0
    parallel: Any = sys.modules.get("joblib.parallel")
    if parallel is not None and parallel.get_active_backend()[0].nesting_level:
        alone = threading.current_thread() is threading.main_thread()
        limited, limit = True, limit if limited and alone else "1"
    return min(cores, int(limit)) if limited else cores


@cache
def _cores(ask: Callable[[], int], wanted: str | None, allowed: frozenset[int] | None) -> int:
    """The kernel's answer to what it depends on; reading the container's limit takes 0.1 ms."""
    return ask()


class NativeEngine(base.Engine):
    """The C++ kernel, on `threads` threads (by default as many as `default_threads`)."""

    name = "native"

    def __init__(self, threads: int | None = None) -> None:
        try:
            self._threads = default_threads() if threads is None else threads
            _native.instruction_set()
        except ValueError as error:  # of the variables ONELAYER_THREADS and ONELAYER_ISA
            raise SettingsError(f"{error}.") from None
        self._arguments = _RowArguments(self._threads)

    def describe(self) -> dict[str, str]:
        return {
            "engine": self.name,
            "instruction_set": _native.instruction_set(),
            "threads": str(self._threads),
        }

    def begin(self, state: base.State, method: base.Method) -> NativeTrainer:
        return NativeTrainer(state, method, self._arguments)

    def gradient(self, rows: Rows, weights: base.Weights) -> base.FullGradient:
        W, b = map(np.ascontiguousarray, weights)
        arrays = {"y": rows.y, "weights": rows.weights}
        of_rows = self._arguments.of(rows, W.dtype, columns=b.size, **arrays)
        means = _native.full_gradient(W=W, b=b, order=rows.index, **of_rows)
        return base.FullGradient(*(_by_weight(rows, mean) for mean in means))

    def evaluate(
        self, rows: Rows, weights: base.Weights, method: base.Method | None = None
    ) -> base.Evaluation:
        return _evaluate(self._arguments, rows, weights, _settings(method) if method else {})

    def classify(self, rows: Rows, weights: base.Weights) -> base.RowFigures:
        W, b = map(np.ascontiguousarray, weights)
        of_rows = self._arguments.of(rows, W.dtype, columns=b.size, y=rows.y)
        classes, confidence, loss, rank = _native.classify(W=W, b=b, order=rows.index, **of_rows)
        return base.RowFigures(classes.astype(np.int64), confidence, loss, rank.astype(np.int64))

    def scores(self, rows: Rows, weights: base.Weights) -> Floats:
        W, b = map(np.ascontiguousarray, weights)
        y = rows.y if rows.y.ndim == 1 else np.zeros(len(rows.y), np.int32)
        of_rows = self._arguments.of(rows, W.dtype, columns=b.size, y=y)
        return _native.scores(W=W, b=b, order=rows.index, **of_rows)

    def weighted_sums(self, rows: Rows, factors: Floats) -> NDArray[np.float64]:
        columns = factors.shape[0] * factors.shape[2]
        of_rows = self._arguments.of(rows, factors.dtype, columns=columns, factors=factors)
        return _native.weighted_sums(order=rows.index, **of_rows)

    def class_sums(self, rows: Rows, classes: int) -> base.ClassSums:
        of_rows = self._arguments.of(rows, np.dtype(np.float64), 1, y=rows.y, weights=rows.weights)
        del of_rows["scale"], of_rows["offset"]
        return base.ClassSums(*_native.class_sums(classes=classes, order=rows.index, **of_rows))

    def roundings(self, rows: Rows) -> base.Roundings:
        if sparse_rows(rows.X) is not None:
            return SPARSE_ROUNDINGS
        features = rows.X.shape[1]
        slices, width = features // 384 + 2, min(features + 31, SLICE_FEATURES)
        return base.Roundings(score=width // LANES + slices + 9, rows=SUM_ROWS)

    def side_by_side(self) -> Sequence[base.Engine]:
        return [NativeEngine(threads=1) for _ in range(self._threads)]


class NativeTrainer(base.Trainer):
    """R runs in training by the C++ kernel."""

    def __init__(self, state: base.State, method: base.Method, rows: _RowArguments) -> None:
        self._state = state.copy(method.slots)
        self._settings = _settings(method)
        self._arguments = rows

    def epoch(self, rows: Rows, steps: base.Steps) -> None:
        """Take one step for each batch; Ctrl-C ends after a whole step and keeps it."""
        (W, b), slots = self._state.weights, self._state.slots
        rates = np.ascontiguousarray(steps.learning_rate, np.float64)
        settings = {**self._settings, "learning_rate": rates}
        if steps.averaging is not None:
            settings["averaging"] = np.ascontiguousarray(steps.averaging)
            slots.setdefault(base.AVERAGE, self._state.weights.copy())
        of_rows = self._arguments.of(
            rows, W.dtype, y=rows.y, weights=rows.weights, order=steps.order, flipped=steps.flipped
        )
        _native.train_epoch(
            batch_size=steps.batch_size, W=W, b=b, settings=settings, slots=slots,
            image_width=rows.image_width, **of_rows,
        )  # fmt: skip

    def evaluate(self, rows: Rows) -> base.Evaluation:
        return _evaluate(self._arguments, rows, self._state.model, self._settings)

    def weights(self) -> base.Weights:
        return self._state.model.copy()

    def state(self) -> base.State:
        return self._state.copy()


class _RowArguments:
    """Rows as the kernel takes them: X as stored, or converted once where it cannot be read so."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._converted: WeakKeyDictionary[Rows, NDArray[np.generic]] = WeakKeyDictionary()

    def of(
        self,
        rows: Rows,
        dtype: np.dtype[Any],
        columns: float = math.inf,
        **arrays: NDArray[Any] | None,
    ) -> dict[str, Any]:
        """The arguments of a pass over rows, and these arrays, contiguous.

        Few products, of the rows with so many columns, take one thread.
        """
        few = rows.products * columns < FEW_PRODUCTS
        return {
            "X": self._stored(rows, dtype),
            "scale": np.ascontiguousarray(rows.scale, np.float64),
            "offset": np.ascontiguousarray(rows.offset, np.float64),
            "threads": 1 if few else self._threads,
            **{n: a if a is None else np.ascontiguousarray(a) for n, a in arrays.items()},
        }

    def _stored(
        self, rows: Rows, dtype: np.dtype[Any]
    ) -> NDArray[np.generic] | tuple[Any, Any, Any, int]:
        X = rows.X
        if (sparse := sparse_rows(X)) is not None:
            return sparse.arrays
        if X.dtype in STORED_TYPES and (X.shape[1] == 1 or X.strides[1] == X.itemsize):
            return X
        if rows not in self._converted:
            # Integers that the arithmetic type would round are centred before they are rounded.
            kept = dtype if np.can_cast(X.dtype, dtype) else np.dtype(np.float64)
            kept = X.dtype if X.dtype in STORED_TYPES else kept
            warnings.warn(
                f"X ({X.dtype}) is copied once, as contiguous {kept} rows; "
                "uint8, float16, float32 and float64 rows are read in place.",
                stacklevel=4,
            )
            self._converted[rows] = np.ascontiguousarray(X, kept)
        return self._converted[rows]


def _settings(method: base.Method) -> dict[str, NDArray[np.float64]]:
    """The settings of runs; the kernel takes one that is missing for 0."""
    return {
        item.name: np.ascontiguousarray(array, np.float64)
        for item in fields(method)
        if (array := getattr(method, item.name)).any()
    }


def _evaluate(
    arguments: _RowArguments, rows: Rows, weights: base.Weights, settings: dict[str, Any]
) -> base.Evaluation:
    W, b = map(np.ascontiguousarray, weights)
    arrays = {"y": rows.y, "weights": rows.weights}
    of_rows = arguments.of(rows, W.dtype, columns=b.size, **arrays)
    *means, correct = _native.evaluate(W=W, b=b, order=rows.index, settings=settings, **of_rows)
    loss, square, accuracy = (_by_weight(rows, mean) for mean in means)
    return base.Evaluation(loss, square, accuracy, correct)


def _by_weight(rows: Rows, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """The kernel divides sums by the rows' number; with weights it is Σ w that divides."""
    return mean if rows.weights is None else mean * (rows.count / rows.mass)

"""Passes over sparse rows find what passes over the same rows as an array do, in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse

from onelayer import _native
from onelayer.data.dataset import Dataset
from onelayer.data.rows import Rows, rows_of
from onelayer.data.scaling import fit_scaling
from onelayer.data.sparse import SparseRows
from onelayer.engines import Engine, Method, State, Steps, Weights, make_engine, native
from onelayer.errors import SettingsError
from onelayer.training.loop import initial_weights, steps_of_epoch
from onelayer.training.run import Run, method_arrays
from tests.examples import examples
from tests.trajectories import methods, oracle_trajectory, trajectory_tolerance


def _values(rows: int, features: int, dtype: Any = np.float64) -> NDArray[Any]:
    rng = np.random.default_rng(rows * features)
    dense = rng.normal(size=(rows, features)) * (rng.random((rows, features)) < 0.2)
    dense[rows // 2] = 0.0  # a row without stored values
    return np.asarray(dense.astype(dtype))


def _rows(
    dense: NDArray[Any], classes: int, *, shifted: bool, index: Any = np.int32
) -> tuple[Rows, Rows]:
    """The rows, sparse and as an array."""
    rng = np.random.default_rng(1)
    N, D = len(dense), dense.shape[1]
    given = sparse.csr_array(dense)
    given.indices = given.indices.astype(index)
    X: Any = SparseRows.of(given)
    y = np.asarray(rng.integers(0, classes, N))
    of_array = Rows(dense, y, np.full(D, 0.5), np.zeros(D))
    if shifted:
        of_array = replace(of_array, scale=rng.random((D,)) + 0.5, offset=rng.normal(size=(D,)))
    return replace(of_array, X=X), of_array


def _weights(runs: int, classes: int, features: int, dtype: Any) -> Weights:
    rng = np.random.default_rng(2)
    W, b = rng.normal(size=(runs, classes, features)), rng.normal(size=(runs, classes))
    return Weights(W.astype(dtype), b.astype(dtype))


def _passes(engine: Engine, rows: Rows, weights: Weights) -> list[NDArray[Any]]:
    """What every pass finds."""
    runs, classes, _ = weights.W.shape
    factors = np.random.default_rng(3).normal(size=(runs, rows.count, classes))
    every: list[NDArray[Any]] = [*engine.gradient(rows, weights)[:3], engine.scores(rows, weights)]
    every += [engine.weighted_sums(rows, factors.astype(weights.W.dtype))]
    if rows.y.ndim == 1:
        every += [*engine.evaluate(rows, weights), *engine.classify(rows, weights)]
        every += [*engine.class_sums(rows, classes)]
    return every


@pytest.mark.parametrize("engine_name", ["native", "reference"])
@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("stored", [np.float32, np.float64])
@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize(("runs", "classes"), [(1, 2), (1, 3), (2, 5), (3, 7), (1, 20), (2, 19)])
def test_every_pass_finds_what_the_oracle_finds(
    engine_name: str, shifted: bool, stored: Any, index: Any, runs: int, classes: int
) -> None:
    rows, dense = _rows(_values(300, 31, stored), classes, shifted=shifted, index=index)
    weights, oracle = _weights(runs, classes, 31, np.float64), make_engine("reference")
    w = np.random.default_rng(4).integers(0, 3, 300).astype(float)
    order = np.random.default_rng(5).integers(0, 300, 310)
    changes: list[dict[str, Any]] = [{}, {"weights": w}, {"index": order, "weights": w}]
    for change in changes:
        expected = _passes(oracle, replace(dense, **change), weights)
        found = _passes(make_engine(engine_name), replace(rows, **change), weights)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("shifted", [False, True])
def test_float32_scores_are_rounded_as_seldom_as_the_engine_says(shifted: bool) -> None:
    rows, dense = _rows(_values(200, 40, np.float32), 3, shifted=shifted)
    weights, engine = _weights(1, 3, 40, np.float32), make_engine()
    exact = make_engine("reference").scores(dense, Weights(*(of.astype(float) for of in weights)))
    found = engine.scores(rows, weights)
    lengths = np.abs(weights.W[0].astype(float)) @ np.abs(dense.X.astype(float) * rows.scale).T
    counted = engine.roundings(rows)
    assert counted is not None
    bound = counted.score * 6e-8 * (lengths.T + np.abs(exact[0]))
    assert (np.abs(found - exact)[0] <= bound).all()


def test_many_labels_a_row_are_those_of_the_oracle() -> None:
    rows, dense = _rows(_values(90, 20), 2, shifted=True)
    y = np.random.default_rng(6).integers(0, 2, (90, 6)).astype(np.uint8)
    weights = _weights(1, 6, 20, np.float64)
    found = make_engine().gradient(replace(rows, y=y), weights)
    expected = make_engine("reference").gradient(replace(dense, y=y), weights)
    for a, b in zip(found[:3], expected[:3], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("classes", [2, 20])
def test_bits_do_not_depend_on_threads_or_on_runs_beside(
    dtype: Any, shifted: bool, classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "FEW_PRODUCTS", 0.0)
    rows, _ = _rows(_values(500, 60), classes, shifted=shifted)
    weights = _weights(3, classes, 60, dtype)
    one = _passes(make_engine(threads=1), rows, weights)
    for threads in (2, 3):
        for a, b in zip(_passes(make_engine(threads=threads), rows, weights), one, strict=True):
            np.testing.assert_array_equal(a, b)
    alone = make_engine(threads=2).gradient(rows, weights.of([1]))
    np.testing.assert_array_equal(alone.W[0], one[1][1])


@examples(60)
@given(
    dtype=st.sampled_from(["float32", "float64"]),
    batch_size=st.integers(1, 40),
    shuffle=st.booleans(),
    methods_of_runs=st.lists(methods(), min_size=1, max_size=4),
    scaling=st.sampled_from(["none", "standardize"]),
    engine_name=st.sampled_from(["native", "reference"]),
)
def test_trajectories_follow_the_oracle(
    dtype: str, batch_size: int, shuffle: bool, methods_of_runs: list[dict[str, Any]],
    scaling: str, engine_name: str,
) -> None:  # fmt: skip
    dense = _values(40, 12)
    data = Dataset(dense, np.arange(40) % 3, tuple("abc"))
    fitted = fit_scaling(scaling, dense)
    X: Any = SparseRows.of(sparse.csr_array(dense))
    rows = replace(rows_of(data, fitted), X=X)
    runs = [
        Run(seed=i, epochs=3, batch_size=batch_size, shuffle=shuffle, **method)
        for i, method in enumerate(methods_of_runs)
    ]
    start = initial_weights(runs, 3, 12, dtype)
    found = []
    for threads in (1, 3) if engine_name == "native" else (None,):
        trainer = make_engine(engine_name, threads).begin(State(start), method_arrays(runs))
        for epoch in range(1, 4):
            trainer.epoch(rows, steps_of_epoch(runs, epoch, 40))
        found.append(trainer.weights())
    for a, b in zip(found[0], found[-1], strict=True):
        np.testing.assert_array_equal(a, b)
    largest = np.abs(fitted.apply(dense)).max()
    for r, run in enumerate(runs):
        W, b = oracle_trajectory(data, fitted, run, start.W[r], start.b[r])
        tolerance = trajectory_tolerance(run, data, start.W.dtype.type) * largest**2
        np.testing.assert_allclose(found[0].W[r], W, rtol=0, atol=tolerance)
        np.testing.assert_allclose(found[0].b[r], b, rtol=0, atol=tolerance)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_training_in_parts_gives_the_bits_of_whole_passes(momentum: float) -> None:
    rows, _ = _rows(_values(64, 30), 4, shifted=False)
    steps = Steps.constant(np.array([0.5, 0.1]), rows=64, batch_size=7)
    method = Method.plain(np.array([0.1, 0.0]))
    method = replace(method, momentum=np.full(2, momentum))
    start = State(_weights(2, 4, 30, np.float32))
    whole, parts = (make_engine().begin(start, method) for _ in range(2))
    whole.epoch(rows, steps)
    order = np.arange(64)
    for first, last in ((0, 3), (3, 4), (4, 10)):
        parts.epoch(rows, replace(steps, order=order).part(first, last))
    for a, b in zip(whole.weights(), parts.weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_extreme_scales_are_met_in_float64() -> None:
    rows, dense = _rows(_values(50, 10), 3, shifted=False)
    scale = np.logspace(-30, 30, 10)
    rows, dense = (replace(of, scale=scale) for of in (rows, dense))
    W = np.ones((1, 3, 10)) / scale * np.array([1.0, -1.0, 0.5])[:, None]
    weights = Weights(W.astype(np.float32), np.zeros((1, 3), np.float32))
    exact = make_engine("reference").scores(dense, Weights(*(of.astype(float) for of in weights)))
    np.testing.assert_allclose(make_engine().scores(rows, weights), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({1: np.array([0, 5], np.int32)}, "indices: expected 0 to 4, got 5"),
        ({1: np.array([0, -1], np.int32)}, "indices: expected 0 to 4, got"),
        ({1: np.array([0, 1], np.int16)}, "indices: expected int32 or int64, got int16"),
        ({0: np.ones(2, np.uint8)}, "values: expected float32 or float64, got uint8"),
        ({2: np.array([0, 2, 1])}, "indptr: expected ascending numbers from 0 to 2, got 1"),
        ({2: np.array([0, 1, 3])}, "indptr: expected ascending numbers from 0 to 2, got 3"),
        ({3: 0}, "X: expected at least one row, and one to 2"),
    ],
)
def test_the_kernel_refuses_arrays_that_are_no_rows(change: dict[int, Any], words: str) -> None:
    arrays = [np.ones(2), np.array([0, 1], np.int32), np.array([0, 1, 2]), 5]
    X: Any = tuple(change.get(i, of) for i, of in enumerate(arrays))
    with pytest.raises((ValueError, TypeError), match=words):
        _native.class_sums(X=X, y=np.zeros(2, np.int64), classes=2, threads=1)


def test_the_engine_torch_refuses_sparse_rows() -> None:
    rows, _ = _rows(_values(20, 5), 2, shifted=False)
    engine = make_engine("torch", device="cpu")
    with pytest.raises(SettingsError, match="sparse rows need the engine native"):
        engine.gradient(rows, _weights(1, 2, 5, np.float32))

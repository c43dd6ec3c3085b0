"""Evaluation and full gradient against float64, and what the kernel refuses."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from onelayer import _native
from tests.examples import examples
from tests.native.problems import Problem, problems, softmax_residual


def evaluate(p: Problem, threads: int = 1) -> tuple[NDArray[Any], ...]:
    arguments = (p.X, p.y, p.W, p.b, p.scale, p.offset, threads)
    return *_native.evaluate(*arguments), *_native.classify(*arguments)


@examples(60)
@given(p=problems(), threads=st.integers(1, 4))
def test_loss_gradient_and_hits_are_the_oracles(p: Problem, threads: int) -> None:
    eps = float(np.finfo(p.W.dtype).eps)
    N, D = p.X.shape
    F, W, b = p.features(), p.W.astype(np.float64), p.b.astype(np.float64)
    loss, square, right, correct, classes, confidence, losses, ranks = evaluate(p, threads)
    loss_too, G, g, _ = _native.full_gradient(p.X, p.y, p.W, p.b, p.scale, p.offset, threads)
    largest = 1 + float((np.abs(W) @ np.abs(F).T).max())
    atol = 8 * eps * (np.sqrt(D) + np.sqrt(N)) * largest * (1 + float(np.abs(F).max()))
    for r in range(len(W)):
        S = F @ W[r].T + b[r]
        residual, row_loss = softmax_residual(S, p.y)
        np.testing.assert_allclose(loss[r], row_loss.mean(), rtol=0, atol=atol)
        np.testing.assert_allclose(loss_too[r], row_loss.mean(), rtol=0, atol=atol)
        np.testing.assert_allclose(G[r], residual.T @ F / N, rtol=0, atol=atol)
        np.testing.assert_allclose(g[r], residual.mean(axis=0), rtol=0, atol=atol)
        np.testing.assert_allclose(losses[r], row_loss, rtol=0, atol=atol)
        np.testing.assert_allclose(square[r], (losses[r] ** 2).mean(), rtol=1e-12)
        assert correct[r] == (classes[r] == p.y).sum() == (ranks[r] == 0).sum()
        assert right[r] == correct[r] / N
        largest_p = np.exp(S.max(axis=1) - np.logaddexp.reduce(S, axis=1))
        np.testing.assert_allclose(confidence[r], largest_p, rtol=0, atol=atol)
        chosen = np.take_along_axis(S, classes[r][:, None].astype(np.int64), axis=1)[:, 0]
        np.testing.assert_allclose(chosen, S.max(axis=1), rtol=0, atol=atol)


@examples(30)
@given(p=problems(), threads=st.integers(2, 5))
def test_threads_change_no_bit(p: Problem, threads: int) -> None:
    for one, many in zip(evaluate(p), evaluate(p, threads), strict=True):
        np.testing.assert_array_equal(one, many)
    gradients = [
        _native.full_gradient(p.X, p.y, p.W, p.b, p.scale, p.offset, t) for t in (1, threads)
    ]
    for one, many in zip(*gradients, strict=True):
        np.testing.assert_array_equal(one, many)


SETTINGS = {"learning_rate": np.full((88, 2), 0.1), "l2": np.zeros(2)}


def small(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    arguments = {
        "X": rng.integers(0, 256, (700, 20), dtype=np.uint8),
        "y": rng.integers(0, 3, 700),
        "order": None,
        "batch_size": 8,
        "W": np.zeros((2, 3, 20), np.float32),
        "b": np.zeros((2, 3), np.float32),
        "scale": np.full(20, 1 / 255),
        "offset": np.zeros(20),
        "threads": 2,
        "settings": SETTINGS,
    }
    return arguments | changes


def test_many_tiles_are_added_up() -> None:
    a = small()
    a["W"][1] = np.random.default_rng(1).standard_normal((3, 20))
    arguments = (a["X"], a["y"], a["W"], a["b"], a["scale"], a["offset"], 2)
    loss, _, _, correct = _native.evaluate(*arguments)
    classes = _native.classify(*arguments)[0]
    np.testing.assert_allclose(loss[0], np.log(3), rtol=1e-6)
    assert correct[0] == (a["y"] == 0).sum()  # ties go to the lowest class
    S = (a["X"] / 255) @ a["W"][1].T.astype(np.float64)
    np.testing.assert_array_equal(classes[1], S.argmax(axis=1))
    np.testing.assert_allclose(loss[1], softmax_residual(S, a["y"])[1].mean(), rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers_give_a_loss_that_is_none(bad: float) -> None:
    a = small()
    a["W"][0, 1, 3] = bad
    arguments = (a["X"], a["y"], a["W"], a["b"], a["scale"], a["offset"], 2)
    loss, *_ = _native.evaluate(*arguments)
    classes, confidence, *_ = _native.classify(*arguments)
    assert not np.isfinite(loss[0])
    assert np.isfinite(loss[1])
    assert not np.isfinite(confidence[0]).any()
    assert np.isfinite(confidence[1]).all()
    assert classes.min() >= 0
    assert classes.max() <= 2
    _native.train_epoch(**a)
    assert np.isfinite(a["W"][1]).all()


def of_runs(**arrays: NDArray[Any]) -> dict[str, Any]:
    return {"settings": SETTINGS | arrays}


def slot(name: str, features: int) -> dict[str, Any]:
    return {"slots": {name: (np.zeros((2, 3, features), np.float32),) * 2}}


REFUSALS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"X": np.zeros((700, 20), np.int32)}, TypeError, "X: expected uint8"),
    ({"X": np.zeros((700, 40), np.uint8)[:, ::2]}, ValueError, "X: expected rows whose features"),
    ({"X": np.zeros(700, np.uint8)}, ValueError, "X: expected shape (N, D), got shape (700,)"),
    ({"X": np.zeros((0, 20), np.uint8)}, ValueError, "X: expected at least one row"),
    ({"y": np.full(700, 3)}, ValueError, "y: expected labels from 0 to 2, got 3 at row 0"),
    ({"y": np.full(700, -1)}, ValueError, "y: expected labels from 0 to 2, got -1"),
    ({"y": np.zeros(699, np.int64)}, ValueError, "y: expected shape (700,) = (N,)"),
    ({"y": np.zeros(700)}, TypeError, "y: expected int64 or int32, got float64"),
    ({"y": np.zeros(1400, np.int64)[::2]}, ValueError, "y: expected a C-contiguous"),
    ({"order": np.array([0, 700])}, ValueError, "order: expected rows from 0 to 699, got 700"),
    ({"order": np.array([-1])}, ValueError, "order: expected rows from 0 to 699, got -1"),
    ({"order": np.zeros(3)}, TypeError, "order: expected int64"),
    ({"batch_size": 0}, ValueError, "batch_size: expected at least 1, got 0"),
    ({"threads": 0}, ValueError, "threads: expected at least 1, got 0"),
    ({"W": np.zeros((2, 3, 19), np.float32)}, ValueError, "W: expected shape (2, 3, 20) = (R"),
    ({"W": np.zeros((2, 3, 20), np.int32)}, TypeError, "W: expected float32 or float64"),
    ({"W": np.zeros((2, 20, 3), np.float32).transpose(0, 2, 1)}, ValueError, "W: expected a C-"),
    ({"b": np.zeros((2, 3))}, TypeError, "b: expected float32, got float64"),
    ({"b": np.zeros((3, 2), np.float32)}, ValueError, "b: expected shape (2, 3) = (R, K)"),
    (of_runs(l2=np.zeros(3)), ValueError, "l2: expected shape (2,) = (R,), got"),
    (
        of_runs(learning_rate=np.zeros((88, 2), np.float32)),
        TypeError,
        "learning_rate: expected float",
    ),
    (of_runs(learning_rate=np.zeros(2)), ValueError, "learning_rate: expected shape (88, 2) ="),
    (of_runs(learning_rate=np.zeros((87, 2))), ValueError, "got shape (87, 2)"),
    (of_runs(learning_rate=np.zeros((2, 88)).T), ValueError, "learning_rate: expected a C-contig"),
    ({"scale": np.zeros(19)}, ValueError, "scale: expected shape (20,) = (D,)"),
    (
        of_runs(momentum=np.array([0.5, 1.0])),
        ValueError,
        "momentum: expected values in [0, 1), got 1",
    ),
    (of_runs(momentum=np.zeros(3)), ValueError, "momentum: expected shape (2,) = (R,)"),
    (
        of_runs(momentum=np.zeros(2)),
        ValueError,
        "velocity: expected W and b, for momentum, got none",
    ),
    (
        of_runs(label_smoothing=np.array([0.5, -0.1])),
        ValueError,
        "label_smoothing: expected values in [0, 1)",
    ),
    (of_runs(nesterov=np.zeros(2, bool)), TypeError, "nesterov: expected float64, got bool"),
    (of_runs(sigmoid=np.zeros(1)), ValueError, "sigmoid: expected shape (2,) = (R,)"),
    (of_runs(averaging=np.ones((88, 3))), ValueError, "averaging: expected shape (88, 2)"),
    (
        of_runs(averaging=np.full((88, 2), np.nan)),
        ValueError,
        "averaging: expected values in [0, 1]",
    ),
    (
        of_runs(averaging=np.ones((88, 2))),
        ValueError,
        "average: expected W and b, for averaging, got none",
    ),
    (
        {"slots": {"average": (np.zeros((2, 3, 20)),) * 2}},
        TypeError,
        "average's W: expected float32, got",
    ),
    (slot("velocity", 20), ValueError, "velocity's b: expected shape (2, 3)"),
    (slot("velocity", 19), ValueError, "velocity's W: expected shape (2, 3, 20)"),
    ({"flipped": np.zeros(700, bool)}, ValueError, "image_width: expected a divisor of D = 20"),
    ({"flipped": np.zeros(700, bool), "image_width": 3}, ValueError, "a divisor of D = 20, got 3"),
    (
        {"flipped": np.zeros(7, bool), "image_width": 4},
        ValueError,
        "flipped: expected shape (700,) = (N,)",
    ),
    ({"flipped": np.zeros(700), "image_width": 4}, TypeError, "flipped: expected bool"),
    ({"settings": {"l2": np.zeros(2)}}, ValueError, "settings: expected learning_rate among them"),
    (of_runs(beta=np.zeros(2)), ValueError, "settings: expected only learning_rate, averaging, l2"),
    (slot("speed", 20), ValueError, "slots: expected only velocity, average"),
    ({"offset": np.zeros((20, 1))}, ValueError, "offset: expected shape (20,) = (D,)"),
]


@pytest.mark.parametrize(("changes", "error", "message"), REFUSALS)
def test_a_refusal_names_the_argument(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        _native.train_epoch(**small(**changes))


def test_means_over_no_rows_are_nan() -> None:
    a, none = small(), np.zeros(0, np.int64)
    model = (a["X"], a["y"], a["W"], a["b"], a["scale"], a["offset"])
    for mean in _native.evaluate(*model, 2, none)[:3]:
        assert np.isnan(mean).all()
    for mean in _native.full_gradient(*model, 2, none):
        assert np.isnan(mean).all()


def test_an_empty_order_takes_no_step() -> None:
    a = small(order=np.zeros(0, np.int64), settings={"learning_rate": np.zeros((0, 2))})
    assert _native.train_epoch(**a) == 0
    assert not a["W"].any()


@pytest.mark.parametrize(("arithmetic", "lowest"), [(np.float32, -80.0), (np.float64, -700.0)])
def test_probabilities_are_right_to_a_few_units_in_the_last_place(
    arithmetic: type, lowest: float
) -> None:
    # Two classes with scores t and 0: p = eᵗ / (1 + eᵗ), and ∂loss/∂b of the class that is not
    # the label is p itself. Thousands of t are as many runs.
    t: NDArray[Any] = np.linspace(lowest, 0, 4001).astype(arithmetic)
    W = np.stack([t, np.zeros_like(t)], axis=1)[:, :, None]
    one, zero = np.ones(1), np.zeros(1)
    _, _, g, _ = _native.full_gradient(
        np.ones((1, 1), np.uint8), np.array([1]), W, np.zeros(W.shape[:2], arithmetic), one, zero, 2
    )
    exact = np.exp(t.astype(np.float64))
    eps = float(np.finfo(arithmetic).eps)
    # 1.5 units for exp, half a unit each for the sum, the quotient and the product.
    np.testing.assert_allclose(g[:, 0], exact / (1 + exact), rtol=4 * eps, atol=0)


def test_who_sums_which_tile_changes_no_bit() -> None:
    # Sixty-four chunks of rows, taken by whichever thread is free: their sums are kept apart and
    # added in order. A row's loss differs from chunk to chunk, so another order shows.
    rng = np.random.default_rng(2)
    X = rng.random((12_000, 24), dtype=np.float32)
    W = rng.standard_normal((3, 5, 24)) * 4
    y, b, one, zero = rng.integers(0, 5, 12_000), np.zeros((3, 5)), np.ones(24), np.zeros(24)
    first = _native.evaluate(X, y, W, b, one, zero, 1)
    for threads in (2, 3, 4, 5) * 5:
        again = _native.evaluate(X, y, W, b, one, zero, threads)
        np.testing.assert_array_equal(again, first)


def test_the_full_gradient_adds_up_every_tile_of_rows() -> None:
    a = small()
    a["W"][:] = np.random.default_rng(3).standard_normal(a["W"].shape)
    _, G, g, _ = _native.full_gradient(a["X"], a["y"], a["W"], a["b"], a["scale"], a["offset"], 2)
    F = a["X"] / 255
    for r in range(2):
        residual, _ = softmax_residual(F @ a["W"][r].T.astype(np.float64), a["y"])
        np.testing.assert_allclose(G[r], residual.T @ F / 700, rtol=0, atol=1e-5)
        np.testing.assert_allclose(g[r], residual.mean(axis=0), rtol=0, atol=1e-5)

"""Scores and weighted sums: against float64, the same bits on any threads, what is refused."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelayer import _native
from tests.examples import examples
from tests.native.problems import Problem, problems


@examples(80)
@given(p=problems(), threads=st.integers(1, 4), chosen=st.booleans())
def test_scores_and_sums_are_the_equations(p: Problem, threads: int, chosen: bool) -> None:
    eps = float(np.finfo(p.W.dtype).eps)
    order = np.random.default_rng(1).integers(0, len(p.y), 7) if chosen else None
    F = p.features() if order is None else p.features()[order]
    S = _native.scores(p.X, p.y, p.W, p.b, p.scale, p.offset, threads, order)
    G = _native.weighted_sums(p.X, S, p.scale, p.offset, threads, order)
    assert S.dtype == p.W.dtype
    expected = np.einsum("rkd,nd->rnk", p.W.astype(np.float64), F) + p.b[:, None, :]
    size = 1 + np.abs(F).max() * (np.abs(p.W).sum(axis=2).max() + 1)
    np.testing.assert_allclose(S, expected, rtol=0, atol=16 * eps * size)
    sums = np.einsum("rnk,nd->rkd", S.astype(np.float64), F)
    most = 1 + float((np.abs(S).sum(axis=1).max()) * np.abs(F).max())
    np.testing.assert_allclose(G, sums, rtol=0, atol=64 * eps * most)


@examples(40)
@given(p=problems(), threads=st.integers(2, 5))
def test_threads_and_neighbours_change_no_bit(p: Problem, threads: int) -> None:
    S = _native.scores(p.X, p.y, p.W, p.b, p.scale, p.offset, 1)
    G = _native.weighted_sums(p.X, S, p.scale, p.offset, 1)
    np.testing.assert_array_equal(S, _native.scores(p.X, p.y, p.W, p.b, p.scale, p.offset, threads))
    np.testing.assert_array_equal(G, _native.weighted_sums(p.X, S, p.scale, p.offset, threads))
    for r in range(len(S)):
        alone = _native.weighted_sums(p.X, S[r : r + 1], p.scale, p.offset, 1)
        np.testing.assert_array_equal(G[r], alone[0])


@pytest.mark.parametrize("stored", ["uint8", "float16", "float32", "float64"])
@pytest.mark.parametrize("K", [1, 3, 6, 16, 17])
def test_sums_of_few_classes_are_the_equation_on_any_threads(K: int, stored: str) -> None:
    rng = np.random.default_rng(K)
    X, F = rng.integers(0, 200, (139, 1100)).astype(stored), rng.normal(size=(2, 139, K))
    scale, offset = rng.uniform(0.5, 2.0, 1100), rng.normal(size=1100)
    G = _native.weighted_sums(X, F, scale, offset, 1)
    exact = np.einsum("rnk,nd->rkd", F, X.astype(np.float64) * scale + offset)
    np.testing.assert_allclose(G, exact, rtol=1e-10, atol=1e-9)
    np.testing.assert_array_equal(G, _native.weighted_sums(X, F, scale, offset, 3))
    np.testing.assert_array_equal(G[1:], _native.weighted_sums(X, F[1:], scale, offset, 2))


def test_the_order_is_the_identity_where_it_is_one() -> None:
    rng = np.random.default_rng(0)
    X, C = rng.integers(0, 256, (500, 70)).astype(np.uint8), rng.normal(size=(2, 500, 3))
    one, zero = np.ones(70), np.zeros(70)
    plain = _native.weighted_sums(X, C, one, zero, 2)
    np.testing.assert_array_equal(plain, _native.weighted_sums(X, C, one, zero, 2, np.arange(500)))
    y = np.zeros(500, np.int64)
    W, b = rng.normal(size=(1, 3, 70)), np.zeros((1, 3))
    found = _native.full_gradient(X, y, W, b, one, zero, 2)
    again = _native.full_gradient(X, y, W, b, one, zero, 2, np.arange(500))
    for whole, part in zip(found, again, strict=True):
        np.testing.assert_array_equal(whole, part)
    half = _native.classify(X, y, W, b, one, zero, 2, np.arange(250))
    assert half[0].shape == (1, 250)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"factors": np.zeros((2, 3))}, ValueError, "factors: expected shape (R, N, K)"),
        (
            {"factors": np.zeros((1, 4, 2))},
            ValueError,
            "factors: expected shape (1, 5, 2) = (R, N, K)",
        ),
        ({"factors": np.zeros((1, 5, 2), np.int64)}, TypeError, "factors: expected float32"),
        ({"factors": np.zeros((1, 5, 4))[:, :, ::2]}, ValueError, "factors: expected a C-cont"),
        ({"factors": np.zeros((0, 5, 2))}, ValueError, "factors: expected at least one run"),
        ({"X": np.zeros((5, 6))[:, ::2]}, ValueError, "X: expected rows whose features"),
        ({"scale": np.ones(2)}, ValueError, "scale: expected shape (3,) = (D,)"),
        ({"order": np.array([0, 5])}, ValueError, "order: expected rows from 0 to 4"),
        ({"threads": 0}, ValueError, "threads: expected at least 1"),
    ],
)
def test_bad_arrays_are_refused(change: dict[str, Any], error: type, words: str) -> None:
    given = {
        "X": np.zeros((5, 3)), "factors": np.zeros((1, 5, 2)), "scale": np.ones(3),
        "offset": np.zeros(3), "threads": 1, "order": None,
    } | change  # fmt: skip
    with pytest.raises(error, match=re.escape(words)):
        _native.weighted_sums(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": 0}, "classes: expected at least 1"),
        ({"y": np.full(5, 2)}, "y: expected labels from 0 to 1"),
        ({"weights": np.ones(4)}, "weights: expected shape (5,) = (N,)"),
        ({"order": np.array([0, 5])}, "order: expected rows from 0 to 4"),
    ],
)
def test_bad_arrays_of_class_sums_are_refused(change: dict[str, Any], words: str) -> None:
    given = {"X": np.zeros((5, 3)), "y": np.zeros(5, np.int64), "classes": 2, "threads": 1} | change
    with pytest.raises(ValueError, match=re.escape(words)):
        _native.class_sums(**given)  # type: ignore[arg-type]

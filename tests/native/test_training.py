"""The kernel's training against a float64 oracle, and the claims about its bits."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from onelayer import _native
from tests.examples import examples, few
from tests.native.problems import Problem, problems, softmax_residual


class Trained(NamedTuple):
    W: NDArray[Any]
    b: NDArray[Any]


def train(
    p: Problem,
    *,
    X: NDArray[Any] | None = None,
    order: NDArray[np.int64] | None = None,
    runs: slice = slice(None),
    threads: int = 1,
    epochs: int = 1,
) -> Trained:
    W, b = p.W[runs].copy(), p.b[runs].copy()
    for _ in range(epochs):
        _native.train_epoch(
            p.X if X is None else X, p.y, order, p.batch, W, b, p.scale, p.offset, threads,
            p.settings(len(p.y) if order is None else len(order), runs),
        )  # fmt: skip
    return Trained(W, b)


def oracle(p: Problem, order: NDArray[np.int64]) -> Trained:
    W, b = p.W.astype(np.float64), p.b.astype(np.float64)
    F = p.features()
    for start in range(0, len(order), p.batch):
        rows = order[start : start + p.batch]
        for r in range(len(W)):
            residual, _ = softmax_residual(F[rows] @ W[r].T + b[r], p.y[rows])
            W[r] = (1 - 2 * p.eta[r] * p.l2[r]) * W[r] - p.eta[r] * residual.T @ F[rows] / len(rows)
            b[r] -= p.eta[r] * residual.mean(axis=0)
    return Trained(W, b)


def score_bound(p: Problem) -> float:
    """A score is a sum of D products: roundings that walk eps * sqrt(D) times its size."""
    scores = np.einsum("nd,rkd->nrk", p.features(), p.W, optimize=True) + p.b
    largest = 1 + float(np.abs(scores).max())
    return float(4 * np.finfo(p.W.dtype).eps * np.sqrt(p.X.shape[1]) * largest)


def step_bound(p: Problem) -> float:
    """The roundings of one step: of a weight, and of η times the mean of B rows and residuals."""
    eps = float(np.finfo(p.W.dtype).eps)
    gradient = float(np.abs(p.features()).max()) * (score_bound(p) + 4 * eps * np.sqrt(p.batch))
    return float(8 * eps * np.abs(p.W).max() + p.eta.max() * gradient)


def bound(p: Problem) -> float:
    return -(-len(p.y) // p.batch) * step_bound(p)


@examples(60)
@given(p=problems(), threads=st.integers(1, 4), shuffled=st.booleans())
def test_an_epoch_is_the_oracles(p: Problem, threads: int, shuffled: bool) -> None:
    N = len(p.y)
    order = np.random.default_rng(3).permutation(N) if shuffled else None
    got = train(p, order=order, threads=threads)
    wanted = oracle(p, np.arange(N) if order is None else order)
    for a, e in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, e, rtol=0, atol=bound(p))


@examples(60)
@given(p=problems(), threads=st.integers(2, 6))
def test_threads_change_no_bit(p: Problem, threads: int) -> None:
    for one, many in zip(train(p), train(p, threads=threads), strict=True):
        np.testing.assert_array_equal(one, many)


@examples(60)
@given(p=problems(), threads=st.integers(1, 3))
def test_a_run_alone_has_the_bits_it_has_beside_others(p: Problem, threads: int) -> None:
    together = train(p)
    for r in range(len(p.W)):
        alone = train(p, runs=slice(r, r + 1), threads=threads)
        np.testing.assert_array_equal(alone.W[0], together.W[r])
        np.testing.assert_array_equal(alone.b[0], together.b[r])


@examples(40)
@given(p=problems(stored=("uint8",)), wide=st.sampled_from(["float32", "float64", "float16"]))
def test_bytes_and_their_values_as_floats_give_the_same_bits(p: Problem, wide: str) -> None:
    identity = np.arange(len(p.y))
    for a, e in zip(train(p, X=p.X.astype(wide), order=identity, threads=2), train(p), strict=True):
        np.testing.assert_array_equal(a, e)


def big_problem(
    shape: tuple[int, int, int, int, int], stored: str = "uint8", arithmetic: str = "float32"
) -> Problem:
    N, D, K, R, B = shape
    rng = np.random.default_rng(5)
    X = rng.integers(0, 256, (N, D)).astype(stored)
    return Problem(
        X, rng.integers(0, K, N), (0.01 * rng.standard_normal((R, K, D))).astype(arithmetic),
        np.zeros((R, K), arithmetic), np.linspace(0.005, 0.02, R), np.linspace(0, 0.3, R),
        np.full(D, 1 / 255), np.full(D, -0.1), B,
    )  # fmt: skip


SHAPES = [
    (300, 3072, 10, 4, 100),  # the report's setting
    (200, 3072, 10, 40, 100),  # a softmax that is shared out
    (700, 784, 10, 2, 300),  # batches longer than a chunk of the backward pass
    (520, 512, 300, 1, 260),  # more columns than a group
    (40, 5000, 3, 3, 1),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("arithmetic", few(1, ["float32", "float64"]))
def test_large_shapes(shape: tuple[int, int, int, int, int], arithmetic: str) -> None:
    p = big_problem(shape, arithmetic=arithmetic)
    one = train(p)
    wanted = oracle(p, np.arange(len(p.y)))
    # A hundredth of what the epoch moves the weights would be seen, and of the intercepts.
    for a, e, start in zip(one, wanted, (p.W, p.b), strict=True):
        assert bound(p) < 0.01 * np.abs(e - start).max()
        np.testing.assert_allclose(a, e, rtol=0, atol=bound(p))
    for threads in (2, 3):
        for a, e in zip(train(p, threads=threads), one, strict=True):
            np.testing.assert_array_equal(a, e)
    alone = train(p, runs=slice(0, 1), X=p.X.astype(np.float32), threads=2)
    np.testing.assert_array_equal(alone.W[0], one.W[0])


def test_rows_may_be_strided_and_reversed() -> None:
    p = big_problem((60, 100, 4, 2, 16))
    spaced = np.zeros((120, 150), np.uint8)[::2, 7:107]
    spaced[:] = p.X
    backwards = np.ascontiguousarray(p.X[::-1])[::-1]
    for X in (spaced, backwards):
        for a, e in zip(train(p, X=X), train(p), strict=True):
            np.testing.assert_array_equal(a, e)


def test_subnormal_halves_and_negative_values_are_read_exactly() -> None:
    p = big_problem((32, 40, 3, 1, 8), "float16")
    halves = np.arange(32 * 40, dtype=np.uint16).reshape(32, 40).view(np.float16)
    halves[1::2] *= np.float16(-1)
    scale = np.full(40, 1e4)
    p = p._replace(X=halves, scale=scale)
    for a, e in zip(train(p), train(p, X=halves.astype(np.float32)), strict=True):
        np.testing.assert_array_equal(a, e)


@pytest.mark.parametrize("offset", [-2560.0, 1500.0])
def test_rows_that_are_scaled_in_float64_have_the_same_bits_in_every_type(offset: float) -> None:
    p = big_problem((60, 333, 5, 3, 20))
    rng = np.random.default_rng(1)
    p = p._replace(scale=rng.uniform(0.01, 0.02, 333), offset=np.full(333, -1.5))
    p.scale[7], p.offset[7] = -offset / 128, offset
    one = train(p)
    for wide in ("float16", "float32", "float64"):
        for threads in (1, 3):
            other = train(p, X=p.X.astype(wide), order=np.arange(60), threads=threads)
            np.testing.assert_array_equal(other.W, one.W)
    for r in range(3):
        np.testing.assert_array_equal(train(p, runs=slice(r, r + 1)).W[0], one.W[r])


def test_a_diverging_run_does_not_touch_its_neighbour() -> None:
    p = big_problem((100, 300, 5, 2, 10))
    wild = p._replace(eta=np.array([p.eta[0], 1e30]))
    calm, mixed = train(p, epochs=3), train(wild, epochs=3)
    assert not np.isfinite(mixed.W[1]).all()
    np.testing.assert_array_equal(calm.W[0], mixed.W[0])

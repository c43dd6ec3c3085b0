"""Weights of rows in the kernel: against float64, on any threads, and 1 as good as none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelayer import _native
from tests.examples import examples
from tests.native.problems import Problem, problems, softmax_residual


def draw_rows(p: Problem, seed: int) -> tuple[Any, Any]:
    """An order that leaves rows out and takes others twice, and weights, some of them zero."""
    rng = np.random.default_rng(seed)
    N = len(p.y)
    return rng.integers(0, N, N + 1), rng.uniform(0.0, 3.0, N) * (rng.random(N) < 0.8)


@examples(40)
@given(p=problems(), threads=st.integers(1, 4), seed=st.integers(0, 99))
def test_gradient_and_losses_are_times_the_weights_of_their_rows(
    p: Problem, threads: int, seed: int
) -> None:
    order, w = draw_rows(p, seed)
    eps, n = float(np.finfo(p.W.dtype).eps), len(order)
    D = p.X.shape[1]
    F, W, b = p.features()[order], p.W.astype(np.float64), p.b.astype(np.float64)
    arguments = (p.X, p.y, p.W, p.b, p.scale, p.offset)
    loss, square, right, correct = _native.evaluate(*arguments, threads, order, w)
    classes, _, losses, _ = _native.classify(*arguments, threads, order)
    loss_too, G, g, _ = _native.full_gradient(*arguments, threads, order, w)
    largest = 1 + float((np.abs(W) @ np.abs(F).T).max())
    atol = 24 * eps * (np.sqrt(D) + np.sqrt(n)) * largest * (1 + float(np.abs(F).max()))
    for r in range(len(W)):
        residual, row_loss = softmax_residual(F @ W[r].T + b[r], p.y[order])
        residual *= w[order][:, None]
        np.testing.assert_allclose(loss[r], w[order] @ row_loss / n, rtol=0, atol=atol)
        np.testing.assert_allclose(square[r], w[order] @ losses[r] ** 2 / n, rtol=1e-12)
        np.testing.assert_allclose(right[r], w[order] @ (classes[r] == p.y[order]) / n, rtol=1e-12)
        np.testing.assert_allclose(loss_too[r], w[order] @ row_loss / n, rtol=0, atol=atol)
        np.testing.assert_allclose(G[r], residual.T @ F / n, rtol=0, atol=atol)
        np.testing.assert_allclose(g[r], residual.mean(axis=0), rtol=0, atol=atol)
    np.testing.assert_array_equal(correct, _native.evaluate(*arguments, 1, order)[3])


@examples(40)
@given(p=problems(), threads=st.integers(1, 4), seed=st.integers(0, 99))
def test_steps_are_times_the_weights_and_the_same_bits_on_any_threads(
    p: Problem, threads: int, seed: int
) -> None:
    order, w = draw_rows(p, seed)
    F, eps = p.features(), float(np.finfo(p.W.dtype).eps)
    ended = []
    for t in (threads, 1):
        W, b = p.W.copy(), p.b.copy()
        settings = p.settings(len(order))
        _native.train_epoch(
            p.X, p.y, order, p.batch, W, b, p.scale, p.offset, t, settings, weights=w
        )
        ended.append((W, b))
    np.testing.assert_array_equal(ended[0][0], ended[1][0])
    np.testing.assert_array_equal(ended[0][1], ended[1][1])
    for r in range(len(p.W)):
        W64, b64 = p.W[r].astype(np.float64), p.b[r].astype(np.float64)
        for start in range(0, len(order), p.batch):
            batch = order[start : start + p.batch]
            residual, _ = softmax_residual(F[batch] @ W64.T + b64, p.y[batch])
            residual *= w[batch][:, None] * p.eta[r] / len(batch)
            W64 = (1.0 - 2.0 * p.eta[r] * p.l2[r]) * W64 - residual.T @ F[batch]
            b64 = b64 - residual.sum(axis=0)
        size = 1.0 + float(np.abs(F).max()) ** 2 * F.shape[1]
        np.testing.assert_allclose(ended[0][0][r], W64, rtol=0, atol=300 * eps * size)
        np.testing.assert_allclose(ended[0][1][r], b64, rtol=0, atol=300 * eps * size)


@examples(20)
@given(p=problems())
def test_weights_of_one_are_the_bits_of_none(p: Problem) -> None:
    ended = []
    for w in (None, np.ones(len(p.y))):
        W, b = p.W.copy(), p.b.copy()
        settings = p.settings(len(p.y))
        _native.train_epoch(
            p.X, p.y, None, p.batch, W, b, p.scale, p.offset, 2, settings, weights=w
        )
        measured = _native.full_gradient(p.X, p.y, W, b, p.scale, p.offset, 2, None, w)
        loss, *_ = _native.evaluate(p.X, p.y, W, b, p.scale, p.offset, 2, None, w)
        ended.append((W, b, *measured, loss))
    for plain, weighted in zip(*ended, strict=True):
        np.testing.assert_array_equal(plain, weighted)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (np.ones(3), r"weights: expected shape \(4,\) = \(N,\)"),
        (np.ones((4, 1)), r"weights: expected shape \(4,\) = \(N,\), got shape \(4, 1\)"),
        (np.ones(8)[::2], "weights: expected a C-contiguous array"),
        (np.ones(4, np.float32), "weights: expected float64"),
    ],
)
def test_other_weights_are_refused(weights: Any, words: str) -> None:
    X, y = np.ones((4, 2)), np.array([0, 1, 0, 1])
    W, b, ones = np.zeros((1, 2, 2)), np.zeros((1, 2)), np.ones(2)
    with pytest.raises((ValueError, TypeError), match=words):
        _native.full_gradient(X, y, W, b, ones, ones, 1, None, weights)

"""The generalised cross-entropy: its gradient, and what it becomes at both ends of q."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from onelayer.objective.loss import GeneralisedCrossEntropy, log_softmax, targets

SEEDS = st.integers(0, 2**32 - 1)


def scores(seed: int, rows: int = 7, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(scale=2.0, size=(rows, classes)), rng.integers(0, classes, rows)


def generalised_cross_entropy(s: NDArray[np.float64], y: NDArray[np.int64], q: float) -> float:
    return float(GeneralisedCrossEntropy(q).values(s, targets(y, s.shape[1])).mean())


def residuals(s: NDArray[np.float64], y: NDArray[np.int64], q: float) -> NDArray[np.float64]:
    return GeneralisedCrossEntropy(q).residual(s, targets(y, s.shape[1]))


@pytest.mark.parametrize("q", [0.0, 1e-3, 0.3, 0.6, 1.0])
@given(seed=SEEDS)
def test_residuals_are_the_gradient_of_the_loss_by_central_differences(seed: int, q: float) -> None:
    s, y = scores(seed)
    h, numerical = 1e-5, np.empty_like(s)
    for at in np.ndindex(s.shape):
        up, down = s.copy(), s.copy()
        up[at] += h
        down[at] -= h
        difference = generalised_cross_entropy(up, y, q) - generalised_cross_entropy(down, y, q)
        numerical[at] = len(s) * difference / (2 * h)
    np.testing.assert_allclose(residuals(s, y, q), numerical, atol=1e-8)


@given(seed=SEEDS)
def test_the_loss_tends_to_cross_entropy_as_q_tends_to_0(seed: int) -> None:
    s, y = scores(seed)
    cross_entropy = -log_softmax(s)[np.arange(len(y)), y].mean()
    assert generalised_cross_entropy(s, y, 0.0) == pytest.approx(cross_entropy, rel=1e-12)
    # The error is q/2 · log² p to first order; the second bound would break without expm1.
    largest = log_softmax(s).min() ** 2
    for q in (1e-3, 1e-6, 1e-12):
        assert abs(generalised_cross_entropy(s, y, q) - cross_entropy) <= q * largest + 1e-13
        np.testing.assert_allclose(
            residuals(s, y, q), residuals(s, y, 0.0), atol=q * largest + 1e-13
        )


@given(seed=SEEDS)
def test_at_q_1_the_loss_is_the_expected_share_of_wrong_rows(seed: int) -> None:
    s, y = scores(seed)
    right = np.exp(log_softmax(s))[np.arange(len(y)), y]
    assert generalised_cross_entropy(s, y, 1.0) == pytest.approx(1 - right.mean(), abs=1e-14)


@given(seed=SEEDS, q=st.floats(0.05, 1.0))
def test_rows_that_are_hopeless_cost_at_most_1_over_q_and_do_not_pull(seed: int, q: float) -> None:
    s, y = scores(seed)
    s[np.arange(len(y)), y] -= 1e4
    assert generalised_cross_entropy(s, y, q) <= (1 + 1e-12) / q
    assert np.abs(residuals(s, y, q)).max() < 1e-12

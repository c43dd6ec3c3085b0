"""Numerical against analytic gradients, for every entry of W and b.

The numerical gradient is the central difference on five points,

    g_n = [ J(θ − 2h) − 8 J(θ − h) + 8 J(θ + h) − J(θ + 2h) ] / 12h,

whose truncation error is h⁴ J⁽⁵⁾/30, and an entry's relative error is the report's

    e = |g_a − g_n| / max(ε, |g_a| + |g_n|).

What is rounding noise: J is known to a few units of its last place, u·(|J| + 1) with
u = 2⁻⁵², and the difference divides that by h, so g_n cannot be trusted below

    noise = 3/2 · u · (|J| + 1) / h        (3/2 = the sum of the weights 1, 8, 8, 1 over 12)

whatever g_a is. (h is divided by max(1, max|x|), so that a step moves no score by more than STEP
and the truncation stays below the rounding.) An entry with |g_a| + |g_n| < noise / tolerance
cannot show a relative error under the tolerance even when both gradients are perfect: it is
counted as `too_small` and held to an absolute bound instead, |g_a − g_n| ≤ noise. No entry is left
unchecked.

Source: Nocedal & Wright, Numerical Optimization, 2nd ed., section 8.1 (differences and their
rounding); the relative error is that of the CS231n notes, as in the report.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from onelayer.objective.cost import Gradient, cost, gradient, scores
from onelayer.objective.loss import Float64, Loss, targets

# With values of x and curvatures of order 1, truncation (h⁴/30) and rounding (u/h) are both near
# 1e-13 here; a smaller step loses digits to rounding, a larger one to the fifth derivative.
STEP = 1e-3

TOLERANCE = 1e-6

# Offsets of the five-point difference in units of h, and their weights over 12h.
STENCIL = ((-2, 1.0), (-1, -8.0), (1, 8.0), (2, -1.0))


@dataclass(frozen=True)
class GradientCheck:
    """One line of the gradient-check table: one parameter, one batch size, one λ.

    Attributes:
        parameter: "W" or "b".
        batch_size: rows that the cost was averaged over.
        l2: λ.
        entries: number of entries checked, K·D or K.
        too_small: how many of them are rounding noise at the tolerance; see the module's text.
        max_error: largest relative error of the entries that are not.
        median_error: median relative error of the entries that are not.
        max_noise_ratio: largest |g_a − g_n| / noise over the entries that are too small; 0 if none.
        tolerance: what max_error is held to.
        loss: "softmax" or "sigmoid".
        label_smoothing: ε.
    """

    parameter: str
    batch_size: int
    l2: float
    entries: int
    too_small: int
    max_error: float
    median_error: float
    max_noise_ratio: float
    tolerance: float = TOLERANCE
    loss: Loss = "softmax"
    label_smoothing: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether every entry is within its bound; False for errors that are not numbers."""
        return self.max_error <= self.tolerance and self.max_noise_ratio <= 1.0


def relative_error(analytic: ArrayLike, numerical: ArrayLike, epsilon: float = 1e-300) -> Float64:
    """The report's relative error: |g_a − g_n| / max(ε, |g_a| + |g_n|), entry by entry.

    Args:
        analytic: g_a, any shape.
        numerical: g_n, the same shape.
        epsilon: ε > 0, keeps 0/0 at 0.

    Returns:
        Errors in [0, 1], same shape.

    Example:
        >>> relative_error([1.0, 0.0], [3.0, 0.0])
        array([0.5, 0. ])
    """
    a, n = np.asarray(analytic, np.float64), np.asarray(numerical, np.float64)
    return np.asarray(np.abs(a - n) / np.maximum(epsilon, np.abs(a) + np.abs(n)))


def numerical_gradient(
    function: Callable[[Float64], float], theta: ArrayLike, step: float = STEP
) -> Float64:
    """Central difference on five points of any function, one entry of θ at a time.

    It knows nothing of the function, so it costs four calls an entry: for small problems, and to
    hold `numerical_gradients` against.

    Args:
        function: takes θ, returns a number.
        theta: point, any shape.
        step: h > 0.

    Returns:
        The gradient, in the shape of θ.

    Example:
        >>> numerical_gradient(lambda t: float(np.sum(t**3)), [1.0, 2.0]).round(9)
        array([ 3., 12.])
    """
    theta = np.array(theta, np.float64)
    result = np.zeros_like(theta)
    for index in np.ndindex(theta.shape):
        kept = theta[index]
        for offset, weight in STENCIL:
            theta[index] = kept + offset * step
            result[index] += weight * function(theta)
        theta[index] = kept
    return result / (12.0 * step)


def numerical_gradients(
    X: ArrayLike,
    y: ArrayLike,
    W: ArrayLike,
    b: ArrayLike,
    l2: float = 0.0,
    step: float = STEP,
    loss: Loss = "softmax",
    label_smoothing: float = 0.0,
) -> Gradient:
    """Central difference on five points of the cost, for every entry of W and b at once.

    To move W[k, d] by δ moves the score of class k in row n by δ X[n, d] and leaves the others,
    so the cost after the move needs one new column of scores and not a product with all of W. The
    cost itself is evaluated as it stands; no derivative is used.

    Args:
        X: features, shape (N, D), already scaled.
        y: class index of each row, shape (N,).
        W: weights, shape (K, D).
        b: biases, shape (K,).
        l2: λ ≥ 0.
        step: the largest move of a score, > 0: h = step for b, step / max(1, max|x|) for W.
        loss: "softmax" or "sigmoid".
        label_smoothing: ε in [0, 1).

    Returns:
        The numerical gradient, W (K, D) and b (K,).
    """
    X = np.asarray(X, np.float64)
    W, b = np.asarray(W, np.float64), np.asarray(b, np.float64)
    S, T = scores(X, W, b), targets(y, len(b), label_smoothing)
    loss_after = _sigmoid_loss_after if loss == "sigmoid" else _softmax_loss_after
    ones = np.ones((len(X), 1))
    squares = float(np.sum(W * W))
    h = _step_of_weights(X, step)
    in_W, in_b = np.zeros_like(W), np.zeros_like(b)
    for k in range(len(b)):
        for offset, weight in STENCIL:
            squares_after = squares - W[k] ** 2 + (W[k] + offset * h) ** 2
            in_W[k] += weight * (loss_after(S, T, k, offset * h * X) + l2 * squares_after)
            in_b[k] += weight * (loss_after(S, T, k, offset * step * ones)[0] + l2 * squares)
    return Gradient(in_W / (12.0 * h), in_b / (12.0 * step))


def _step_of_weights(X: Float64, step: float) -> float:
    return step / max(1.0, float(np.abs(X).max()))


def _softmax_loss_after(S: Float64, T: Float64, k: int, move: Float64) -> Float64:
    """Mean cross-entropy after the scores of class k moved, one for each column of `move` (N, M).

    With a row's log-sum over the other classes at hand, the moved column is one more term of it.
    """
    others = np.delete(S, k, axis=1)
    top = others.max(axis=1, keepdims=True)
    others_log_sum = top + np.log(np.exp(others - top).sum(axis=1, keepdims=True))
    log_sum = np.logaddexp(others_log_sum, S[:, k : k + 1] + move)
    drawn = (T * S).sum(axis=1, keepdims=True) + T[:, k : k + 1] * move
    return np.asarray((log_sum - drawn).mean(axis=0))


def _sigmoid_loss_after(S: Float64, T: Float64, k: int, move: Float64) -> Float64:
    """The same of the K-sigmoid loss: only the k-th of its K terms moves."""
    terms = np.logaddexp(0.0, S) - T * S
    others = np.delete(terms, k, axis=1).sum(axis=1, keepdims=True)
    moved = S[:, k : k + 1] + move
    own = np.logaddexp(0.0, moved) - T[:, k : k + 1] * moved
    return np.asarray((others + own).mean(axis=0) / S.shape[1])


def check_gradient(
    X: ArrayLike,
    y: ArrayLike,
    W: ArrayLike,
    b: ArrayLike,
    l2: float = 0.0,
    *,
    loss: Loss = "softmax",
    label_smoothing: float = 0.0,
    step: float = STEP,
    tolerance: float = TOLERANCE,
) -> tuple[GradientCheck, GradientCheck]:
    """Compare the analytic gradient with the numerical one at every entry of W and of b.

    Args:
        X: features of the batch, shape (B, D), already scaled.
        y: class index of each row, shape (B,).
        W: weights, shape (K, D).
        b: biases, shape (K,).
        l2: λ ≥ 0.
        loss: "softmax" or "sigmoid".
        label_smoothing: ε in [0, 1).
        step: the largest move of a score, > 0.
        tolerance: relative error that every entry above the noise is held to.

    Returns:
        The check of W and the check of b.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> checks = check_gradient(rng.random((5, 4)), [0, 1, 2, 0, 1],
        ...                         rng.normal(size=(3, 4)), np.zeros(3), l2=0.1)
        >>> [check.passed for check in checks]
        [True, True]
    """
    X, of = np.asarray(X, np.float64), (loss, label_smoothing)
    analytic = gradient(X, y, W, b, l2, *of)
    numerical = numerical_gradients(X, y, W, b, l2, step, *of)
    rounding = 1.5 * float(np.finfo(np.float64).eps) * (cost(X, y, W, b, l2, *of) + 1.0)
    noise_W, noise_b = rounding / _step_of_weights(X, step), rounding / step
    about = (len(X), l2, tolerance, *of)
    return (
        _compare("W", analytic.W, numerical.W, noise_W, *about),
        _compare("b", analytic.b, numerical.b, noise_b, *about),
    )


def check_gradients(
    X: ArrayLike,
    y: ArrayLike,
    W: ArrayLike,
    b: ArrayLike,
    batch_sizes: Sequence[int] = (1, 20, 100),
    l2s: Sequence[float] = (0.0, 0.1),
    loss: Loss = "softmax",
    label_smoothing: float = 0.0,
) -> tuple[GradientCheck, ...]:
    """The gradient-check table: every batch size with every λ, on the first rows of X.

    Args:
        X: features, shape (N, D), already scaled.
        y: class index of each row, shape (N,).
        W: weights, shape (K, D).
        b: biases, shape (K,).
        batch_sizes: sizes B ≤ N; the first B rows are the batch.
        l2s: values of λ.
        loss: "softmax" or "sigmoid".
        label_smoothing: ε in [0, 1).

    Returns:
        Two checks, of W and of b, for each pair of batch size and λ.
    """
    X, y = np.asarray(X, np.float64), np.asarray(y)
    return tuple(
        check
        for l2 in l2s
        for size in batch_sizes
        for check in check_gradient(
            X[:size], y[:size], W, b, l2, loss=loss, label_smoothing=label_smoothing
        )
    )


def _compare(
    parameter: str,
    analytic: Float64,
    numerical: Float64,
    noise: float,
    batch_size: int,
    l2: float,
    tolerance: float,
    loss: Loss,
    label_smoothing: float,
) -> GradientCheck:
    errors = relative_error(analytic, numerical)
    small = np.abs(analytic) + np.abs(numerical) < noise / tolerance
    # A gradient that is not a number belongs to the errors: NaN compares as not small.
    kept = errors[~small]
    distance = np.abs(analytic - numerical)[small]
    return GradientCheck(
        parameter=parameter,
        batch_size=batch_size,
        l2=l2,
        entries=errors.size,
        too_small=int(small.sum()),
        max_error=float(kept.max(initial=0.0)),
        median_error=float(np.median(kept)) if kept.size else 0.0,
        max_noise_ratio=float((distance / noise).max(initial=0.0)),
        tolerance=tolerance,
        loss=loss,
        label_smoothing=label_smoothing,
    )

"""Numerical against analytic gradients of the cost, for every entry of W and b.

The numerical gradient is the central difference on five points,

    g_n = [ J(θ − 2h) − 8 J(θ − h) + 8 J(θ + h) − J(θ + 2h) ] / 12h,

whose truncation error is h⁴ J⁽⁵⁾/30, and an entry's relative error is the report's

    e = |g_a − g_n| / max(ε, |g_a| + |g_n|).

J is known to a few units of its last place, u·(|J| + 1) with u = 2⁻⁵², and the difference divides
that by h, so g_n is rounding noise below

    noise = 3/2 · u · (|J| + 1) / h        (3/2 = the sum of the weights 1, 8, 8, 1 over 12)

(h is divided by max(1, max|x|), so that a step moves no score by more than STEP and the truncation
stays below the rounding.) An entry with |g_a| + |g_n| < noise / tolerance cannot show a relative
error under the tolerance even when both gradients are perfect: it is counted as `too_small` and
held to an absolute bound instead, |g_a − g_n| ≤ noise. No entry is left unchecked.

A penalty λ₁ Σ |W| has no gradient at 0, and no part here: J is the smooth part of the cost.

Source: Nocedal & Wright, Numerical Optimization, 2nd ed., section 8.1 (differences and their
rounding); the relative error is that of the CS231n notes, as in the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.objective.loss import (
    PLAIN,
    Float64,
    Gradient,
    Loss,
    Of,
    cost,
    gradient,
    scores,
    softmax_and_log_sum,
    targets,
)
from onelayer.objective.penalty import Penalty

# With values of x and curvatures of order 1, truncation (h⁴/30) and rounding (u/h) are both near
# 1e-13 here; a smaller step loses digits to rounding, a larger one to the fifth derivative.
STEP = 1e-3

TOLERANCE = 1e-6

# Offsets of the five-point difference in units of h, and their weights over 12h.
STENCIL = ((-2, 1.0), (-1, -8.0), (1, 8.0), (2, -1.0))


@dataclass(frozen=True)
class GradientCheck:
    """The check of one parameter, one batch size and one λ.

    Attributes:
        parameter: "W" or "b".
        batch_size: number of rows that the cost is the mean over.
        l2: λ.
        entries: number of entries checked, K·D or K.
        too_small: number of entries that are rounding noise at the tolerance.
        max_error: largest relative error of the others.
        median_error: median relative error of the others.
        max_noise_ratio: largest |g_a − g_n| / noise of the entries that are too small; 0 if none.
        tolerance: bound on max_error.
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
        """Whether every entry is within its bound; False for errors that are NaN."""
        return self.max_error <= self.tolerance and self.max_noise_ratio <= 1.0


@dataclass(frozen=True, repr=False)
class GradientChecks:
    """The checks of each parameter, batch size and λ."""

    checks: tuple[GradientCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def max_error(self) -> dict[str, float]:
        """Largest relative error of each parameter, "W" and "b"."""
        errors = [(check.parameter, check.max_error) for check in self.checks]
        return {name: max(error for of, error in errors if of == name) for name in ("W", "b")}

    def __repr__(self) -> str:
        verdict = "passed" if self.passed else "FAILED"
        lines = [f"gradient check {verdict}: largest relative error, at most {TOLERANCE:g} passes"]
        lines += [
            f"  {c.parameter}  λ = {c.l2:<6g} batch of {c.batch_size:<5} {c.max_error:.1e}"
            f"{'' if c.passed else '  FAILED'}"
            for c in self.checks
        ]
        return "\n".join(lines)


def relative_error(analytic: ArrayLike, numerical: ArrayLike, epsilon: float = 1e-300) -> Float64:
    """|g_a − g_n| / max(ε, |g_a| + |g_n|) of each entry, in [0, 1]; ε keeps 0/0 at 0."""
    a, n = np.asarray(analytic, np.float64), np.asarray(numerical, np.float64)
    return np.asarray(np.abs(a - n) / np.maximum(epsilon, np.abs(a) + np.abs(n)))


def numerical_gradients(
    X: ArrayLike, y: ArrayLike, W: ArrayLike, b: ArrayLike, l2s: Sequence[float], of: Of = PLAIN
) -> list[Gradient]:
    """Central differences on five points of each λ's cost, for every entry of W and b at once.

    To move W[k, d] by δ moves the score of class k in row n by δ X[n, d] and leaves the others, so
    the cost after the move needs one new column of scores instead of a product with all of W. The
    cost itself is evaluated; no derivative is used. No score moves by more than STEP.
    """
    X, W, b = (np.asarray(values, np.float64) for values in (X, W, b))
    S, T = scores(X, W, b), targets(y, len(b), of[1])
    loss_after = _sigmoid_loss_after if of[0] == "sigmoid" else _softmax_loss_after
    if np.ndim(y) == 2:
        loss_after = _labels_loss_after
    ones = np.ones((len(X), 1))
    penalties = [Penalty(l2) for l2 in l2s]
    h = _step_of_weights(X)
    sums = [Gradient(np.zeros_like(W), np.zeros_like(b)) for _ in l2s]
    for k in range(len(b)):
        for offset, weight in STENCIL:
            in_W = loss_after(S, T, k, offset * h * X)
            in_b = loss_after(S, T, k, offset * STEP * ones)[0]
            for penalty, total in zip(penalties, sums, strict=True):
                at_W = penalty.value(W)
                after = at_W - penalty.terms(W[k]) + penalty.terms(W[k] + offset * h)
                total.W[k] += weight * (in_W + after)
                total.b[k] += weight * (in_b + at_W)
    return [Gradient(total.W / (12.0 * h), total.b / (12.0 * STEP)) for total in sums]


def _step_of_weights(X: Float64) -> float:
    return STEP / max(1.0, float(np.abs(X).max()))


def _softmax_loss_after(S: Float64, T: Float64, k: int, move: Float64) -> Float64:
    """Mean cross-entropy after the scores of class k moved, one for each column of `move` (N, M).

    With a row's log-sum over the other classes known, the moved column is one more term of it.
    """
    others = np.delete(S, k, axis=1)
    log_sum = np.logaddexp(softmax_and_log_sum(others)[1][:, None], S[:, k : k + 1] + move)
    at_targets = (T * S).sum(axis=1, keepdims=True) + T[:, k : k + 1] * move
    return np.asarray((log_sum - at_targets).mean(axis=0))


def _sigmoid_loss_after(S: Float64, T: Float64, k: int, move: Float64) -> Float64:
    """The same of the K-sigmoid loss: only the k-th of its K terms moves."""
    terms = np.logaddexp(0.0, S) - T * S
    others = np.delete(terms, k, axis=1).sum(axis=1, keepdims=True)
    moved = S[:, k : k + 1] + move
    own = np.logaddexp(0.0, moved) - T[:, k : k + 1] * moved
    return np.asarray((others + own).mean(axis=0) / S.shape[1])


def _labels_loss_after(S: Float64, T: Float64, k: int, move: Float64) -> Float64:
    """The same of many labels, whose terms are summed."""
    return np.asarray(_sigmoid_loss_after(S, T, k, move) * S.shape[1])


def compare_gradients(
    X: ArrayLike,
    y: ArrayLike,
    W: ArrayLike,
    b: ArrayLike,
    l2: float = 0.0,
    of: Of = PLAIN,
    numerical: Gradient | None = None,
) -> tuple[GradientCheck, GradientCheck]:
    """The checks of W and of b on one batch of scaled rows X (B, D) with labels y (B,).

    `numerical` is the numerical gradient, where it is known.
    """
    X = np.asarray(X, np.float64)
    analytic = gradient(X, y, W, b, l2, of)
    if numerical is None:
        (numerical,) = numerical_gradients(X, y, W, b, [l2], of)
    rounding = 1.5 * float(np.finfo(np.float64).eps) * (cost(X, y, W, b, l2, of) + 1.0)

    def check(parameter: str, step: float) -> GradientCheck:
        g_a, g_n = getattr(analytic, parameter), getattr(numerical, parameter)
        noise = rounding / step
        small = np.abs(g_a) + np.abs(g_n) < noise / TOLERANCE
        # A gradient that is not a number belongs to the errors: NaN compares as not small.
        errors = relative_error(g_a, g_n)[~small]
        return GradientCheck(
            parameter=parameter,
            batch_size=len(X),
            l2=l2,
            entries=small.size,
            too_small=int(small.sum()),
            max_error=float(errors.max(initial=0.0)),
            median_error=float(np.median(errors)) if errors.size else 0.0,
            max_noise_ratio=float((np.abs(g_a - g_n)[small] / noise).max(initial=0.0)),
            loss=of[0],
            label_smoothing=of[1],
        )

    return check("W", _step_of_weights(X)), check("b", STEP)


def check_gradients(
    X: NDArray[np.floating],
    y: NDArray[np.int64],
    W: Float64,
    b: Float64,
    batch_sizes: Sequence[int] = (1, 20, 100),
    l2s: Sequence[float] = (0.0, 0.1),
    of: Of = PLAIN,
) -> GradientChecks:
    """The checks for every batch size with every λ, on the first rows of X."""
    checks: list[list[tuple[GradientCheck, GradientCheck]]] = [[] for _ in l2s]
    for size in batch_sizes:
        batch = X[:size], y[:size], W, b
        numerical = numerical_gradients(*batch, l2s, of)
        for l2, found, of_l2 in zip(l2s, numerical, checks, strict=True):
            of_l2.append(compare_gradients(*batch, l2, of, found))
    return GradientChecks(tuple(check for of_l2 in checks for pair in of_l2 for check in pair))

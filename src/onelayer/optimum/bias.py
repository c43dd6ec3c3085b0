"""The best bias for given weights, from scores that are computed once.

    b° = argmin (1/N) Σ [log 1ᵀ exp(sᵢ + b) − (sᵢ + b)ᵀ yᵢ]        sᵢ = W xᵢ
    ∂/∂b = p̄ − π        p̄ mean probabilities, π the share of each class

Where rows have weights, every mean and share is one by weight.

K unknowns and a convex cost: Newton's method with Levenberg's damping.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from onelayer.engines import Engine, Rows, Weights

Float64 = NDArray[np.float64]

# Scores of more rows than fit here are computed anew for each step of Newton's method.
SCORE_BYTES = 128 << 20
MOST_STEPS = 100
SMALLEST_RESIDUAL = 1e-15
# The Hessian only has to be near: of so many products, no more rows are taken.
HESSIAN_PRODUCTS = 2e8


class Mixture(NamedTuple):
    """p̃ = (1 − t) p + t q: what makes mean probabilities equal to the shares."""

    t: float
    q: Float64


class Scores:
    """Scores W x of all rows, in tiles; kept where they fit in memory."""

    def __init__(self, engine: Engine, rows: Rows, W: Float64) -> None:
        self._engine, self._rows, self._labels = engine, rows, rows.labels
        self._mass = rows.mass
        self._weights = Weights(W[None], np.zeros((1, len(W))))
        self._step = max(1024, SCORE_BYTES // (16 * len(W)))
        self._kept: dict[int, Float64] = {}

    def loss(self, b: Float64) -> float:
        """Mean cross-entropy with bias b, shape (K,)."""
        total = 0.0
        for part, y, S in self._tiles():
            losses = _log_sum(S + b) - S[np.arange(len(y)), y] - b[y]
            total += float(np.sum(_weighed(losses, part.row_weights)))
        return total / self._mass

    def class_means(self, b: Float64) -> Float64:
        """Mean probability of each class, shape (K,)."""
        total = np.zeros(len(b))
        for part, _, S in self._tiles():
            total += _weighed(_softmax(S + b), part.row_weights).sum(axis=0)
        return total / self._mass

    def bias_hessian(self, b: Float64) -> Float64:
        """Curvature of the mean cross-entropy in b, shape (K, K)."""
        K = len(b)
        stride = max(1, int(self._rows.count * K * K / HESSIAN_PRODUCTS))
        hessian, seen = np.zeros((K, K)), 0.0
        for part, _, S in self._tiles():
            P = _softmax(S[::stride] + b)
            weights = None if part.row_weights is None else part.row_weights[::stride]
            Q = _weighed(P, weights)
            hessian += np.diag(Q.sum(axis=0)) - P.T @ Q
            seen += len(P) if weights is None else float(weights.sum())
        return hessian / seen

    def gradient(self, b: Float64, mixture: Mixture) -> tuple[Float64, float]:
        """(1/N) Σ (p̃ᵢ − yᵢ) xᵢᵀ, shape (K, D), and (1/N) Σ KL(p̃ᵢ ‖ pᵢ) in nats."""
        t, q = mixture
        total, divergence = np.zeros(self._weights.W.shape[1:]), 0.0
        for part, y, S in self._tiles():
            P = _softmax(S + b)
            if t > 0.0:
                log_p = S + b - _log_sum(S + b)[:, None]
                P = (1.0 - t) * P + t * q
                with np.errstate(divide="ignore", invalid="ignore"):
                    terms = np.where(P > 0.0, P * (np.log(P) - log_p), 0.0)
                divergence += float(np.sum(_weighed(terms, part.row_weights)))
            P[np.arange(len(y)), y] -= 1.0
            P = _weighed(P, part.row_weights)
            total += self._engine.weighted_sums(part, P[None])[0]
        return total / self._mass, max(divergence / self._mass, 0.0)

    def _tiles(self) -> Iterator[tuple[Rows, NDArray[np.int64], Float64]]:
        for start in range(0, self._rows.count, self._step):
            stop = min(start + self._step, self._rows.count)
            part = self._rows.part(start, stop)
            yield part, self._labels[start:stop], self._scores(start, part)

    def _scores(self, start: int, part: Rows) -> Float64:
        if start in self._kept:
            return self._kept[start]
        scores = np.asarray(self._engine.scores(part, self._weights)[0], np.float64)
        if self._rows.count <= 2 * self._step:
            self._kept[start] = scores
        return scores


def minimise_bias(scores: Scores, b: Float64, shares: Float64) -> tuple[Float64, float]:
    """Bring b as near to its best as float64 can.

    Args:
        scores: of all rows, without a bias.
        b: where to start, shape (K,).
        shares: share of each class in the rows, shape (K,).

    Returns:
        b, −∞ for a class without rows, and the largest |p̄ − π| that is left.
    """
    present = shares > 0.0
    b = np.where(present, b, -np.inf)
    cost, excess = scores.loss(b), scores.class_means(b) - shares
    damping = 0.0
    for _ in range(MOST_STEPS):
        residual = float(np.abs(excess).max())
        if residual < SMALLEST_RESIDUAL or damping > 1e6:
            break
        trial = b - _damped_step(scores.bias_hessian(b), excess, present, damping)
        cost_there, excess_there = scores.loss(trial), scores.class_means(trial) - shares
        nearer = np.abs(excess_there).max() < residual
        if cost_there < cost - 1e-13 * abs(cost) or (nearer and cost_there <= cost + 1e-13):
            b, cost, excess, damping = trial, cost_there, excess_there, damping / 8.0
        elif damping == 0.0 and residual < 1e-13:
            break
        else:
            damping = max(8.0 * damping, 1e-6)
    return b, float(np.abs(excess).max())


def feasible_mixture(means: Float64, shares: Float64) -> Mixture:
    """The smallest t, with its q, for which (1 − t) p̄ + t q = π.

    Args:
        means: p̄, shape (K,).
        shares: π, shape (K,).

    Returns:
        t in [0, 1] and probabilities q, shape (K,).

    Example:
        >>> feasible_mixture(np.array([0.6, 0.4]), np.array([0.3, 0.7]))
        Mixture(t=0.5, q=array([0., 1.]))
    """
    present = means > 0.0
    ratio = float((shares[present] / means[present]).min())
    t = 1.0 - ratio
    if t <= 0.0:
        return Mixture(0.0, shares)
    q = np.maximum(shares - ratio * means, 0.0)
    # Below rounding nothing is left to mix in.
    return Mixture(t, q / q.sum()) if q.any() else Mixture(0.0, shares)


def _damped_step(
    hessian: Float64, excess: Float64, present: NDArray[np.bool_], damping: float
) -> Float64:
    """The damped Newton step; the same shift of all biases changes nothing and is taken out."""
    H = hessian[np.ix_(present, present)]
    size = float(np.trace(H)) / len(H) + 1e-30
    H += size / len(H) + (size * 1e-12 + damping) * np.eye(len(H))
    step = np.zeros(len(present))
    step[present] = np.linalg.solve(H, excess[present])
    return step


def _weighed(values: Float64, weights: Float64 | None) -> Float64:
    """Values of rows, on the first axis, times the rows' weights; themselves without weights.

    A row of weight 0 may be of a class that no other row has, whose loss is infinite: it is zero.
    """
    if weights is None:
        return values
    of_row = weights if values.ndim == 1 else weights[:, None]
    return np.multiply(values, of_row, where=of_row > 0.0, out=np.zeros_like(values))


def _log_sum(S: Float64) -> Float64:
    top = S.max(axis=1)
    return np.asarray(top + np.log(np.exp(S - top[:, None]).sum(axis=1)))


def _softmax(S: Float64) -> Float64:
    P: Float64 = np.exp(S - S.max(axis=1, keepdims=True))
    P /= P.sum(axis=1, keepdims=True)
    return P

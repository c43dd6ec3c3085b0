"""How far a model can be from the best there is: a bound, proven by one pass over the rows.

For λ > 0 let b° minimise J(W, ·). Then ∇_b J(W, b°) = 0, the probabilities p at (W, b°) are a
feasible point of the dual problem, and with J* = min J

    J(W, b°) − J* ≤ ‖∇_W J(W, b°)‖²_F / (4λ)        ‖W − W*‖²_F ≤ (J(W, b°) − J*) / λ

docs/formulations.md derives both (Fenchel duality as in Shalev-Shwartz & Zhang 2013 and Ndiaye et
al. 2015; strong convexity). The bound holds for any W, however it was found. Its arithmetic is
float64; ∇_b is brought to that arithmetic's rounding, and what is left of it is reported.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onelayer.engines import Engine, Rows, Weights

Float64 = NDArray[np.float64]

# Scores of more rows than fit here are computed anew for each step of Newton's method.
SCORE_BYTES = 128 << 20
MOST_STEPS, MOST_HALVINGS = 60, 30
SMALLEST_RESIDUAL = 1e-15
HESSIAN_PRODUCTS = 2e8
ABSENT_BELOW = 50.0


@dataclass(frozen=True)
class Certificate:
    """A model's cost, and a proven bound on how far above the best it is.

    Attributes:
        l2: λ ≥ 0.
        cost: J(W, b) of the model as it is, nats.
        gap: bound on cost − J*, nats; infinite where λ = 0, since then there is none.
        gradient_norm: ‖∇_W J‖ at the best bias.
        bias_residual: largest |∂J/∂b| left at that bias: the rounding of float64.
        rows: how many rows it is about.
    """

    l2: float
    cost: float
    gap: float
    gradient_norm: float
    bias_residual: float
    rows: int

    @property
    def lower_bound(self) -> float:
        """No model with this λ has a cost below this on these rows, nats."""
        return self.cost - self.gap

    @property
    def distance(self) -> float:
        """Bound on ‖W − W*‖, the distance to the best weights."""
        return math.sqrt(self.gap / self.l2) if self.l2 > 0.0 else math.inf

    @property
    def sentence(self) -> str:
        """The certificate in words.

        Example:
            >>> Certificate(0.1, 1.7342, 0.0061, 0.05, 1e-17, 10_000).sentence
            'cost 1.7342, at most 0.0061 above the best possible'
        """
        if self.l2 == 0.0:
            return (
                f"cost {self.cost:.5g}, gradient norm {self.gradient_norm:.2g}; "
                "without l2 (λ = 0) no bound exists"
            )
        return f"cost {self.cost:.5g}, at most {self.gap:.2g} above the best possible"


@dataclass(frozen=True, eq=False)
class Certified:
    """What was proven of (W, b), the same of (W, b°), and the bias b° itself, shape (K,)."""

    given: Certificate
    best: Certificate
    bias: Float64


def certify_weights(engine: Engine, rows: Rows, W: Float64, b: Float64, l2: float) -> Certified:
    """Prove how far (W, b) is from the optimum on these rows.

    Args:
        engine: what does the arithmetic, in float64.
        rows: the rows that J is the mean over.
        W: weights, shape (K, D).
        b: bias, shape (K,).
        l2: λ ≥ 0.

    Returns:
        Certificates of (W, b) and of W with the bias that minimises J(W, ·). A class without a row
        has its best bias at −∞, and its probability counts as zero; ABSENT_BELOW the others' mean
        stands for it in the returned bias.
    """
    W, b = np.asarray(W, np.float64), np.asarray(b, np.float64)
    tiles = _Tiles(engine, rows, W)
    shares = np.bincount(rows.labels, minlength=len(b)) / rows.count
    given = tiles.cost(b)
    best, residual = _minimise_bias(tiles, b, shares)
    fitted = tiles.cost(best)
    norm = float(np.linalg.norm(tiles.gradient(best) + 2.0 * l2 * W))
    penalty = l2 * float(np.sum(W * W))
    # J* is no lower than 0 either.
    gap = min(norm**2 / (4.0 * l2), fitted + penalty) if l2 > 0.0 else math.inf
    excess = max(given - fitted, 0.0)
    certificate = Certificate(l2, given + penalty, gap + excess, norm, residual, rows.count)
    present = shares > 0.0
    bias = np.where(present, best, best[present].mean() - ABSENT_BELOW)
    return Certified(certificate, replace(certificate, cost=fitted + penalty, gap=gap), bias)


class _Tiles:
    """Scores W x of all rows, in tiles; kept where they fit in memory."""

    def __init__(self, engine: Engine, rows: Rows, W: Float64) -> None:
        self._engine, self._rows, self._labels = engine, rows, rows.labels
        self._weights = Weights(W[None], np.zeros((1, len(W))))
        step = max(1024, SCORE_BYTES // (16 * len(W)))
        self._starts = range(0, rows.count, step)
        self._step = step
        self._kept: dict[int, Float64] = {}

    def __iter__(self) -> Iterator[tuple[Rows, NDArray[np.int64], Float64]]:
        for start in self._starts:
            part = self._rows.part(start, min(start + self._step, self._rows.count))
            yield part, self._labels[start : start + self._step], self._scores(start, part)

    def cost(self, b: Float64) -> float:
        total = 0.0
        for _, y, S in self:
            total += float(np.sum(_log_sum(S + b) - S[np.arange(len(y)), y] - b[y]))
        return total / self._rows.count

    def class_means(self, b: Float64) -> Float64:
        total = np.zeros(len(b))
        for _, _, S in self:
            total += _softmax(S + b).sum(axis=0)
        return total / self._rows.count

    def bias_hessian(self, b: Float64) -> Float64:
        """Curvature in b, from as many rows as are cheap: it only has to be near."""
        K = len(b)
        stride = max(1, int(self._rows.count * K * K / HESSIAN_PRODUCTS))
        hessian, seen = np.zeros((K, K)), 0
        for _, _, S in self:
            P = _softmax(S[::stride] + b)
            hessian += np.diag(P.sum(axis=0)) - P.T @ P
            seen += len(P)
        return hessian / seen

    def gradient(self, b: Float64) -> Float64:
        """∂/∂W of the mean cross-entropy."""
        total = np.zeros(self._weights.W.shape[1:])
        for part, y, S in self:
            P = _softmax(S + b)
            P[np.arange(len(y)), y] -= 1.0
            total += self._engine.weighted_sums(part, P[None])[0]
        return total / self._rows.count

    def _scores(self, start: int, part: Rows) -> Float64:
        if start in self._kept:
            return self._kept[start]
        scores = np.asarray(self._engine.scores(part, self._weights)[0], np.float64)
        if len(self._starts) <= 2:
            self._kept[start] = scores
        return scores


def _minimise_bias(tiles: _Tiles, b: Float64, shares: Float64) -> tuple[Float64, float]:
    """Newton's method on the K biases, with halved steps; −∞ for a class without rows."""
    b = np.where(shares > 0.0, b, -np.inf)
    excess = tiles.class_means(b) - shares
    for _ in range(MOST_STEPS):
        step = -_solve_bias(tiles.bias_hessian(b), excess, shares > 0.0)
        for halving in range(MOST_HALVINGS):
            trial = b + step * 0.5**halving
            excess_there = tiles.class_means(trial) - shares
            if np.abs(excess_there).max() < np.abs(excess).max():
                break
        else:
            break
        b, excess = trial, excess_there
        if np.abs(excess).max() < SMALLEST_RESIDUAL:
            break
    return b, float(np.abs(excess).max())


def _solve_bias(hessian: Float64, excess: Float64, present: NDArray[np.bool_]) -> Float64:
    """The Newton step; the same shift of all biases changes nothing and is taken out."""
    H = hessian[np.ix_(present, present)]
    size = float(np.trace(H)) / len(H)
    H += size * (1.0 / len(H) + 1e-14 * np.eye(len(H)))
    step = np.zeros(len(present))
    step[present] = np.linalg.solve(H, excess[present])
    return step


def _log_sum(S: Float64) -> Float64:
    top = S.max(axis=1)
    return np.asarray(top + np.log(np.exp(S - top[:, None]).sum(axis=1)))


def _softmax(S: Float64) -> Float64:
    P: Float64 = np.exp(S - S.max(axis=1, keepdims=True))
    P /= P.sum(axis=1, keepdims=True)
    return P

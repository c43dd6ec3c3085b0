"""How far a model can be from the best there is: a bound, proven by one pass over the rows.

For λ > 0 and probabilities p̃ whose mean over the rows is the share of each class,

    J(W, b) − J* ≤ ‖G̃ + 2λW‖²_F / (4λ) + (1/N) Σ KL(p̃ᵢ ‖ pᵢ)      G̃ = (1/N) Σ (p̃ᵢ − yᵢ) xᵢᵀ

because such p̃ are feasible in the dual problem (derived in Formulations; Fenchel duality as
in Shalev-Shwartz & Zhang 2013 and Ndiaye et al. 2015). With b° = argmin J(W, ·) the model's own
p are feasible, the second term vanishes and the first is ‖∇_W J(W, b°)‖² / (4λ). Newton's method
brings b to b° as near as float64 can; what is left is mixed away, p̃ = (1 − t) p + t q with t as
small as can be, so the bound is one whatever Newton's method reached.

The best bias for given weights, from scores that are computed once.

    b° = argmin (1/N) Σ [log 1ᵀ exp(sᵢ + b) − (sᵢ + b)ᵀ yᵢ]        sᵢ = W xᵢ
    ∂/∂b = p̄ − π        p̄ mean probabilities, π the share of each class

Where rows have weights, every mean and share is one by weight.

K unknowns and a convex cost: Newton's method with Levenberg's damping.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.data import Dataset
from onelayer.data.rows import Rows, rows_of
from onelayer.data.scaling import Scaling
from onelayer.data.streaming import available_memory, stored_rows
from onelayer.engines import (
    Engine,
    FixedScores,
    Judgement,
    KeepsScores,
    Mixture,
    Moments,
    Weights,
    streaming,
    tiles,
)
from onelayer.errors import SettingsError, require_number
from onelayer.model.model import Certificate
from onelayer.solver.linalg import norm as frobenius
from onelayer.solver.linalg import one_blas_thread, outer_product


def certify(
    dataset: Dataset,
    W: ArrayLike,
    b: ArrayLike,
    l2: float,
    *,
    scaling: Scaling,
    engine: Engine | None = None,
) -> Certificate:
    """Prove how far a model can be from the best for its λ, however it was trained.

    J(W, b) − J* ≤ J(W, b) − J(W, b°) + ‖∇_W J(W, b°)‖² / (4λ), with b° the best bias for W.

    Args:
        dataset: the rows that the cost is the mean over, usually the training rows.
        W: weights, shape (K, D).
        b: bias, shape (K,).
        l2: λ ≥ 0; for 0 the gap is infinite.
        scaling: the map that W expects of its features.
        engine: what does the arithmetic; None takes the default engine.

    Returns:
        The certificate.

    Raises:
        SettingsError: for a λ outside its range, or weights of another shape or not finite.

    Source:
        docs/explanation/formulations.md, "The certificate".

    Example:
        >>> from onelayer import Run, load
        >>> from onelayer import train
        >>> splits = load("digits")
        >>> result = train(splits, [Run(learning_rate=0.1, l2=0.01)])
        >>> certify(splits.train, result.W[0], result.b[0], 0.01, scaling=result.scaling).sentence
        'cost 0.99393, at most 0.034 above the best possible'
    """
    require_number("l2 (λ)", l2, "a finite number, 0 or above", least=0)
    W, b = np.asarray(W, np.float64), np.asarray(b, np.float64)
    shape = (dataset.classes, dataset.features)
    if W.shape != shape or b.shape != shape[:1]:
        raise SettingsError(
            f"W and b must have the shapes {shape} and {shape[:1]} that {dataset.name} calls for, "
            f"but they have {W.shape} and {b.shape}."
        )
    if not (np.isfinite(W).all() and np.isfinite(b).all()):
        raise SettingsError("W and b must be finite numbers, but they hold a NaN or an infinity.")
    rows = rows_of(dataset, scaling)
    return certify_weights(streaming(engine), rows, W, b, l2).given


Float64 = NDArray[np.float64]

# Scores of more rows than fit here are computed anew for each step of Newton's method.
SCORE_BYTES = 128 << 20

MOST_STEPS = 100

SMALLEST_RESIDUAL = 1e-15

# The Hessian only has to be near: of so many products, no more rows are taken.
HESSIAN_PRODUCTS = 2e8

# Probabilities of so many bytes are made at a time, so that they and what is made of them stay in
# the processor's cache.
BLOCK_BYTES = 1 << 18


def scores_of(engine: Engine, rows: Rows, W: NDArray[np.floating]) -> FixedScores:
    """Scores of the rows under weights W (K, D): the engine's own where it keeps them."""
    return (
        engine.fixed_scores(rows, W) if isinstance(engine, KeepsScores) else Scores(engine, rows, W)
    )


class Scores:
    """Scores W x of all rows, in tiles; kept where they fit in memory.

    For rows that stay in their files a quarter of the memory that is left may be taken: each step
    of Newton's method would have them read again.

    Inside, classes come first: (K, n). Sums over few classes are then sums of long vectors.
    """

    def __init__(self, engine: Engine, rows: Rows, W: NDArray[np.floating]) -> None:
        self._engine, self._rows, self._labels = engine, rows, rows.labels
        self._mass = rows.mass
        self._weights = Weights(np.ascontiguousarray(W[None]), np.zeros((1, len(W)), W.dtype))
        self._of_row = rows.row_weights
        self._step = max(1024, SCORE_BYTES // (16 * len(W)))
        most = SCORE_BYTES if stored_rows(rows.X) is None else available_memory() // 4
        self._keeps = rows.count * len(W) * 8 <= max(SCORE_BYTES, most)
        self._kept: dict[int, Float64] = {}

    def moments(self, b: Float64) -> Moments:
        """Mean cross-entropy with bias b, shape (K,), with its first and second derivatives."""
        K, before = len(b), 0
        stride = max(1, int(self._rows.count * K * K / HESSIAN_PRODUCTS))
        loss, means, hessian, seen = 0.0, np.zeros(K), np.zeros((K, K)), 0.0
        for place, S in self._scores():
            y, weights = self._labels[place], self._weights_of(place)
            for block in _blocks(S):
                of_block = None if weights is None else weights[block]
                shifted, labels = S[:, block] + b[:, None], y[block]
                own = shifted[labels, np.arange(len(labels))]
                P, log_sum = _softmax(shifted)
                loss += float(np.sum(_weighed(log_sum - own, of_block)))
                Q = _weighed(P, of_block)
                means += Q.sum(axis=1)
                some = slice(-before % stride, None, stride)
                hessian += np.diag(Q[:, some].sum(axis=1))
                hessian -= outer_product(self._engine, P[:, some], Q[:, some])
                seen += len(labels[some]) if of_block is None else float(of_block[some].sum())
                before += len(labels)
        return Moments(loss / self._mass, means / self._mass, hessian / seen)

    def gradient(self, b: Float64, mixture: Mixture) -> tuple[Float64, float]:
        """(1/N) Σ (p̃ᵢ − yᵢ) xᵢᵀ, shape (K, D), and (1/N) Σ KL(p̃ᵢ ‖ pᵢ) in nats."""
        t, q = mixture
        total, divergence = np.zeros(self._weights.W.shape[1:]), 0.0
        for place, tile in tiles(self._rows, self._step):
            y, weights = self._labels[place], self._weights_of(place)
            S = self._scores_of(place, tile)
            factors = np.empty(S.T.shape)
            for block in _blocks(S):
                of_block = None if weights is None else weights[block]
                log_p = S[:, block] + b[:, None]
                P, log_sum = _softmax(log_p)
                if t > 0.0:
                    P = (1.0 - t) * P + t * q[:, None]
                    with np.errstate(divide="ignore", invalid="ignore"):
                        terms = np.where(P > 0.0, P * (np.log(P) - (log_p - log_sum)), 0.0)
                    divergence += float(np.sum(_weighed(terms, of_block)))
                P[y[block], np.arange(P.shape[1])] -= 1.0
                factors[block] = _weighed(P, of_block).T
            total += self._engine.weighted_sums(tile, factors[None])[0]
        return total / self._mass, max(divergence / self._mass, 0.0)

    def judge(self, b: Float64) -> Judgement:
        """How good the classifier with bias b is on the rows."""
        sums = np.zeros(3)
        for place, S in self._scores():
            y, weights = self._labels[place], self._weights_of(place)
            for block in _blocks(S):
                of_block = None if weights is None else weights[block]
                shifted, labels = S[:, block] + b[:, None], y[block]
                own, right = shifted[labels, np.arange(len(labels))], shifted.argmax(0) == labels
                losses = _softmax(shifted)[1] - own
                sums += [_weighed(v, of_block).sum() for v in (losses, losses**2, right * 1.0)]
        return Judgement(*(float(one) for one in sums / self._mass))

    def _scores(self) -> Iterator[tuple[slice, Float64]]:
        """Scores of all rows, which are not read again where the scores were kept."""
        if sum(S.shape[1] for S in self._kept.values()) == self._rows.count:
            for start, S in self._kept.items():
                yield slice(start, start + S.shape[1]), S
            return
        for place, tile in tiles(self._rows, self._step):
            yield place, self._scores_of(place, tile)

    def _scores_of(self, place: slice, tile: Rows) -> Float64:
        if place.start in self._kept:
            return self._kept[place.start]
        scores = np.ascontiguousarray(self._engine.scores(tile, self._weights)[0].T, np.float64)
        if self._keeps:
            self._kept[place.start] = scores
        return scores

    def _weights_of(self, place: slice) -> Float64 | None:
        return None if self._of_row is None else self._of_row[place]


def _blocks(S: Float64) -> Iterator[slice]:
    """Slices of the rows of scores (K, n), of BLOCK_BYTES each."""
    step = max(1, BLOCK_BYTES // (8 * len(S)))
    for start in range(0, S.shape[1], step):
        yield slice(start, start + step)


def minimise_bias(
    scores: FixedScores, b: Float64, here: Moments, shares: Float64, enough: float = 0.0
) -> tuple[Float64, Moments]:
    """Bring b as near to its best as is asked for, or as float64 can.

    Args:
        scores: of all rows, without a bias.
        b: where to start, shape (K,).
        here: its moments.
        shares: share of each class in the rows, shape (K,).
        enough: largest |means − shares| / shares at which to stop.

    Returns:
        b, −∞ for a class without rows, and its moments; means − shares is what is left to mend.
    """
    present = shares > 0.0
    damping, target = 0.0, max(SMALLEST_RESIDUAL, enough * float(shares[present].min()))
    if not present.all():
        b = np.where(present, b, -np.inf)
        here = scores.moments(b)
    for _ in range(MOST_STEPS):
        residual = float(np.abs(here.means - shares).max())
        if residual < target or damping > 1e6:
            break
        trial = b - _damped_step(here.hessian, here.means - shares, present, damping)
        there = scores.moments(trial)
        nearer = np.abs(there.means - shares).max() < residual
        falls = there.loss < here.loss - 1e-13 * abs(here.loss)
        if falls or (nearer and there.loss <= here.loss + 1e-13):
            b, here, damping = trial, there, damping / 8.0
        elif damping == 0.0 and residual < 1e-13:
            break
        else:
            damping = max(8.0 * damping, 1e-6)
    return b, here


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
    with one_blas_thread():
        step[present] = np.linalg.solve(H, excess[present])
    return step


def _weighed(values: Float64, weights: Float64 | None) -> Float64:
    """Values of rows, on the last axis, times the rows' weights; themselves without weights.

    A row of weight 0 may be of a class that no other row has, whose loss is infinite: it is zero.
    """
    if weights is None:
        return values
    return np.multiply(values, weights, where=weights > 0.0, out=np.zeros_like(values))


def _softmax(S: Float64) -> tuple[Float64, Float64]:
    """Probabilities, shape (K, n), and log 1ᵀ exp(s), shape (n,)."""
    top = S.max(axis=0)
    P: Float64 = np.exp(S - top)
    total = P.sum(axis=0)
    P /= total
    return P, np.asarray(top + np.log(total))


# Of the relative gap that matters, the part by which mean probabilities may miss the shares: what
# is mixed in to mend that costs about as much, times a logarithm.
BIAS_PART = 1e-4

# Where the bias of a class without a row stands under the others' mean, in place of −∞.
ABSENT_BELOW = 50.0


@dataclass(frozen=True, eq=False)
class Certified:
    """What was proven of (W, b), the same of (W, b°), and the bias b° itself, shape (K,)."""

    given: Certificate
    best: Certificate
    bias: Float64


def certify_weights(
    engine: Engine, rows: Rows, W: Float64, b: Float64, l2: float, tol: float = 0.0
) -> Certified:
    """Prove how far (W, b) is from the optimum on these rows.

    Args:
        engine: what does the arithmetic, in float64.
        rows: the rows that J is the mean over.
        W: weights, shape (K, D).
        b: bias, shape (K,).
        l2: λ ≥ 0.
        tol: relative gap that matters to the caller: the bias is then brought as near to its best
            as that needs, which saves passes. 0 is as near as float64 can.

    Returns:
        Certificates of (W, b) and of W with the bias that minimises J(W, ·). A class without a row
        has its best bias at −∞, and its probability counts as zero; ABSENT_BELOW the others' mean
        stands for it in the returned bias.
    """
    W, b = np.asarray(W, np.float64), np.asarray(b, np.float64)
    if l2 == 0.0:
        return _without_bound(engine, rows, W, b)
    tiles = scores_of(engine, rows, W)
    shares = rows.class_frequencies(len(b))
    penalty = l2 * float(np.sum(W * W))
    at_given = tiles.moments(b)
    given = at_given.loss + penalty
    bias, moments = minimise_bias(tiles, b, at_given, shares, BIAS_PART * tol)
    least, residual = moments.loss + penalty, float(np.abs(moments.means - shares).max())
    mixture = feasible_mixture(moments.means, shares)
    G, divergence = tiles.gradient(bias, mixture)
    norm = frobenius(G + 2.0 * l2 * W)
    # J* is no lower than 0 either.
    gap = min(norm**2 / (4.0 * l2) + divergence, least)
    best = Certificate(l2, least, gap, norm, residual, rows.count)
    excess = max(given - least, 0.0)
    present = shares > 0.0
    return Certified(
        given=replace(best, cost=given, gap=gap + excess),
        best=best,
        bias=np.where(present, bias, bias[present].mean() - ABSENT_BELOW),
    )


def _without_bound(engine: Engine, rows: Rows, W: Float64, b: Float64) -> Certified:
    """Where λ = 0 nothing can be proven; cost and gradient are told."""
    loss, G, g = engine.gradient(rows, Weights(W[None], b[None]))
    norm, residual = frobenius(G), float(np.abs(g).max())
    told = Certificate(0.0, float(loss[0]), math.inf, norm, residual, rows.count)
    return Certified(given=told, best=told, bias=b)

"""A proven bound on the distance of any model from the lowest cost, from one pass over the rows.

For λ > 0 and probabilities p̃ whose mean over the rows is the frequency of each class,

    J(W, b) − J* ≤ ‖G̃ + 2λW‖²_F / (4λ) + (1/N) Σ KL(p̃ᵢ ‖ pᵢ)      G̃ = (1/N) Σ (p̃ᵢ − yᵢ) xᵢᵀ

because such p̃ are feasible in the dual problem (derived in Formulations; Fenchel duality as in
Shalev-Shwartz & Zhang 2013 and Ndiaye et al. 2015). With the best bias for W,

    b° = argmin (1/N) Σ [log 1ᵀ exp(sᵢ + b) − (sᵢ + b)ᵀ yᵢ]        sᵢ = W xᵢ
    ∂/∂b = p̄ − π        p̄ mean probabilities, π class frequencies

the model's own p are feasible and the bound is ‖∇_W J(W, b°)‖² / (4λ). Newton's method with
Levenberg's damping brings b as near to b° as float64 can, from scores that are computed once. The
rest is mixed away, p̃ = (1 − t) p + t q with the smallest t, so the bound holds whatever Newton's
method reached. Where rows have weights, every mean and frequency is by weight.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onelayer.data import Dataset, Splits
from onelayer.data.dataset import training_rows
from onelayer.data.memory import available_memory
from onelayer.data.progress import Log
from onelayer.data.rows import Rows, rows_of
from onelayer.data.streaming import stored_rows
from onelayer.engines import (
    Engine,
    FixedScores,
    Mixture,
    Moments,
    Weights,
    streaming,
    tiles,
)
from onelayer.errors import DataError, SettingsError, known_options, require_number
from onelayer.model.model import Certificate, Model
from onelayer.objective.loss import softmax_and_log_sum
from onelayer.objective.penalty import Penalty
from onelayer.solver.linalg import norm, one_blas_thread, outer_product

Float64 = NDArray[np.float64]

# Scores of more rows than fit here are computed again for each step of Newton's method.
SCORE_BYTES = 128 << 20

MAX_STEPS = 100

# Above it 2λ and λ Σ W² may overflow.
MAX_L2, L2_RANGE = 1e100, "a finite number, 0 to below 1e100"

MIN_RESIDUAL = 1e-15

# The Hessian need not be exact: rows beyond this many products are skipped.
HESSIAN_PRODUCTS = 2e8

# Bytes of probabilities made at a time, so that they stay in the processor's cache.
BLOCK_BYTES = 1 << 18

# Of the relative gap that matters, the part by which mean probabilities may miss the frequencies:
# mixing that away costs about as much, times a logarithm.
BIAS_PART = 1e-4

# The bias of a class without rows, under the others' mean, in place of −∞.
ABSENT_BELOW = 50.0


@dataclass(frozen=True, eq=False)
class Certified:
    """Certificates of (W, b) and of (W, b°), and the best bias b°, shape (K,)."""

    given: Certificate
    best: Certificate
    bias: Float64


@known_options
def certify(
    model: Model,
    data: Dataset | Splits,
    *,
    l2: float | None = None,
    engine: Engine | str | None = None,
    log: Log | None = None,
) -> Certificate:
    """Prove how far a model can be from the lowest cost for its λ, however it was trained.

    J(W, b) − J* ≤ J(W, b) − J(W, b°) + ‖∇_W J(W, b°)‖² / (4λ), with b° the best bias for W.

    Args:
        model: any; weights from elsewhere become one by `Model(W, b, class_names=…)`.
        data: rows that the cost is the mean over, usually the training rows; of `Splits` the
            training part.
        l2: λ ≥ 0; None takes the model's own. For 0 the gap is infinite.
        engine: an engine or its name; None is the native engine.
        log: callback for one-line messages, as of `Model.scores`; None prints them.

    Returns:
        The certificate. It is of the mean cross-entropy; of a model whose own cost was another, by
        its loss, label smoothing or augmentation, it says so.

    Raises:
        SettingsError: for a λ outside its range, or one that the model does not know.
        DataError: when the rows have other features or classes than the model.

    Source:
        docs/explanation/formulations.md, "The certificate".

    Example:
        >>> from onelayer import Run, certify, load, train
        >>> data = load("digits")
        >>> result = train(data, Run(learning_rate=0.3, l2=0.01, epochs=40))
        >>> certify(result.best, data).gap < 0.1
        True
    """
    l2 = model.l2 if l2 is None else l2
    if l2 is None:
        raise SettingsError("the model does not know its l2 (λ); pass l2=…")
    require_number("l2 (λ)", l2, L2_RANGE, least=0, below=MAX_L2)
    rows, y = model.meet(training_rows(data), log)
    if (y < 0).any():
        other = rows.class_names[rows.y[np.argmin(y)]]
        raise DataError(
            f"{rows.name}: the model has no class {other!r}, so these rows have no cost; leave "
            "them out."
        )
    W, b = model.W.astype(np.float64), model.b.astype(np.float64)
    of_model = replace(rows_of(rows, model.scaling), y=y)
    certificate = certify_weights(streaming(engine), of_model, W, b, Penalty(l2)).given
    if not math.isfinite(certificate.cost):
        raise DataError(
            f"the cost of weights up to {np.abs(W).max():.3g} with λ = {l2:g} is beyond the "
            "largest number, so there is nothing to certify."
        )
    return replace(certificate, trained_with=model.trained_with)


def certify_weights(
    engine: Engine, rows: Rows, W: Float64, b: Float64, penalty: Penalty, tol: float = 0.0
) -> Certified:
    """Certificates of (W, b), and of W with the bias that minimises J(W, ·).

    The bias is brought as near to its best as a relative gap of `tol` needs, which saves passes;
    with 0, as near as float64 can. The best bias of a class without rows is −∞, and its probability
    counts as zero; the bias that is returned has the others' mean less ABSENT_BELOW in its place.
    """
    W, b = np.asarray(W, np.float64), np.asarray(b, np.float64)
    if penalty.curvature == 0.0:
        return _without_bound(engine, rows, W, b)
    scores = scores_of(engine, rows, W)
    frequencies = rows.class_frequencies(len(b))
    with np.errstate(over="ignore", invalid="ignore"):
        at_given = scores.moments(b)
        cost = at_given.loss + penalty.value(W)
    if not math.isfinite(cost):
        endless = Certificate(penalty.l2, math.inf, math.inf, math.inf, 1.0, rows.count)
        return Certified(given=endless, best=endless, bias=b)
    bias, moments = minimise_bias(scores, b, at_given, frequencies, BIAS_PART * tol)
    least = moments.loss + penalty.value(W)
    residual = float(np.abs(moments.means - frequencies).max())
    G, divergence = scores.gradient(bias, feasible_mixture(moments.means, frequencies))
    slope = norm(G + penalty.gradient(W))
    # J* is no lower than 0 either.
    gap = min(slope**2 / (2.0 * penalty.curvature) + divergence, least)
    best = Certificate(penalty.l2, least, gap, slope, residual, rows.count)
    excess = max(cost - least, 0.0)
    present = frequencies > 0.0
    return Certified(
        given=replace(best, cost=cost, gap=gap + excess),
        best=best,
        bias=np.where(present, bias, bias[present].mean() - ABSENT_BELOW),
    )


def _without_bound(engine: Engine, rows: Rows, W: Float64, b: Float64) -> Certified:
    """For λ = 0 no bound exists; the certificate has cost and gradient."""
    loss, G, g = engine.gradient(rows, Weights(W[None], b[None]))
    residual = float(np.abs(g).max())
    certificate = Certificate(0.0, float(loss[0]), math.inf, norm(G), residual, rows.count)
    return Certified(given=certificate, best=certificate, bias=b)


def minimise_bias(
    scores: FixedScores, b: Float64, here: Moments, frequencies: Float64, enough: float = 0.0
) -> tuple[Float64, Moments]:
    """Bring b, whose moments are `here`, to its best, and return it with its moments.

    It stops where |means − frequencies| / frequencies ≤ `enough` or float64 gives no more. A class
    without rows gets −∞.
    """
    present = frequencies > 0.0
    damping, target = 0.0, max(MIN_RESIDUAL, enough * float(frequencies[present].min()))
    if not present.all():
        b = np.where(present, b, -np.inf)
        here = scores.moments(b)
    for _ in range(MAX_STEPS):
        residual = float(np.abs(here.means - frequencies).max())
        if residual < target or damping > 1e6:
            break
        trial = b - _damped_step(here.hessian, here.means - frequencies, present, damping)
        there = scores.moments(trial)
        nearer = np.abs(there.means - frequencies).max() < residual
        falls = there.loss < here.loss - 1e-13 * abs(here.loss)
        if falls or (nearer and there.loss <= here.loss + 1e-13):
            b, here, damping = trial, there, damping / 8.0
        elif damping == 0.0 and residual < 1e-13:
            break
        else:
            damping = max(8.0 * damping, 1e-6)
    return b, here


def _damped_step(
    hessian: Float64, excess: Float64, present: NDArray[np.bool_], damping: float
) -> Float64:
    """The damped Newton step, without the shift of all biases, which changes nothing."""
    H = hessian[np.ix_(present, present)]
    size = float(np.trace(H)) / len(H) + 1e-30
    H += size / len(H) + (size * 1e-12 + damping) * np.eye(len(H))
    step = np.zeros(len(present))
    with one_blas_thread():
        step[present] = np.linalg.solve(H, excess[present])
    return step


def feasible_mixture(means: Float64, frequencies: Float64) -> Mixture:
    """The smallest t in [0, 1], with probabilities q (K,), for which (1 − t) p̄ + t q = π.

    Example:
        >>> feasible_mixture(np.array([0.6, 0.4]), np.array([0.3, 0.7]))
        Mixture(t=0.5, q=array([0., 1.]))
    """
    present = means > 0.0
    ratio = float((frequencies[present] / means[present]).min())
    t = 1.0 - ratio
    if t <= 0.0:
        return Mixture(0.0, frequencies)
    q = np.maximum(frequencies - ratio * means, 0.0)
    # Below rounding there is nothing to mix in.
    return Mixture(t, q / q.sum()) if q.any() else Mixture(0.0, frequencies)


def scores_of(engine: Engine, rows: Rows, W: NDArray[np.floating]) -> FixedScores:
    """Scores of the rows under weights W (K, D): the engine's own where it keeps them."""
    return engine.fixed_scores(rows, W) or Scores(engine, rows, W)


# Place among a tile's rows, scores (K, n), labels, and weights if there are any.
_Block = tuple[slice, Float64, NDArray[np.int64], Float64 | None]


class Scores:
    """Scores W x of all rows, in tiles; kept where they fit in memory.

    For rows in files a quarter of the free memory may be taken, since each step of Newton's method
    would read them again. Arrays have classes first, (K, n): sums over few classes are then sums of
    long vectors.
    """

    def __init__(self, engine: Engine, rows: Rows, W: NDArray[np.floating]) -> None:
        self._engine, self._rows, self._labels = engine, rows, rows.labels
        self._mass, self._row_weights = rows.mass, rows.row_weights
        self._weights = Weights(np.ascontiguousarray(W[None]), np.zeros((1, len(W)), W.dtype))
        self._step = max(1024, SCORE_BYTES // (16 * len(W)))
        limit = SCORE_BYTES if stored_rows(rows.X) is None else available_memory() // 4
        self._keeps = rows.count * len(W) * 8 <= max(SCORE_BYTES, limit)
        self._kept: dict[int, Float64] = {}

    def moments(self, b: Float64) -> Moments:
        """Mean cross-entropy with bias b, shape (K,), with its first and second derivatives."""
        K, before = len(b), 0
        stride = max(1, int(self._rows.count * K * K / HESSIAN_PRODUCTS))
        loss, means, hessian, seen = 0.0, np.zeros(K), np.zeros((K, K)), 0.0
        for _, S, y, weights in self._all_blocks(b):
            own = S[y, np.arange(len(y))]
            P, log_sum = softmax_and_log_sum(S, axis=0)
            loss += float(np.sum(_weighed(log_sum - own, weights)))
            Q = _weighed(P, weights)
            means += Q.sum(axis=1)
            some = slice(-before % stride, None, stride)
            hessian += np.diag(Q[:, some].sum(axis=1))
            hessian -= outer_product(self._engine, P[:, some], Q[:, some])
            seen += len(y[some]) if weights is None else float(weights[some].sum())
            before += len(y)
        return Moments(loss / self._mass, means / self._mass, hessian / seen)

    def gradient(self, b: Float64, mixture: Mixture) -> tuple[Float64, float]:
        """(1/N) Σ (p̃ᵢ − yᵢ) xᵢᵀ, shape (K, D), and (1/N) Σ KL(p̃ᵢ ‖ pᵢ) in nats."""
        t, q = mixture
        total, divergence = np.zeros(self._weights.W.shape[1:]), 0.0
        for place, tile in tiles(self._rows, self._step):
            scores = self._scores_of(place, tile)
            factors = np.empty(scores.T.shape)
            for block, S, y, weights in self._blocks(place, scores, b):
                P, log_sum = softmax_and_log_sum(S, axis=0)
                if t > 0.0:
                    P = (1.0 - t) * P + t * q[:, None]
                    with np.errstate(divide="ignore", invalid="ignore"):
                        terms = np.where(P > 0.0, P * (np.log(P) - (S - log_sum)), 0.0)
                    divergence += float(np.sum(_weighed(terms, weights)))
                P[y, np.arange(len(y))] -= 1.0
                factors[block] = _weighed(P, weights).T
            total += self._engine.weighted_sums(tile, factors[None])[0]
        return total / self._mass, max(divergence / self._mass, 0.0)

    def _all_blocks(self, b: Float64) -> Iterator[_Block]:
        """Blocks of all rows, which are not read again where the scores were kept."""
        if sum(S.shape[1] for S in self._kept.values()) == self._rows.count:
            for start, S in self._kept.items():
                yield from self._blocks(slice(start, start + S.shape[1]), S, b)
            return
        for place, tile in tiles(self._rows, self._step):
            yield from self._blocks(place, self._scores_of(place, tile), b)

    def _blocks(self, place: slice, S: Float64, b: Float64) -> Iterator[_Block]:
        """Blocks of BLOCK_BYTES of the scores (K, n) of a tile, with the bias added."""
        y = self._labels[place]
        weights = None if self._row_weights is None else self._row_weights[place]
        step = max(1, BLOCK_BYTES // (8 * len(S)))
        for start in range(0, S.shape[1], step):
            block = slice(start, start + step)
            of_rows = None if weights is None else weights[block]
            yield block, S[:, block] + b[:, None], y[block], of_rows

    def _scores_of(self, place: slice, tile: Rows) -> Float64:
        if place.start in self._kept:
            return self._kept[place.start]
        scores = np.ascontiguousarray(self._engine.scores(tile, self._weights)[0].T, np.float64)
        if self._keeps:
            self._kept[place.start] = scores
        return scores


def _weighed(values: Float64, weights: Float64 | None) -> Float64:
    """Values of rows, on the last axis, times the rows' weights.

    A row of weight 0 may have an infinite loss, where no other row has its class: it counts 0.
    """
    if weights is None:
        return values
    return np.multiply(values, weights, where=weights > 0.0, out=np.zeros_like(values))

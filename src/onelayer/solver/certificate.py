"""A proven bound on the distance of any model from the lowest cost, from a pass over the rows.

For λ > 0 and probabilities p̃ whose mean over the rows is the frequency of each class,

    J(W, b) − J* ≤ ‖G̃ + 2λW‖²_F / (4λ) + (1/N) Σ KL(p̃ᵢ ‖ pᵢ)      G̃ = (1/N) Σ (p̃ᵢ − yᵢ) xᵢᵀ

because such p̃ are feasible in the dual problem (derived in Formulations; Fenchel duality as in
Shalev-Shwartz & Zhang 2013 and Ndiaye et al. 2015). A gradient pass gives the mean loss,
G = (1/N) Σ (pᵢ − yᵢ) xᵢᵀ and g = p̄ − π, mean probabilities less class frequencies. With it

    p̃ᵢ = (1 − t) pᵢ + t rᵢ      t = max_k g_k / p̄_k

is feasible, where r is y with a part of its mass moved to the classes that p̄ leaves short. Then G̃
needs nothing but G, g and the classes' sums of rows, and Σ KL no more than the loss: every
pass is a proof, and no scores are kept. What the mixture costs falls with g, which vanishes at the
best bias for W,

    b° = argmin (1/N) Σ [log 1ᵀ exp(sᵢ + b) − (sᵢ + b)ᵀ yᵢ]        sᵢ = W xᵢ

Steps of Newton's method, with the Hessian of a sample of rows and a pass each, bring b there until
the mixture costs little. The bound holds wherever they end. Where rows have weights, every mean and
frequency is by weight.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from onelayer.data import Dataset, Splits
from onelayer.data.dataset import training_rows
from onelayer.data.progress import Log
from onelayer.data.rows import Rows, rows_of
from onelayer.engines import (
    Engine,
    FullGradient,
    Weights,
    loaded,
    streaming,
)
from onelayer.errors import DataError, SettingsError, known_options, require_number
from onelayer.model.model import Certificate, Model
from onelayer.objective.penalty import Penalty
from onelayer.solver.linalg import inner, norm, one_blas_thread

Float64 = NDArray[np.float64]

# Above it 2λ and λ Σ W² may overflow.
MAX_L2, L2_RANGE = 1e100, "a finite number, 0 to below 1e100"

TINY = float(np.finfo(np.float64).tiny)

# Relative rounding of a mean cross-entropy.
ROUNDING = {"float32": 2e-7, "float64": 4e-15}

# Bytes of the weights of runs that are certified together.
JOINT_BYTES = 64 << 20

# A search for the best bias ends where the mixture costs no more than this part of the weights' own
# gap, where that is too wide anyway, or where passes bring p̄ no nearer to π.
MIXING_PART, PROGRESS, MAX_STALLED, MAX_PASSES = 0.01, 0.7, 4, 50

# What a step of the bias divides the mixture by, at least as a rule.
AHEAD = 7.0

# Rows that its Hessian is of, and entries of their scores, at most.
SAMPLE_ROWS, SAMPLE_ENTRIES = 4096, 1 << 22

# Its step: the error of the linear system, steps of conjugate gradients, the largest logarithm.
SOLVED, MAX_INNER, FARTHEST = 0.01, 40, 10.0

# The bias of a class without rows, under the others' mean, in place of −∞.
ABSENT_BELOW = 50.0


@dataclass(frozen=True, eq=False)
class Certified:
    """Certificates of (W, b) and of (W, b°), the best bias b°, shape (K,), and passes it took."""

    given: Certificate
    best: Certificate
    bias: Float64
    passes: int


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
    """Certificates of (W, b), and of W with the best bias; see `certify_all`."""
    return certify_all(engine, rows, Weights(W[None], b[None]), [penalty], tol)[0]


def certify_all(
    engine: Engine, rows: Rows, weights: Weights, penalties: Sequence[Penalty], tol: float = 0.0
) -> list[Certified]:
    """Certificates of R runs by joint passes over the rows, each run with a best bias of its own.

    The bias is brought so near to its best that a relative gap of `tol` is proven, or that what is
    missing matters little beside the gap of the weights. The best bias of a class without rows is
    −∞, and its probability counts as zero; the bias that is returned has the others' mean less
    ABSENT_BELOW in its place.
    """
    W, b = (np.asarray(part, np.float64) for part in weights)
    together = max(1, JOINT_BYTES // W[0].nbytes)
    if len(W) > together:
        parts = [slice(i, i + together) for i in range(0, len(W), together)]
        of = (certify_all(engine, rows, Weights(W[p], b[p]), penalties[p], tol) for p in parts)
        return [certified for part in of for certified in part]
    frequencies = rows.class_frequencies(b.shape[1])
    present = frequencies > 0.0
    if not present.all():
        return _certify_present(engine, rows, Weights(W, b), penalties, tol, present)
    cold = Weights(np.zeros((1, *W.shape[1:])), np.log(frequencies)[None])
    start = Weights(*(np.concatenate(pair) for pair in zip((W, b), cold, strict=True)))
    with np.errstate(over="ignore", invalid="ignore"):
        found = passes_of(engine.gradient(rows, start))
        sums = ClassSums.of(engine, rows, found.pop())
        searches = [Search(*of, sums, tol) for of in zip(W, b, penalties, strict=True)]
        for search, first in zip(searches, found, strict=True):
            search.look(first, ROUNDING["float64"])
        improve_biases(engine, rows, searches)
    return [search.certified() for search in searches]


def _certify_present(
    engine: Engine,
    rows: Rows,
    weights: Weights,
    penalties: Sequence[Penalty],
    tol: float,
    present: NDArray[np.bool_],
) -> list[Certified]:
    """Certificates where classes lack rows: of the others, and what these add to the cost."""
    W, b = weights
    with np.errstate(over="ignore", invalid="ignore"):
        losses = engine.gradient(rows, weights).loss
    kept, rows = Weights(W[:, present], b[:, present]), of_classes(rows, present)
    certified = []
    for i, of in enumerate(certify_all(engine, rows, kept, penalties, tol)):
        absent, penalty, lowest = W[i, ~present], penalties[i], of.best.lower_bound
        slope = math.hypot(of.best.gradient_norm, norm(penalty.gradient(absent)))
        least, cost = of.best.cost + penalty.value(absent), losses[i] + penalty.value(W[i])
        best = replace(of.best, cost=least, gap=least - lowest, gradient_norm=slope)
        bias = np.full(len(present), of.bias.mean() - ABSENT_BELOW)
        bias[present] = of.bias
        given = replace(best, cost=float(cost), gap=float(cost) - lowest)
        certified.append(Certified(given, best, bias, of.passes + 1))
    return certified


def of_classes(rows: Rows, chosen: NDArray[np.bool_]) -> Rows:
    """Rows with these classes alone, numbered anew; rows of the others weigh nothing."""
    if chosen.all():
        return rows
    y = np.searchsorted(np.flatnonzero(chosen), rows.y).clip(max=int(chosen.sum()) - 1)
    return replace(rows, y=y)


class Pass(NamedTuple):
    """What a pass over the rows finds of one run: mean loss, G (K, D) and g = p̄ − π (K,)."""

    loss: float
    G: Float64
    g: Float64


def passes_of(found: FullGradient) -> list[Pass]:
    """What a joint pass found of each run."""
    return [Pass(float(loss), G, g) for loss, G, g in zip(*found, strict=True)]


class ClassSums(NamedTuple):
    """What a bound needs to know of the rows, whatever the weights are."""

    frequencies: Float64  # π (K,), above 0
    mean: Float64  # x̄ (D,)
    centred: Float64  # (1/N) Σ yᵢ (xᵢ − x̄)ᵀ, (K, D)
    rows: int  # N

    @classmethod
    def of(cls, engine: Engine, rows: Rows, cold: Pass) -> ClassSums:
        """From a pass at W = 0, with any bias."""
        weights = np.ones(rows.count) if rows.row_weights is None else rows.row_weights
        mean = engine.weighted_sums(rows, (weights / rows.mass)[None, :, None])[0, 0]
        frequencies = rows.class_frequencies(len(cold.g))
        return cls(frequencies, mean, cold.g[:, None] * mean - cold.G, rows.count)


class Bound(NamedTuple):
    """What a pass proves of (W, b)."""

    cost: float
    slope: float  # ‖G̃ + 2λW‖
    distance: float  # its square / (4λ)
    mixing: float  # (1/N) Σ KL(p̃ᵢ ‖ pᵢ), at most

    @property
    def gap(self) -> float:
        """J − J*, at most; J* is no lower than 0 either."""
        return min(self.distance + self.mixing, self.cost)

    @property
    def lowest(self) -> float:
        """J*, at least."""
        return self.cost - self.gap


def bound_of(found: Pass, W: Float64, b: Float64, penalty: Penalty, sums: ClassSums) -> Bound:
    """The bound of this module, from what a pass found: no look at the rows."""
    frequencies, mean, centred, _ = sums
    cost = found.loss + penalty.value(W)
    if penalty.curvature == 0.0:
        return Bound(cost, norm(found.G), math.inf, 0.0)
    over, under = np.maximum(found.g, 0.0), np.maximum(-found.g, 0.0)
    t = float((over / (frequencies + over)).max())
    # A row of class k gives the fraction moved[k] of its mass to others, in parts `taken`.
    moved, taken = (1.0 - t) * over / frequencies, under / max(float(under.sum()), TINY)
    along = np.einsum("k,kd->d", moved, centred)
    G = (1.0 - t) * (found.G - found.g[:, None] * mean)
    G += taken[:, None] * along - moved[:, None] * centred
    slope = norm(G + penalty.gradient(W))
    # The mean of KL(r ‖ p) = Σ r log r + loss + (y − r)ᵀ s, times t; s by centred rows.
    bias, mass = b + np.einsum("kd,d->k", W, mean), moved * frequencies
    mixing = t * found.loss + inner(moved[:, None] * W, centred) + inner(mass, bias)
    mixing -= inner(taken, np.einsum("kd,d->k", W, along) + mass.sum() * bias)
    part = moved / max(t, TINY)
    mixing += t * inner(frequencies, _xlogx(part) + _xlogx(np.maximum(1.0 - part, 0.0)))
    mixing += float(mass.sum() * _xlogx(taken).sum())
    return Bound(cost, slope, slope**2 / (2.0 * penalty.curvature), max(mixing, 0.0))


def _xlogx(x: Float64) -> Float64:
    return x * np.log(x, where=x > 0.0, out=np.zeros_like(x))


class Search:
    """The search for the best bias of one run; of its passes, that of the best bound is kept."""

    def __init__(
        self,
        W: Float64,
        b: Float64,
        penalty: Penalty,
        sums: ClassSums,
        tol: float,
        ahead: float = 1.0,
    ) -> None:
        self.W, self._penalty, self._sums, self._tol = W, penalty, sums, tol
        self.bias, self.passes, self._is_near = b, 0, True
        self.reached, self.found = b, Pass(math.inf, W, b)  # where steps are taken from
        self.begin(ahead)

    def begin(self, ahead: float = 1.0) -> None:
        """Begin at the best bias so far, or a step from it, without proofs.

        With `ahead` above 1 nothing is proven: the mixture counts as what a step leaves of it.
        """
        self.b, self._ahead = self.bias, ahead  # of the next pass
        self.is_done, self._proofs, self._damping = False, list[Bound](), 0.0
        self._nearest, self._stalled = math.inf, 0

    def look(self, found: Pass, rounding: float) -> None:
        """Take what a pass at the bias `b` found; `is_done` says whether it was the last one."""
        self.passes += 1
        bound = bound_of(found, self.W, self.b, self._penalty, self._sums)
        mixing = bound.mixing
        bound = bound._replace(mixing=mixing / self._ahead)
        if not self._proofs or found.loss <= self.found.loss + rounding * abs(found.loss):
            self.reached, self.found, self._damping = self.b, found, self._damping / 16.0
        else:
            self._damping = max(16.0 * self._damping, 1e-4)
        self._proofs.append(bound)
        if bound is max(self._proofs, key=lambda proof: proof.lowest):
            self.bias, self._residual = self.b, float(np.abs(found.g).max())
        missing = float(np.abs(found.g).sum())
        self._stalled = 0 if missing < PROGRESS * self._nearest else self._stalled + 1
        self._nearest = min(missing, self._nearest)
        enough = max(MIXING_PART * bound.distance, 1e-15 * bound.cost)
        if 0.0 < self._tol * bound.cost < bound.distance:
            enough = 0.5 * bound.distance
        elif bound.distance > 2.0 * bound.cost:  # then J* ≥ 0 bounds the gap better
            enough = 0.05 * bound.distance
        proven = bound.distance + mixing <= self._tol * bound.cost
        self._is_near = proven or not mixing > enough
        self.is_done = (
            not bound.mixing > enough
            or bound.gap <= self._tol * bound.cost
            or self._stalled > MAX_STALLED
            or len(self._proofs) >= MAX_PASSES
        )

    def step(self, engine: Engine, sample: Rows) -> None:
        """Take a damped step of Newton's method on log p̄ = log π, where the bias is not near yet.

        Where classes are rare or p̄ is far from π, the logarithm is nearly linear in b and p̄ is not.
        """
        if self._is_near:
            return
        W = np.ascontiguousarray(self.W[None], np.float32)
        P = engine.scores(sample, Weights(W, self.reached[None].astype(np.float32)))[0]
        P -= P.max(axis=1, keepdims=True)
        np.exp(P, out=P)
        P /= P.sum(axis=1, keepdims=True)
        weights = np.ones(len(P)) if sample.row_weights is None else sample.row_weights
        fractions = weights / (weights.sum() or 1.0)
        step = _newton_step(P, fractions, self._sums.frequencies, self.found.g, self._damping)
        self.b = self.reached + step

    def certified(self) -> Certified:
        """What was proven."""
        l2, rows = self._penalty.l2, self._sums.rows
        bound, cost = max(self._proofs, key=lambda proof: proof.lowest), self._proofs[0].cost
        if not math.isfinite(cost):
            endless = Certificate(l2, math.inf, math.inf, math.inf, 1.0, rows)
            return Certified(endless, endless, self.bias, self.passes)
        gap = bound.gap if self._penalty.curvature else math.inf
        best = Certificate(l2, bound.cost, gap, bound.slope, self._residual, rows)
        given = replace(best, cost=cost, gap=max(gap + (cost - bound.cost), 0.0))
        return Certified(given, best, self.bias, self.passes)


def improve_biases(
    engine: Engine, rows: Rows, searches: Sequence[Search], dtype: str = "float64"
) -> None:
    """Joint passes, each after a step of every search that needs one, until all are done."""
    most = min(SAMPLE_ROWS, max(64, SAMPLE_ENTRIES // len(searches[0].b)))
    chosen = np.arange(rows.count)
    if rows.count > most:
        chosen = np.sort(np.random.default_rng(0).choice(rows.count, most, replace=False))
    sample: Rows | None = None
    while active := [search for search in searches if not search.is_done]:
        sample = sample or loaded(rows, chosen)
        for search in active:
            search.step(engine, sample)
        W, b = (np.stack([getattr(of, name) for of in active]).astype(dtype) for name in "Wb")
        found = passes_of(engine.gradient(rows, Weights(W, b)))
        for search, of_search in zip(active, found, strict=True):
            search.look(of_search, ROUNDING[dtype])


def _newton_step(
    P: NDArray[np.float32], fractions: Float64, frequencies: Float64, g: Float64, damping: float
) -> Float64:
    """δ of (diag(d) − Σ f p pᵀ) δ = d log(π / p̄), by conjugate gradients with 1/d.

    d is p̄ of all rows or of the sample, whichever is more, so that the matrix has no negative
    eigenvalue; a shift of all biases is left out, because it changes nothing.
    """
    f = fractions.astype(np.float32)
    with one_blas_thread():
        means, sampled = frequencies + g, np.asarray(f @ P, np.float64)
    d = np.maximum(np.maximum(means, sampled), 1e-6 * frequencies)
    ratio = np.log(frequencies / np.maximum(means, 1e-30 * frequencies))
    r = d * ratio.clip(-FARTHEST, FARTHEST)
    r -= d * (r.sum() / d.sum())
    step, along = np.zeros_like(d), r / d
    size = inner(r, along)
    smallest = SOLVED**2 * size
    for _ in range(MAX_INNER):
        with one_blas_thread():
            product = (1.0 + 1e-6 + damping) * d * along - (f * (P @ along.astype(f.dtype))) @ P
        curvature = inner(along, product)
        if size <= smallest or curvature <= 0.0:
            break
        length = size / curvature
        step += length * along
        r -= length * product
        before, size = size, inner(r, r / d)
        along = r / d + (size / before) * along
    step -= step.mean()
    return step * min(1.0, FARTHEST / max(float(np.abs(step).max()), TINY))

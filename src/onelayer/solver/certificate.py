"""A proven bound on the distance of any model from the lowest cost, from a pass over the rows.

For λ > 0 and probabilities p̃ whose mean over the rows is the frequency of each class,

    J(W, b) − J* ≤ ‖G̃ + 2λW‖²_F / (4λ) + (1/N) Σ KL(p̃ᵢ ‖ pᵢ)      G̃ = (1/N) Σ (p̃ᵢ − yᵢ) xᵢᵀ

because such p̃ are feasible in the dual problem (derived in Formulations; Fenchel duality as in
Shalev-Shwartz & Zhang 2013 and Ndiaye et al. 2015). A gradient pass gives the mean loss,
G = (1/N) Σ (pᵢ − yᵢ) xᵢᵀ and g = p̄ − π, mean probabilities less class frequencies. With it

    p̃ᵢ = (1 − t) pᵢ + t rᵢ      t = max_k g_k / p̄_k

is feasible, where r is y with a part of its mass moved to the classes that p̄ leaves short. Then G̃
needs nothing but G, g and the classes' sums of rows, and Σ KL no more than the loss: every
pass is a proof, and no scores are kept. A float32 pass is one too: what it rounded is bounded.
What the mixture costs falls with g, which vanishes at the best bias for W,

    b° = argmin (1/N) Σ [log 1ᵀ exp(sᵢ + b) − (sᵢ + b)ᵀ yᵢ]        sᵢ = W xᵢ

Steps of Newton's method, with the Hessian of a sample of rows and a pass each, bring b there until
the mixture costs little. The bound holds wherever they end. Where rows have weights, every mean and
frequency is by weight.

Without an intercept any p̃ is feasible, for it is b that asks for the mean; p̃ = p has no KL, and

    J(W) − J* ≤ ‖G + 2λW‖²_F / (4λ)

is all of the bound: a pass proves it, with g taken for 0, and there is no bias to search for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from onelayer.data import Dataset, Splits
from onelayer.data.dataset import require_rows
from onelayer.data.progress import Log
from onelayer.data.rows import PenaltyFactors, Rows, factors_of_rows
from onelayer.engines import Engine, FullGradient, Weights, loaded, streaming
from onelayer.errors import DataError, SettingsError, known_options, require_number
from onelayer.model.certificate import Certificate
from onelayer.model.model import Model, require_model
from onelayer.model.rows import fitted_rows
from onelayer.objective.penalty import L2_RANGE, MAX_L2, Penalty
from onelayer.solver.linalg import inner, norm, one_blas_thread

Float64 = NDArray[np.float64]

# Products of W and the classes' mean rows that are made for a bound.
MARGIN_PRODUCTS = 1 << 23

TINY = float(np.finfo(np.float64).tiny)

# Relative rounding of a mean cross-entropy.
ROUNDING = {"float32": 2e-7, "float64": 4e-15}

# Half of the distance between 1 and the next float32, and what its squares add.
UNIT = 6e-8

# A pass of fewer products costs no more in float64.
FLOAT64_PRODUCTS = 2e7

# Float32 proves where its rounding is no more than this part of the bound, or tol allows for it.
SHARP = 0.5

# Bytes of the weights of runs that are certified together.
JOINT_BYTES = 64 << 20

# A search for the best bias ends where the mixture costs no more than this part of the weights' own
# gap, where that is too wide anyway, or where passes bring p̄ no nearer to π.
# COARSE_PART is that part where a pass costs more than it would add, COARSEST_PART where no gap is
# asked for.
MIXING_PART, COARSE_PART, COARSEST_PART = 0.01, 1.0, 9.0
PROGRESS, MAX_STALLED, MAX_PASSES = 0.7, 4, 50

# What a step of the bias divides the mixture by, as a rule at least.
AHEAD = 7.0

# Rows that its Hessian is of, and entries of their scores, at most.
SAMPLE_ROWS, SAMPLE_ENTRIES = 4096, 1 << 22

# Its step: the error of the linear system, steps of conjugate gradients, the largest logarithm, and
# the least curvature of a class, relative to its mean probability, unless that of all is less.
SOLVED, MAX_INNER, FARTHEST, FLAT, FLATTER = 0.01, 40, 10.0, 1e-3, 0.1

# Such steps for one pass, their least length, and where they end: the largest part of Σ|g|, and the
# largest step for which p̄ is linear.
MAX_SHIFTS, MIN_LENGTH, NEAR, SMALL_SHIFT = 8, 0.01, 0.05, 0.02

# Figures of rows that are asked for at a time, to choose those of a sample; and entries of their
# probabilities, and of weights, that stay in the cache.
FIGURES, BLOCK_ENTRIES, CACHED_ENTRIES = 1 << 22, 1 << 18, 1 << 14

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
    l1: float | None = None,
    grouped: bool | None = None,
    penalty_factors: PenaltyFactors = None,
    engine: Engine | str | None = None,
    log: Log | None = None,
) -> Certificate:
    """Prove how far a model can be from the lowest cost for its λ, however it was trained.

    J(W, b) − J* ≤ J(W, b) − J(W, b°) + ‖∇_W J(W, b°)‖² / (4λ), with b° the best bias for W.

    Args:
        model: any; weights from elsewhere become one by `Model(W, b, class_names=…)`.
        data: rows that the cost is the mean over, usually the training rows; of `Splits` the
            training part, and of a model that was refitted the validation part as well.
        l2: λ ≥ 0; None takes the model's own. For 0 the gap is infinite, unless there is an l1.
        l1: λ₁ ≥ 0 of λ₁ Σ |W|; None takes the model's own, or 0.
        grouped: whether λ₁ multiplies Σ_d ‖W_:d‖₂; None takes the model's own.
        penalty_factors: of the features, as of `solve`; None takes the model's own.
        engine: an engine or its name; None is the native engine.
        log: callback for one-line messages, as of `Model.scores`; None prints them.

    Returns:
        The certificate. It is of the mean cross-entropy, by the weights of the rows and the class
        weights that the model was fitted with; of a model whose own cost was another, by its loss,
        label smoothing or augmentation, it says so.

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
    require_model("certify", model)
    require_rows("certify", data)
    l2 = model.l2 if l2 is None else l2
    l1 = float(model.settings.get("l1", 0.0)) if l1 is None else l1
    grouped = bool(l1 and model.settings.get("grouped")) if grouped is None else grouped
    if l2 is None:
        raise SettingsError("the model does not know its l2 (λ); pass l2=…")
    require_number("l2 (λ)", l2, L2_RANGE, least=0, below=MAX_L2)
    require_number("l1 (λ₁)", l1, L2_RANGE, least=0, below=MAX_L2)
    model = model.uncalibrated
    rows, of_model = fitted_rows(model, data, log)
    if penalty_factors is not None:
        of_model = replace(of_model, penalty_factors=factors_of_rows(penalty_factors, rows))
    W, b = model.W.astype(np.float64), model.b.astype(np.float64)
    certificate = certify_weights(streaming(engine), of_model, W, b, Penalty(l2, l1, grouped)).given
    if not math.isfinite(certificate.cost):
        raise DataError(
            f"the cost of weights up to {np.abs(W).max():.3g} with λ = {l2:g} is beyond the "
            "largest number, so there is nothing to certify."
        )
    return replace(certificate, trained_with=model.other_cost(weighted=rows.weights is not None))


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
    missing matters little beside the gap of the weights. Passes are in float32 where its rounding
    matters as little. The best bias of a class without rows is −∞, and its probability counts as
    zero; the bias that is returned has the others' mean less ABSENT_BELOW in its place.
    """
    W, b = (np.asarray(part, np.float64) for part in weights)
    if rows.penalty_factors is not None:
        if not (rows.has_free or any(penalty.l1 for penalty in penalties)):
            rows, units = rows.unit_penalties()
            penalties = [replace(penalty, factors=None) for penalty in penalties]
            W = W if units is None else W * units
            return certify_all(engine, rows, Weights(W, b), penalties, tol)
        penalties = [replace(penalty, factors=rows.penalty_factors) for penalty in penalties]
    if rows.y.ndim == 2:
        from onelayer.solver.many_labels import certify_labels

        return [certify_labels(engine, rows, *of) for of in zip(W, b, penalties, strict=True)]
    if any(penalty.l1 for penalty in penalties):
        from onelayer.solver.proximal import ProximalSolver

        solver = ProximalSolver(engine, rows, b.shape[1])
        return [solver.certify(*of) for of in zip(W, b, penalties, strict=True)]
    together = max(1, JOINT_BYTES // W[0].nbytes)
    if len(W) > together:
        parts = [slice(i, i + together) for i in range(0, len(W), together)]
        of = (certify_all(engine, rows, Weights(W[p], b[p]), penalties[p], tol) for p in parts)
        return [certified for part in of for certified in part]
    present = rows.cold_probabilities(b.shape[1]) > 0.0
    if not present.all():
        return _certify_present(engine, rows, Weights(W, b), penalties, tol, present)
    if rows.has_free:
        from onelayer.solver.free import certify_with_free

        return [certify_with_free(engine, rows, *of) for of in zip(W, b, penalties, strict=True)]
    with np.errstate(over="ignore", invalid="ignore"):
        sums, shifts = RowSums.of(engine, rows, len(present)), np.zeros_like(b)
        if rows.intercept:  # centred, rows are shorter, and rounding is less
            shifts = np.einsum("rkd,d->rk", W, sums.mean)
            rows, sums = replace(rows, offset=rows.offset - sums.mean), sums.centred_at(sums.mean)
        searches = [Search(*of, sums, tol) for of in zip(W, b + shifts, penalties, strict=True)]
        if not is_cheap(rows.products * b.shape[1]):
            rounding = Rounding.of(engine, rows, sums)
            if rounding is not None:
                improve_biases(engine, rows, searches, Arithmetic("float32", rounding, waits=False))
                for search in searches:
                    if not search.is_sharp:
                        search.begin()
                        search.is_near |= search.passes == 1  # the cost is wanted in float64, too
        improve_biases(engine, rows, searches)
    certified = [search.certified() for search in searches]
    return [replace(of, bias=of.bias - s) for of, s in zip(certified, shifts, strict=True)]


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
        losses = engine.evaluate(rows, weights).loss
    kept, rows = Weights(W[:, present], b[:, present]), of_classes(rows, present)
    certified = []
    for i, of in enumerate(certify_all(engine, rows, kept, penalties, tol)):
        absent, penalty, lowest = W[i, ~present], penalties[i], of.best.lower_bound
        slope = math.hypot(of.best.gradient_norm, norm(penalty.gradient(absent)))
        least, cost = of.best.cost + penalty.value(absent), losses[i] + penalty.value(W[i])
        gap = of.best.gap + penalty.value(absent)
        best = replace(of.best, cost=least, gap=gap, gradient_norm=slope)
        bias = np.full(len(present), of.bias.mean() - ABSENT_BELOW)
        bias[present] = of.bias
        given = replace(best, cost=float(cost), gap=float(cost) - lowest, rounding=0.0)
        certified.append(Certified(given, best, bias, of.passes + 1))
    return certified


def of_classes(rows: Rows, chosen: NDArray[np.bool_]) -> Rows:
    """Rows with these classes alone, numbered anew; rows of the others weigh nothing."""
    if chosen.all():
        return rows
    y = np.searchsorted(np.flatnonzero(chosen), rows.y).clip(max=int(chosen.sum()) - 1)
    offsets = None if rows.score_offsets is None else rows.score_offsets[:, chosen]
    return replace(rows, y=y, score_offsets=offsets)


class Pass(NamedTuple):
    """What a pass over the rows finds of one run: mean loss, G (K, D) and g = p̄ − π (K,)."""

    loss: float
    G: Float64
    g: Float64
    rounded: float = math.inf  # as of `FullGradient`


def full_gradient(engine: Engine, rows: Rows, weights: Weights) -> FullGradient:
    """The engine's gradient; without an intercept that of b is 0."""
    found = engine.gradient(rows, weights)
    return found if rows.intercept else found._replace(b=np.zeros_like(found.b))


def passes_of(found: FullGradient) -> list[Pass]:
    """What a joint pass found of each run."""
    rounded = np.full(len(found.loss), math.inf) if found.rounded is None else found.rounded
    parts = zip(found.loss.tolist(), found.W, found.b, rounded.tolist(), strict=True)
    return [Pass(*of_run) for of_run in parts]


def is_cheap(products: float) -> bool:
    """Whether a pass of so many products costs no more in float64."""
    return products < FLOAT64_PRODUCTS


class RowSums(NamedTuple):
    """What a bound needs to know of the rows, whatever the weights are."""

    frequencies: Float64  # π (K,), above 0; without an intercept 1/K each
    mean: Float64  # x̄ (D,)
    centred: Float64  # (1/N) Σ (yᵢ − π) xᵢᵀ, (K, D): without offsets −∇L at W = 0 and the best bias
    rows: int  # N
    spreads: Float64  # of each feature √ of the mean of (x − x̄)², at least, (D,)
    products: int  # of a pass, for each class
    offsets: Float64 | None = None  # the mean offsets of each class's rows times π, (K, K)

    @classmethod
    def of(cls, engine: Engine, rows: Rows, classes: int) -> RowSums:
        """By one read, which serves every proof on the same rows."""
        if (known := _known_sums.get(rows)) is not None:
            return known
        frequencies, mass = rows.cold_probabilities(classes), rows.mass
        if rows.extreme:  # sums of stored values would cancel; those of a pass at W = 0 are scaled
            weights = np.ones(rows.count) if rows.row_weights is None else rows.row_weights
            mean = engine.weighted_sums(rows, (weights / mass)[None, :, None])[0, 0]
            W = np.zeros((1, classes, rows.X.shape[1]))
            cold = passes_of(full_gradient(engine, rows, Weights(W, np.log(frequencies)[None])))[0]
            centred = cold.g[:, None] * mean - cold.G
            spreads = np.full(rows.X.shape[1], math.inf)
        else:
            sums, squares = engine.class_sums(rows, classes)
            stored, centred = sums.sum(axis=0) / mass, sums
            for some in _class_blocks(sums):
                centred[some] /= mass
                centred[some] -= frequencies[some, None] * stored
                centred[some] *= rows.scale
            # What float64 may have rounded off is added again.
            with np.errstate(over="ignore", invalid="ignore"):  # then no float32 pass is trusted
                squares = squares / mass * (1.0 + 3e-16 * rows.count)
                spreads = np.abs(rows.scale) * np.sqrt(np.maximum(squares - stored**2, 0.0))
            mean = rows.scale * stored + rows.offset
            if not rows.intercept:
                centred += (rows.class_frequencies(classes) - frequencies)[:, None] * rows.offset
        offsets = None
        if rows.row_offsets is not None:
            weights = np.ones(rows.count) if rows.row_weights is None else rows.row_weights
            offsets = np.zeros((classes, classes))
            np.add.at(offsets, rows.labels, rows.row_offsets * (weights / mass)[:, None])
        _known_sums[rows] = known = cls(
            frequencies, mean, centred, rows.count, spreads, rows.products, offsets
        )
        return known

    def centred_at(self, origin: Float64) -> RowSums:
        """The same rows, with an intercept, less this (D,)."""
        return self._replace(mean=self.mean - origin)

    @property
    def size(self) -> float:
        """√ of the mean of ‖xᵢ‖², at least."""
        with np.errstate(over="ignore", invalid="ignore"):  # then no float32 pass is trusted
            return math.hypot(norm(self.spreads), norm(self.mean))

    @property
    def farthest(self) -> float:
        """The largest distance of a class's mean row from x̄."""
        return float((_lengths(self.centred) / self.frequencies).max())


def _lengths(A: Float64) -> Float64:
    """The length of each row of a matrix (K, D)."""
    return np.asarray(np.sqrt(np.einsum("kd,kd->k", A, A)))


def _class_blocks(A: Float64) -> Iterator[slice]:
    """Classes of A (K, D) a few at a time: what is made of them stays in the cache."""
    most = max(1, CACHED_ENTRIES // A.shape[1])
    return (slice(i, i + most) for i in range(0, len(A), most))


_known_sums: WeakKeyDictionary[Rows, RowSums] = WeakKeyDictionary()


class Errors(NamedTuple):
    """What rounding may have done to a pass, at most."""

    loss: float
    scores: float  # √ of the mean over rows of the largest error of a log-probability, squared
    G: float  # Frobenius norm
    g: Float64 | float  # of each class; the scores' apart


EXACT = Errors(0.0, 0.0, 0.0, 0.0)


class Rounding(NamedTuple):
    """Bounds the errors of float32 passes over some rows; derived in Formulations."""

    size: float  # √ of the mean of ‖xᵢ‖²
    far: float  # ‖offset‖, which features are rounded beside
    score: int  # roundings on the way to a score and to an entry of the gradient
    sums: int
    rows: int
    intercept: bool

    @classmethod
    def of(cls, engine: Engine, rows: Rows, sums: RowSums) -> Rounding | None:
        """None for an engine that hides the order of its sums, for extreme rows and for offsets."""
        counted = engine.roundings(rows)
        if counted is None or rows.extreme or rows.score_offsets is not None:
            return None
        far = norm(rows.offset)
        return cls(sums.size, far, counted.score, counted.rows, rows.count, rows.intercept)

    def errors(self, found: Pass, W: Float64, b: Float64, frequencies: Float64) -> Errors:
        """The errors of what a pass found at (W, b)."""
        longest = float(_lengths(W).max())
        score = UNIT * (self.score + 7) * longest * (self.size + self.far)
        score += UNIT * (self.score + 2) * float(np.abs(b).max())
        loss = 2.0 * score + UNIT * (found.loss + math.log(len(b)) + 9.0)
        residual = math.sqrt(2.0 * _square_of_missing(found.loss + loss))
        added = min(residual * self.sums, math.sqrt(found.rounded * (1.0 + 2.0 * UNIT * len(b))))
        residual = min(residual, added)  # a row is part of one sum at least
        G = (added + 9.0 * residual) * self.size + 5.0 * residual * self.far + 4.0 * self.size
        g = (6.5 * UNIT + 2e-16 * self.rows) * (2.0 * frequencies + np.abs(found.g))
        return Errors(loss, score + 95.0 * UNIT, UNIT * G, g if self.intercept else 0.0)


def _square_of_missing(loss: float) -> float:
    """The mean of (1 − p_y)², at most, by that of −log p_y; ‖p − y‖² is at most twice (1 − p_y)².

    It is (1 − exp(−loss))² where that is concave, and the line from 0 that touches it before.
    """
    return 0.4073 * loss if loss < 1.2564 else math.expm1(-loss) ** 2


class Bound(NamedTuple):
    """What a pass proves of (W, b)."""

    cost: float
    slope: float  # ‖G̃ + 2λW‖
    distance: float  # its square / (4λ)
    mixing: float  # (1/N) Σ KL(p̃ᵢ ‖ pᵢ), at most
    rounded: float = 0.0  # what the errors of the pass add to distance and mixing
    off: float = 0.0  # error of the cost, at most
    bent: float = 0.0  # Σ of the errors of ∂J/∂b, at most

    @property
    def gap(self) -> float:
        """J − J*, at most; J* is no lower than 0 either."""
        return min(self.distance + self.mixing + self.rounded, self.cost + self.off)

    @property
    def lowest(self) -> float:
        """J*, at least."""
        return self.cost - self.off - self.gap


def bound_of(
    found: Pass,
    W: Float64,
    b: Float64,
    penalty: Penalty,
    sums: RowSums,
    errors: Errors = EXACT,
) -> Bound:
    """The bound of this module, from what a pass found: no look at the rows."""
    frequencies, mean, centred = sums[:3]
    cost, curvature = found.loss + penalty.value(W), float(penalty.curvature)
    if curvature == 0.0:
        slope = norm(found.G)
        rounded = math.inf if SHARP * slope < errors.G else 0.0
        return Bound(cost, slope, math.inf, 0.0, rounded, errors.loss)
    # g sums to 0 but for rounding; what else it may be off is mixed away by a part of its own.
    excess = float(found.g.sum())
    g = found.g - excess * frequencies
    unknown = errors.g + (abs(excess) * frequencies if errors is not EXACT else 0.0)
    spare = float(np.max(unknown / frequencies))
    over, under = np.maximum(g, 0.0), np.maximum(-g, 0.0)
    t = (1.0 - spare) * float((over / (frequencies + over)).max())
    kept = 1.0 - t - spare
    # A row of class k gives the fraction moved[k] of its mass to others, in parts `taken`.
    moved, taken = kept * over / frequencies, under / max(float(under.sum()), TINY)
    along, given, squares = np.einsum("k,kd->d", moved, centred), np.zeros_like(moved), 0.0
    for some in _class_blocks(W):
        G = g[some, None] * -mean
        G += found.G[some]
        G *= kept
        G -= moved[some, None] * centred[some]
        G += taken[some, None] * along
        G += penalty.gradient(W[some])
        squares += inner(G, G)
        given[some] = np.einsum("kd,kd->k", centred[some], W[some])
    slope = math.sqrt(squares)
    # The mean of KL(r ‖ p) = Σ r log r + loss + (y − r)ᵀ s, times t; s by centred rows.
    bias, mass = b + np.einsum("kd,d->k", W, mean), moved * frequencies
    mixing = t * found.loss + inner(moved, given) + inner(mass, bias)
    mixing -= inner(taken, np.einsum("kd,d->k", W, along) + mass.sum() * bias)
    part = moved / max(t, TINY)
    mixing += t * inner(frequencies, _xlogx(part) + _xlogx(np.maximum(1.0 - part, 0.0)))
    mixing += float(mass.sum() * _xlogx(taken).sum())
    if sums.offsets is not None:
        mixing += inner(moved, sums.offsets.diagonal()) - inner(taken, moved @ sums.offsets)
    distance, mixing = slope**2 / (2.0 * curvature), max(mixing, 0.0)
    if errors is EXACT:
        return Bound(cost, slope, distance, mixing)
    total, farthest = float(np.sum(unknown)), sums.farthest
    steeper = errors.G + norm(np.atleast_1d(unknown)) * norm(mean) + 0.75 * total * farthest
    margin = _margin(W, bias, sums)
    rounded = steeper * (2.0 * slope + steeper) / (2.0 * curvature) + 0.5 * errors.scores**2
    rounded += (t + spare) * errors.loss + spare * found.loss + 0.5 * total * margin
    return Bound(cost, slope, distance, mixing, rounded, errors.loss, errors.scores + total)


def _margin(W: Float64, bias: Float64, sums: RowSums) -> float:
    """How far apart the mean scores of a class's rows lie, at most."""
    if len(W) * W.size > MARGIN_PRODUCTS:
        return float(np.ptp(bias)) + 2.0 * float(_lengths(W).max()) * sums.farthest
    with one_blas_thread():
        scores = W @ (sums.centred / sums.frequencies[:, None]).T
    return float(np.ptp(scores + bias[:, None], axis=0).max())


def _xlogx(x: Float64) -> Float64:
    return x * np.log(x, where=x > 0.0, out=np.zeros_like(x))


class Arithmetic(NamedTuple):
    """That of passes, and what bounds their errors; float32 without a bound proves nothing."""

    dtype: str = "float64"
    rounding: Rounding | None = None
    waits: bool = True  # whether float32 that proves nothing improves the bias before float64 does


FLOAT64 = Arithmetic()


class Proof(NamedTuple):
    """A bound, the bias that it is of, and p̄ − π there."""

    bound: Bound
    bias: Float64
    g: Float64


class Search:
    """The search for the best bias of one run; of its passes, that of the best bound is kept."""

    def __init__(self, W: Float64, b: Float64, penalty: Penalty, sums: RowSums, tol: float) -> None:
        self.W, self._penalty, self._sums, self._tol = W, penalty, sums, tol
        coarse = COARSE_PART if tol else COARSEST_PART
        cheap = is_cheap(sums.products * len(b))
        self._part, self._dtype = (MIXING_PART, "float64") if cheap else (coarse, "float32")
        self.passes, self.is_near = 0, True
        self.sample: Sample | None = None  # of rows, whose Hessian steps are by
        self._scores: NDArray[np.floating] | None = None  # of the sample, at a bias
        self._scored_at: Float64 | None = None
        self.reached, self.found = b, Pass(math.inf, W, b)  # where steps are taken from
        self._given = Proof(Bound(math.inf, math.inf, math.inf, math.inf), b, b)
        self.best = self._given  # bound so far: a proof if the last one is sharp
        self.begin(b)

    def begin(self, b: Float64 | None = None) -> None:
        """Begin anew, at the best bias so far or a step from it."""
        self.b = self.best.bias if b is None else b  # of the next pass
        self.is_done, self.is_sharp, self._damping = False, False, 0.0
        self._nearest, self._stalled = math.inf, 0
        self._looks = 0  # since then, or since bounds are sharp

    def look(self, found: Pass, arithmetic: Arithmetic) -> None:
        """Take what a pass at the bias `b` found; `is_done` says whether it was the last one."""
        dtype, rounding, waits = arithmetic
        self.passes += 1
        errors = EXACT
        if rounding is not None:
            errors = rounding.errors(found, self.W, self.b, self._sums.frequencies)
        bound = bound_of(found, self.W, self.b, self._penalty, self._sums, errors)
        if self.b is self._given.bias:
            self._given = Proof(bound, self.b, found.g)
        rounded, mixing, asked = bound.rounded, bound.mixing, self._tol * bound.cost
        exact = bound.distance + mixing
        little = max(SHARP * (exact + rounded), 0.9 * asked - bound.distance)
        # A step of the bias leaves the distance and what was rounded.
        hides = rounding is None or rounded > little or exact <= asked < bound.distance + rounded
        is_sharp = dtype == "float64" or not hides
        ahead = AHEAD
        if dtype == "float32" and not waits and mixing <= AHEAD**2 * asked:
            # The next step leaves little of the mixture, and then float32 will prove nothing.
            is_sharp &= rounded <= max(SHARP * (bound.distance + rounded), asked - bound.distance)
            ahead = AHEAD**2
        if is_sharp and not self.is_sharp:
            self._looks = 0
        self.is_sharp = is_sharp
        if not is_sharp:  # a pass in float64 will prove it, after one more step
            bound = bound._replace(mixing=mixing / ahead, rounded=0.0)
        slack = ROUNDING[dtype] * abs(self.found.loss)
        if self.found.loss == math.inf or found.loss <= self.found.loss + slack:
            self.reached, self.found, self._damping = self.b, found, self._damping / 16.0
        else:
            self._damping = max(16.0 * self._damping, 1e-4)
        if not self._looks or bound.lowest > self.best.bound.lowest:
            self.best = Proof(bound, self.b, found.g)
        self._looks += 1
        missing = float(np.abs(found.g).sum())
        self._stalled = 0 if missing < PROGRESS * self._nearest else self._stalled + 1
        self._nearest = min(missing, self._nearest)
        allowed = bound.distance if asked else bound.distance + rounded
        enough = max(self._part * allowed, 1e-15 * bound.cost)
        if 0.0 < asked < bound.distance:
            enough = 0.5 * bound.distance
        elif bound.distance > 2.0 * bound.cost:  # then J* ≥ 0 bounds the gap better
            enough = min(0.05 * bound.distance, bound.cost)
        self.is_near = exact + rounded <= asked or not mixing > enough
        self.is_done = (
            not bound.mixing > enough
            or not (is_sharp or waits)
            or bound.gap <= asked
            or self._stalled > MAX_STALLED
            or self._looks >= MAX_PASSES
        )

    def step(self, engine: Engine, *, keeps_scores: bool) -> None:
        """Go where the sample says that p̄ is π; its scores are kept for another step."""
        assert self.sample is not None  # noqa: S101  # it was chosen
        if self._scored_at is None:
            self._scored_at = self.reached
        S = self._scores
        if S is None:
            W, b = (np.ascontiguousarray(a[None], self._dtype) for a in (self.W, self._scored_at))
            S = engine.scores(self.sample.rows, Weights(W, b))[0]
        self._scores, moved = S if keeps_scores else None, self.reached - self._scored_at
        frequencies, g = self._sums.frequencies, self.found.g
        shift = _best_shift(S, moved, self.sample, frequencies, g, self._damping)
        self.b = self.reached + shift

    @property
    def needs_uncertain_rows(self) -> bool:
        """Whether too few rows of a random sample would be uncertain: their part is ≤ the loss."""
        most = _sample_rows(len(self.b))
        uncertain = most * min(1.0, self.found.loss)
        return self._sums.rows > most and uncertain < AHEAD**2 * len(self.b)

    def certified(self) -> Certified:
        """What was proven."""
        l2, rows = self._penalty.l2, self._sums.rows
        (bound, bias, g), given = self.best, self._given
        cost = given.bound.cost
        if not math.isfinite(cost):
            endless = Certificate(l2, math.inf, math.inf, math.inf, 1.0, rows)
            return Certified(endless, endless, bias, self.passes)
        gap = bound.gap if self._penalty.curvature else math.inf
        residual = float(np.abs(g).max())
        best = Certificate(l2, bound.cost, gap, bound.slope, residual, rows, rounding=bound.off)
        excess = cost - bound.cost
        if bias is not given.bias and given.bound.off:  # J is convex in b as well
            further = given.bias - bias
            along = inner(given.g, further) + given.bound.bent * float(np.ptp(further))
            excess = min(excess + bound.off + given.bound.off, along)
        gap, rounding = max(gap + excess, 0.0), given.bound.off
        return Certified(replace(best, cost=cost, gap=gap, rounding=rounding), best, bias,
                         self.passes)  # fmt: skip


def improve_biases(
    engine: Engine, rows: Rows, searches: Sequence[Search], arithmetic: Arithmetic = FLOAT64
) -> None:
    """Joint passes, each after a step of every search that needs one, until all are done."""
    while active := [search for search in searches if not search.is_done]:
        stepping = [search for search in active if not search.is_near]
        _choose_samples(engine, rows, [search for search in stepping if search.sample is None])
        for search in stepping:
            search.step(engine, keeps_scores=len(searches) == 1)
        W, b = (np.array([getattr(of, n) for of in active], arithmetic.dtype) for n in "Wb")
        found = passes_of(full_gradient(engine, rows, Weights(W, b)))
        for search, of_search in zip(active, found, strict=True):
            search.look(of_search, arithmetic)


class Sample(NamedTuple):
    """Rows that stand for all, each for a fraction of them."""

    rows: Rows
    fractions: Float64
    is_whole: bool  # whether curvature is not in other rows
    least: float  # curvature of a class, relative to its mean probability


def _sample_rows(classes: int) -> int:
    return min(SAMPLE_ROWS, max(64, SAMPLE_ENTRIES // classes))


def _choose_samples(engine: Engine, rows: Rows, searches: Sequence[Search]) -> None:
    """Give each search its sample: random rows, or those of which its model is uncertain.

    A row counts in the Hessian by p (1 − p). Where a model is certain of nearly all rows, random
    ones tell little of it: a pass finds the others, and each is drawn with a chance by 1 − max p.
    """
    if not searches:
        return
    most, of_rows = _sample_rows(len(searches[0].b)), rows.row_weights
    fractions = np.full(rows.count, 1.0 / rows.count) if of_rows is None else of_rows / rows.mass
    certain = [search for search in searches if search.needs_uncertain_rows]
    together = max(1, FIGURES // rows.count)
    for start in range(0, len(certain), together):
        group = certain[start : start + together]
        W, b = (np.stack(part) for part in zip(*((s.W, s.reached) for s in group), strict=True))
        weights = Weights(W.astype(np.float32), b.astype(np.float32))
        found = engine.classify(rows, weights).confidence
        for search, confidence in zip(group, found, strict=True):
            search.passes += 1
            search.sample = _uncertain_rows(rows, fractions, confidence, most)
    random: Sample | None = None
    for search in searches:
        if search.sample is None:
            search.sample = random = random or _random_rows(rows, fractions, most)


def _random_rows(rows: Rows, fractions: Float64, most: int) -> Sample:
    chosen = np.arange(rows.count)
    if rows.count > most:
        chosen = np.sort(np.random.default_rng(0).choice(rows.count, most, replace=False))
    parts = fractions[chosen]
    return Sample(loaded(rows, chosen), parts / (parts.sum() or 1.0), rows.count <= most, 0.0)


def _uncertain_rows(
    rows: Rows, fractions: Float64, confidence: Float64, most: int
) -> Sample | None:
    """About so many rows, each with a chance in proportion to its fraction and its uncertainty."""
    chances = fractions * np.nan_to_num(1.0 - confidence).clip(min=0.0)
    if not chances.any():
        return None
    for _ in range(20):  # chances end at 1
        chances = np.minimum(chances * (most / chances.sum()), 1.0)
    chosen = np.flatnonzero(np.random.default_rng(0).random(rows.count) < chances)
    if not len(chosen):
        return None
    return Sample(loaded(rows, chosen), fractions[chosen] / chances[chosen], True, FLAT)


def _best_shift(
    S: NDArray[np.floating],
    moved: Float64,
    sample: Sample,
    frequencies: Float64,
    g: Float64,
    damping: float,
) -> Float64:
    """The shift δ of the biases that brings p̄ = π + g to π, by a sample's scores S + moved (n, K).

    For it p̄(δ) is Σ f p(δ) and what makes it right at δ = 0: of a class that the sample lacks a
    part that grows as exp δ. Its integral in δ is convex, and is lowered by steps of Newton's
    method. A shift of all biases is left out, because it changes nothing.
    """
    f, shift = sample.fractions.astype(S.dtype), np.zeros_like(frequencies)
    means, P = np.maximum(frequencies + g, 1e-6 * frequencies), np.empty_like(S)
    value, sampled, bent = _softmax(S, moved, f, P)
    rest = means - sampled
    growing = np.zeros_like(rest) if sample.is_whole else np.maximum(rest, 0.0)
    slope = rest - growing - frequencies
    value += float(growing.sum())
    first = float(np.abs(g).sum())
    for _ in range(MAX_SHIFTS):
        grown = growing * np.exp(shift)
        rounding = 1e-6 if S.dtype == np.float32 else 1e-12
        least = min(sample.least, FLATTER * float(bent.sum() / means.sum()))
        ridge = np.maximum((rounding + damping) * means, least * means - bent)
        step = _newton_step(P, f, sampled + grown + ridge, bent + grown + ridge, means, frequencies)
        if float(np.abs(step).max()) <= SMALL_SHIFT:
            return shift + step
        length = 1.0
        while True:
            trial = shift + length * step
            log_sum, sampled, bent = _softmax(S, moved + trial, f, P)
            grown = growing * np.exp(trial)
            reached = log_sum + float(grown.sum()) + inner(slope, trial)
            if reached <= value + UNIT * abs(log_sum) or length < MIN_LENGTH:
                break
            length *= 0.5
        shift, value = trial, reached
        means = np.maximum(sampled + grown + slope + frequencies, 1e-6 * frequencies)
        if float(np.abs(means - frequencies).sum()) <= NEAR * first:
            break
    return shift


def _softmax(
    S: NDArray[np.floating], shift: Float64, f: NDArray[np.floating], P: NDArray[np.floating]
) -> tuple[float, Float64, Float64]:
    """Σ f log 1ᵀ exp(s + δ), Σ f p and Σ f p (1 − p); P is overwritten by the probabilities."""
    moved, log_sum = shift.astype(S.dtype), 0.0
    sums, bent = np.zeros((2, len(shift)))
    rows = max(1, BLOCK_ENTRIES // len(shift))
    with one_blas_thread():
        for i in range(0, len(S), rows):
            p, part = P[i : i + rows], f[i : i + rows]
            np.add(S[i : i + rows], moved, out=p)
            top = p.max(axis=1, keepdims=True)
            p -= top
            np.exp(p, out=p)
            total = p.sum(axis=1, keepdims=True)
            p /= total
            log_sum += float(part @ (np.log(total) + top)[:, 0])
            sums += part @ p
            bent += part @ (p * (1.0 - p))
    return log_sum, sums, bent


def _newton_step(
    P: NDArray[np.floating],
    f: NDArray[np.floating],
    d: Float64,
    bent: Float64,
    means: Float64,
    frequencies: Float64,
) -> Float64:
    """A step δ for p̄ = π: (diag(d) − Σ f p pᵀ) δ = p̄ log(π / p̄), by conjugate gradients.

    `bent` is the diagonal of the matrix. Where classes are rare or p̄ is far from π, log p̄ is
    nearly linear in b and p̄ is not.
    """
    r = means * np.log(frequencies / means).clip(-FARTHEST, FARTHEST)
    r -= bent * (r.sum() / bent.sum())
    step, along = np.zeros_like(d), r / bent
    size = inner(r, along)
    smallest = SOLVED**2 * size
    for _ in range(MAX_INNER):
        if size <= smallest:
            break
        with one_blas_thread():
            product = d * along - (f * (P @ along.astype(f.dtype))) @ P
        curvature = inner(along, product)
        if curvature <= 0.0:
            break
        length = size / curvature
        step += length * along
        r -= length * product
        before, size = size, inner(r, r / bent)
        along = r / bent + (size / before) * along
    step -= step.mean()
    return step * min(1.0, FARTHEST / max(float(np.abs(step).max()), TINY))

"""Errors of the coefficients: standard errors, p, intervals, and those of probabilities.

    θ = (W_k − W_r, b_k − b_r)    contrasts of each class k with a reference class r
    H = Σ wᵢ ∂²ℓᵢ/∂θ²             M = Σ wᵢ² ψᵢ ψᵢᵀ, of the gradients ψᵢ = ∂(ℓᵢ + λ Σ W²)/∂θ

    "hessian"      Cov θ = H⁻¹                 λ = 0, a weight is so many rows
    "sandwich"     Cov θ = H⁻¹ M H⁻¹           of groups ψ is summed over each group
    "bootstrap"    refits of rows, or groups, that are drawn with replacement

A softmax knows no more than contrasts: adding one number to all scores changes no probability. Of
many labels a row each label is a problem of its own, with itself against not having it.

H is computed in the scaled features less their mean, which keeps its condition, and all that is
shown is in the features' own units: with z = x · a + c, a coefficient of x is a times that of z,
and the intercept of x is that of z plus Σ c θ_z.

Source: McCullagh & Nelder (1989), Generalized Linear Models; White (1982), Maximum likelihood
estimation of misspecified models; Liang & Zeger (1986), Longitudinal data analysis using
generalized linear models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.data.dataset import Dataset, Splits, training_rows
from onelayer.data.memory import available_memory, format_bytes
from onelayer.data.progress import Log, quiet
from onelayer.data.rows import Rows, weight_sum
from onelayer.data.scaling import EQUAL
from onelayer.engines import Engine, streaming, tiles
from onelayer.errors import OnelayerError, SettingsError, plain, require_choice, require_number
from onelayer.model.intervals import NORMAL, Bootstrap
from onelayer.model.model import Model
from onelayer.model.rows import fitted_rows, met_rows
from onelayer.objective.loss import log_softmax, sigmoid, softmax
from onelayer.objective.penalty import Penalty

if TYPE_CHECKING:
    from pandas import DataFrame

Float64 = NDArray[np.float64]

Errors = Literal["auto", "hessian", "sandwich", "bootstrap"]

INTERCEPT = "intercept"

SOLVER = "onelayer.solver.solver"

# Entries of a block of rows, each once for every class.
BLOCK_ENTRIES = 1 << 21

# Copies of the Hessian that are held at once, and the part of the free memory that they may take.
COPIES, MEMORY_PART = 4, 0.5

# A Hessian of no more bytes is computed before a bootstrap, to see whether there is an optimum.
FEW_BYTES = 64 << 20

# Features that are named of those that leave resamples of a bootstrap without an optimum.
MOST_LONE = 3

# 1 − R² of a feature with those before it that is rounding: they are linearly dependent.
DEPENDENT = 1e-10

# How far a model may be from the optimum, in standard errors; and by how much a step of Newton's
# may change a score where the optimum is finite.
FAR, STEADY = 0.25, 0.05


class Coefficient(NamedTuple):
    """One line of an `Inference`: of a feature, or the intercept, for a class."""

    class_name: str
    feature: str
    coefficient: float
    standard_error: float
    z: float
    p: float
    low: float
    high: float
    odds_ratio: float
    odds_low: float
    odds_high: float


class ProbabilityIntervals(NamedTuple):
    """Probabilities of rows, and the ends of their intervals: each (N, K)."""

    probability: Float64
    low: Float64
    high: Float64


class Bootstrapped(NamedTuple):
    """The coefficients of z of each resample, (B, C, T), and what was drawn."""

    values: Float64
    units: int
    freedom: int
    kind: str


@dataclass(frozen=True, eq=False, repr=False)
class Inference:
    """Coefficients with their errors, in the features' own units; prints as a table.

    Attributes:
        errors: "hessian", "sandwich" or "bootstrap": what the standard errors are by.
        class_names: the C classes that are compared with the reference: all others, or every label
            where a row has many.
        reference: the class whose coefficients are 0; None where a row has many labels.
        terms: the T coefficients of a class: "intercept", if there is one, then each feature.
        coefficients: log odds of each class against the reference, (C, T); of a feature by unit.
        standard_errors: of the same, (C, T).
        level: of the intervals.
        rows: number of rows.
        weight: Σ of their weights, the number of rows where all weigh 1.
        groups: number of groups, whose rows may depend on each other; None where rows are alone.
        log_likelihood: Σ w log p of the rows' classes, nats.
        null_log_likelihood: the same without features: of intercepts alone, which give the class
            frequencies, or of equal chances.
        meaning: what the errors are of, in a sentence.
    """

    errors: str
    class_names: tuple[str, ...]
    reference: str | None
    terms: tuple[str, ...]
    coefficients: Float64
    standard_errors: Float64
    level: float
    rows: int
    weight: float
    groups: int | None
    log_likelihood: float
    null_log_likelihood: float
    meaning: str
    _model: Model
    _mean: Float64  # of the scaled features, (D,)
    _covariance: Float64 | None  # of the coefficients of z, (blocks, U, U)
    _draws: Bootstrapped | None  # of the same

    @property
    def quantile(self) -> float:
        """Standard errors to each side of an interval: 1.96 for 95 %."""
        return NORMAL.inv_cdf((1.0 + self.level) / 2.0)

    @property
    def z(self) -> Float64:
        """Coefficients in standard errors, (C, T)."""
        with np.errstate(invalid="ignore"):  # of a constant feature both are 0
            return np.asarray(self.coefficients / self.standard_errors)

    @cached_property
    def p(self) -> Float64:
        """Two-sided p that each coefficient is 0, (C, T).

        By the normal distribution, or one minus the level of the bootstrap's interval up to 0.
        """
        if self._draws is not None:
            return self._each(lambda one: one.p)
        flat = [math.erfc(z / math.sqrt(2.0)) for z in np.abs(self.z).ravel()]
        return np.reshape(flat, self.coefficients.shape)

    @cached_property
    def low(self) -> Float64:
        """Lower ends of the intervals, (C, T): of the bootstrap bias-corrected quantiles."""
        if self._draws is not None:
            return self._each(lambda one: one.interval_of(self.quantile)[0])
        return np.asarray(self.coefficients - self.quantile * self.standard_errors)

    @cached_property
    def high(self) -> Float64:
        """Upper ends of the intervals, (C, T)."""
        if self._draws is not None:
            return self._each(lambda one: one.interval_of(self.quantile)[1])
        return np.asarray(self.coefficients + self.quantile * self.standard_errors)

    def _each(self, figure: Callable[[Bootstrap], float]) -> Float64:
        """A figure of the bootstrap of each coefficient, (C, T)."""
        assert self._draws is not None  # noqa: S101  # for the bootstrap alone
        _, units, freedom, kind = self._draws
        draws = np.sort(_own_units(self._model, self._mean, self._draws.values), axis=0)
        found = np.empty(self.coefficients.shape)
        for at in np.ndindex(found.shape):
            values, value = draws[:, *at], float(self.coefficients[at])
            error = float(self.standard_errors[at])
            found[at] = figure(Bootstrap(value, values, error, 0.0, units, freedom, kind))
        return found

    @property
    def odds_ratios(self) -> Float64:
        """What one unit more of a feature multiplies the odds by: exp of the coefficients, (C, T).

        The ends of their intervals are exp of `low` and `high`.
        """
        return _exp(self.coefficients)

    @property
    def covariance(self) -> Float64:
        """Of all coefficients, (C · T, C · T), class by class; of many labels (C, T, T)."""
        T = len(self.terms)
        if self._covariance is None:
            assert self._draws is not None  # noqa: S101  # one of both is there
            draws = _own_units(self._model, self._mean, self._draws.values)
            draws -= draws.mean(axis=0)
            if self.reference is None:
                return np.asarray(np.einsum("bct,bcs->cts", draws, draws) / (len(draws) - 1))
            flat = draws.reshape(len(draws), -1)
            return np.asarray(flat.T @ flat / (len(draws) - 1))
        shift = _own_units(self._model, self._mean, np.eye(T)).T
        whole = np.kron(np.eye(self._covariance.shape[1] // T), shift)
        found: Float64 = whole @ self._covariance @ whole.T
        return found if self.reference is None else found[0]

    @property
    def sentences(self) -> tuple[str, ...]:
        """What the errors are of, and how well the model fits."""
        weighted = "" if self.weight == self.rows else f", of weight {self.weight:,.6g} in all"
        grouped = "" if self.groups is None else f" in {self.groups:,} groups"
        kind = {"hessian": "inverse Hessian"}.get(self.errors, self.errors)
        return (
            f"Errors by the {kind}: {self.meaning}.",
            f"{self.rows:,} rows{grouped}{weighted}; log likelihood {self.log_likelihood:.6g}, "
            f"without features {self.null_log_likelihood:.6g}.",
        )

    def lines(self) -> Iterator[Coefficient]:
        """Each coefficient with all that is known of it, class by class."""
        values = (self.coefficients, self.standard_errors, self.z, self.p, self.low, self.high)
        columns = [*values, self.odds_ratios, _exp(self.low), _exp(self.high)]
        for k, name in enumerate(self.class_names):
            for t, term in enumerate(self.terms):
                yield Coefficient(name, term, *(float(column[k, t]) for column in columns))

    def to_frame(self) -> DataFrame:
        """The same as a pandas DataFrame, indexed by class and feature.

        Raises:
            OnelayerError: when pandas is not installed.
        """
        try:
            pandas = import_module("pandas")
        except ImportError as error:
            raise OnelayerError("to_frame needs pandas: pip install pandas.") from error
        frame: DataFrame = pandas.DataFrame(list(self.lines())).set_index(["class_name", "feature"])
        return frame

    def as_dict(self) -> dict[str, Any]:
        """Every figure as plain values, fit for JSON; null where one is not finite."""
        names = ("errors", "reference", "level", "rows", "weight", "groups", "log_likelihood")
        of_all = {name: getattr(self, name) for name in (*names, "null_log_likelihood", "meaning")}
        lines = [
            {name: None if _is_lost(value) else value for name, value in line._asdict().items()}
            for line in self.lines()
        ]
        return of_all | {"coefficients": lines}

    def probabilities(self, X: Any, log: Log | None = None) -> ProbabilityIntervals:
        """The class probabilities of rows, with their intervals by the delta method.

            logit p ± z √(aᵀ Cov a)        a = ∂ logit p / ∂θ

        The ends are carried back from the logit, so they stay between 0 and 1. Those of the
        bootstrap are quantiles of the probabilities that the refits give.

        Args:
            X: rows as stored, as of `Model.scores`.
            log: callback for one-line messages, as of `Model.scores`.

        Raises:
            DataError: when rows do not have the D features, or contain NaN or infinity.
        """
        model, draws = self._model, self._draws
        S, X = model.scores(X, log=log), met_rows(model, X, quiet)
        size = self.coefficients.size * (1 if draws is None else len(draws.values))
        rows = Rows(X, np.zeros(len(X), np.int64), model.scaling.scale, model.scaling.offset)
        rows = rows.with_intercept(model.intercept)
        low, high = np.empty_like(S), np.empty_like(S)
        logit = S if model.many_labels else _logits(S)
        for place, tile in tiles(rows, max(1, BLOCK_ENTRIES // size)):
            Z = _terms(tile, self._mean)
            if draws is not None:
                ends = [0.5 - self.level / 2.0, 0.5 + self.level / 2.0]
                low[place], high[place] = np.quantile(self._drawn(draws, Z), ends, axis=0)
                continue
            half = self.quantile * self._logit_errors(Z, S[place])
            low[place], high[place] = sigmoid(logit[place] - half), sigmoid(logit[place] + half)
        return ProbabilityIntervals(sigmoid(logit), low, high)

    def _drawn(self, draws: Bootstrapped, Z: Float64) -> Float64:
        """The probabilities that each refit gives, (B, n, K)."""
        S = np.zeros((len(draws.values), len(Z), self._model.classes))
        kept = [self._model.class_names.index(name) for name in self.class_names]
        S[:, :, kept] = Z @ draws.values.transpose(0, 2, 1)
        return sigmoid(S) if self.reference is None else softmax(S)

    def _logit_errors(self, Z: Float64, S: Float64) -> Float64:
        """Standard errors of the logit of each probability, (n, K), by terms Z and scores S."""
        T = len(self.terms)
        assert self._covariance is not None  # noqa: S101  # there are no draws
        if self.reference is None:
            each = np.einsum("ns,kst,nt->nk", Z, self._covariance, Z, optimize=True)
            return np.asarray(np.sqrt(each))
        C, K = len(self.class_names), S.shape[1]
        blocks = self._covariance[0].reshape(C, T, C, T)
        V = np.empty((len(Z), C, C))  # of the contrasts' scores
        for j in range(C):
            for k in range(j, C):
                V[:, j, k] = V[:, k, j] = np.einsum("nt,nt->n", Z @ blocks[j, :, k], Z)
        kept = [self._model.class_names.index(name) for name in self.class_names]
        errors = np.empty_like(S)
        for k in range(K):
            slope = np.zeros_like(S)
            others = np.arange(K) != k
            slope[:, others], slope[:, k] = -softmax(S[:, others]), 1.0
            a = slope[:, kept]
            errors[:, k] = np.sqrt(np.einsum("nj,njk,nk->n", a, V, a))
        return errors

    def __repr__(self) -> str:
        # A package above this one, imported by name when the table is shown.
        text: str = import_module("onelayer.report.notebook").inference_text(self)
        return text

    def _repr_html_(self) -> str:
        html: str = import_module("onelayer.report.notebook").inference_html(self)
        return html


def infer(
    model: Model,
    data: Dataset | Splits,
    *,
    errors: Errors,
    reference: object,
    level: float,
    groups: ArrayLike | None,
    resamples: int,
    seed: int,
    engine: Engine | str | None,
    on_progress: Callable[[Any], None] | None,
    log: Log | None,
) -> Inference:
    """The inference of a model's coefficients; see `Model.inference`."""
    require_choice("errors", errors, get_args(Errors))
    require_number("level", level, "above 0 and below 1", above=0, below=1)
    model = model.uncalibrated
    chosen = _reference(model, reference)
    if groups is not None:
        data = replace(training_rows(data), groups=np.asarray(groups))
    dataset, rows = fitted_rows(model, data, log)
    _check_cost(model, dataset)
    member = _groups(dataset)
    kind = _kind(model, errors, grouped=member is not None, asked=groups is not None)
    l2, mass = model.l2 or 0.0, weight_sum(dataset, None)
    frequencies = rows.class_frequencies(model.classes)
    _check_classes(model, frequencies)
    bootstraps = kind == "bootstrap"
    if not bootstraps:
        _check_size(model)
    mean = _mean(rows)
    seen = _look(model, rows, mean)
    if l2 == 0.0:
        _check_finite(model, rows, mean, seen)
    kept = np.flatnonzero(np.arange(model.classes) != chosen)
    theta = _contrasts(model, np.column_stack([model.W, model.b]), mean, kept, chosen)
    covariance = draws = None
    if not bootstraps or (l2 == 0.0 and _hessian_bytes(model) <= FEW_BYTES):
        each_group = member if kind == "sandwich" else None
        counts = mass / rows.mass if kind == "hessian" else None
        covariance = _by_curvature(model, rows, mean, kept, each_group, counts)
        deviations = _deviations(model, mean, covariance)
    grouped = None if member is None or kind == "hessian" else int(member.max()) + 1
    meaning = _meaning(kind, l2, grouped=grouped is not None, weighted=rows.weights is not None)
    if bootstraps:
        # A package above this one, imported by name when it is asked for.
        refits = import_module("onelayer.solver.bootstrap").refit_resamples(
            engine,
            rows,
            model.W.astype(np.float64),
            model.b.astype(np.float64),
            l2,
            mass,
            member=member,
            far=FAR,
            resamples=resamples,
            seed=seed,
            on_progress=on_progress,
        )
        if refits.separated:
            raise _separated("some classes can be separated from others")
        if refits.apart > FAR:
            raise _far(model, refits.apart, "")
        values = _contrasts(model, refits.draws, mean, kept, chosen)
        covariance = None
        draws = Bootstrapped(values, refits.units, refits.freedom, refits.kind)
        deviations = _own_units(model, mean, values).std(axis=0, ddof=1)
        if refits.left_out:
            meaning += f"; {refits.left_out} of {resamples} resamples without an optimum left out"
            meaning += _lone_words(model, refits.lone)
    return Inference(
        errors=kind,
        class_names=tuple(model.class_names[k] for k in kept),
        reference=None if chosen is None else model.class_names[chosen],
        terms=_term_names(model),
        coefficients=_own_units(model, mean, theta),
        standard_errors=deviations,
        level=float(level),
        rows=rows.count,
        weight=mass,
        groups=grouped,
        log_likelihood=-seen.loss * mass / rows.mass,
        null_log_likelihood=-mass * _null_loss(frequencies, model, rows, engine),
        meaning=meaning,
        _model=model,
        _mean=mean,
        _covariance=covariance,
        _draws=draws,
    )


def _lone_words(model: Model, lone: Mapping[Any, int]) -> str:
    """Which features alone leave how many resamples without an optimum; "" where none does."""
    names, parts = _term_names(model)[-model.features :], []
    for verb, is_constant in (("separates classes alone", False), ("is constant", True)):
        counts = {of.feature: count for of, count in lone.items() if of.is_constant == is_constant}
        if counts:
            most = sorted(counts, key=lambda feature: -counts[feature])[:MOST_LONE]
            named = " or ".join([repr(names[d]) for d in most] + ["…"] * (len(counts) > len(most)))
            parts.append(f"in {sum(counts.values())} {named} {verb}")
    return f" ({', '.join(parts)})" * bool(parts)


def _term_names(model: Model) -> tuple[str, ...]:
    names = model.feature_names or tuple(map(str, range(model.features)))
    return (INTERCEPT, *names) if model.intercept else names


def _contrasts(
    model: Model,
    weights: NDArray[np.floating],
    mean: Float64,
    kept: NDArray[np.int64],
    reference: int | None,
) -> Float64:
    """Coefficients of z, (…, C, T), of W and b as columns, (…, K, D + 1)."""
    weights = weights.astype(np.float64)
    theta = W = weights[..., :-1]
    if model.intercept:
        theta = np.concatenate([weights[..., -1:] + (W @ mean)[..., None], W], axis=-1)
    of_reference = 0.0 if reference is None else theta[..., [reference], :]
    return np.asarray(theta[..., kept, :] - of_reference)


def _own_units(model: Model, mean: Float64, theta: Float64) -> Float64:
    """Coefficients (…, T) of z as those of the features as they are stored."""
    if not model.intercept:
        return np.asarray(theta * model.scaling.scale)
    slopes = theta[..., 1:]
    intercept = theta[..., :1] + (slopes @ (model.scaling.offset - mean))[..., None]
    return np.concatenate([intercept, slopes * model.scaling.scale], axis=-1)


class _Look(NamedTuple):
    """What a first pass over the rows finds."""

    loss: float  # Σ w ℓ
    squares: Float64  # Σ w z² of the features, (D,)
    all_right: bool  # whether each row's own class, or one label of all rows, is told right


def _look(model: Model, rows: Rows, mean: Float64) -> _Look:
    loss, squares = 0.0, np.zeros(len(mean))
    right = np.ones(model.classes if model.many_labels else 1, bool)
    for _, tile in tiles(rows, max(1, BLOCK_ENTRIES // (len(mean) + model.classes))):
        Z, w, y = _terms(tile, mean), _weights(tile), tile.labels
        S = _scores(model, tile, Z, mean)
        squares += w @ Z[:, -len(mean) :] ** 2
        if model.many_labels:
            loss += float(w @ (np.logaddexp(0.0, S) - y * S).sum(axis=1))
            right &= ((S > 0.0) == (y > 0)).all(axis=0)
            continue
        each = np.arange(len(y))
        loss -= float(w @ log_softmax(S)[each, y])
        own = S[each, y]
        S[each, y] = -np.inf
        right &= (own > S.max(axis=1)).all()
    return _Look(loss, squares, bool(right.any()))


class _Curvature(NamedTuple):
    """Sums of a pass, of blocks of contrasts: one of all classes, or one for each label."""

    H: Float64  # Σ w ∂²(ℓ + λ Σ W²)/∂θ², (blocks, U, U)
    M: Float64  # Σ w² ψ ψᵀ of rows, or of groups, (blocks, U, U)
    g: Float64  # Σ w ψ, (blocks, U)


def _curvature(
    model: Model,
    rows: Rows,
    mean: Float64,
    kept: NDArray[np.int64],
    l2: float,
    member: NDArray[np.int64] | None,
) -> _Curvature:
    """The sums of contrasts of the classes `kept`, of a penalty λ Σ W²."""
    K, T, C, many = model.classes, len(_term_names(model)), len(kept), model.many_labels
    blocks, U = (C, T) if many else (1, C * T)
    H, M, g = np.zeros((blocks, U, U)), np.zeros((blocks, U, U)), np.zeros(C * T)
    own = np.zeros((C, T, T))  # of each class alone
    of_groups = None if member is None else np.zeros((int(member.max()) + 1, C * T))
    W = model.W.astype(np.float64)
    bends = np.broadcast_to(Penalty(l2, factors=rows.penalty_factors).curvatures, len(mean))
    pull = np.zeros((C, T))  # the penalty's gradient; what all classes share is no contrast
    pull[:, -len(mean) :] = bends * (W if many else W - W.mean(axis=0))[kept]
    for place, tile in tiles(rows, max(1, BLOCK_ENTRIES // (C * T))):
        Z, w, y = _terms(tile, mean), _weights(tile), tile.labels
        S = _scores(model, tile, Z, mean)
        P = (sigmoid(S) if many else softmax(S))[:, kept]
        residual = P - (y if many else np.eye(K)[y][:, kept])
        for k, p in enumerate(P.T):
            own[k] += (Z * (w * p * (1.0 - p if many else 1.0))[:, None]).T @ Z
        if not many:
            A = ((np.sqrt(w)[:, None] * P)[:, :, None] * Z[:, None]).reshape(len(Z), U)
            H[0] -= A.T @ A
        G = (w[:, None, None] * (residual[:, :, None] * Z[:, None] + pull)).reshape(len(Z), C * T)
        g += G.sum(axis=0)
        if of_groups is None or member is None:
            M += _grams(G, blocks)
        else:
            np.add.at(of_groups, member[place], G)
    if of_groups is not None:
        M = _grams(of_groups, blocks) * (len(of_groups) / (len(of_groups) - 1.0))
    features = np.arange(T - len(mean), T)
    own[:, features, features] += bends * rows.mass
    if many:
        H = own
    else:
        each, classes = H.reshape(C, T, C, T), np.arange(C)
        each[classes, :, classes] += own
        # Of contrasts it is 2λ (I − 11ᵀ/K), for W has no part that all classes share.
        each[:, features, :, features] -= bends[:, None, None] * rows.mass / K
    return _Curvature(H, M, g.reshape(blocks, U))


def _grams(G: Float64, blocks: int) -> Float64:
    """GᵀG of each block of columns, (blocks, U, U)."""
    of_blocks = G.reshape(len(G), blocks, -1).transpose(1, 0, 2)
    return np.asarray(of_blocks.transpose(0, 2, 1) @ of_blocks)


def _scores(model: Model, tile: Rows, Z: Float64, mean: Float64) -> Float64:
    W = model.W.astype(np.float64)
    S = Z[:, -len(mean) :] @ W.T + (model.b + W @ mean)
    return np.asarray(S if tile.row_offsets is None else S + tile.row_offsets)


def _terms(tile: Rows, mean: Float64) -> Float64:
    """The terms of rows, (n, T): 1 for the intercept, and the scaled features less their mean."""
    X = tile.scaled() - mean
    return np.column_stack([np.ones(tile.count), X]) if tile.intercept else X


def _weights(rows: Rows) -> Float64:
    return np.ones(rows.count) if rows.row_weights is None else rows.row_weights


def _mean(rows: Rows) -> Float64:
    """The mean of the scaled features, by weight, (D,); 0 where no intercept takes it up."""
    if not rows.intercept:
        return np.zeros(rows.X.shape[1])
    step = max(1, BLOCK_ENTRIES // rows.X.shape[1])
    total = sum(_weights(tile) @ tile.scaled() for _, tile in tiles(rows, step))
    return np.asarray(total) / rows.mass


def _inverse(H: Float64, names: tuple[str, ...]) -> Float64:
    """H⁻¹ of one block; a SettingsError where some features are a combination of others."""
    unit = 1.0 / np.sqrt(H.diagonal())  # in which every curvature is 1
    scaled = H * unit * unit[:, None]
    try:
        pivots = np.linalg.cholesky(scaled).diagonal()
    except np.linalg.LinAlgError:
        pivots = np.zeros(1)
    if pivots.min() ** 2 <= DEPENDENT:
        T = len(names)
        least = np.linalg.eigh(scaled[:T, :T])  # of the first class
        if least[0][0] > T * DEPENDENT:
            raise _separated("some classes can be separated from others")
        part = np.abs(least[1][:, 0])
        named = [repr(names[t]) for t in np.flatnonzero(part > 0.05 * part.max())]
        listed = ", ".join(named[:4]) + (", …" if len(named) > 4 else "")
        raise SettingsError(
            f"the features {listed} are linearly dependent, so with λ = 0 their coefficients are "
            "not determined; leave one out, or solve with λ > 0."
        )
    inverse = np.linalg.inv(scaled)
    return np.asarray((inverse + inverse.T) * (0.5 * unit * unit[:, None]))


def _check_finite(model: Model, rows: Rows, mean: Float64, seen: _Look) -> None:
    """Refuse classes that can be separated, and features that are constant up to rounding."""
    groups = model.settings.get("separated")
    if groups:
        raise _separated(f"the rows of {', '.join(groups[0])} can be separated from the others")
    if seen.all_right:
        raise _separated("the model is right of every row")
    spread = np.sqrt(seen.squares / rows.mass)
    constant = np.flatnonzero(spread <= EQUAL * (np.abs(mean) + np.abs(rows.offset)))
    if len(constant):
        name = _term_names(model)[constant[0] - len(mean)]
        raise SettingsError(
            f"the feature {name!r} is constant in these rows, so with λ = 0 its coefficient is not "
            "determined; leave it out, or solve with λ > 0."
        )


def _by_curvature(
    model: Model,
    rows: Rows,
    mean: Float64,
    kept: NDArray[np.int64],
    member: NDArray[np.int64] | None,
    counts: float | None,
) -> Float64:
    """The covariance of the coefficients of z: the sandwich, or H⁻¹ of rows that count so often."""
    found = _curvature(model, rows, mean, kept, model.l2 or 0.0, member)
    inverse = np.array([_inverse(H, _term_names(model)) for H in found.H])
    step = np.einsum("bij,bj->bi", inverse, found.g).reshape(len(kept), -1)
    plain = inverse / (counts or 1.0)
    _check_near(model, mean, kept, step, plain)
    if model.l2 == 0.0:
        _check_inseparable(model, rows, mean, kept, step)
    if counts is not None:
        return np.asarray(plain)
    covariance = np.asarray(inverse @ found.M @ inverse)
    _check_near(model, mean, kept, step, covariance)
    return covariance


def _deviations(model: Model, mean: Float64, covariance: Float64) -> Float64:
    """Standard errors of the coefficients in the features' own units, (C, T)."""
    T, scale = len(_term_names(model)), model.scaling.scale
    blocks, U, _ = covariance.shape
    each = covariance.reshape(blocks, U // T, T, U // T, T)
    own = np.concatenate([[block[c, :, c] for c in range(U // T)] for block in each])
    variances = np.einsum("ctt->ct", own).copy()
    if model.intercept:
        to_intercept = np.append(1.0, model.scaling.offset - mean)
        variances[:, 0] = np.einsum("t,cts,s->c", to_intercept, own, to_intercept)
    variances[:, -len(mean) :] *= scale**2
    return np.asarray(np.sqrt(variances))


def _check_near(
    model: Model, mean: Float64, kept: NDArray[np.int64], step: Float64, covariance: Float64
) -> None:
    """Refuse a model that is not at its optimum, by a step of Newton's (C, T) from there."""
    with np.errstate(invalid="ignore"):  # with λ > 0 a constant feature has no errors
        apart = np.abs(_own_units(model, mean, step)) / _deviations(model, mean, covariance)
    apart = np.nan_to_num(apart)
    if apart.max() > FAR:
        k, t = np.unravel_index(int(np.argmax(apart)), apart.shape)
        of = f" (of {_term_names(model)[t]!r} for {model.class_names[kept[k]]!r})"
        raise _far(model, float(apart.max()), of)


def _check_inseparable(
    model: Model, rows: Rows, mean: Float64, kept: NDArray[np.int64], step: Float64
) -> None:
    """Refuse classes that can be separated, by a step of Newton's and the one after it.

    Where an optimum is infinitely far, steps are small in standard errors, which grow without end
    as well, and yet each moves scores by about 1.
    """
    moved = _largest_change(rows, mean, step)
    if moved.max() <= STEADY:
        return
    W, b, names = model.W.astype(np.float64), model.b.astype(np.float64), _term_names(model)
    W[kept] -= step[:, -len(mean) :]
    if model.intercept:
        b[kept] -= step[:, 0] - step[:, 1:] @ mean
    found = _curvature(replace(model, W=W, b=b), rows, mean, kept, 0.0, None)
    inverse = np.array([_inverse(H, names) for H in found.H])
    again = np.einsum("bij,bj->bi", inverse, found.g).reshape(step.shape)
    if _largest_change(rows, mean, again).max() > 0.5 * moved.max():
        feature = names[int(np.argmax(moved[-len(mean) :])) - len(mean)]
        raise _separated(f"some classes can be separated from others by {feature!r}")


def _largest_change(rows: Rows, mean: Float64, step: Float64) -> Float64:
    """The most that each term's part of a step (C, T) changes a score, (T,)."""
    largest = np.zeros(step.shape[1])
    for _, tile in tiles(rows, max(1, BLOCK_ENTRIES // step.size)):
        largest = np.maximum(largest, np.abs(_terms(tile, mean)).max(axis=0))
    return np.asarray(largest * np.abs(step).max(axis=0))


def _far(model: Model, apart: float, which: str) -> SettingsError:
    return SettingsError(
        f"errors are of the optimum, but this model may be {apart:.2g} standard errors from it"
        f"{which}; solve(data, l2={model.l2:g}, tol=1e-10) finds it."
    )


def _separated(words: str) -> SettingsError:
    return SettingsError(
        f"{words}, so with λ = 0 the coefficients grow without end and have no errors; solve with "
        "λ > 0."
    )


def _reference(model: Model, reference: object) -> int | None:
    """The index of the reference class, by its name or label; None of many labels a row."""
    if model.many_labels:
        if reference is not None:
            raise SettingsError(
                "reference has no effect on a model of many labels: each label is compared with "
                "not having it; leave it out."
            )
        return None
    if reference is None:
        return 0
    given, labels = plain(reference), model.labels.tolist()
    if given in labels:
        return int(labels.index(given))
    name = str(given).lower() if isinstance(given, bool) else str(given)
    require_choice("reference", name, model.class_names)
    return model.class_names.index(name)


def _kind(model: Model, errors: str, *, grouped: bool, asked: bool) -> str:
    """What the errors are by."""
    l2, weighing = model.l2, model.settings.get("class_weight")
    if l2 is None:
        raise SettingsError("the model does not know its l2 (λ); solve(data, l2=…) makes one.")
    if errors == "auto":
        return "hessian" if l2 == 0.0 and not weighing and not grouped else "sandwich"
    if errors == "hessian":
        if l2 > 0.0 or weighing:
            why = f"λ = {l2:g}" if l2 > 0.0 else "class weights"
            raise SettingsError(
                f"errors='hessian' are those of a maximum of the likelihood, which with {why} "
                "the model is not; use errors='sandwich'."
            )
        if asked:
            raise SettingsError(
                "errors='hessian' take rows for independent, so groups have no effect; leave them "
                "out, or use errors='sandwich'."
            )
    return errors


def _groups(rows: Dataset) -> NDArray[np.int64] | None:
    """The number of each row's group; None where there are none, or all rows are of one."""
    if rows.groups is None:
        return None
    names, member = np.unique(rows.groups, return_inverse=True)
    return member if len(names) > 1 else None


def _check_cost(model: Model, rows: Dataset) -> None:
    """Refuse a model whose cost is another than the mean cross-entropy."""
    if model.settings.get("l1") or (model.certificate is not None and model.certificate.l1):
        raise SettingsError(
            "an l1 penalty sets coefficients to 0, and no standard error tells how sure that is; "
            "choose features by it on some rows, and solve(data, l2=…) with those on others."
        )
    other = model.other_cost(weighted=rows.weights is not None)
    if other:
        raise SettingsError(
            f"errors are of the mean cross-entropy, but this model was trained with {other}; "
            "solve(data, l2=…) fits one without."
        )


def _check_classes(model: Model, frequencies: Float64) -> None:
    """Refuse a class without rows, and of many labels one that every row has."""
    for wrong, words in ((frequencies <= 0.0, "no row"), (frequencies >= 1.0, "every row")):
        if wrong.any():
            name = model.class_names[int(np.argmax(wrong))]
            what = "has the label" if model.many_labels else "is of the class"
            raise SettingsError(f"{words} {what} {name!r}, so its coefficients have no errors.")


def _hessian_bytes(model: Model) -> int:
    """Bytes that the Hessian and its inverse take."""
    T, K = model.features + model.intercept, model.classes
    return COPIES * 8 * (K * T**2 if model.many_labels else ((K - 1) * T) ** 2)


def _check_size(model: Model) -> None:
    """Refuse a Hessian that is too large for memory."""
    needed, free = _hessian_bytes(model), available_memory()
    if needed > MEMORY_PART * free:
        unknowns = (model.features + model.intercept) * (model.classes - (not model.many_labels))
        raise SettingsError(
            f"the Hessian of {unknowns:,} coefficients takes {format_bytes(needed)}, more than "
            f"half of the {format_bytes(free)} that are free; use errors='bootstrap', which needs "
            "none."
        )


def _null_loss(
    frequencies: Float64, model: Model, rows: Rows, engine: Engine | str | None
) -> float:
    """The mean loss without features, nats: of the class frequencies, or of equal chances.

    With offsets that of the best intercepts beside them.
    """
    if rows.score_offsets is not None:
        # Packages above this one, imported by name.
        reduction, solver = map(import_module, ("onelayer.solver.reduction", SOLVER))
        X, one = np.zeros((rows.count, 1)), np.ones(1)
        null = Rows(
            X, rows.labels, one, one, None, rows.row_weights,
            intercept=rows.intercept, score_offsets=rows.row_offsets,
        )  # fmt: skip
        solvers = reduction.Solvers(streaming(engine), null, model.classes)
        return float(solvers.of_all().solve(solver.Target(1.0, 1e-12)).certificate.cost)
    if not model.intercept:
        return model.classes * math.log(2.0) if model.many_labels else math.log(model.classes)
    parts = [frequencies, 1.0 - frequencies] if model.many_labels else [frequencies]
    return -sum(float((part * np.log(part)).sum()) for part in parts)


def _meaning(kind: str, l2: float, *, grouped: bool, weighted: bool) -> str:
    """What the errors are of."""
    of_rows = "groups" if grouped else "rows"
    words = {
        "hessian": "of independent rows whose log odds are linear in the features",
        "sandwich": f"of independent {of_rows}, also where log odds are not linear (HC0)",
        "bootstrap": f"of independent {of_rows}, which are drawn with replacement",
    }[kind]
    if weighted:
        each = "a weight counts as so many rows" if kind == "hessian" else "each row counts once"
        words += f"; {each}"
    if l2 > 0.0:
        words += (
            f"; with λ = {l2:g} intervals are of what this λ gives on ever more rows, not of the "
            "coefficients without it, which it draws to 0"
        )
    return words


def _logits(S: Float64) -> Float64:
    """The logit of each softmax probability: s_k − log Σ_{j≠k} exp s_j, (N, K)."""
    found = np.empty_like(S)
    for k in range(S.shape[1]):
        others = np.delete(S, k, axis=1)
        top = others.max(axis=1)
        found[:, k] = S[:, k] - top - np.log(np.exp(others - top[:, None]).sum(axis=1))
    return found


def _exp(values: Float64) -> Float64:
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(values))


def _is_lost(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)

"""Errors of the coefficients: standard errors, p, intervals, and those of probabilities.

    "hessian"      Cov θ = H⁻¹                 λ = 0, a weight is so many rows
    "sandwich"     Cov θ = H⁻¹ M H⁻¹           of groups ψ is summed over each group
    "bootstrap"    refits of rows, or groups, that are drawn with replacement

θ are the coefficients of each class less those of a reference, H is their Hessian and M the sum of
squares of their gradients ψ: `model.contrasts` has the sums. Those of G groups are times G/(G − 1)
and judged by Student's t of G − 1 degrees of freedom. Source: McCullagh & Nelder (1989),
Generalized Linear Models; White (1982); Liang & Zeger (1986); Cameron & Miller (2015), A
practitioner's guide to cluster-robust inference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from onelayer.engines import Engine, streaming, tiles
from onelayer.errors import OnelayerError, SettingsError, plain, require_choice, require_number
from onelayer.model.contrasts import BLOCK_ENTRIES, FAR, Contrasts, far_from_optimum, separated
from onelayer.model.intervals import NORMAL, Bootstrap, student_p, student_quantile
from onelayer.model.model import Model
from onelayer.model.rows import fitted_rows, met_rows
from onelayer.objective.loss import sigmoid, softmax

if TYPE_CHECKING:
    from pandas import DataFrame

Float64 = NDArray[np.float64]

Errors = Literal["auto", "hessian", "sandwich", "bootstrap"]

SOLVER = "onelayer.solver.solver"

# Copies of the Hessian that are held at once, and the part of the free memory that they may take.
COPIES, MEMORY_PART = 4, 0.5

# A Hessian of no more bytes is computed before a bootstrap, to see whether there is an optimum.
FEW_BYTES = 64 << 20

# Errors by fewer groups are often too small (Cameron & Miller 2015, 6A).
FEW_GROUPS = 30

# Features that are named of those that leave resamples of a bootstrap without an optimum.
MOST_LONE = 3


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
    _contrasts: Contrasts
    _covariance: Float64 | None  # of its coefficients, (blocks, U, U)
    _draws: Bootstrapped | None  # of the same

    @property
    def freedom(self) -> int | None:
        """Degrees of freedom of Student's t: of the sandwich groups − 1; None is the normal."""
        return self.groups - 1 if self.groups and self.errors == "sandwich" else None

    @property
    def quantile(self) -> float:
        """Standard errors to each side of an interval: 1.96 for 95 %, more by Student's t."""
        if self.freedom is not None:
            return student_quantile(self.level, self.freedom)
        return NORMAL.inv_cdf((1.0 + self.level) / 2.0)

    @property
    def z(self) -> Float64:
        """Coefficients in standard errors, (C, T)."""
        with np.errstate(invalid="ignore"):  # of a constant feature both are 0
            return np.asarray(self.coefficients / self.standard_errors)

    @cached_property
    def p(self) -> Float64:
        """Two-sided p that each coefficient is 0, (C, T).

        By the normal distribution, of groups by Student's t; or one minus the level of the
        bootstrap's interval up to 0.
        """
        if self._draws is not None:
            return self._each(lambda one: one.p)
        z, freedom = np.abs(self.z).ravel().tolist(), self.freedom
        if freedom is not None:
            flat = [student_p(one, freedom) for one in z]
        else:
            flat = [math.erfc(one / math.sqrt(2.0)) for one in z]
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
        draws = np.sort(self._contrasts.own_units(self._draws.values), axis=0)
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
            draws = self._contrasts.own_units(self._draws.values)
            draws -= draws.mean(axis=0)
            if self.reference is None:
                return np.asarray(np.einsum("bct,bcs->cts", draws, draws) / (len(draws) - 1))
            flat = draws.reshape(len(draws), -1)
            return np.asarray(flat.T @ flat / (len(draws) - 1))
        shift = self._contrasts.own_units(np.eye(T)).T
        whole = np.kron(np.eye(self._covariance.shape[1] // T), shift)
        found: Float64 = whole @ self._covariance @ whole.T
        return found if self.reference is None else found[0]

    @property
    def sentences(self) -> tuple[str, ...]:
        """What the errors are of, how well the model fits, and whether groups are few."""
        weighted = "" if self.weight == self.rows else f", of weight {self.weight:,.6g} in all"
        grouped = "" if self.groups is None else f" in {self.groups:,} groups"
        kind = {"hessian": "inverse Hessian"}.get(self.errors, self.errors)
        few = (
            f"{self.groups} groups are few: with fewer than {FEW_GROUPS} groups errors are often "
            "too small.",
        )
        return (
            f"Errors by the {kind}: {self.meaning}.",
            f"{self.rows:,} rows{grouped}{weighted}; log likelihood {self.log_likelihood:.6g}, "
            f"without features {self.null_log_likelihood:.6g}.",
            *(few if self.groups and self.groups < FEW_GROUPS else ()),
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
        names = ("errors", "reference", "level", "rows", "weight", "groups", "freedom")
        likelihoods = ("log_likelihood", "null_log_likelihood")
        of_all = {name: getattr(self, name) for name in (*names, *likelihoods, "meaning")}
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
        model, draws = self._contrasts.model, self._draws
        S, X = model.scores(X, log=log), met_rows(model, X, quiet)
        size = self.coefficients.size * (1 if draws is None else len(draws.values))
        rows = Rows(X, np.zeros(len(X), np.int64), model.scaling.scale, model.scaling.offset)
        rows = rows.with_intercept(model.intercept)
        low, high = np.empty_like(S), np.empty_like(S)
        logit = S if model.many_labels else _logits(S)
        for place, tile in tiles(rows, max(1, BLOCK_ENTRIES // size)):
            Z = self._contrasts.terms(tile)
            if draws is not None:
                ends = [0.5 - self.level / 2.0, 0.5 + self.level / 2.0]
                low[place], high[place] = np.quantile(self._drawn(draws, Z), ends, axis=0)
                continue
            assert self._covariance is not None  # noqa: S101  # there are no draws
            errors = self._contrasts.logit_errors(Z, S[place], self._covariance)
            half = self.quantile * errors
            low[place], high[place] = sigmoid(logit[place] - half), sigmoid(logit[place] + half)
        return ProbabilityIntervals(sigmoid(logit), low, high)

    def _drawn(self, draws: Bootstrapped, Z: Float64) -> Float64:
        """The probabilities that each refit gives, (B, n, K)."""
        S = np.zeros((len(draws.values), len(Z), self._contrasts.model.classes))
        S[:, :, self._contrasts.kept] = Z @ draws.values.transpose(0, 2, 1)
        return sigmoid(S) if self.reference is None else softmax(S)

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
    grouped = dataset.groups is not None
    kind = _kind(model, errors, grouped=grouped, asked=groups is not None)
    l2, mass = model.l2 or 0.0, weight_sum(dataset, None)
    free = _unknowns(model) if kind == "sandwich" and l2 == 0.0 else 1
    member = None if kind == "hessian" else _groups(dataset, free)
    frequencies = rows.class_frequencies(model.classes)
    _check_classes(model, frequencies)
    bootstraps = kind == "bootstrap"
    if not bootstraps:
        _check_size(model)
    contrasts = Contrasts.between(model, rows, chosen)
    seen = contrasts.look(rows)
    if l2 == 0.0:
        contrasts.check_finite(rows, seen)
    theta = contrasts.coefficients(np.column_stack([model.W, model.b]))
    covariance = draws = None
    if not bootstraps or (l2 == 0.0 and _hessian_bytes(model) <= FEW_BYTES):
        counts = mass / rows.mass if kind == "hessian" else None
        covariance = contrasts.covariance(rows, None if bootstraps else member, counts)
        deviations = contrasts.standard_errors(covariance)
    count = None if member is None else int(member.max()) + 1
    meaning = _meaning(kind, l2, count, weighted=rows.weights is not None)
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
            raise separated("some classes can be separated from others")
        if refits.apart > FAR:
            raise far_from_optimum(model, refits.apart, "")
        values = contrasts.coefficients(refits.draws)
        covariance = None
        draws = Bootstrapped(values, refits.units, refits.freedom, refits.kind)
        deviations = contrasts.own_units(values).std(axis=0, ddof=1)
        if refits.left_out:
            meaning += f"; {refits.left_out} of {resamples} resamples without an optimum left out"
            meaning += _lone_words(contrasts.term_names[-model.features :], refits.lone)
    return Inference(
        errors=kind,
        class_names=contrasts.class_names,
        reference=None if chosen is None else model.class_names[chosen],
        terms=contrasts.term_names,
        coefficients=contrasts.own_units(theta),
        standard_errors=deviations,
        level=float(level),
        rows=rows.count,
        weight=mass,
        groups=count,
        log_likelihood=-seen.loss * mass / rows.mass,
        null_log_likelihood=-mass * _null_loss(frequencies, model, rows, engine),
        meaning=meaning,
        _contrasts=contrasts,
        _covariance=covariance,
        _draws=draws,
    )


def _lone_words(features: Sequence[str], lone: Mapping[Any, int]) -> str:
    """Which features alone leave how many resamples without an optimum; "" where none does."""
    parts = []
    for verb, is_constant in (("separates classes alone", False), ("is constant", True)):
        counts = {of.feature: count for of, count in lone.items() if of.is_constant == is_constant}
        if counts:
            most = sorted(counts, key=lambda feature: -counts[feature])[:MOST_LONE]
            named = [repr(features[d]) for d in most] + ["…"] * (len(counts) > len(most))
            parts.append(f"in {sum(counts.values())} {' or '.join(named)} {verb}")
    return f" ({', '.join(parts)})" * bool(parts)


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
        raise SettingsError(
            "the model does not know its l2 (λ); fit one by solve(data, l2=…), or onelayer solve."
        )
    if errors == "auto":
        return "hessian" if l2 == 0.0 and not weighing and not grouped else "sandwich"
    if errors == "hessian":
        if l2 > 0.0 or weighing:
            why = f"λ = {l2:g}" if l2 > 0.0 else "class weights"
            raise SettingsError(
                f"errors='hessian' are those of a maximum of the likelihood, which with {why} "
                "the model is not; use errors='sandwich' (--errors sandwich)."
            )
        if asked:
            raise SettingsError(
                "errors='hessian' take rows for independent, so groups have no effect; leave them "
                "out, or use errors='sandwich'."
            )
    return errors


def _groups(rows: Dataset, unknowns: int) -> NDArray[np.int64] | None:
    """The number of each row's group; None where there are none.

    At the optimum for λ = 0 the gradients of G groups have the sum 0, so they span G − 1 directions
    at most; a penalty holds the others.
    """
    if rows.groups is None:
        return None
    names, member = np.unique(rows.groups, return_inverse=True)
    if len(names) == 1:
        raise SettingsError(
            "errors by groups need several groups, but all rows are of one; give the group of each "
            "row, or rows without groups where they are independent."
        )
    if len(names) <= unknowns:
        raise SettingsError(
            f"errors by {len(names)} groups have a covariance of rank {len(names) - 1} "
            f"at most, too low for {unknowns:,} coefficients; give rows of more groups than "
            "coefficients, or leave features out."
        )
    return member


def _check_cost(model: Model, rows: Dataset) -> None:
    """Refuse a model whose cost is another than the mean cross-entropy of these rows."""
    if model.settings.get("sample_weight") and rows.weights is None:
        raise SettingsError(
            "the model was fitted to weighted rows; give the same weights with the rows: "
            "Dataset(…, weights=…), or --weights."
        )
    if model.settings.get("l1") or (model.certificate is not None and model.certificate.l1):
        raise SettingsError(
            "an l1 penalty sets coefficients to 0, and no standard error tells how sure that is; "
            "choose features by it on some rows, and solve for those with l2 alone on others."
        )
    other = model.other_cost(weighted=True)
    if other:
        raise SettingsError(
            f"errors are of the mean cross-entropy, but this model was trained with {other}; "
            "fit one without by solve(data, l2=…), or onelayer solve … --l2."
        )


def _check_classes(model: Model, frequencies: Float64) -> None:
    """Refuse a class without rows, and of many labels one that every row has."""
    for wrong, words in ((frequencies <= 0.0, "no row"), (frequencies >= 1.0, "every row")):
        if wrong.any():
            name = model.class_names[int(np.argmax(wrong))]
            what = "has the label" if model.many_labels else "is of the class"
            raise SettingsError(f"{words} {what} {name!r}, so its coefficients have no errors.")


def _unknowns(model: Model) -> int:
    """Coefficients that are fitted together: of all classes, or of each label alone."""
    terms = model.features + model.intercept
    return terms if model.many_labels else terms * (model.classes - 1)


def _hessian_bytes(model: Model) -> int:
    """Bytes that the Hessian and its inverse take."""
    blocks = model.classes if model.many_labels else 1
    return COPIES * 8 * blocks * _unknowns(model) ** 2


def _check_size(model: Model) -> None:
    """Refuse a Hessian that is too large for memory."""
    needed, free = _hessian_bytes(model), available_memory()
    if needed > MEMORY_PART * free:
        unknowns = _unknowns(model) * (model.classes if model.many_labels else 1)
        raise SettingsError(
            f"the Hessian of {unknowns:,} coefficients takes {format_bytes(needed)}, more than "
            f"half of the {format_bytes(free)} that are free; use errors='bootstrap' "
            "(--errors bootstrap), which needs none."
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


def _meaning(kind: str, l2: float, groups: int | None, *, weighted: bool) -> str:
    """What the errors are of."""
    of_rows, factor = "rows", "HC0"
    if groups is not None:
        of_rows = "groups"
        factor = f"times G/(G − 1), judged by Student's t of {groups - 1} degrees of freedom"
    words = {
        "hessian": "of independent rows whose log odds are linear in the features",
        "sandwich": f"of independent {of_rows}, also where log odds are not linear ({factor})",
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

"""scikit-learn's LogisticRegression and LogisticRegressionCV, at their proven optimum.

    min  C Σ wᵢ ℓᵢ + (1 − ρ)/2 ‖coef_‖² + ρ ‖coef_‖₁        ρ = l1_ratio

is, divided by C Σ w, the report's J with λ = (1 − ρ)/(2 C Σ w) and λ₁ = ρ/(C Σ w). w is the weight
of a row times that of its class.

Signature, attributes, predictions and the checks of arguments, with their warnings and errors, are
inherited from the scikit-learn that is installed. Only the search for the optimum is onelayer's.
"""

from __future__ import annotations

import inspect
import itertools
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import ArrayLike, NDArray
from sklearn import get_config, linear_model
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import make_scorer
from sklearn.model_selection import check_cv
from sklearn.utils import Bunch
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.validation import _check_method_params

from onelayer.data.rows import Rows
from onelayer.data.scaling import EXACT_BYTES, MAX_SIZE, Scaling
from onelayer.data.sparse import sparse_rows
from onelayer.data.weights import near_one
from onelayer.engines import make_engine
from onelayer.errors import SettingsError, one_line
from onelayer.model.model import Model, require_model, separation_words
from onelayer.objective.penalty import MAX_L2
from onelayer.sklearn.base import Layer, ModelBridge, l2_of_layer
from onelayer.sklearn.inputs import (
    as_given,
    check_labelled,
    check_sample_weight,
    times_class_weights,
    with_column,
)
from onelayer.solver.certificate import certify_weights
from onelayer.solver.proximal import ProximalSolver
from onelayer.solver.reduction import Solvers
from onelayer.solver.solver import Optimum, Progress, Target

Float64 = NDArray[np.float64]

# The relative gap to prove is this many tol², since a gradient of size g leaves a gap of g²/(4λ);
# never more than at the default tol, and never less than float64 may prove.
GAP_OF_TOL, DEFAULT_TOL, LEAST_GAP = 100.0, 1e-4, 1e-14

# Problems of few products, for which further steps cost nothing, are solved to this relative gap,
# and nobody is warned of a smaller one.
SMALL_GAP, FEW_PRODUCTS = 1e-12, 1e5

# A gap that is rounding of a mean of float64 numbers, nats.
ROUNDING_GAP = 1e-15

# Weights grow as features shrink: these have to be so many times as large as the least number.
MARGIN = 1e8

# How scikit-learn's warnings begin, by solver: programs filter them by their text.
NOT_CONVERGED = {
    "lbfgs": "lbfgs failed to converge after {} iteration(s)",
    "newton-cg": "newton-cg failed to converge",
    "newton-cholesky": "Newton solver did not converge after {} iterations",
    "liblinear": "Liblinear failed to converge, increase the number of iterations",
    "sag": "The max_iter was reached which means the coef_ did not converge",
    "saga": "The max_iter was reached which means the coef_ did not converge",
}


class _ArgumentsAreValid(Exception):  # noqa: N818  # it is no error
    """scikit-learn's fit has checked its arguments and asks for the rows."""


class _NoRows:
    """Rows that end a fit where it first asks for them."""

    def __array__(self, *_: Any, **__: Any) -> NDArray[Any]:
        raise _ArgumentsAreValid


@dataclass(frozen=True, eq=False)
class _Problem:
    """Rows with the numbers of their classes and their weights."""

    X: NDArray[np.generic]
    y: NDArray[Any]  # as given
    codes: NDArray[np.int64]
    classes: NDArray[Any]
    weights: Float64 | None  # row weights times class weights
    weighted: bool  # whether rows had weights
    design: NDArray[np.generic]  # X, and for liblinear the feature that is its intercept
    intercept: bool

    def rows(self, chosen: NDArray[np.int64] | None = None) -> Rows:
        """All rows of a positive weight, or those among the chosen, as engines read them."""
        D, weights = self.design.shape[1], self.weights
        if weights is not None:
            weights = near_one(weights)
            counted = (weights if chosen is None else weights[chosen]) > 0.0
            if not counted.all():
                chosen = np.flatnonzero(counted) if chosen is None else chosen[counted]
        return Rows(
            self.design, self.codes, np.ones(D), np.zeros(D), chosen, weights,
            intercept=self.intercept,
        )  # fmt: skip

    def total(self, chosen: NDArray[np.int64] | None = None) -> float:
        """Σ w of all rows, or of the chosen."""
        if self.weights is None:
            return float(len(self.X) if chosen is None else len(chosen))
        return float((self.weights if chosen is None else self.weights[chosen]).sum())


# Finds the optimum of one penalty after another on the same rows.
Solve = Callable[[Target], Optimum]


class _Logistic(ModelBridge):
    """What both classes share."""

    penalty: str | None
    solver: str
    tol: float
    max_iter: int
    fit_intercept: bool
    intercept_scaling: float
    verbose: int
    n_features_in_: int
    gap_: float
    l1_: float
    l2_: float

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.sparse = True
        tags.array_api_support = False
        return tags

    def set_callbacks(self, *callbacks: Any) -> Any:
        """Keep scikit-learn's callbacks, which onelayer's solver does not call."""
        made = super().set_callbacks(*callbacks)  # type: ignore[misc]
        if self.solver == "lbfgs":  # else scikit-learn has warned
            warnings.warn(
                "onelayer's solver does not call callbacks; verbose=1 prints its steps.",
                stacklevel=2,
            )
        return made

    def decision_function(self, X: ArrayLike) -> Float64:
        """Scores of rows, as scikit-learn gives them; masks and times are refused, as by `fit`."""
        return np.asarray(super().decision_function(as_given(X)))  # type: ignore[misc]

    def _check_arguments(self, **params: Any) -> None:
        """All that the installed scikit-learn says of arguments, said by itself."""
        try:
            super().fit(_NoRows(), np.zeros(1), **params)  # type: ignore[misc]
        except _ArgumentsAreValid:
            return
        raise AssertionError("scikit-learn's fit did not ask for the rows")  # pragma: no cover

    def _read(self, X: Any, y: Any, sample_weight: Any) -> _Problem:
        stored, y = check_labelled(self, X, y)
        classes, codes = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(
                "This solver needs samples of at least 2 classes in the data, but the data "
                f"contains only one class: {classes[0]!r}"
            )
        if self.solver == "liblinear" and len(classes) > 2:
            raise ValueError(
                "The 'liblinear' solver does not support multiclass classification (n_classes >= "
                "3). Either use another solver or wrap the estimator in a OneVsRestClassifier to "
                "keep applying a one-versus-rest scheme."
            )
        weights = check_sample_weight(sample_weight, len(stored))
        weighted = weights is not None
        weights = times_class_weights(weights, self.class_weight, classes, codes)
        design, intercept = stored, self.fit_intercept
        if intercept and self.solver == "liblinear":
            constant = np.full((len(stored), 1), self.intercept_scaling, stored.dtype)
            intercept, sparse = False, sparse_rows(stored)
            design = (
                np.hstack([stored, constant]) if sparse is None else with_column(sparse, constant)
            )
        codes = codes.astype(np.int64)
        return _Problem(stored, y, codes, classes, weights, weighted, design, intercept)

    def _target(self, problem: _Problem, C: float, l1_ratio: float | None, total: float) -> Target:
        known = {"l1": 1.0, "l2": 0.0, None: 0.0}  # with others the number says it
        ratio = known.get(self.penalty, float(l1_ratio or 0.0))
        mass = float(C) * total
        strength = 0.0 if self.penalty is None else 1.0 / mass if mass > 0.0 else math.inf
        if not (math.isfinite(total) and strength < MAX_L2):
            raise SettingsError(
                f"C={C:g} with weights of the sum {total:.3g} is a penalty λ beyond the range of "
                "numbers; multiply sample_weight, or C, by a power of 10."
            )
        K = len(problem.classes)
        gap = self._gap_of_tol()
        if math.prod(problem.X.shape) * K < FEW_PRODUCTS and ratio == 0.0:
            gap = min(gap, SMALL_GAP)
        l2 = l2_of_layer(0.5 * (1.0 - ratio) * strength, K)
        return Target(l2, gap, max(self.max_iter, 1), l1=ratio * strength)

    def _gap_of_tol(self) -> float:
        """The relative gap that tol asks for."""
        return float(max(GAP_OF_TOL * min(self.tol, DEFAULT_TOL) ** 2, LEAST_GAP))

    def _solver(self, rows: Rows, classes: NDArray[Any], start: Layer | None = None) -> Solve:
        engine, K = make_engine(threads=self._threads()), len(classes)
        report = _print_step if self.verbose > 0 else None

        @cache
        def solver(*, is_sparse: bool) -> Any:
            if is_sparse:
                made: Any = ProximalSolver(engine, rows, K, report)
            else:
                made = Solvers(engine, rows, K).of_all(report)
            if start is not None:
                made.start_at(start.W, start.b)
            return made

        def solve(target: Target) -> Optimum:
            if self.max_iter == 0:
                kept = start or Layer(np.zeros((K, rows.X.shape[1])), np.zeros(K))
                certificate = certify_weights(engine, rows, *kept, target.penalty).given
                optimum = Optimum(*kept, certificate, "passes", 0, 0.0, target.tol)
            else:
                optimum = solver(is_sparse=target.l1 > 0.0).solve(target).completed()
            self._warn_unless_optimal(optimum, classes)
            return optimum

        return solve

    def _threads(self) -> int | None:
        return None

    def _warn_unless_optimal(self, optimum: Optimum, classes: NDArray[Any]) -> None:
        if optimum.separated:
            groups = [[classes[k] for k in group] for group in optimum.separated]
            setting, remedy = "C=inf", "set C to a finite number"
            if self.penalty is None:
                setting, remedy = "penalty=None", "leave penalty at its default and C finite"
            warnings.warn(
                f"with {setting} {separation_words(groups, len(classes))}, so coef_ grows without "
                f"end and has no optimum; {remedy}.",
                ConvergenceWarning,
                stacklevel=4,
            )
        certificate = optimum.certificate
        enough = max(max(self._gap_of_tol(), SMALL_GAP) * certificate.cost, ROUNDING_GAP)
        if optimum.status in ("optimal", "separated") or certificate.gap <= enough:
            return
        begins = NOT_CONVERGED[self.solver].format(self.max_iter)
        if optimum.status == "passes":
            remedy = "Increase the number of iterations (max_iter)"
        elif certificate.is_bound:
            remedy = "float64 proves no more; a smaller C has a smaller gap"
        else:
            return
        warnings.warn(
            f"{begins}: {certificate.sentence}. {remedy}.", ConvergenceWarning, stacklevel=4
        )

    def _coefficients(self, optimum: Optimum) -> Float64:
        """coef_ and intercept_ side by side; without an ℓ1 they sum to zero over the classes."""
        joined = np.column_stack([optimum.W.astype(np.float64), optimum.b])
        shared = joined.mean(axis=0)
        if optimum.certificate.l1:
            shared[:-1] = 0.0
        found = joined[1:] - joined[:1] if len(joined) == 2 else joined - shared
        if not self.fit_intercept or self.solver == "liblinear":
            found = found[:, :-1]
        if self.fit_intercept and self.solver == "liblinear":
            found[:, -1] *= self.intercept_scaling
        return found

    def _passes(self, optimum: Optimum) -> int:
        return min(optimum.passes, self.max_iter)

    def _keep(self, problem: _Problem, found: Float64) -> None:
        """Write the fitted attributes that both classes have."""
        D = self.n_features_in_
        self.classes_, self._scaling = problem.classes, None
        self.coef_, self.intercept_ = found[:, :D].copy(), np.zeros(len(found), found.dtype)
        if self.fit_intercept:
            self.intercept_ = found[:, D].copy()

    def _keep_proof(self, problem: _Problem, optimum: Optimum) -> None:
        certificate, others = optimum.certificate, dict[str, Any]()
        self.gap_, self.l1_ = certificate.gap, certificate.l1
        self.l2_ = certificate.l2 / l2_of_layer(1.0, len(optimum.b))
        if certificate.l1:
            others |= {"l1": certificate.l1, "grouped": False}
        if self.fit_intercept and self.solver == "liblinear":
            others |= {"intercept_penalty": float(self.intercept_scaling)}
        self._keep_cost(certificate.l2, len(problem.X), weighted=problem.weighted, **others)


def _check_size(X: NDArray[np.generic], *, unpenalised: bool) -> None:
    """Refuse features whose squares, or whose weights without a penalty, leave the numbers."""
    if X.dtype.itemsize <= EXACT_BYTES:
        return
    stored = sparse_rows(X)
    values = X if stored is None else stored.values
    largest = max(float(values.max(initial=0.0)), -float(values.min(initial=0.0)))
    least = MARGIN * float(np.finfo(str(X.dtype)).tiny) if unpenalised else 0.0
    if largest > MAX_SIZE or 0.0 < largest < least:
        low, high = (X.min(axis=0), X.max(axis=0)) if stored is None else stored.column_ranges
        raise SettingsError(
            f"the largest feature is {largest:.3g} (feature "
            f"{int(np.argmax(np.maximum(-low, high)))}), too far from 1 to compute with; scale the "
            "features, as StandardScaler does."
        )


def _penalty_values(Cs: Any) -> NDArray[Any]:
    """The values of C: those that are given, or so many from 1e-4 to 1e4."""
    if np.ndim(Cs) == 0:
        return np.logspace(-4, 4, Cs)
    values = np.asarray(Cs)
    is_listed = values.ndim == 1 and len(values) > 0 and values.dtype.kind in "biuf"
    if not (is_listed and values.min() > 0):
        raise SettingsError(
            "Cs must be numbers above 0, at least one, or how many to take, but "
            f"{one_line(repr(Cs))} was given."
        )
    return values


def _print_step(now: Progress) -> None:
    print(f"pass {now.passes}: cost {now.cost:.6g}, estimated gap {now.gap:.1e}")


class LogisticRegression(_Logistic, linear_model.LogisticRegression):  # type: ignore[misc]
    """scikit-learn's LogisticRegression, at its proven optimum: change the import, not the code.

    min  C Σ wᵢ ℓᵢ + (1 − l1_ratio)/2 ‖coef_‖² + l1_ratio ‖coef_‖₁

    ℓ is the cross-entropy of a row, w its weight times its class's. All arguments and attributes of
    the installed scikit-learn are there; it checks the arguments, and warns of them, itself. These
    have a meaning of their own:

    - `solver`: any of scikit-learn's names. One solver finds the optimum of them all; the name
      decides what is allowed, as there: ℓ1 needs "saga" or "liblinear". With "liblinear" the
      intercept is penalised, as the weight of a feature that is `intercept_scaling`.
    - `tol`: gap_ ≤ 100 tol² of the cost is proven, and 1e-6 of it at most, which the default asks
      for; a gradient of size tol, where scikit-learn stops, leaves a gap that falls with its
      square. Small problems are solved to rounding.
    - `max_iter`: passes over the rows.
    - `random_state`: nothing is drawn.
    - `verbose`: above 0 prints a line for each step.

    Attributes:
        coef_: (K, D), or (1, D) for two classes; float32 where X is, as there, else float64.
        intercept_: (K,), or (1,) for two classes.
        classes_: the K labels, sorted.
        n_iter_: (1,), passes over the rows.
        gap_: proven bound on J − min J, nats, J the cost above divided by C Σ w; inf for C=inf.
        l1_, l2_: λ₁ and λ of J = mean loss + λ ‖coef_‖² + λ₁ ‖coef_‖₁.

    Source:
        docs/explanation/formulations.md.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from onelayer.sklearn import LogisticRegression
        >>> X, y = load_iris(return_X_y=True)
        >>> model = LogisticRegression().fit(X, y)
        >>> round(model.score(X, y), 3), bool(model.gap_ < 1e-6)
        (0.973, True)
    """

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit to these rows.

        Args:
            X: features, shape (N, D). uint8, float16, float32 and float64 rows are read in place.
            y: labels, shape (N,), of any type, at least two of them.
            sample_weight: wᵢ ≥ 0, shape (N,), or None for one each.

        Raises:
            ValueError: for invalid arguments, rows, labels or weights.

        Warns:
            ConvergenceWarning: when max_iter was reached, or with C=inf classes can be separated.
        """
        self._check_arguments()
        problem = self._read(X, y, sample_weight)
        _check_size(problem.X, unpenalised=self.penalty is None or math.isinf(self.C))
        K = len(problem.classes)
        start = self._last_layer(K) if self.warm_start and hasattr(self, "coef_") else None
        solve = self._solver(problem.rows(), problem.classes, start)
        optimum = solve(self._target(problem, self.C, self.l1_ratio, problem.total()))
        single = problem.X.dtype == np.float32 and self.solver != "liblinear"
        dtype = np.float32 if single else np.float64
        self._keep(problem, self._coefficients(optimum).astype(dtype))
        self.n_iter_ = np.array([self._passes(optimum)], np.int32)
        self._keep_proof(problem, optimum)
        return self

    @classmethod
    def from_model(cls, model: Model) -> Self:
        """The fitted classifier that predicts as a model does from rows as stored.

        Its arguments are those of `model.to_sklearn()`, so that it finds the same optimum when it
        is fitted again to the same rows, where LogisticRegression has that cost.

        Raises:
            SettingsError: for a model of many labels a row.

        Example:
            >>> from onelayer import load, solve
            >>> from onelayer.sklearn import LogisticRegression
            >>> data = load("digits")
            >>> model = solve(data, l2=0.01)
            >>> again = LogisticRegression.from_model(model)
            >>> bool((again.predict(data.test.X) == model.predict(data.test)).all())
            True
        """
        require_model("LogisticRegression.from_model", model)
        theirs = model.to_sklearn()
        if not isinstance(theirs, linear_model.LogisticRegression):
            raise SettingsError(
                "LogisticRegression has one class a row, but the model has many labels; "
                "model.to_sklearn() is a classifier of each."
            )
        made = cls(**theirs.get_params(deep=False))
        made._take_model(model)
        made.n_iter_, scale = theirs.n_iter_, model.scaling.scale
        if model.l2 is not None and (scale == scale[0]).all():
            made.l2_ = model.l2 / (l2_of_layer(1.0, model.classes) * float(scale[0]) ** 2)
            made.l1_ = model.l1 / float(scale[0])
        return made

    def _last_layer(self, classes: int) -> Layer:
        D = self.n_features_in_
        shape = (1 if classes == 2 else classes, D)
        if self.coef_.shape != shape:
            raise ValueError(
                f"Initialization coef is of shape {self.coef_.shape}, expected shape {shape}; "
                "set warm_start=False to start anew."
            )
        return self._get_layer(Scaling("none", np.ones(D), np.zeros(D)))


class LogisticRegressionCV(_Logistic, linear_model.LogisticRegressionCV):  # type: ignore[misc]
    """scikit-learn's LogisticRegressionCV, each solution proven: change the import, not the code.

    All arguments and attributes of the installed scikit-learn are there; `solver`, `tol`,
    `max_iter` and `verbose` have the meaning that `LogisticRegression` gives them. On each fold C
    rises from its least value, and each solution starts from the last. `n_jobs` are threads, -1 for
    all cores; None is the cores that this process may use, OMP_NUM_THREADS at most.

    Attributes:
        coef_, intercept_, classes_, n_features_in_, feature_names_in_: as in LogisticRegression.
        C_, l1_ratio_: of the best mean score.
        Cs_, l1_ratios_: all of them.
        scores_, coefs_paths_, n_iter_: of each fold, l1_ratio and C, laid out as there, which
            `use_legacy_attributes` decides.
        gap_: proven bound on J − min J of the last fit, nats; inf without `refit`.
        l1_, l2_: λ₁ and λ of that J; not there without `refit`.

    Source:
        docs/explanation/formulations.md.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from onelayer.sklearn import LogisticRegressionCV
        >>> X, y = load_iris(return_X_y=True)
        >>> options = {"l1_ratios": (0,), "scoring": "neg_log_loss", "use_legacy_attributes": False}
        >>> model = LogisticRegressionCV(Cs=[0.1, 10.0], cv=3, **options).fit(X, y)
        >>> model.C_, model.scores_.shape, bool(model.gap_ < 1e-6)
        (10.0, (3, 1, 2), True)
    """

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, **params: Any
    ) -> Self:
        """Solve every l1_ratio and C on each fold, and the best of them on all rows.

        Args:
            X: features, shape (N, D); see LogisticRegression.
            y: labels, shape (N,), of any type, at least two of them.
            sample_weight: wᵢ ≥ 0, shape (N,), or None; they count in the folds' scores too.
            **params: for the splitter and the scorer, by scikit-learn's metadata routing.

        Raises:
            ValueError: for invalid arguments, rows, labels, weights or folds.

        Warns:
            ConvergenceWarning: when a solution reached max_iter.
        """
        self._check_arguments(**params)
        given = None if isinstance(self.l1_ratios, str) else self.l1_ratios
        ratios = [None] if given is None else list(given)
        if not ratios or any(ratio != ratio for ratio in ratios):  # NaN differs from itself
            raise SettingsError(
                f"l1_ratios must be numbers from 0 to 1, at least one, but {given!r} was given."
            )
        self.l1_ratios_, self.Cs_ = np.asarray(ratios), _penalty_values(self.Cs)
        problem = self._read(X, y, sample_weight)
        routed = self._routed(sample_weight, params)
        splits = check_cv(self.cv, problem.y, classifier=True).split(
            problem.X, problem.y, **routed.splitter.split
        )
        numbers = np.arange(len(problem.y))
        folds = [(numbers[kept], numbers[held_out]) for kept, held_out in splits]
        _check_size(problem.X, unpenalised=bool(np.isinf(self.Cs_).any()))
        K, rising = len(problem.classes), np.argsort(self.Cs_, kind="stable")
        score = self._scorer(problem, sample_weight, routed.scorer.score)
        shape = len(folds), len(ratios), len(self.Cs_)
        dof = self.n_features_in_ + bool(self.fit_intercept)
        paths = np.empty((*shape, 1 if K == 2 else K, dof))
        scores, passes = np.empty(shape), np.empty(shape, np.int32)
        for fold, (kept, held_out) in enumerate(folds):
            solve, total = self._solver(problem.rows(kept), problem.classes), problem.total(kept)
            for ratio, at in itertools.product(range(len(ratios)), rising):
                optimum = solve(self._target(problem, self.Cs_[at], ratios[ratio], total))
                paths[fold, ratio, at] = self._coefficients(optimum)
                passes[fold, ratio, at] = self._passes(optimum)
            for ratio, at in np.ndindex(shape[1:]):
                scores[fold, ratio, at] = score(paths[fold, ratio, at], held_out)
        self.gap_ = math.inf
        if self.refit:
            at, ratio = divmod(int(np.argmax(scores.sum(axis=0).T)), len(ratios))
            self.C_, self.l1_ratio_ = self.Cs_[at], ratios[ratio]
            solve = self._solver(problem.rows(), problem.classes)
            optimum = solve(self._target(problem, self.C_, self.l1_ratio_, problem.total()))
            found = self._coefficients(optimum)
        else:  # of each fold its best, averaged
            best = [divmod(int(np.argmax(of.T)), len(ratios)) for of in scores]
            found = np.mean([path[r, c] for path, (c, r) in zip(paths, best, strict=True)], axis=0)
            self.C_ = np.mean([self.Cs_[c] for c, _ in best])
            self.l1_ratio_ = np.mean([ratios[r] or 0.0 for _, r in best])
        self._keep(problem, found)
        if self.refit:
            self._keep_proof(problem, optimum)
        else:
            self._keep_cost(None, None, weighted=problem.weighted)
        self._lay_out(paths, scores, passes, has_ratios=given is not None)
        return self

    def _threads(self) -> int | None:
        return None if self.n_jobs is None else effective_n_jobs(self.n_jobs)

    def _routed(self, sample_weight: Any, params: dict[str, Any]) -> Bunch:
        """What goes to the splitter and to the scorer."""
        if get_config()["enable_metadata_routing"]:
            return process_routing(self, "fit", sample_weight=sample_weight, **params)
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        return Bunch(splitter=Bunch(split={}), scorer=Bunch(score=weights))

    def _scorer(
        self, problem: _Problem, sample_weight: Any, params: dict[str, Any]
    ) -> Callable[[Float64, NDArray[np.int64]], float]:
        """What scores coefficients on some rows."""
        scorer, classes = self._get_scorer(), problem.classes
        if self.scoring in (None, "warn") and sample_weight is not None:
            params = {"sample_weight": sample_weight}
        wanted = (
            inspect.signature(scorer._score_func).parameters
            if hasattr(scorer, "_score_func")
            else ()
        )
        if "labels" in wanted:  # a fold may lack some
            also = {"pos_label": classes[-1]} if len(classes) == 2 and "pos_label" in wanted else {}
            scorer = make_scorer(
                scorer._score_func,
                greater_is_better=scorer._sign == 1,
                response_method=scorer._response_method,
                labels=classes,
                **also,
                **scorer._kwargs,
            )
        judged = LogisticRegression(solver=self.solver, fit_intercept=self.fit_intercept)
        judged.n_features_in_ = self.n_features_in_

        def score(found: Float64, held_out: NDArray[np.int64]) -> float:
            judged._keep(problem, found)
            own = _check_method_params(problem.X, params, held_out)
            X = as_given(problem.X[held_out])
            return float(scorer(judged, X, problem.y[held_out], **own))

        return score

    def _lay_out(
        self, paths: Float64, scores: Float64, passes: NDArray[np.int32], *, has_ratios: bool
    ) -> None:
        """Write the paths of shape (folds, l1_ratios, Cs, …), or as they were before 1.10."""
        self.C_, self.l1_ratio_ = float(self.C_), float(self.l1_ratio_ or 0.0)
        if getattr(self, "use_legacy_attributes", True) is False:
            self.coefs_paths_: Any = paths
            self.scores_: Any = scores
            self.n_iter_ = passes
            return
        labels = self.classes_[-paths.shape[3] :]
        self.C_ = np.full(len(labels), self.C_)
        self.l1_ratio_ = np.full(len(labels), self.l1_ratio_)
        paths = np.moveaxis(paths, (3, 2), (0, 2))  # (classes, folds, Cs, l1_ratios, dof)
        scores, passes = scores.swapaxes(1, 2), passes.swapaxes(1, 2)
        if not has_ratios:
            paths, scores, passes = paths[:, :, :, 0], scores[..., 0], passes[..., 0]
        self.coefs_paths_ = dict(zip(labels, paths, strict=True))
        self.scores_ = {label: scores.copy() for label in labels}
        self.n_iter_ = passes[None]

"""The estimators: SoftmaxClassifier, and SoftmaxClassifierCV, which chooses λ by folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import check_cv
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call

from onelayer.data.rows import Rows, factors_of_features
from onelayer.data.scaling import Scaling
from onelayer.data.weights import class_weight_by_label
from onelayer.engines import make_engine
from onelayer.errors import SettingsError
from onelayer.model.metrics import ONE_CLASS, Metric, metric_of
from onelayer.model.model import Model, require_model
from onelayer.model.scored_rows import scored_rows
from onelayer.sklearn.base import Layer, LinearClassifier, l2_of_layer
from onelayer.sklearn.fit import (
    Fitted,
    first_layer,
    fit_minibatch,
    fit_optimum,
    fit_part,
    hold_out,
    layer_of,
    resolve_rate,
    warn_unless_optimal,
)
from onelayer.sklearn.inputs import (
    Labelled,
    check_labelled,
    check_options,
    check_sample_weight,
    check_shared_options,
    label_rows,
)
from onelayer.solver.path import l2_values, solve_each
from onelayer.solver.selection import Choice, Part, check_parts, choose
from onelayer.solver.solver import Target
from onelayer.training.run import Run


def _learns_in_parts(estimator: SoftmaxClassifier) -> bool:
    """Whether partial_fit exists with these arguments; scikit-learn asks by hasattr."""
    whole = {
        f"solver={estimator.solver!r}": estimator.solver != "minibatch",
        "early_stopping=True": estimator.early_stopping,
        "class_weight='balanced'": isinstance(estimator.class_weight, str),
        "scaling='standardize'": estimator.scaling == "standardize",
    }
    for setting, needs_all in whole.items():
        if needs_all:
            raise AttributeError(
                f"{setting} needs all rows at once, which partial_fit never sees; "
                "solver='minibatch' learns in parts."
            )
    return True


class SoftmaxClassifier(LinearClassifier):
    """A linear softmax classifier, at its proven optimum or trained by gradient descent.

    J = −(1/Σw) Σ wᵢ log p(yᵢ | xᵢ) + λ ‖coef_‖²        p = softmax(X coef_ᵀ + intercept_)

    λ multiplies the plain sum of squares of coef_, so C = 1/(2λ Σw) gives the same minimum in
    scikit-learn's LogisticRegression. The intercept is never penalised.

    Args:
        l2: λ ≥ 0. The default is what LogisticRegression's C = 1 is for 5000 rows.
        solver: "optimum" proves how near the minimum it is and needs no learning rate;
            "minibatch" takes gradient steps and can learn in parts. An argument that the solver
            would ignore is refused unless it is at its default.
        tol: of "optimum": relative gap to prove, gap_ ≤ tol · J, > 0.
        max_passes: of "optimum": passes over the rows, ≥ 1.
        learning_rate: of "minibatch": η > 0, or "auto" for 1/L_B, which is always stable.
        batch_size: of "minibatch": rows of a step, ≥ 1; more than N are all.
        epochs: of "minibatch": passes over the rows, ≥ 1, each in a new random order.
        scaling: "none", "unit" (bytes / 255), "standardize" or "auto", applied while rows are
            read; coef_ acts on features as given all the same, and λ on the weights of the scaled
            ones. With "none" coef_ is LogisticRegression's.
        fit_intercept: whether there is an intercept; without one intercept_ is 0, and "standardize"
            does not centre the features.
        class_weight: None, "balanced" or a dict {label: weight ≥ 0}; multiplies sample_weight.
        penalty_factors: of "optimum": f ≥ 0 of each feature, (D,), or of some by name, the others
            being 1: the penalty is λ Σ_d f_d ‖coef_[:, d]‖², and 0 leaves a feature unpenalised.
        warm_start: whether fit starts from the last fit's weights.
        early_stopping: of "minibatch": hold out rows, stop when their loss no longer falls, and
            keep the weights of its lowest value.
        validation_fraction: of early stopping: fraction of each class's rows, in (0, 1).
        n_iter_no_change: of early stopping: epochs without a lower loss, ≥ 1. The one argument
            that may be set and not used, since scikit-learn's checks set it wherever it exists.
        random_state: seeds the order of rows and the rows held out; "optimum" draws nothing.
        threads: of the engine, ≥ 1; None is the cores that this process may use, OMP_NUM_THREADS at
            most, and under n_jobs what is left of them.
        dtype: of "minibatch": "float32", "float64", or "auto" for float64 where X is.

    Attributes:
        coef_: (K, D) float64 of sum zero over the classes, or (1, D) for two classes: the
            difference of their weights.
        intercept_: (K,) of sum zero, or (1,) for two classes.
        classes_: the K labels, sorted.
        n_iter_: passes over the rows, or epochs.
        gap_: proven bound on J − min J on the training rows, nats; inf for λ = 0.
        history_: arrays measured after each pass or epoch: "cost" (J), and "gap" or, with early
            stopping, "validation_loss".
        learning_rate_: of "minibatch": the η that was used.
        n_features_in_: D.
        feature_range_: (2, D), least and largest value of each feature in the rows of the fit.
        feature_names_in_: names of a data frame's columns, if it has any.

    Source:
        docs/explanation/formulations.md.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> X, y = load_digits(return_X_y=True)
        >>> model = SoftmaxClassifier(l2=0.01).fit(X, y)
        >>> model.coef_.shape, bool(model.gap_ <= 1e-6 * model.history_["cost"][-1])
        ((10, 64), True)
    """

    gap_: float
    history_: dict[str, NDArray[np.float64]]

    def __init__(
        self,
        l2: float = 1e-4,
        *,
        solver: str = "optimum",
        tol: float = 1e-6,
        max_passes: int = 1000,
        learning_rate: float | str = "auto",
        batch_size: int = 100,
        epochs: int = 20,
        scaling: str = "none",
        fit_intercept: bool = True,
        class_weight: str | dict[Any, float] | None = None,
        penalty_factors: Any = None,
        warm_start: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        random_state: int | np.random.RandomState | None = None,
        threads: int | None = None,
        dtype: str = "auto",
    ) -> None:
        self.l2 = l2
        self.solver = solver
        self.tol = tol
        self.max_passes = max_passes
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.epochs = epochs
        self.scaling = scaling
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.penalty_factors = penalty_factors
        self.warm_start = warm_start
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.random_state = random_state
        self.threads = threads
        self.dtype = dtype

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit to these rows.

        Args:
            X: features, shape (N, D); uint8, float16, float32 and float64 rows, and sparse ones
                of SciPy (CSR of floats; other formats are converted once), are read in
                place; other types become float64.
            y: labels, shape (N,), of any type, at least two of them.
            sample_weight: wᵢ ≥ 0, shape (N,): a whole number counts a row that many times, 0 not
                at all. None is one each.

        Raises:
            ValueError: for invalid arguments, rows, labels or weights.

        Warns:
            ConvergenceWarning: when the gap was not reached, the cost stopped being finite, or with
                l2=0 classes can be separated, which leaves no optimum.
            LearningRateWarning: for a learning rate above the guaranteed-stable limit.
        """
        options = check_options(self)
        stored, labels = check_labelled(self, X, y)
        labelled = label_rows(
            stored, labels, sample_weight, self.class_weight, intercept=options["fit_intercept"]
        )
        fresh = not (self.warm_start and hasattr(self, "coef_"))
        if not fresh:
            self._require_same(labelled)
        fit = self._fit_optimum if self.solver == "optimum" else self._fit_minibatch
        (layer, learned), scaling = fit(labelled, options, fresh=fresh)
        self.classes_ = labelled.classes
        self._set_layer(layer, scaling, keep_mean=options["l2"] > 0.0)
        l2 = l2_of_layer(options["l2"], len(self.classes_))
        self._keep_cost(l2, len(labels), weighted=sample_weight is not None)
        for name, value in learned.items():
            setattr(self, name, value)
        return self

    @classmethod
    def from_model(cls, model: Model) -> Self:
        """The fitted classifier that predicts as a model does from rows as stored.

        Fitted again to the same rows, with the weights that they had, it finds the same optimum:
        its λ is the model's, where that is known, for features standardized as the model's are, or
        else as they are given.

        Raises:
            SettingsError: for a model of many labels a row, or with an ℓ1.

        Example:
            >>> from onelayer import load, solve
            >>> data = load("digits")
            >>> model = solve(data, l2=0.01)
            >>> again = SoftmaxClassifier.from_model(model)
            >>> bool((again.predict(data.test.X) == model.predict(data.test)).all())
            True
        """
        require_model("SoftmaxClassifier.from_model", model)
        if model.many_labels:
            raise SettingsError(
                "SoftmaxClassifier has one class a row, but the model has many labels; "
                "model.to_sklearn() is a classifier of each."
            )
        if model.l1:
            raise SettingsError(
                f"SoftmaxClassifier has no ℓ1, but the model has λ₁ = {model.l1:g}; take "
                "onelayer.sklearn.LogisticRegression.from_model."
            )
        standardized = model.scaling.name == "standardize"
        made = cls(scaling="standardize" if standardized else "none")
        if model.l2 is not None:  # λ ‖W‖² is λ/c² ‖c W‖²
            made.l2 = model.l2 / l2_of_layer(1.0, model.classes)
            made.l2 /= 1.0 if standardized else float(model.scaling.scale[0]) ** 2
        made.fit_intercept = model.intercept
        made.penalty_factors = model.settings.get("penalty_factors")
        made.class_weight = class_weight_by_label(
            model.settings.get("class_weight"), model.class_names, model.labels
        )
        made._take_model(model)
        made.n_iter_ = int(model.passes or model.settings.get("epochs_kept") or 0)
        return made

    @available_if(_learns_in_parts)  # type: ignore[untyped-decorator]
    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Take one pass of steps over these rows, in their order.

        Parts whose sizes are multiples of batch_size give the same as all rows at once. The rate
        "auto" is measured on the first part. Weights are taken as they are: a batch's gradient is
        (1/B) Σ w (p − y) xᵀ. gap_ and history_ belong to fit, since only it sees all rows.

        Args:
            X: features, shape (n, D).
            y: labels, shape (n,).
            classes: all labels there will be; needed in the first call.
            sample_weight: wᵢ ≥ 0, shape (n,), or None.

        Raises:
            ValueError: for invalid arguments, rows, labels or weights.

        Warns:
            LearningRateWarning: in the first call, as of `fit`.
        """
        options = check_options(self)
        fresh = not hasattr(self, "coef_")
        _check_partial_fit_first_call(self, classes)
        stored, labels = check_labelled(self, X, y, reset=fresh)
        known = self.class_weight, self.classes_
        part = label_rows(stored, labels, sample_weight, *known, intercept=self.fit_intercept)
        scaling = part.scaling(self.scaling)
        K, D = len(self.classes_), part.X.shape[1]
        start = Layer(np.zeros((K, D)), np.zeros(K)) if fresh else self._last_layer(scaling)
        engine, rows = make_engine(threads=self.threads), part.rows(scaling)
        run, dtype = _run_of(options, part.X, K)
        if fresh or not hasattr(self, "learning_rate_"):
            self.learning_rate_ = resolve_rate(engine, rows, run, dtype, K, stacklevel=3).eta
        run = replace(run, learning_rate=self.learning_rate_)
        before = None if fresh else getattr(self, "feature_range_", None)
        layer = fit_part(engine, rows, run, dtype, start)
        self._set_layer(layer, scaling, keep_mean=run.l2 > 0.0)
        if before is not None:  # the range of all parts
            low, high = zip(before, self.feature_range_, strict=True)
            self.feature_range_ = np.stack([np.minimum(*low), np.maximum(*high)])
        self._keep_cost(run.l2, None, weighted=sample_weight is not None)
        self.n_iter_ = 1 if fresh else self.n_iter_ + 1
        return self

    def _fit_optimum(
        self, labelled: Labelled, options: dict[str, Any], *, fresh: bool
    ) -> tuple[Fitted, Scaling]:
        scaling, K = labelled.scaling(self.scaling), len(labelled.classes)
        target = Target(l2_of_layer(options["l2"], K), options["tol"], options["max_passes"])
        start = None if fresh else self._get_layer(scaling)
        engine = make_engine(threads=self.threads)
        rows = _penalised(self, labelled.rows(scaling))
        return fit_optimum(engine, rows, labelled.classes, target, start), scaling

    def _fit_minibatch(
        self, labelled: Labelled, options: dict[str, Any], *, fresh: bool
    ) -> tuple[Fitted, Scaling]:
        random = check_random_state(self.random_state)
        training, held_out = labelled.members, None
        if self.early_stopping:
            training, held_out = hold_out(labelled, options["validation_fraction"], random)
        scaling = labelled.scaling(self.scaling, training)
        rows = labelled.rows(scaling)
        validation = None if held_out is None else _chosen(rows, held_out)
        rows, K = _chosen(rows, training), len(labelled.classes)
        start = first_layer(rows, K) if fresh else self._last_layer(scaling)
        engine = make_engine(threads=self.threads)
        run, dtype = _run_of(options, labelled.X, K)
        return fit_minibatch(engine, rows, validation, run, dtype, start, random), scaling

    def _last_layer(self, scaling: Scaling) -> Layer:
        """The layer of the last fit, to start from."""
        layer = self._get_layer(scaling)
        return layer if self.fit_intercept else layer._replace(b=np.zeros_like(layer.b))

    def _require_same(self, labelled: Labelled) -> None:
        K, D = len(labelled.classes), labelled.X.shape[1]
        if not (np.array_equal(self.classes_, labelled.classes) and self.coef_.shape[1] == D):
            raise ValueError(
                f"warm_start needs the classes and features of the last fit, {len(self.classes_)} "
                f"and {self.coef_.shape[1]}, but these rows have {K} and {D} or other labels; set "
                "warm_start=False to start anew."
            )


def _run_of(options: dict[str, Any], X: NDArray[np.generic], classes: int) -> tuple[Run, str]:
    run = Run(
        learning_rate=options["learning_rate"],
        l2=l2_of_layer(options["l2"], classes),
        batch_size=options["batch_size"],
        epochs=options["epochs"],
        patience=options["n_iter_no_change"] if options["early_stopping"] else None,
        intercept=options["fit_intercept"],
    )
    dtype: str = options["dtype"]
    if dtype == "auto":
        dtype = "float64" if X.dtype == np.float64 else "float32"
    return run, dtype


def _penalised(estimator: LinearClassifier, rows: Rows) -> Rows:
    """The rows with an estimator's penalty factors."""
    names = getattr(estimator, "feature_names_in_", None)
    factors = factors_of_features(estimator.penalty_factors, rows.X.shape[1], names)
    return replace(rows, penalty_factors=factors)


def _chosen(rows: Rows, members: NDArray[np.int64] | None) -> Rows:
    """These rows alone, with weights of mean 1, so that η means what it means without weights."""
    weights = rows.weights
    if weights is not None:
        counted = weights if members is None else weights[members]
        weights = weights / counted.mean()
    return replace(rows, index=members, weights=weights)


class SoftmaxClassifierCV(LinearClassifier):
    """SoftmaxClassifier at the optimum of the λ that is best on held-out folds.

    The path goes from the largest λ down, each solution starting from the last; each fold has a
    path of its own, so none of its models has seen the rows it is judged by. Every solution is
    certified.

    Args:
        l2s: values of λ ≥ 0 of J = mean loss + λ ‖coef_‖²; or n ≥ 2: n values to four decades, from
            the largest that the data allow until the score has turned, as in `solve_path`.
        cv: folds: a number ≥ 2 (stratified, in row order), a scikit-learn splitter, or pairs of
            row numbers to train on and to hold out.
        scoring: the metric on the held-out rows, by the weights that J has, and of `score`: one of
            those that have scikit-learn's names, "accuracy", "neg_log_loss", "roc_auc", "f1_macro",
            … (docs/guide/metrics.md). `onelayer.sklearn.LogisticRegressionCV` takes any scorer.
        rule: "best" takes the λ of the best mean, of equal ones the largest;
            "one-standard-error" the largest within one standard error of it.
        tol: relative gap to prove for each solution, gap ≤ tol · J, > 0.
        max_passes: passes over the rows for each solution, ≥ 1.
        scaling: "none", "unit" (bytes / 255), "standardize" or "auto", fitted to all rows.
        fit_intercept: whether there is an intercept, as in SoftmaxClassifier.
        class_weight: None, "balanced" or a dict {label: weight ≥ 0}.
        penalty_factors: of the features, as in SoftmaxClassifier.
        threads: of the engine, ≥ 1; None is the cores that this process may use, OMP_NUM_THREADS at
            most, and under n_jobs what is left of them.

    Attributes:
        l2_: the chosen λ.
        l2s_: all of them, shape (P,), descending.
        accuracy_path_: held-out accuracy, shape (P, folds).
        loss_path_: held-out mean cross-entropy, shape (P, folds), nats.
        score_path_: what `scoring` gives, shape (P, folds); a loss is as it is, smaller is better.
        gap_path_: proven gap of each model of all rows, shape (P,), nats.
        coef_, intercept_, classes_, n_features_in_, feature_names_in_: of the chosen model, as in
            SoftmaxClassifier.
        n_iter_: passes over all rows for the whole path, without the folds'.
        gap_: proven bound on J − min J of the chosen model, nats.

    Source:
        Friedman, Hastie & Tibshirani (2010) for warm-started paths; Breiman et al. (1984) for the
        one-standard-error rule.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> model = SoftmaxClassifierCV(l2s=[0.1, 0.001], cv=3).fit(X, y)
        >>> model.l2_, model.accuracy_path_.shape
        (0.001, (2, 3))
    """

    def __init__(
        self,
        l2s: int | Sequence[float] = 20,
        *,
        cv: Any = 5,
        scoring: str = "accuracy",
        rule: str = "best",
        tol: float = 1e-6,
        max_passes: int = 1000,
        scaling: str = "none",
        fit_intercept: bool = True,
        class_weight: str | dict[Any, float] | None = None,
        penalty_factors: Any = None,
        threads: int | None = None,
    ) -> None:
        self.l2s = l2s
        self.cv = cv
        self.scoring = scoring
        self.rule = rule
        self.tol = tol
        self.max_passes = max_passes
        self.scaling = scaling
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.penalty_factors = penalty_factors
        self.threads = threads

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Solve the path on all rows and on each fold, and keep the chosen model.

        Args:
            X: features, shape (N, D), maybe sparse; see SoftmaxClassifier.
            y: labels, shape (N,), of any type, at least two of them.
            sample_weight: wᵢ ≥ 0, shape (N,), or None; they count in the folds' scores too.
            groups: of the rows, shape (N,), for a splitter that keeps groups together.

        Raises:
            ValueError: for invalid arguments, rows, labels, weights or folds.

        Warns:
            ConvergenceWarning: when a solution on all rows did not reach tol.
        """
        options = check_shared_options(self)
        metric = _metric(self.scoring)
        choice = Choice(metric.name, self.rule)  # type: ignore[arg-type]  # checked there
        asked = l2_values(self.l2s, "l2s")
        stored, labels = check_labelled(self, X, y)
        labelled = label_rows(
            stored, labels, sample_weight, self.class_weight, intercept=options["fit_intercept"]
        )
        scaling, K = labelled.scaling(self.scaling), len(labelled.classes)
        rows = _penalised(self, labelled.rows(scaling))
        if np.count_nonzero(rows.class_frequencies(K)) < 2:
            raise ValueError(
                "a choice of λ needs rows of at least 2 classes, but those of a positive weight "
                "hold 1 class; give rows of another class a weight."
            )
        engine = make_engine(threads=self.threads)
        target = Target(0.0, options["tol"], options["max_passes"])
        factor = l2_of_layer(1.0, K)
        wanted = asked if isinstance(asked, int) else [factor * l2 for l2 in asked]
        folds = _folds(self.cv, labelled, rows, labels, groups)
        check_parts(metric, folds, list(map(str, labelled.classes)))
        state, interrupted = solve_each(engine, rows, K, wanted, target, folds, choice.by)
        if interrupted:
            raise KeyboardInterrupt
        optima, scores = state.optima, state.scores
        chosen = choose(scores, choice)
        l2s = np.array([optimum.l2 for optimum in optima]) / factor
        self.classes_, self.l2s_, self.l2_ = labelled.classes, l2s, float(l2s[chosen])
        self._set_layer(layer_of(optima[chosen]), scaling, keep_mean=self.l2_ > 0.0)
        self._keep_cost(optima[chosen].l2, len(labels), weighted=sample_weight is not None)
        for optimum in optima:
            warn_unless_optimal(optimum, labelled.classes)
        self.accuracy_path_ = np.array([[score.accuracy for score in of] for of in scores])
        self.loss_path_ = np.array([[score.loss for score in of] for of in scores])
        self.score_path_ = np.array([[score.of(choice.by)[0] for score in of] for of in scores])
        self.gap_path_ = np.array([optimum.certificate.gap for optimum in optima])
        self.gap_ = float(self.gap_path_[chosen])
        self.n_iter_ = sum(optimum.passes for optimum in optima)
        return self

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """The metric of `scoring` on these rows; larger is better: a loss has a minus before it.

        Args:
            X: rows, shape (N, D).
            y: their labels, shape (N,).
            sample_weight: wᵢ ≥ 0, shape (N,), or None.

        Raises:
            NotFittedError: before fit.
            ValueError: for invalid rows, labels or weights, and where the metric is not defined.
        """
        metric = _metric(self.scoring)
        if metric.name == "accuracy":  # which labels that are not among classes_ have as well
            return float(super().score(X, y, sample_weight))
        scores, (_, labels) = self._scores(X), check_labelled(self, X, y, reset=False)
        weights = check_sample_weight(sample_weight, len(labels))
        counted = np.ones(len(labels), bool) if weights is None else weights > 0.0
        known = np.isin(labels[counted], self.classes_)
        if not known.all():
            raise ValueError(
                f"{metric.name} needs rows of the model's classes, but the model has no class "
                f"{labels[counted][int(np.argmin(known))]}."
            )
        codes = np.searchsorted(self.classes_, labels[counted])
        metric.check(codes, list(map(str, self.classes_)), "these rows")
        own = None if weights is None else weights[counted]
        value = metric.value(scored_rows(codes, scores[counted], own))
        return value if metric.greater else -value


def _metric(scoring: Any) -> Metric:
    """The metric of a path; the error of another says who takes scikit-learn's other scorers."""
    try:
        return metric_of(scoring, ONE_CLASS)
    except SettingsError as error:
        raise SettingsError(
            f"{error} onelayer.sklearn.LogisticRegressionCV takes any scorer of scikit-learn."
        ) from None


def _folds(
    cv: Any, labelled: Labelled, rows: Rows, y: NDArray[Any], groups: ArrayLike | None
) -> list[Part]:
    """Rows to train on and rows held out, without those of weight 0; the latter by row weight."""
    learned, judges = (
        np.ones(len(y), bool) if weights is None else weights > 0.0
        for weights in (labelled.weights, labelled.own_weights)
    )
    parts: list[Part] = []
    for kept, held_out in check_cv(cv, y, classifier=True).split(labelled.X, y, groups):
        kept, held_out = (np.asarray(part, np.int64) for part in (kept, held_out))
        kept, held_out = kept[learned[kept]], held_out[judges[held_out]]
        if not (len(kept) and len(held_out)):
            raise ValueError(
                "every fold needs rows of a positive weight to train on and to hold out, but fold "
                f"{len(parts)} has {len(kept)} and {len(held_out)}; take fewer folds."
            )
        judged = replace(rows, index=held_out, weights=labelled.own_weights)
        parts.append((replace(rows, index=kept), judged))
    return parts

"""SoftmaxClassifierCV: the λ path with folds, every solution certified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import check_cv

from onelayer.data.rows import Rows
from onelayer.engines import make_engine
from onelayer.sklearn.base import LinearClassifier, l2_of_layer
from onelayer.sklearn.fit import layer_of, warn_unless_optimal
from onelayer.sklearn.inputs import Labelled, check_labelled, check_shared_options, label_rows
from onelayer.solver.path import Choice, Part, choose, l2_values, solve_each
from onelayer.solver.solver import Target

Float64 = NDArray[np.float64]


class SoftmaxClassifierCV(LinearClassifier):
    """SoftmaxClassifier at the optimum of the λ that is best on held-out folds.

    The path goes from the largest λ down, each solution starting from the last; each fold has a
    path of its own, so none of its models has seen the rows it is judged by. Every solution is
    certified.

    Args:
        l2s: values of λ ≥ 0 of J = mean loss + λ ‖coef_‖², or how many of them, evenly spaced in
            their logarithm from 1 to 10⁻⁴.
        cv: folds: a number ≥ 2 (stratified, in row order), a scikit-learn splitter, or pairs of
            row numbers to train on and to hold out.
        choose_by: "accuracy" or "loss" on the held-out rows, by the weights that J has.
        rule: "best" takes the λ of the best mean, of equal ones the largest;
            "one-standard-error" the largest within one standard error of it.
        tol: relative gap to prove for each solution, gap ≤ tol · J, > 0.
        max_passes: passes over the rows for each solution, ≥ 1.
        scaling: "none", "unit" (bytes / 255), "standardize" or "auto", fitted to all rows.
        class_weight: None, "balanced" or a dict {label: weight > 0}.
        threads: of the engine, ≥ 1; None is all cores that this process may use. Use 1 with n_jobs.

    Attributes:
        l2_: the chosen λ.
        l2s_: all of them, shape (P,), descending.
        accuracy_path_: held-out accuracy, shape (P, folds).
        loss_path_: held-out mean cross-entropy, shape (P, folds), nats.
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
        choose_by: str = "accuracy",
        rule: str = "best",
        tol: float = 1e-6,
        max_passes: int = 1000,
        scaling: str = "none",
        class_weight: str | dict[Any, float] | None = None,
        threads: int | None = None,
    ) -> None:
        self.l2s = l2s
        self.cv = cv
        self.choose_by = choose_by
        self.rule = rule
        self.tol = tol
        self.max_passes = max_passes
        self.scaling = scaling
        self.class_weight = class_weight
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
            X: features, shape (N, D), dense; see SoftmaxClassifier.
            y: labels, shape (N,), of any type, at least two of them.
            sample_weight: wᵢ ≥ 0, shape (N,), or None; they count in the folds' scores too.
            groups: of the rows, shape (N,), for a splitter that keeps groups together.

        Raises:
            ValueError: for invalid arguments, rows, labels, weights or folds.
            TypeError: for a sparse matrix.

        Warns:
            ConvergenceWarning: when a solution on all rows did not reach tol.
        """
        options = check_shared_options(self)
        choice = Choice(self.choose_by, self.rule)  # type: ignore[arg-type]  # checked there
        l2s = l2_values(self.l2s, "l2s")
        stored, labels = check_labelled(self, X, y)
        labelled = label_rows(stored, labels, sample_weight, self.class_weight)
        scaling, K = labelled.scaling(self.scaling), len(labelled.classes)
        rows = labelled.rows(scaling)
        engine = make_engine(threads=self.threads)
        targets = [Target(l2_of_layer(l2, K), options["tol"], options["max_passes"]) for l2 in l2s]
        folds = _folds(self.cv, labelled, rows, labels, groups)
        optima, scores = solve_each(engine, rows, K, targets, folds)
        if len(optima) < len(targets):
            raise KeyboardInterrupt
        chosen = choose(scores, choice)
        self.classes_, self.l2s_, self.l2_ = labelled.classes, np.array(l2s), l2s[chosen]
        self._set_layer(layer_of(optima[chosen]), scaling)
        for optimum in optima:
            warn_unless_optimal(optimum)
        self.accuracy_path_ = np.array([[score.accuracy for score in of] for of in scores])
        self.loss_path_ = np.array([[score.loss for score in of] for of in scores])
        self.gap_path_ = np.array([optimum.certificate.gap for optimum in optima])
        self.gap_ = float(self.gap_path_[chosen])
        self.n_iter_ = sum(optimum.passes for optimum in optima)
        return self


def _folds(
    cv: Any, labelled: Labelled, rows: Rows, y: NDArray[Any], groups: ArrayLike | None
) -> list[Part]:
    """Rows to train on and rows held out, without those of weight 0."""
    counts = np.ones(len(y), bool) if labelled.weights is None else labelled.weights > 0.0
    parts: list[Part] = []
    for kept, held_out in check_cv(cv, y, classifier=True).split(labelled.X, y, groups):
        kept, held_out = (np.asarray(part, np.int64) for part in (kept, held_out))
        kept, held_out = kept[counts[kept]], held_out[counts[held_out]]
        if not (len(kept) and len(held_out)):
            raise ValueError(
                "every fold needs rows of a positive weight to train on and to hold out, but fold "
                f"{len(parts)} has {len(kept)} and {len(held_out)}; take fewer folds."
            )
        parts.append((replace(rows, index=kept), replace(rows, index=held_out)))
    return parts

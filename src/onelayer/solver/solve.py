"""The best model of one λ, and of a path of them."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from onelayer.data import Dataset, Splits
from onelayer.data.dataset import data_card, require_rows, require_splits, training_rows
from onelayer.data.progress import notebook_bar, quiet
from onelayer.data.rows import (
    PenaltyFactors,
    class_weight_setting,
    intercept_setting,
    rows_of,
    rows_setting,
    rows_to_fit,
    weights_to_fit,
)
from onelayer.data.split import fold_setting, folds_among, folds_of
from onelayer.data.weights import ClassWeight
from onelayer.engines import Engine, streaming
from onelayer.errors import SettingsError, is_number, known_options, plain
from onelayer.files.provenance import describe_environment
from onelayer.files.records import check_sizes
from onelayer.model.model import Model
from onelayer.solver.path import Keeps, Path, PathProgress, PathState, l2_values, solve_each
from onelayer.solver.proximal import Sparsity, solver_for
from onelayer.solver.selection import IN_SCORES, Choice, Part, Rule, check_parts, choose, score
from onelayer.solver.solver import Progress, Target, constant_words


@known_options
def solve(
    data: Dataset | Splits,
    l2: float | None = None,
    *,
    l1: float = 0.0,
    grouped: bool = False,
    intercept: bool = True,
    class_weight: ClassWeight = None,
    penalty_factors: PenaltyFactors = None,
    tol: float = 1e-6,
    max_passes: int = 1000,
    scaling: str = "auto",
    engine: Engine | str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Model:
    """Find the best model for one λ and prove how near it is to the optimum.

    W*, b* = argmin −Σ wᵢ log(yᵢᵀ pᵢ) / Σ wᵢ + λ Σ W² + λ₁ Σ |W|

    Args:
        data: the training rows; of `Splits` the training part.
        l2: λ ≥ 0. For λ = 0 no bound exists, and separable rows have no optimum: the search ends
            where the norm of the gradient is tol of its first value. None is 0 beside an l1.
        l1: λ₁ ≥ 0. It makes weights 0, so the model chooses features; the gap is proven for λ = 0
            as well. With scikit-learn's C and l1_ratio: l1 = l1_ratio / (C N) and
            l2 = (1 − l1_ratio) / (2 C N), or twice this l2 for two classes, where scikit-learn has
            one row of weights, w = W₁ − W₀ (Σ |W| is Σ |w|, but Σ W² is ½ Σ w²).
        grouped: whether l1 multiplies Σ_d ‖W_:d‖₂ instead, a norm over the classes of a feature: a
            feature is then chosen for all classes or for none, as by glmnet's "grouped".
        intercept: whether there is a bias; without one b is 0, and "standardize" divides by the
            deviation but does not centre, which would bring a bias back.
        class_weight: None, "balanced", or weights ≥ 0 of classes by name or number, as in
            {"cat": 2}; the others weigh 1. They multiply the weights of the training rows
            (`Dataset.weights`); 0 leaves a class's rows out.
        penalty_factors: f ≥ 0 of each feature, (D,), or of some by name, as in {"age": 0}; the
            others are 1. The penalty is λ Σ_d f_d ‖W_:d‖², and λ₁'s likewise: 0 leaves a feature
            unpenalised, as the bias is. They are taken as given; glmnet rescales its
            penalty.factor to a sum of D.
        tol: relative gap to prove, > 0: gap ≤ tol · J.
        max_passes: passes over the rows, ≥ 1.
        scaling: "auto", "none", "unit" or "standardize", fitted to the training rows. λ acts on the
            weights of the scaled features.
        engine: an engine or its name; None is the native engine.
        on_progress: called with `Progress` after every pass.

    Returns:
        The model. Its `certificate` has the proven gap; `status` is "optimal" when tol was
        reached, else "passes", "rounding" or "interrupted" (Ctrl-C).

    Raises:
        SettingsError: for a value outside its range.

    Of many labels a row the cost is Σ over labels of the logistic loss, and labels are problems of
    their own: `certificate.label_gaps` is the bound of each. A label that no row has, or every row,
    has no best bias: a warning says what it gets.

    Source:
        Böhning (1992), Multinomial logistic regression algorithm, for the preconditioner; Nocedal &
        Wright (2006), Numerical Optimization, chapter 7, for L-BFGS; onelayer.solver.proximal names
        those of l1.

    Example:
        >>> from onelayer import load, solve
        >>> model = solve(load("digits"), l2=0.01)
        >>> model.status, model.certificate.gap <= 1e-6 * model.certificate.cost
        ('optimal', True)
        >>> model = solve(load("digits"), l1=0.01)
        >>> model.certificate.l1, int(model.W.any(axis=0).sum())
        (0.01, 29)
    """
    require_rows("solve", data)
    l2, l1 = plain(l2), plain(l1)
    if l2 is None and (is_number(l1) and l1 == 0.0):
        raise SettingsError("give l2 (λ), l1 (λ₁) or both, as in solve(data, l2=0.01).")
    target, engine = (
        Target(0.0 if l2 is None else l2, tol, max_passes, l1, grouped),
        streaming(engine),
    )
    if penalty_factors is not None and not (target.l2 or target.l1):
        raise SettingsError("penalty_factors have no effect with l2=0 and no l1; leave them out.")
    data, fitted, rows = rows_to_fit(
        data, scaling, class_weight, intercept=intercept, penalty_factors=penalty_factors
    )
    train = training_rows(data)
    optimum = solver_for(engine, rows, train.classes, target, on_progress).solve(target)
    if optimum.constant:
        constant = [train.class_names[k] for k in optimum.constant]
        warnings.warn(f"{train.name}: {constant_words(constant)}.", stacklevel=3)
    environment = describe_environment() | engine.describe()
    settings = intercept_setting(intercept) | class_weight_setting(class_weight, train)
    settings |= rows_setting(rows, train)
    return optimum.model(fitted, data_card(data), environment, settings)


@known_options
def solve_path(
    data: Splits,
    l2: int | ArrayLike | None = None,
    *,
    l1: int | ArrayLike | None = None,
    l1_ratio: float = 1.0,
    grouped: bool = False,
    intercept: bool = True,
    class_weight: ClassWeight = None,
    penalty_factors: PenaltyFactors = None,
    folds: Any = 0,
    scoring: str = "accuracy",
    rule: Rule = "best",
    refit: bool = False,
    tol: float = 1e-6,
    max_passes: int = 1000,
    scaling: str = "auto",
    engine: Engine | str | None = None,
    on_progress: Callable[[PathProgress], None] | None = None,
    checkpoint: Keeps | None = None,
) -> Path:
    """Solve for every λ, prove each, and choose one by the validation rows or by folds.

    Args:
        data: training, validation and test rows; the test rows are used once, for the chosen model.
        l2: values of λ ≥ 0; or n ≥ 2: λ then goes down from ‖∇_W J(0)‖² / (0.04 J(0)), above which
            no weights lower the cost by 1 %, n values to four decades, until the held-out score
            has been falling for a decade, but no further than eight. None is 20 without an l1.
        l1: values of λ₁ > 0 of a penalty λ₁ Σ |W|, which chooses features; or n ≥ 2: from the λ₁ at
            which W = 0 is best, n values to two decades under it, or up to four. λ follows from
            l1_ratio.
        l1_ratio: r in (0, 1], as of scikit-learn and glmnet (their α): λ = λ₁ (1 − r) / 2r beside
            each λ₁, twice that for two classes; 1 is ℓ1 alone.
        grouped: whether l1 chooses features for all classes or for none; see `solve`.
        intercept: whether there is a bias, as of `solve`.
        class_weight: of the training rows, as of `solve`; held-out rows count by their own weights.
        penalty_factors: of the features, as of `solve`.
        folds: stratified folds of the training rows to choose λ by, 2 or more, no group of the rows
            on two sides; 0 takes the validation rows. Or folds of your own: an array (N,) with the
            fold that holds each training row out, −1 for none; or pairs of row numbers (to fit, to
            hold out), as scikit-learn's splitters give them.
        scoring: the metric on the held-out rows that λ is chosen by, by scikit-learn's names:
            "accuracy", "neg_log_loss", "roc_auc", "f1_macro", … (docs/guide/metrics.md).
        rule: "best", or "one-standard-error": the largest λ whose score is within one standard
            error of the best.
        refit: whether a model of the chosen λ is then fitted to the training and validation rows
            together, scaled anew and proven: `Path.best`, which alone meets the test rows.
        tol: relative gap to prove for each λ, > 0.
        max_passes: passes over the rows for each λ, ≥ 1.
        scaling: "auto", "none", "unit" or "standardize", fitted to the training rows.
        engine: an engine or its name; None is the native engine.
        on_progress: called with `PathProgress` after every solution. Default: a bar in a notebook.
        checkpoint: a `Checkpoint`: where the solutions are kept as they come, and whether to resume
            bit for bit from those that are there; None for none.

    Returns:
        The path. Ctrl-C ends it; the λ solved so far are kept.

    Raises:
        SettingsError: for a value outside its range.
        SaveError: when the folder of the checkpoints cannot be used, or they are of other data or
            settings.

    Source:
        Friedman, Hastie & Tibshirani (2010), Regularization paths for generalized linear models via
        coordinate descent; Breiman et al. (1984) for the one-standard-error rule.

    Example:
        >>> from onelayer import load, solve_path
        >>> path = solve_path(load("digits"), [0.1, 0.001])
        >>> path.best.l2, path.best.status
        (0.001, 'optimal')
    """
    require_splits("solve_path", data)
    choice = Choice(scoring, rule)
    given = data
    target, sparsity = Target(0.0, tol, max_passes), None
    if l1 is None:
        _check_alone(l1_ratio, grouped)
        l2s = l2_values(20 if l2 is None else l2)
    else:
        if l2 is not None:
            raise SettingsError(
                "give either l2 or l1, whose l1_ratio says how much l2 is beside it."
            )
        sparsity, l2s = Sparsity(l1_ratio, grouped), l2_values(l1, "l1")
        if not isinstance(l2s, int) and min(l2s) <= 0.0:
            raise SettingsError("l1 must be values above 0; for λ₁ = 0 give l2.")
    folds, weights = plain(folds), weights_to_fit(data.train, class_weight)
    if not is_number(folds) and weights is not None:
        folds = folds_among(folds, np.flatnonzero(weights), data.train.rows)
    weighing, engine = intercept_setting(intercept), streaming(engine)
    data, fitted, rows = rows_to_fit(
        data, scaling, class_weight, intercept=intercept, penalty_factors=penalty_factors
    )
    train = data.train
    parts: list[Part] = [(None, rows_of(data.validation, fitted))]
    indices = folds_of(data, folds)
    settings: dict[str, Any] = {"l2": l2s, "folds": fold_setting(folds, indices)}
    if sparsity is not None:
        settings = {"l1": settings.pop("l2"), **asdict(sparsity)} | settings
    folds = len(indices)
    if folds:
        judged_rows = rows_of(train, fitted)
        parts = [(rows.only(kept), judged_rows.only(held_out)) for kept, held_out in indices]
    check_parts(choice.metric, parts, train.class_names)
    settings |= {"scoring": choice.by, "tol": tol}
    weighing |= class_weight_setting(class_weight, train) | rows_setting(rows, train)
    settings |= {"max_passes": max_passes, "scaling": fitted.name} | weighing

    def check(state: PathState) -> None:
        check_sizes(state.sizes(train.classes, train.features, folds))

    def solve_from(
        start: PathState | None, keep: Callable[[PathState], None] | None = None
    ) -> tuple[PathState, bool]:
        return solve_each(
            engine,
            rows,
            train.classes,
            l2s,
            target,
            parts,
            choice.by,
            on_progress or notebook_bar("solving"),
            start or PathState(),
            keep,
            sparsity,
        )

    if checkpoint is None:
        state, interrupted = solve_from(None)
    else:
        with checkpoint.managing_path(PathState, data, engine, settings) as manager:
            start = manager.latest(check)
            state, interrupted = solve_from(start, manager.hold)
            manager.flush()
    if not state.optima:
        raise KeyboardInterrupt
    optima, scores, solved = state.optima, state.scores, time.perf_counter()
    chosen = choose(scores, choice)
    train_scores = score(engine, rows, [(o.W, o.b) for o in optima], choice.by, errors=False)
    path = Path.of_optima(
        optima,
        scores,
        scaling=fitted,
        train=train_scores,
        chosen=chosen,
        choice=choice,
        data=data_card(data),
        folds=folds,
        seconds={"solve": state.seconds, "score": time.perf_counter() - solved},
        environment=describe_environment() | engine.describe(),
        settings=weighing,
        l2_from_data=isinstance(l2s, int),
        interrupted=interrupted,
    )
    if refit and not interrupted:
        proof = path.best.require_certificate()
        aim = replace(target, l2=proof.l2, l1=proof.l1, grouped=proof.grouped)
        how = {"intercept": intercept, "penalty_factors": penalty_factors}
        path = _refitted(path, given, scaling, class_weight, aim, engine, **how)
    best = path.best
    (test,) = score(engine, rows_of(data.test, best.scaling), [(best.W, best.b)])
    by_groups = data.test.groups is not None and choice.by != "accuracy"
    measured = (choice.by,) if by_groups or choice.by not in IN_SCORES else ()
    try:
        choice.metric.check(data.test.y, data.test.class_names, "the test rows")
    except SettingsError:
        measured = ()
    judged = best.evaluate(data.test, engine, quiet, include_training_rows=True, scoring=measured)
    of_groups = () if judged.grouped is None else (judged.grouped,)
    found = judged.metrics + of_groups
    return replace(path, test=test, mistakes=judged.mistakes, test_metrics=found)


def _refitted(
    path: Path,
    given: Splits,
    scaling: str,
    class_weight: ClassWeight,
    target: Target,
    engine: Engine,
    **how: Any,
) -> Path:
    """The path with a model of its chosen λ of all rows but the test rows; or interrupted."""
    began = time.perf_counter()
    whole = replace(given, train=given.train_and_validation)
    data, fitted, rows = rows_to_fit(whole, scaling, class_weight, **how)
    try:
        optimum = solver_for(engine, rows, data.train.classes, target).solve(target).completed()
    except KeyboardInterrupt:
        return replace(path, interrupted=True)
    settings = intercept_setting(how["intercept"]) | rows_setting(rows, data.train)
    settings |= class_weight_setting(class_weight, data.train) | {"refit": True}
    model = optimum.model(fitted, data_card(data), path.environment, settings)
    seconds = {**path.seconds, "refit": time.perf_counter() - began}
    return replace(path, refitted=model, seconds=seconds)


def _check_alone(l1_ratio: float, grouped: bool) -> None:
    """Refuse what means nothing without l1."""
    if l1_ratio != 1.0 or grouped:
        given = "grouped" if grouped else "l1_ratio"
        raise SettingsError(f"{given} needs l1: the values of λ₁, or how many the data give.")

"""The best model of one λ."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from onelayer.data import Dataset, Splits
from onelayer.data.dataset import data_card, training_rows
from onelayer.data.rows import class_weight_setting, intercept_setting, rows_to_fit
from onelayer.data.weights import ClassWeight
from onelayer.engines import Engine, streaming
from onelayer.errors import SettingsError, known_options
from onelayer.files.provenance import describe_environment
from onelayer.model.model import Model
from onelayer.solver.proximal import solver_for
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
    if l2 is None and not l1:
        raise SettingsError("give l2 (λ), l1 (λ₁) or both, as in solve(data, l2=0.01).")
    target, engine = Target(l2 or 0.0, tol, max_passes, l1, grouped), streaming(engine)
    data, fitted, rows = rows_to_fit(data, scaling, class_weight, intercept=intercept)
    train = training_rows(data)
    optimum = solver_for(engine, rows, train.classes, target, on_progress).solve(target)
    if optimum.constant:
        constant = [train.class_names[k] for k in optimum.constant]
        warnings.warn(f"{train.name}: {constant_words(constant)}.", stacklevel=3)
    environment = describe_environment() | engine.describe()
    settings = intercept_setting(intercept) | class_weight_setting(class_weight, train)
    return optimum.model(fitted, data_card(data), environment, settings)

"""The best model of one λ."""

from __future__ import annotations

from collections.abc import Callable

from onelayer.data import Dataset, Splits
from onelayer.data.dataset import data_card, training_rows
from onelayer.data.rows import rows_of
from onelayer.data.scaling import fit_scaling
from onelayer.engines import Engine, streaming
from onelayer.errors import known_options
from onelayer.files.provenance import describe_environment
from onelayer.model.model import Model
from onelayer.solver.reduction import Solvers
from onelayer.solver.solver import Progress, Target


@known_options
def solve(
    data: Dataset | Splits,
    l2: float,
    *,
    tol: float = 1e-6,
    max_passes: int = 1000,
    scaling: str = "auto",
    engine: Engine | str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Model:
    """Find the best model for one λ and prove how near it is to the optimum.

    W*, b* = argmin −(1/N) Σ log(yᵀ p) + λ Σ W²

    Args:
        data: the training rows; of `Splits` the training part.
        l2: λ ≥ 0. For λ = 0 no bound exists, and separable rows have no optimum: the search ends
            where the norm of the gradient is tol of its first value.
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

    Source:
        Böhning (1992), Multinomial logistic regression algorithm, for the preconditioner; Nocedal &
        Wright (2006), Numerical Optimization, chapter 7, for L-BFGS.

    Example:
        >>> from onelayer import load, solve
        >>> model = solve(load("digits"), l2=0.01)
        >>> model.status, model.certificate.gap <= 1e-6 * model.certificate.cost
        ('optimal', True)
    """
    target, train = Target(l2, tol, max_passes), training_rows(data)
    fitted = fit_scaling(scaling, train.X, train.max_value)
    rows, engine = rows_of(train, fitted), streaming(engine)
    optimum = Solvers(engine, rows, train.classes).of_all(on_progress).solve(target)
    return optimum.model(fitted, data_card(data), describe_environment() | engine.describe())

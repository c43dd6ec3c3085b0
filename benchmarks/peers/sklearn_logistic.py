"""LogisticRegression of scikit-learn and of scikit-learn-intelex; C is 1 / (2 λ N).

X is scaled and in the contender's type before the clock starts. `tol` is set so small that the
number of iterations alone ends the search: it is the least that reaches the goal, which no user
knows beforehand.
"""

from __future__ import annotations

import warnings
from importlib import metadata
from typing import Any

from benchmarks.harness.problem import Data, Problem
from benchmarks.peers import PLENTY, Prepared, Solution

NEVER = 1e-14


def prepare(
    problem: Problem, data: Data, threads: int, solver: str = "lbfgs", dtype: str = "float64",
    centred: bool = False, package: str = "scikit-learn",
) -> Prepared:  # fmt: skip
    """scikit-learn's by default: lbfgs on float64.

    On centred rows it is what a careful user does, for the bias takes up the means; the bias of the
    rows as they were follows from it.
    """
    if package == "scikit-learn-intelex":
        import daal4py
        from sklearnex.linear_model import LogisticRegression

        daal4py.daalinit(threads)
    else:
        from sklearn.linear_model import LogisticRegression

    X = (data.X / problem.max_value).astype(dtype)
    mean = X.mean(axis=0) if centred else 0 * X[0]
    X -= mean

    def run(l2: float, iterations: int | None) -> Solution:
        model = LogisticRegression(
            C=1 / (2 * l2 * len(X)), solver=solver, tol=NEVER, max_iter=iterations or PLENTY
        )
        _fit(model, X, data.y)
        W, b = model.coef_, model.intercept_
        return Solution(W, b - W @ mean, int(model.n_iter_[0]))

    return Prepared(run, _about(package, X), x_bytes=X.nbytes)


def prepare_fit(problem: Problem, data: Data, threads: int) -> Prepared:
    """`LogisticRegression().fit(X, y)`: lbfgs, C = 1, at most 100 iterations, float64."""
    from sklearn.linear_model import LogisticRegression

    X = data.X / problem.max_value

    def run(**settings: int) -> dict[str, Any]:
        model = _fit(LogisticRegression(**settings), X, data.y)
        return {"passes": [int(model.n_iter_[0])]}

    return Prepared(run, _about("scikit-learn", X), x_bytes=X.nbytes, warm=lambda: run(max_iter=2))


def _fit(model: Any, X: Any, y: Any) -> Any:
    """Fit, without warnings of a search that did not converge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, y)


def _about(package: str, X: Any) -> dict[str, str]:
    return {package: metadata.version(package), "X": X.dtype.name}

"""scikit-learn: LogisticRegression, also that of scikit-learn-intelex and of onelayer.

LogisticRegression's C is 1 / (2 λ N). X is scaled and in its type before the clock starts. `tol`
is so small that the number of iterations alone ends the search: it is the least that reaches the
goal, which no user knows beforehand.
"""

from __future__ import annotations

import warnings
from functools import partial
from importlib import metadata
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks.harness.problem import Data, Problem
from benchmarks.peers import PLENTY, Prepared, Solution

NEVER = 1e-14


def prepare(
    problem: Problem, data: Data, threads: int, dtype: str = "float64",
    package: str = "scikit-learn", tol: float = NEVER, most: int = PLENTY, **settings: Any,
) -> Prepared:  # fmt: skip
    """scikit-learn's by default: lbfgs on float64; settings are the class's."""
    make: Any = LogisticRegression
    if package == "scikit-learn-intelex":
        import daal4py
        from sklearnex import linear_model

        daal4py.daalinit(threads)
        make = linear_model.LogisticRegression
    if package == "onelayer":
        from onelayer import sklearn

        make = sklearn.LogisticRegression
    X = (data.X / problem.max_value).astype(dtype)
    make = partial(make, fit_intercept=problem.intercept, **settings)

    def run(l2: float, iterations: int | None) -> Solution:
        two = problem.classes == 2  # which have one row of weights, the difference of ours
        C = (2 if two else 1) / (2 * l2 * X.shape[0])
        model = fit(make(C=C, tol=tol, max_iter=iterations or most), X, data.y)
        W, b = model.coef_, model.intercept_
        if two:
            W, b = np.vstack([-W, W]) / 2, np.append(-b, b) / 2
        return Solution(W, np.broadcast_to(b, len(W)), int(np.max(model.n_iter_)))

    return Prepared(run, _about(package, X), {"x_bytes": Data(X, data.y).x_bytes})


def prepare_fit(problem: Problem, data: Data, threads: int) -> Prepared:
    """`LogisticRegression().fit(X, y)`: lbfgs, C = 1, at most 100 iterations, float64."""
    X = data.X / problem.max_value

    def run(**settings: int) -> dict[str, Any]:
        model = fit(LogisticRegression(**settings), X, data.y)
        return {"passes": [int(model.n_iter_[0])]}

    about, short = _about("scikit-learn", X), partial(run, max_iter=2)
    return Prepared(run, about, {"x_bytes": X.nbytes}, warm=short)


def prepare_classifier(problem: Problem, data: Data, threads: int) -> Prepared:
    """`LogisticRegression(max_iter=1000)`, which gives the probabilities of its rows."""
    X, model = data.X / problem.max_value, LogisticRegression(max_iter=1000)
    return Prepared(lambda: model.fit(X, data.y).predict_proba(X), _about("scikit-learn", X))


def fit(model: Any, X: Any, y: Any) -> Any:
    """Fit, without warnings of a search that did not converge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, y)


def _about(package: str, X: Any) -> dict[str, str]:
    return {package: metadata.version(package), "X": X.dtype.name}

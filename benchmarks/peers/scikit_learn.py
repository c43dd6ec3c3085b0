"""scikit-learn: LogisticRegression, also that of scikit-learn-intelex, and SGDClassifier.

LogisticRegression's C is 1 / (2 λ N). X is scaled and in its type before the clock starts. `tol`
is so small that the number of iterations alone ends the search: it is the least that reaches the
goal, which no user knows beforehand.

SGDClassifier is another algorithm, shown for its time alone: one binary logistic regression for
each class against the rest, one row a step, so no agreement is asserted. Its penalty is
alpha/2 · ‖w‖², so alpha is 2λ; n_jobs spreads the classes over threads.
"""

from __future__ import annotations

import warnings
from functools import partial
from importlib import metadata
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression, SGDClassifier

from benchmarks.harness.problem import Answer, Data, Problem, initial_weights
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
    make: Any = LogisticRegression
    if package == "scikit-learn-intelex":
        import daal4py
        from sklearnex import linear_model

        daal4py.daalinit(threads)
        make = linear_model.LogisticRegression
    X = (data.X / problem.max_value).astype(dtype)
    mean = X.mean(axis=0) if centred else 0 * X[0]
    X -= mean

    def run(l2: float, iterations: int | None) -> Solution:
        most, C = iterations or PLENTY, 1 / (2 * l2 * len(X))
        model = fit(make(C=C, solver=solver, tol=NEVER, max_iter=most), X, data.y)
        W, b = model.coef_, model.intercept_
        return Solution(W, b - W @ mean, int(model.n_iter_[0]))

    return Prepared(run, _about(package, X), {"x_bytes": X.nbytes})


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


def prepare_sgd(problem: Problem, data: Data, threads: int) -> Prepared:
    """As many epochs as the others, rows in file order, constant η."""
    (setting,), start = problem.settings, initial_weights(problem)

    def train() -> Answer:
        X = data.X.astype(np.float32)
        X *= np.float32(problem.scale)
        model = SGDClassifier(
            loss="log_loss", alpha=2 * setting.l2, max_iter=problem.epochs, tol=None,
            shuffle=False, learning_rate="constant", eta0=setting.learning_rate, n_jobs=threads,
        )  # fmt: skip
        model.fit(X, data.y, coef_init=start.W[0], intercept_init=start.b[0])
        return Answer(model.coef_[None], model.intercept_[None])

    return Prepared(train, _about("scikit-learn", data.X))


def fit(model: Any, X: Any, y: Any) -> Any:
    """Fit, without warnings of a search that did not converge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, y)


def _about(package: str, X: Any) -> dict[str, str]:
    return {package: metadata.version(package), "X": X.dtype.name}

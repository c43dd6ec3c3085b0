"""LogisticRegression of scikit-learn and of scikit-learn-intelex; C is 1 / (2 λ N).

X is scaled and in the contender's type before the clock starts. `tol` is set so small that the
number of iterations alone ends the search: it is the least that reaches the goal, which no user
knows beforehand.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from benchmarks.harness.problem import Data, Problem
from benchmarks.peers.solving import (
    CLASSES,
    PreparedPath,
    PreparedSolver,
    Seen,
    Solution,
    Watch,
    climb,
)

Floats = NDArray[np.floating]
Unpack = Callable[[Floats], tuple[Floats, Floats]]

NEVER = 1e-14
PLENTY = 100_000


def prepare(
    problem: Problem, data: Data, threads: int, solver: str = "lbfgs", dtype: str = "float64",
    centred: bool = False,
) -> PreparedSolver:  # fmt: skip
    """scikit-learn's by default: lbfgs on float64.

    On centred rows it is what a careful user does, for the bias takes up the means; the bias of the
    rows as they were follows from it. newton-cholesky tells nothing, so each number of steps is a
    call.
    """
    X = _scaled(problem, data, dtype)
    mean = X.mean(axis=0) if centred else None
    if mean is not None:
        X -= mean
    return _prepare(_sklearn(solver), X, data, _bias_last if solver == "lbfgs" else None, mean)


def prepare_intelex(problem: Problem, data: Data, threads: int) -> PreparedSolver:
    """scikit-learn-intelex on float64; it too walks by SciPy's L-BFGS-B, with its own gradients."""
    import daal4py
    from sklearnex.linear_model import LogisticRegression

    daal4py.daalinit(threads)
    kind = Kind(partial(LogisticRegression, solver="lbfgs"), "scikit-learn-intelex")
    return _prepare(kind, _scaled(problem, data, "float64"), data, _bias_first)


def prepare_fit(problem: Problem, data: Data, threads: int) -> PreparedPath:
    """`LogisticRegression().fit(X, y)`: lbfgs, C = 1, at most 100 iterations, float64."""
    kind, X = _sklearn("lbfgs"), _scaled(problem, data, "float64")

    def fit(**settings: Any) -> dict[str, Any]:
        with _unconverged():
            return {"passes": [int(kind.make(**settings).fit(X, data.y).n_iter_[0])]}

    about = {kind.package: metadata.version(kind.package), "X": X.dtype.name}
    return PreparedPath(lambda: fit(max_iter=2), fit, X.nbytes, about)


class Kind(NamedTuple):
    """What makes an estimator, and the package that it is of."""

    make: Callable[..., Any]
    package: str


def _sklearn(solver: str) -> Kind:
    from sklearn.linear_model import LogisticRegression

    return Kind(partial(LogisticRegression, solver=solver), "scikit-learn")


def _scaled(problem: Problem, data: Data, dtype: str) -> Floats:
    scaled: Floats = (data.X / problem.max_value).astype(dtype)
    return scaled


def _prepare(
    kind: Kind, X: Floats, data: Data, unpack: Unpack | None, mean: Floats | None = None
) -> PreparedSolver:
    def fit(l2: float, iterations: int) -> Any:
        model = kind.make(C=1 / (2 * l2 * len(data.y)), tol=NEVER, max_iter=iterations)
        with _unconverged():
            return model.fit(X, data.y)

    def solve(l2: float, iterations: int | None) -> Solution:
        model = fit(l2, iterations or PLENTY)
        return Solution(model.coef_, _moved(model.coef_, model.intercept_, mean))

    def within(l2: float, iterations: int) -> Seen:
        started = time.perf_counter()
        found = solve(l2, iterations)
        return Seen(iterations, time.perf_counter() - started, found.W, found.b)

    def trace(l2: float, watch: Watch) -> None:
        if unpack is None:
            climb(partial(within, l2), watch, max_iterations=30)
            return

        def look(count: int, at: Floats) -> bool:
            W, b = unpack(at)
            return watch.see(count, W, _moved(W, b, mean))

        watch.start()
        with _watched(look):
            fit(l2, PLENTY)

    about = {kind.package: metadata.version(kind.package), "X": X.dtype.name}
    return PreparedSolver(solve, trace, X.nbytes, about)


@contextmanager
def _unconverged() -> Iterator[None]:
    """No warnings of a search that did not converge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _moved(W: Floats, b: Floats, mean: Floats | None) -> Floats:
    return b if mean is None else b - W @ mean


@contextmanager
def _watched(see: Callable[[int, Floats], bool]) -> Iterator[None]:
    """Let SciPy's minimiser, which both packages call, show each of its iterates."""
    minimise, count = optimize.minimize, 0

    def look(at: Floats) -> None:
        nonlocal count
        count += 1
        if see(count, at):
            raise StopIteration

    def minimise_watched(*given: Any, **named: Any) -> Any:
        return minimise(*given, **{**named, "callback": look})

    optimize.minimize = minimise_watched
    try:
        yield
    finally:
        optimize.minimize = minimise


def _bias_last(at: Floats) -> tuple[Floats, Floats]:
    """scikit-learn's vector: one column after the other of W with b as its last column."""
    both = at.reshape((CLASSES, -1), order="F")
    return both[:, :-1], both[:, -1]


def _bias_first(at: Floats) -> tuple[Floats, Floats]:
    """scikit-learn-intelex's vector: one class after the other, its bias first."""
    both = at.reshape(CLASSES, -1)
    return both[:, 1:], both[:, 0]

"""Random problems for the optimum, and an independent solution of them in float64."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from onelayer.data import Dataset
from onelayer.data.rows import Rows
from onelayer.engines import Engine
from onelayer.objective import loss as objective
from onelayer.objective.penalty import Penalty
from onelayer.solver import newton, own_rows, solver
from onelayer.solver.newton import choose_preconditioner
from onelayer.solver.solver import Optimum, Solver, Target

Float64 = NDArray[np.float64]


class Problem(NamedTuple):
    """Rows of K classes and a λ; without an intercept b is 0."""

    X: Float64
    y: NDArray[np.int64]
    K: int
    l2: float
    intercept: bool = True

    @property
    def rows(self) -> Rows:
        D = self.X.shape[1]
        return Rows(self.X, self.y, np.ones(D), np.zeros(D), intercept=self.intercept)

    @property
    def dataset(self) -> Dataset:
        return Dataset(self.X, self.y, tuple(map(str, range(self.K))))

    @property
    def penalty(self) -> Penalty:
        return Penalty(self.l2)

    def cost(self, W: NDArray[np.floating], b: Float64) -> float:
        return objective.cost(self.X, self.y, W, b, self.l2)


def make_problem(seed: int, largest: tuple[int, int, int] = (40, 12, 20)) -> Problem:
    """N above and below D, correlated and constant features, K from 2 to 20, absent classes."""
    rng = np.random.default_rng(seed)
    N, D, K = (
        int(rng.integers(low, high + 1)) for low, high in zip((2, 1, 2), largest, strict=True)
    )
    factors = int(rng.integers(1, D + 1))
    X = rng.standard_normal((N, factors)) @ rng.standard_normal((factors, D))
    X *= rng.uniform(0.1, 2.0, D)
    X += rng.normal(0.0, 2.0, D) * rng.integers(0, 2)
    X[:, rng.random(D) < 0.1] = 1.0
    y = rng.integers(0, K, N)
    if rng.random() < 0.5:
        y = np.argmax(X @ rng.standard_normal((D, K)) + rng.gumbel(size=(N, K)), axis=1)
    return Problem(X, y.astype(np.int64), K, float(np.exp(rng.uniform(np.log(1e-4), 0.0))))


def random_weights(problem: Problem, seed: int) -> tuple[Float64, Float64]:
    """Weights near zero, of some size, or wild; a bias that does not fit them."""
    rng = np.random.default_rng([seed, 1])
    size = float(rng.choice([0.0, 0.01, 0.3, 3.0]))
    return size * rng.standard_normal((problem.K, problem.X.shape[1])), rng.normal(size=problem.K)


METHODS = (
    "newton",
    "newton in NumPy",
    "class curvature",
    "l-bfgs",
    "l-bfgs from float32",
    "own rows",
    "by prices",
)


def take_method(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the solver take one of its methods, whatever the problem's size."""
    if method.startswith("newton"):
        monkeypatch.setattr(newton, "FEW_STEPS", np.inf)
    if method == "newton in NumPy":
        monkeypatch.setattr(newton.Newton, "descend", lambda _, at, *__: (at, np.inf, at, 0))
    elif method == "class curvature":
        monkeypatch.setattr(newton, "FEW_STEPS", 0.0)
        monkeypatch.setattr(newton, "PATIENCE", 0.1)
    elif method.startswith("l-bfgs") or method == "own rows":
        monkeypatch.setattr(newton, "MAX_ENTRIES", 0)
    if method == "own rows":
        for bound, value in (("MIN_CLASSES", 2), ("MOST_OWN", 1000), ("MOST_PLACES", 1000)):
            monkeypatch.setattr(own_rows, bound, value)
    if method == "l-bfgs from float32":
        monkeypatch.setattr(solver, "FLOAT64_PRODUCTS", 0.0)


def solve(engine: Engine, problem: Problem, tol: float = 1e-10, passes: int = 3000) -> Optimum:
    """The solver under test, on that problem."""
    metric = choose_preconditioner(engine, problem.rows, problem.K)
    return Solver(engine, problem.rows, problem.K, metric).solve(Target(problem.l2, tol, passes))


def hessian(problem: Problem, W: Float64, b: Float64, loss: objective.Loss = "softmax") -> Float64:
    """The whole Hessian of J, entries (W_k, b_k) class by class, from its definition."""
    K, D = W.shape
    X1 = np.concatenate([problem.X, np.ones((len(problem.y), 1))], axis=1)
    S = objective.scores(problem.X, W, b)
    if loss == "sigmoid":
        P = objective.sigmoid(S)
        bend = np.einsum("nk,kj->nkj", P * (1.0 - P) / K, np.eye(K))
    else:
        P = objective.softmax(S)
        bend = np.einsum("nk,kj->nkj", P, np.eye(K)) - np.einsum("nk,nj->nkj", P, P)
    H = np.einsum("nkj,nd,ne->kdje", bend, X1, X1, optimize=True) / len(X1)
    ridge = np.tile(np.r_[np.full(D, 2.0 * problem.l2), 0.0], K)
    return np.asarray(H.reshape(K * (D + 1), -1) + np.diag(ridge))


_OPTIMA: dict[tuple[object, ...], tuple[float, Float64]] = {}


def independent_optimum(problem: Problem) -> tuple[float, Float64]:
    """J* and W* by plain Newton steps on the oracle; a problem that comes again is known.

    Classes without rows are left out: their probabilities vanish with their biases.
    """
    X, y, *rest = problem
    key = (X.tobytes(), X.shape, str(X.dtype), y.tobytes(), *rest)
    if key not in _OPTIMA:
        _OPTIMA[key] = _newton(problem)
    J, W = _OPTIMA[key]
    return J, W.copy()


def _newton(problem: Problem) -> tuple[float, Float64]:
    present = np.unique(problem.y) if problem.intercept else np.arange(problem.K)
    own = problem._replace(y=np.searchsorted(present, problem.y), K=len(present))
    K, D = own.K, own.X.shape[1]
    V = np.zeros((K, D + 1))
    for _ in range(60):
        W, b = V[:, :-1], V[:, -1]
        G = objective.gradient(own.X, own.y, W, b, own.l2)
        slope = np.concatenate([G.W, G.b[:, None]], axis=1)
        slope[:, -1] *= own.intercept
        slope = slope.ravel()
        if np.linalg.norm(slope) < 1e-13:
            break
        H = hessian(own, W, b) + 1e-13 * np.eye(slope.size)
        if not own.intercept:
            H[D :: D + 1] = H[:, D :: D + 1] = 0.0
            H += np.diag(np.tile(np.r_[np.zeros(D), 1.0], K))
        step = -np.linalg.solve(H, slope).reshape(V.shape)
        length, J = 1.0, own.cost(W, b)
        while own.cost(*_split(V + length * step)) > J + 1e-15 and length > 1e-9:
            length /= 2.0
        V = V + length * step
    W_all = np.zeros((problem.K, D))
    W_all[present] = V[:, :-1]
    return own.cost(*_split(V)), W_all


def _split(V: Float64) -> tuple[Float64, Float64]:
    return V[:, :-1], V[:, -1]

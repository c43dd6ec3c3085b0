"""Random problems for the optimum, and an independent solution of them in float64."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize

from onelayer import objective
from onelayer.engines import Rows

Float64 = NDArray[np.float64]


class Problem(NamedTuple):
    """Rows of K classes and a λ."""

    X: Float64
    y: NDArray[np.int64]
    K: int
    l2: float

    @property
    def rows(self) -> Rows:
        D = self.X.shape[1]
        return Rows(self.X, self.y, np.ones(D), np.zeros(D))

    def cost(self, W: Float64, b: Float64) -> float:
        return objective.cost(self.X, self.y, W, b, self.l2)


def make_problem(seed: int, *, largest_l2: float = 1.0, smallest_l2: float = 1e-4) -> Problem:
    """N above and below D, correlated and constant features, K from 2 to 20, absent classes."""
    rng = np.random.default_rng(seed)
    N, D, K = int(rng.integers(2, 60)), int(rng.integers(1, 40)), int(rng.integers(2, 21))
    factors = int(rng.integers(1, D + 1))
    X = rng.standard_normal((N, factors)) @ rng.standard_normal((factors, D))
    X *= rng.uniform(0.1, 2.0, D)
    X += rng.normal(0.0, 2.0, D) * rng.integers(0, 2)
    X[:, rng.random(D) < 0.1] = 1.0
    y = rng.integers(0, K, N)
    if rng.random() < 0.5:
        y = np.argmax(X @ rng.standard_normal((D, K)) + rng.gumbel(size=(N, K)), axis=1)
    l2 = float(np.exp(rng.uniform(np.log(smallest_l2), np.log(largest_l2))))
    return Problem(X, y.astype(np.int64), K, l2)


def random_weights(problem: Problem, seed: int) -> tuple[Float64, Float64]:
    """Weights near zero, of some size, or wild; the bias is none that fits."""
    rng = np.random.default_rng([seed, 1])
    size = float(rng.choice([0.0, 0.01, 0.3, 3.0]))
    D = problem.X.shape[1]
    return size * rng.standard_normal((problem.K, D)), rng.standard_normal(problem.K)


def independent_optimum(problem: Problem) -> tuple[float, Float64]:
    """J* and W* by SciPy's trust-region Newton method on the oracle's cost, in float64.

    Absent classes are left out: their best bias is −∞.
    """
    present = np.unique(problem.y)
    y = np.searchsorted(present, problem.y)
    K, D, N = len(present), problem.X.shape[1], len(y)
    X1 = np.concatenate([problem.X, np.ones((N, 1))], axis=1)

    def cost(v: Float64) -> tuple[float, Float64]:
        V = v.reshape(K, D + 1)
        J = objective.cost(problem.X, y, V[:, :-1], V[:, -1], problem.l2)
        G = objective.gradient(problem.X, y, V[:, :-1], V[:, -1], problem.l2)
        return J, np.concatenate([G.W, G.b[:, None]], axis=1).ravel()

    def hessian(v: Float64) -> Float64:
        P = objective.softmax(X1 @ v.reshape(K, D + 1).T)
        bend = np.einsum("nk,kj->nkj", P, np.eye(K)) - np.einsum("nk,nj->nkj", P, P)
        H = np.einsum("nkj,nd,ne->kdje", bend, X1, X1, optimize=True) / N
        ridge = np.tile(np.r_[np.full(D, 2 * problem.l2), 0.0], K)
        return np.asarray(H.reshape(K * (D + 1), -1) + np.diag(ridge))

    v = np.zeros(K * (D + 1))
    for _ in range(100):
        J, G = cost(v)
        if np.linalg.norm(G) < 1e-13:
            break
        step = -np.linalg.lstsq(hessian(v), G, rcond=1e-14)[0]
        length = 1.0
        while cost(v + length * step)[0] > J + 1e-4 * length * step @ G + 1e-15 and length > 1e-9:
            length /= 2
        v = v + length * step
    W = np.zeros((problem.K, D))
    W[present] = v.reshape(K, D + 1)[:, :-1]
    return cost(v)[0], W


seeds = st.integers(0, 2**32 - 1)
_ = minimize

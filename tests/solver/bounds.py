"""Whether every bound holds: one draw of problems of all kinds, and a judge in float64.

    python -m tests.solver.bounds [PROBLEMS] [FIRST]

Kinds: ℓ2, ℓ1, elastic net, a norm over the classes of each feature; arrays and sparse rows;
weights, offsets, penalty factors, 0 among them; with an intercept and without; two classes and
more, absent ones, rows fewer than features. Each is solved to some tolerance, and weights that are
far from any solution are certified. No bound may exceed what a better solution costs, by the
definition of J.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
from numpy.typing import NDArray

from onelayer.data import rows as data_rows
from onelayer.data.rows import Rows
from onelayer.data.sparse import SparseRows
from onelayer.engines import make_engine, streaming
from onelayer.objective import loss as objective
from onelayer.objective.penalty import Penalty
from onelayer.solver import certificate, free, losses
from onelayer.solver.certificate import certify_weights
from onelayer.solver.proximal import solver_for
from onelayer.solver.solver import Optimum, Target
from tests.solver.oracle import make_problem, random_weights

Float64 = NDArray[np.float64]

ENGINE = streaming(make_engine(threads=1))


class Drawn(NamedTuple):
    """A problem of some kind, with the tolerance to solve it to and weights to certify."""

    rows: Rows
    K: int
    penalty: Penalty
    tol: float
    W: Float64
    b: Float64
    kind: str
    is_hurried: bool  # whether to certify them by a bias that is not the best

    def cost(self, W: NDArray[np.floating], b: Float64) -> float:
        """J by its definition."""
        S = objective.scores(self.rows.scaled(), W.astype(np.float64), b)
        S = S if self.rows.row_offsets is None else S + self.rows.row_offsets
        losses = -objective.log_softmax(S)[np.arange(self.rows.count), self.rows.labels]
        loss = float(np.average(losses, weights=self.rows.row_weights))
        return loss + self.penalty.value(W.astype(np.float64))

    def solve(self, tol: float, max_passes: int = 1000) -> Optimum:
        """The solver under test; with λ₁ it comes down a path, and knows old slopes."""
        l2, l1 = self.penalty.l2, self.penalty.l1
        target = Target(l2, tol, max_passes, l1, self.penalty.grouped)
        solver = solver_for(ENGINE, self.rows, self.K, target)
        for more in (5.0, 1.5) if l1 else ():
            solver.solve(replace(target, l2=more * l2, tol=max(tol, 1e-3), l1=more * l1))
        return solver.solve(target)

    @property
    def lowest(self) -> float:
        """J*, from above: by steps that know nothing of the solver, and by its last digits."""
        found = self.solve(1e-10, max_passes=60)
        steps = self._by_bfgs() if not self.penalty.l1 else self._by_proximal_steps()
        return min(self.cost(found.W, found.b), steps)

    def _smooth(self, X: Float64, V: Float64) -> tuple[float, Float64]:
        """The loss and λ Σ f W² at V = (W, b), and their gradient; X has a 1 or 0 appended."""
        S = X @ V.T + (0.0 if self.rows.row_offsets is None else self.rows.row_offsets)
        logs, each = objective.log_softmax(S), np.arange(self.rows.count)
        w = np.ones(self.rows.count) if self.rows.row_weights is None else self.rows.row_weights
        w = w / w.sum()
        P, W = np.exp(logs), V[:, :-1]
        P[each, self.rows.labels] -= 1.0
        G = (P * w[:, None]).T @ X
        G[:, :-1] += self.penalty.gradient(W)
        squares = replace(self.penalty, l1=0.0).value(W)
        return float(-w @ logs[each, self.rows.labels]) + squares, G

    @property
    def _extended(self) -> Float64:
        X = self.rows.scaled()
        return np.column_stack([X, np.full(len(X), float(self.rows.intercept))])

    def _by_bfgs(self) -> float:
        X = self._extended
        shape = self.K, X.shape[1]

        def smooth(v: Float64) -> tuple[float, Float64]:
            value, G = self._smooth(X, v.reshape(shape))
            return value, G.ravel()

        options = {"maxiter": 2000, "maxfun": 2000, "ftol": 1e-16, "gtol": 1e-10}
        start = np.zeros(shape).ravel()
        found = scipy.optimize.minimize(smooth, start, jac=True, method="L-BFGS-B", options=options)
        return float(found.fun)

    def _by_proximal_steps(self, steps: int = 500) -> float:
        X, penalty = self._extended, self.penalty
        w = np.ones(len(X)) if self.rows.row_weights is None else self.rows.row_weights
        largest = np.linalg.eigvalsh((X * (w / w.sum())[:, None]).T @ X)[-1]
        step = 1.0 / (0.5 * largest + np.max(penalty.curvatures) + 1e-12)
        V = before = np.zeros((self.K, X.shape[1]))
        t = 1.0
        for _ in range(steps):
            at = V + (t - 1.0) / (0.5 + np.sqrt(0.25 + t * t)) * (V - before)
            new = at - step * self._smooth(X, at)[1]
            new[:, :-1] = penalty.prox(new[:, :-1], step)
            t = 1.0 if np.sum((at - new) * (new - V)) > 0.0 else 0.5 + np.sqrt(0.25 + t * t)
            before, V = V, new
        return self.cost(V[:, :-1], V[:, -1])


def draw(seed: int) -> Drawn:
    """A problem of any kind."""
    rng = np.random.default_rng([seed, 11])
    problem = make_problem(seed, (40, 12, 6) if rng.random() < 0.6 else (15, 30, 4))
    X, (N, D), K = problem.X, problem.X.shape, problem.K
    kind = str(rng.choice(["l2", "l1", "net", "group", "group net"]))
    form, words = str(rng.choice(["array", "sparse"])), [kind]
    if form == "sparse":
        X = X * (rng.random(X.shape) < 0.4)
        words.append("sparse")
    weights: Float64 | None = None
    offsets: Float64 | None = None
    factors: Float64 | None = None
    index: NDArray[np.int64] | None = None
    if rng.random() < 0.4:
        weights = rng.choice([1.0, 2.0, 3.0, 0.1], N)
        words.append("weights")
    if rng.random() < 0.4:
        offsets = rng.choice([0.1, 1.0, 5.0]) * rng.normal(size=(N, K))
        words.append("offsets")
    if rng.random() < 0.5:
        factors = np.array(rng.uniform(0.1, 4.0, D))
        words.append("factors")
        if rng.random() < 0.6:
            # Of few: more would separate the classes, and there is no optimum then.
            factors[1:][rng.permutation(D - 1)[: rng.integers(1, 2 + N // 8)]] = 0.0
            words += [] if factors.all() else ["free"]
    if rng.random() < 0.2:
        index = np.sort(rng.permutation(N)[: max(2, N - 3)])
    intercept = bool(rng.random() < 0.75)
    words += [] if intercept else ["no intercept"]
    scale, offset = np.array(rng.uniform(0.5, 2.0, D)), np.zeros(D)
    if rng.random() < 0.5:
        offset += rng.normal(size=D)
    stored: Any = X
    if form == "sparse":
        stored = SparseRows.of(scipy.sparse.csr_array(X), "made")
    rows = Rows(
        stored, problem.y, scale, offset, index, weights, intercept=intercept,
        score_offsets=offsets, penalty_factors=factors,
    )  # fmt: skip
    l2 = 0.0 if kind in ("l1", "group") else float(rng.choice([1e-4, 1e-2, 0.3]))
    l1 = 0.0 if kind == "l2" else float(0.3 * np.exp(rng.uniform(np.log(1e-3), 0.5)))
    penalty = Penalty(l2, l1, kind.startswith("group"), factors)
    W, b = random_weights(problem, seed)
    if rng.random() < 0.5:
        W = W * (rng.random(W.shape) < 0.3)
    tol = float(rng.choice([1e-2, 1e-4, 1e-6, 1e-9]))
    is_hurried = bool(rng.random() < 0.5)
    return Drawn(rows, K, penalty, tol, W, b * intercept, ", ".join(words), is_hurried)


@contextmanager
def kept_sparse() -> Iterator[None]:
    """Small sparse rows stay sparse, as large ones do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_rows, "FEW_ENTRIES", 0)
        yield


@contextmanager
def hurried() -> Iterator[None]:
    """The bias and free weights are not at their best, which a bound allows for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certificate, "MAX_PASSES", 1)
        patch.setattr(losses, "BIAS_STEPS", 1)
        patch.setattr(free, "MAX_STEPS", 1)
        yield


def faults_of(drawn: Drawn) -> tuple[list[str], str]:
    """What is wrong with the proofs of a problem, and the status of its solution."""
    with kept_sparse():
        optimum, lowest = drawn.solve(drawn.tol), drawn.lowest
        with hurried() if drawn.is_hurried else nullcontext():
            certified = certify_weights(ENGINE, drawn.rows, drawn.W, drawn.b, drawn.penalty)
    reached, given = drawn.cost(optimum.W, optimum.b), drawn.cost(drawn.W, drawn.b)
    lowest, proof = min(lowest, reached), optimum.certificate
    slack, faults = 1e-9 * (1.0 + lowest), []
    if abs(proof.cost - reached) > slack:
        faults.append(f"the solution costs {reached}, not {proof.cost}")
    if abs(certified.given.cost - given) > slack * (1.0 + given):
        faults.append(f"the weights cost {given}, not {certified.given.cost}")
    if optimum.status == "optimal" and reached - lowest > drawn.tol * reached + slack:
        faults.append(f"the solution is {reached - lowest} above the lowest cost")
    for name, of in (("solution", proof), ("weights", certified.given), ("b°", certified.best)):
        if not of.lower_bound <= lowest + slack:
            faults.append(f"the bound of the {name}, {of.lower_bound}, is above {lowest}")
    return faults, optimum.status


def main(problems: int, first: int) -> int:
    """Judge so many problems; print the faults and what was drawn."""
    began, wrong = time.monotonic(), 0
    kinds, statuses = Counter[str](), Counter[str]()
    for seed in range(first, first + problems):
        drawn = draw(seed)
        faults, status = faults_of(drawn)
        kinds.update(drawn.kind.split(", "))
        statuses[status] += 1
        wrong += bool(faults)
        for fault in faults:
            print(f"{seed} ({drawn.kind}, {drawn.rows.X.shape}, K = {drawn.K}): {fault}")
        if seed % 100 == 99:
            print(f"{seed + 1 - first}: {wrong} wrong", file=sys.stderr)
    print(f"{problems - wrong} of {problems} hold; {time.monotonic() - began:.0f} s")
    print(dict(kinds), dict(statuses))
    return int(wrong > 0)


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    sys.exit(main(*(numbers + [5000, 0][len(numbers) :])))

"""The answer that contenders are held to, and how far rounding may carry float32 from it.

The oracle is mini-batch gradient descent written out in NumPy float64, independent of onelayer:

    P = softmax(X Wᵀ + b),  G = (P − Y)ᵀ X / B
    W ← (1 − 2ηλ) W − η G,  b ← b − η mean(P − Y)

**The tolerance.** The same equations are run in float32 with the features and the rows of each
batch in another order: exact arithmetic would give the same weights, so the distance δ of that run
from the oracle is what float32 rounding does on this problem, amplification by the dynamics
included. Another order of summation rounds differently by a like amount; a sequential sum of n
terms can be worse than NumPy's pairwise-blocked one by about √(n / block) ≈ √(3072 / 32) ≈ 10.
So 16 δ is allowed, and not less than 4 units in the last place of the largest weight.

A run whose tolerance exceeds 1 % of its largest weight is *chaotic*: rounding alone decides where
it ends (the report's η = 0.1 is such a run). It is compared over its first steps instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmarks.harness.problem import (
    Answer,
    Data,
    Floats,
    Problem,
    data_folder,
    initial_weights,
    read_data,
)  # fmt: skip
from onelayer.objective import loss as objective

ALLOWED_ROUNDINGS = 16.0
CHAOTIC_SHARE = 0.01
BLOCK_ROWS = 4096


@dataclass(frozen=True, eq=False)
class Expected:
    """The oracle's float64 weights of C chosen runs, and how far rounding may take others."""

    positions: NDArray[np.intp]  # (C,), which runs of the problem these are
    answer: Answer  # W (C, K, D), b (C, K)
    tolerance: NDArray[np.float64]  # (C,), largest allowed |w − w_oracle|
    chaotic: NDArray[np.bool_]  # (C,), whether the run cannot be compared at its end


@dataclass(frozen=True)
class Agreement:
    """How a contender's weights compare with the oracle's; a worst run's distance and tolerance."""

    runs: int
    distance: float
    allowed: float
    agrees: bool


class Oracle:
    """Computes once what is expected of each problem."""

    def __init__(self, parent: Path) -> None:
        self._parent = parent
        self._known: dict[Problem, Expected] = {}

    def expected(self, problem: Problem) -> Expected:
        if problem not in self._known:
            data = read_data(data_folder(problem, self._parent))
            self._known[problem] = expect(problem, data)
        return self._known[problem]

    def agreement(
        self, problem: Problem, answer: Answer, train: Callable[[Problem], Answer]
    ) -> Agreement:
        """Compare at the end, and a problem with chaotic runs over its first steps as well."""
        expected = self.expected(problem)
        at_end = compare(answer, expected)
        if not expected.chaotic.any():
            return at_end
        short = problem.first_steps()
        opening = self.expected(short)
        early = compare(train(short), opening)
        agrees = at_end.agrees and early.agrees and not opening.chaotic.any()
        shown = at_end if at_end.runs and early.agrees else early
        return replace(shown, runs=at_end.runs, agrees=agrees)


def expect(problem: Problem, data: Data, max_runs: int = 4) -> Expected:
    """Train the oracle on at most that many of the problem's runs, evenly spread."""
    count = min(problem.runs, max_runs)
    positions = np.unique(np.linspace(0, problem.runs - 1, count).round().astype(np.intp))
    chosen = replace(problem, settings=tuple(problem.settings[i] for i in positions))
    exact = descend(chosen, data, np.float64)
    rounded = descend(chosen, data, np.float32, disorder=True)
    moved = _distances(rounded, exact)
    largest = np.abs(exact.W).max(axis=(1, 2))
    tolerance = np.maximum(ALLOWED_ROUNDINGS * moved, 4 * np.finfo(np.float32).eps * largest)
    return Expected(positions, exact, tolerance, ~(tolerance <= CHAOTIC_SHARE * largest))


def compare(answer: Answer, expected: Expected) -> Agreement:
    """Compare the runs that are not chaotic; a NaN anywhere is a disagreement."""
    picked = Answer(answer.W[expected.positions], answer.b[expected.positions])
    tame = ~expected.chaotic
    if not tame.any():
        return Agreement(0, 0.0, 0.0, agrees=True)
    distances, allowed = _distances(picked, expected.answer)[tame], expected.tolerance[tame]
    worst = int(np.argmax(np.nan_to_num(distances / allowed, nan=np.inf)))
    agrees = bool((distances <= allowed).all())
    return Agreement(int(tame.sum()), float(distances[worst]), float(allowed[worst]), agrees)


def descend(problem: Problem, data: Data, dtype: type, *, disorder: bool = False) -> Answer:
    """Train by the equations above in the given type; W of all runs is one (R·K, D) matrix."""
    start = initial_weights(problem)
    runs, classes = problem.runs, problem.classes
    shuffle = np.random.default_rng(1)
    columns = shuffle.permutation(problem.features) if disorder else np.arange(problem.features)
    W: Floats = start.W.reshape(-1, problem.features)[:, columns].astype(dtype)
    b: Floats = start.b.reshape(-1).astype(dtype)
    step: Floats = np.repeat(problem.learning_rates, classes).astype(dtype)
    shrink: Floats = np.repeat(1 - 2 * problem.learning_rates * problem.l2s, classes).astype(dtype)
    X: Floats = data.X[:, columns].astype(dtype)
    X *= dtype(problem.scale)
    for _ in range(problem.epochs):
        for begin in range(0, problem.rows, problem.batch_size):
            batch = slice(begin, begin + problem.batch_size)
            x, y = X[batch], data.y[batch]
            if disorder:
                order = shuffle.permutation(len(y))
                x, y = x[order], y[order]
            P = (x @ W.T + b).reshape(len(y), runs, classes)
            P = np.exp(P - P.max(axis=2, keepdims=True))
            P /= P.sum(axis=2, keepdims=True)
            P[np.arange(len(y)), :, y] -= 1
            residual = P.reshape(len(y), -1) * (step / len(y)).astype(dtype)
            W *= shrink[:, None]
            W -= residual.T @ x
            b -= residual.sum(axis=0)
    in_order = np.empty_like(W)
    in_order[:, columns] = W
    return Answer(in_order.reshape(start.W.shape), b.reshape(start.b.shape))


def _distances(answer: Answer, exact: Answer) -> NDArray[np.float64]:
    """Largest difference of any weight, W and b alike, of each run."""
    of_W = np.abs(answer.W.astype(np.float64) - exact.W).max(axis=(1, 2))
    of_b = np.abs(answer.b.astype(np.float64) - exact.b).max(axis=1)
    return np.asarray(np.maximum(of_W, of_b), np.float64)


def blocks(rows: int) -> Iterator[slice]:
    return (slice(i, min(i + BLOCK_ROWS, rows)) for i in range(0, rows, BLOCK_ROWS))


def cost_of(
    X: Any, y: NDArray[np.int64], W: ArrayLike, b: ArrayLike, l2: float, max_value: float = 1.0
) -> float:
    """J(W, b) of X / max_value: what solvers are judged by, a block of float64 rows at a time."""
    W, total = np.asarray(W, np.float64), 0.0
    across = np.ascontiguousarray(W.T)
    for rows in blocks(len(y)):
        x = X[rows].astype(np.float64) / max_value
        total += x.shape[0] * objective.loss(x @ across + b, y[rows])
    return total / len(y) + l2 * float(np.sum(W * W))

"""Problems drawn by hypothesis with every option of an engine, and how near answers must be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from onelayer.data.rows import Rows
from onelayer.engines import AVERAGE, VELOCITY, Engine, Evaluation, Method, State, Steps, Weights
from tests.trajectories import draw_method

STORED = ("uint8", "float16", "bfloat16", "float32", "float64", "int16")
LINE = 3


@dataclass(frozen=True, eq=False)
class Problem:
    """Rows, where runs stand, what they lower, and the passes that they take."""

    rows: Rows
    state: State
    method: Method
    passes: tuple[Steps, ...]

    @property
    def tolerance(self) -> float:
        """How far rounding can carry a number in two orders of summation, over all steps.

        A gradient is a mean of terms of the size of a feature, from scores that are sums of D + 1
        terms, times 1/(1 − μ) where velocities add up; the rates drawn are below 2/L, so errors are
        not magnified by what follows.
        """
        scaled = scaled_features(self.rows)
        largest = float(np.abs(scaled).max()) + 1.0
        steps = sum(len(p.learning_rate) for p in self.passes)
        again = 1.0 / (1.0 - float(self.method.momentum.max()))
        rate = again * max(float(p.learning_rate.max()) for p in self.passes)
        length = scaled.shape[1] + max(p.batch_size for p in self.passes)
        unit = float(np.finfo(self.state.weights.W.dtype).eps)
        heaviest = 1.0 if self.rows.weights is None else float(self.rows.weights.max())
        rounded = again if self.method.l1.any() else 1.0
        growth = rounded + rate * length * largest**2 * (1.0 + heaviest)
        return float(4.0 * unit * steps * growth)

    @property
    def of_velocity(self) -> float:
        """The same of a velocity: with an l1 it takes in weights divided by η."""
        least = min(float(p.learning_rate.min()) for p in self.passes)
        return self.tolerance / least if self.method.l1.any() else self.tolerance


def scaled_features(rows: Rows) -> NDArray[np.float64]:
    """The rows as the equations see them, in float64."""
    return np.asarray(rows.X.astype(np.float64) * rows.scale + rows.offset)


def trained(engine: Engine, problem: Problem) -> tuple[State, list[Evaluation], NDArray[np.int64]]:
    """Where the runs end, what was measured after each pass, and what they predict."""
    trainer = engine.begin(problem.state, problem.method)
    measured = []
    for steps in problem.passes:
        trainer.epoch(problem.rows, steps)
        measured.append(trainer.evaluate(problem.rows))
    state = trainer.state()
    return state, measured, engine.classify(problem.rows, state.model).classes


def parts(state: State) -> dict[str, Weights]:
    """Weights and slots by name."""
    return {"weights": state.weights, **state.slots}


def assert_same(
    got: State, expected: State, tolerance: float, of_velocity: float | None = None
) -> None:
    """States agree part by part to the tolerance, and have the same parts."""
    assert parts(got).keys() == parts(expected).keys()
    for name, theirs in parts(expected).items():
        atol = of_velocity if of_velocity is not None and name == VELOCITY else tolerance
        for one, other in zip(parts(got)[name], theirs, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_allclose(one, other, rtol=0, atol=atol, err_msg=name)


@st.composite
def problems(
    draw: st.DrawFn, *, dtypes: tuple[str, ...] = ("float32", "float64"), plain: bool = False
) -> Problem:
    """A problem with every option; `plain` leaves out what gradient descent alone has not."""
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    N, K, R = draw(st.integers(1, 30)), draw(st.integers(2, 4)), draw(st.integers(1, 4))
    D = LINE * draw(st.integers(1, 7))
    rows = _rows(draw, rng, N, D, K, draw(st.sampled_from(STORED[:5] if plain else STORED)))
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    passes = tuple(_steps(draw, rng, N, R, plain) for _ in range(draw(st.integers(1, 3))))
    state = State(_weights(rng, R, K, D, dtype))
    l2 = rng.choice([0.0, 0.1], R)
    method = Method.plain(l2) if plain else draw_method(draw, rng, l2)
    if not plain:
        names = [name for name in (VELOCITY, AVERAGE) if draw(st.booleans())]
        state = State(state.weights, {name: _weights(rng, R, K, D, dtype) for name in names})
    return Problem(rows, state, method, passes)


def _rows(draw: st.DrawFn, rng: np.random.Generator, N: int, D: int, K: int, stored: str) -> Rows:
    kind = ml_dtypes.bfloat16 if stored == "bfloat16" else np.dtype(stored)
    scaling = draw(st.sampled_from(["none", "unit", "standardize"]))
    X = rng.integers(0, 3 if scaling == "none" else 256, (N, D)).astype(kind)
    if draw(st.booleans()):
        X.setflags(write=False)
    layout = draw(st.sampled_from(["rows", "reversed", "every second feature"]))
    if layout == "reversed":
        X = X[::-1]
    elif layout == "every second feature":
        X = np.repeat(X, 2, axis=1)[:, ::2]
    scale, offset = np.full(D, 1 / 255.0), np.zeros(D)
    if scaling == "none":
        scale = np.ones(D)
    elif scaling == "standardize":
        scale, offset = rng.uniform(0.5, 1.5, D) / 75.0, rng.normal(-1.7, 0.1, D)
    weights = rng.uniform(0.0, 2.0, N) if draw(st.booleans()) else None
    if weights is not None:
        weights[0] += 0.1
    return Rows(X, rng.integers(0, K, N), scale, offset, None, weights, LINE)


def _steps(draw: st.DrawFn, rng: np.random.Generator, N: int, R: int, plain: bool) -> Steps:
    order = draw(st.sampled_from(["file", "shuffled", "some"]))
    visited = {
        "file": None,
        "shuffled": rng.permutation(N),
        "some": rng.integers(0, N, draw(st.integers(1, 2 * N))),
    }[order]
    count = N if visited is None else len(visited)
    B = draw(st.integers(1, count))
    T = -(-count // B)
    rates = rng.uniform(0.01, 0.1, R)[None].repeat(T, 0)
    if plain:
        return Steps(B, rates, None, visited)
    if draw(st.booleans()):
        rates = rates * rng.uniform(0.1, 1.0, (T, 1))
    averaging = rng.uniform(0.0, 1.0, (T, R)) if draw(st.booleans()) else None
    flipped = rng.random(count) < 0.5 if draw(st.booleans()) else None
    return Steps(B, rates, averaging, visited, flipped)


def _weights(rng: np.random.Generator, R: int, K: int, D: int, dtype: np.dtype[Any]) -> Weights:
    return Weights(
        rng.normal(0, 0.1, (R, K, D)).astype(dtype), rng.normal(0, 0.1, (R, K)).astype(dtype)
    )

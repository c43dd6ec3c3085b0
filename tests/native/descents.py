"""Whole passes with everything a run may have: drawn at random, taken by any engine."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from onelayer.data.rows import Rows
from onelayer.engines import AVERAGE, VELOCITY, Engine, Method, State, Steps, Weights
from onelayer.engines.native import NativeEngine
from onelayer.engines.reference import ReferenceEngine
from tests.native.problems import STORED, Problem, problems
from tests.trajectories import draw_method


class Descent(NamedTuple):
    problem: Problem
    rows: Rows
    start: State
    method: Method
    steps: Steps


def taken(d: Descent, threads: int = 1) -> State:
    """Where the kernel stands after the pass."""
    return _ended(NativeEngine(threads), d)


def exact(d: Descent) -> State:
    """Where the reference engine stands in float64, on the numbers that the kernel reads."""
    arithmetic = d.problem.W.dtype
    doubled = {
        name: getattr(d.rows, name).astype(arithmetic).astype(np.float64)
        for name in ("X", "scale", "offset")
    }
    slots = {name: _doubled(slot) for name, slot in d.start.slots.items()}
    start = State(_doubled(d.start.weights), slots)
    return _ended(ReferenceEngine(), d._replace(rows=replace(d.rows, **doubled), start=start))


def _doubled(weights: Weights) -> Weights:
    return Weights(*(part.astype(np.float64) for part in weights))


def of_runs(d: Descent, runs: list[int]) -> Descent:
    """The same pass by these runs alone."""
    method = Method(*(getattr(d.method, field)[runs] for field in d.method.__dataclass_fields__))
    averaging = None if d.steps.averaging is None else d.steps.averaging[:, runs]
    rates = d.steps.learning_rate[:, runs]
    steps = replace(d.steps, learning_rate=rates, averaging=averaging)
    return d._replace(start=d.start.of(runs), method=method, steps=steps)


def _ended(engine: Engine, d: Descent) -> State:
    trainer = engine.begin(d.start, d.method)
    trainer.epoch(d.rows, d.steps)
    return trainer.state()


@st.composite
def descents(draw: st.DrawFn, stored: tuple[str, ...] = STORED) -> Descent:
    p = draw(problems(stored))
    R, D, N = len(p.W), p.X.shape[1], len(p.y)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    order = rng.integers(0, N, N + 3) if draw(st.booleans()) else None
    visited = N if order is None else len(order)
    steps = Steps(
        p.batch,
        p.eta * rng.uniform(0.2, 1, (-(-visited // p.batch), R)),
        averaging=draw_averaging(draw, rng, (-(-visited // p.batch), R)),
        order=order,
        flipped=rng.random(visited) < 0.5 if draw(st.booleans()) else None,
    )
    width = int(draw(st.sampled_from([w for w in range(1, D + 1) if D % w == 0])))
    weights = rng.uniform(0.0, 2.0, N) if draw(st.booleans()) else None
    X, y = p.X, p.y.astype(np.int64)
    rows = Rows(X, y, p.scale, p.offset, weights=weights, image_width=width)
    method = draw_method(draw, rng, p.l2)
    start = Weights(p.W, p.b)
    slots = {VELOCITY: velocity(draw, rng, p), AVERAGE: near(draw, p)}
    return Descent(p, rows, State(start, given(slots)), method, steps)


def given(slots: dict[str, Weights | None]) -> dict[str, Weights]:
    """Those slots that are there."""
    return {name: slot for name, slot in slots.items() if slot is not None}


def velocity(draw: st.DrawFn, rng: np.random.Generator, p: Problem) -> Weights | None:
    if draw(st.booleans()):
        return None
    parts = (0.01 * rng.standard_normal(part.shape) for part in (p.W, p.b))
    return Weights(*(part.astype(p.W.dtype) for part in parts))


def near(draw: st.DrawFn, p: Problem) -> Weights | None:
    """An average, where there is one already: not far from the weights."""
    return None if draw(st.booleans()) else Weights(1.01 * p.W, p.b + p.b.dtype.type(0.01))


def draw_averaging(
    draw: st.DrawFn, rng: np.random.Generator, shape: tuple[int, int]
) -> NDArray[np.float64] | None:
    if draw(st.booleans()):
        return None
    averaging = np.where(rng.random(shape) < 0.4, 1.0, rng.uniform(0, 1, shape))
    averaging[rng.random(shape) < 0.1] = 0.0
    averaging[:, rng.random(shape[1]) < 0.3] = 1.0
    return averaging

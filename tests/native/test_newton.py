"""Newton's method in the kernel: it ends at the optimum of the equations, with the same bits."""

from __future__ import annotations

import hashlib
import math
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from onelayer import _native
from tests.examples import examples
from tests.native.test_process import run

Float64 = NDArray[np.float64]


class Problem(NamedTuple):
    """As the kernel takes it; of m = 1 row of weights w two classes have −w and w."""

    X: Float64
    y: NDArray[np.int64]
    fractions: Float64
    offsets: Float64 | None
    curvatures: Float64


def make_problem(seed: int, rows: int, features: int, m: int) -> Problem:
    """Weights and offsets of rows, a bias, and features that are not penalised, or none of it."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, features + 1)) * rng.uniform(0.1, 3.0, features + 1)
    X[:, -1] = seed % 3 > 0
    y = np.append(np.arange(max(m, 2)), rng.integers(0, max(m, 2), rows))[:rows]
    weights = rng.uniform(0.1, 2.0, rows) if seed % 2 else np.ones(rows)
    offsets = rng.normal(size=(m, rows)) if seed % 5 == 0 else None
    curvatures = np.append(rng.uniform(0.01, 1.0, features), 0.0)
    return Problem(X, y, weights / weights.sum(), offsets, curvatures)


def cost_of(p: Problem, at: Float64) -> tuple[float, Float64]:
    """The cost and its gradient by the equations, for each row of weights."""
    two = len(at) == 1
    W = np.vstack([-at, at]) if two else at
    S = p.X @ W.T
    if p.offsets is not None:
        S += np.vstack([-p.offsets, p.offsets]).T / 2 if two else p.offsets.T
    S -= S.max(axis=1, keepdims=True)
    P = np.exp(S) / np.exp(S).sum(axis=1, keepdims=True)
    own = np.arange(len(p.y)), p.y
    loss = p.fractions @ (np.log(np.exp(S).sum(axis=1)) - S[own])
    P[own] -= 1.0
    gradient = (p.fractions[:, None] * P).T @ p.X + p.curvatures * W
    gradient -= gradient.mean(axis=0)
    return float(loss + (p.curvatures * W**2).sum() / 2), gradient[1:] if two else gradient


def descended(p: Problem, at: Float64, most: int = 100) -> tuple[float, Float64, int]:
    return _native.newton(*p, at, 1e-24, 0.0, math.inf, 1e6, most)


SIZES: dict[str, Any] = {
    "seed": st.integers(0, 999),
    "rows": st.integers(8, 70),
    "features": st.integers(1, 12),
    "m": st.sampled_from([1, 2, 3, 5]),
}


@examples(60)
@given(**SIZES)
def test_newtons_method_ends_at_the_optimum(seed: int, rows: int, features: int, m: int) -> None:
    p = make_problem(seed, rows, features, m)
    at = 0.3 * np.random.default_rng(seed).normal(size=(m, features + 1))
    at -= at.mean(axis=0) * (m > 1)
    first, _ = cost_of(p, at)
    cost, gradient, costs = descended(p, at)
    wanted, exact = cost_of(p, at)
    assert cost == pytest.approx(wanted, rel=1e-13)
    assert cost <= first
    np.testing.assert_allclose(gradient, exact, atol=1e-13)
    # Steps end at rounding; a bias that rows separate has no best value and is left far away.
    assert 0 < costs < 60
    assert np.abs(exact[:, :-1]).max() < 1e-9


@given(**SIZES)
@examples(20)
def test_steps_one_by_one_are_those_of_one_call(
    seed: int, rows: int, features: int, m: int
) -> None:
    p = make_problem(seed, rows, features, m)
    whole, parts = np.zeros((2, m, features + 1))
    _, _, most = descended(p, whole, 4)
    for _ in range(most):
        before = parts.copy()
        descended(p, parts, 1)
        if np.array_equal(before, parts):  # a step that was shortened begins again
            return
    np.testing.assert_array_equal(parts, whole)


def test_it_ends_where_it_is_told_and_with_the_biass_step() -> None:
    p = make_problem(1, 60, 4, 3)
    at = np.zeros((3, 5))
    cost, gradient, costs = _native.newton(*p, at, 0.0, 1e-4, math.inf, 1e6, 100)
    size = (gradient[:, :-1] ** 2).sum()
    assert size <= 1e-4 * cost
    at, few = np.zeros((3, 5)), costs - 1
    _, before, _ = _native.newton(*p, at, 0.0, 1e-4, math.inf, 1e6, few)
    assert (before[:, :-1] ** 2).sum() > 1e-4 * cost
    _, _, with_bias = _native.newton(*p, np.zeros((3, 5)), 0.0, 1e-4, 0.0, 1e6, 100)
    assert with_bias == costs + 1


@pytest.mark.parametrize("m", [1, 3])
def test_a_descent_to_less_than_rounding_gives_up_and_is_at_the_optimum(m: int) -> None:
    p = make_problem(4, 60, 4, m)
    at = np.zeros((m, 5))
    _, _, costs = _native.newton(*p, at, 0.0, 0.0, math.inf, 1e6, 1000)
    assert 10 < costs < 60
    np.testing.assert_allclose(cost_of(p, at)[1], 0.0, atol=1e-15)


def test_far_steps_are_as_long_as_lowers_the_cost_most() -> None:
    p = make_problem(2, 60, 4, 1)
    lengthened, plain = np.zeros((2, 1, 5))
    first, _, _ = _native.newton(*p, lengthened, 0.0, 1e-9, math.inf, 1.0, 1)
    second, _, _ = _native.newton(*p, plain, 0.0, 1e-9, math.inf, 1e30, 1)
    assert first < second


DIGEST = """
import hashlib
import numpy as np
from onelayer import _native
from tests.native.test_newton import make_problem, descended
bits = hashlib.sha256()
for seed in range(30):
    m, features = (1, 2, 3, 5)[seed % 4], 1 + seed % 13
    p, at = make_problem(seed, 8 + 3 * seed, features, m), np.zeros((m, features + 1))
    cost, gradient, costs = descended(p, at)
    for part in (cost, gradient, costs, at):
        bits.update(np.asarray(part).tobytes())
print(_native.instruction_set(), bits.hexdigest())
"""


@pytest.mark.slow
def test_every_instruction_set_takes_the_same_steps() -> None:
    names = _native.supported_instruction_sets()
    told = [run(DIGEST, ONELAYER_ISA=name).stdout.split() for name in names]
    assert [name for name, _ in told] == names
    assert len({digest for _, digest in told}) == 1
    assert told[0][1] != hashlib.sha256().hexdigest()


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("y", np.full(8, 3)),
        ("y", np.full(8, -1)),
        ("fractions", np.ones(7)),
        ("offsets", np.ones((1, 8))),
        ("curvatures", np.ones(4)),
        ("X", np.ones((8, 3), np.float32)),
    ],
)
def test_arrays_are_checked(name: str, wrong: NDArray[Any]) -> None:
    p = make_problem(1, 8, 2, 3)._replace(**{name: wrong})
    with pytest.raises((ValueError, TypeError), match=name):
        descended(p, np.zeros((3, 3)))

"""The remembered steps of L-BFGS, and what rows in memory add to them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from onelayer.data import load
from onelayer.data.rows import Rows
from onelayer.engines import Weights, make_engine
from onelayer.objective.penalty import Penalty
from onelayer.solver import lbfgs, linalg, newton, solve
from onelayer.solver.lbfgs import (
    MAX_PAIRS,
    RANK,
    Memory,
    Preconditioner,
    fit_preconditioner,
    fit_variances,
)
from onelayer.solver.newton import DenseRows, LineSample
from tests.peak_memory import peak_growth

Float64 = NDArray[np.float64]


def two_loops(g: Float64, pairs: Sequence[tuple[Float64, Float64]], M: Float64) -> Float64:
    """Algorithm 7.4 of Nocedal & Wright (2006) with the initial inverse Hessian γ M⁻¹."""
    q, alphas = g.copy(), []
    for s, y in reversed(pairs):
        alphas.append(float(s @ q) / float(s @ y))
        q -= alphas[-1] * y
    s, y = pairs[-1]
    r = np.linalg.solve(M, q) * float(s @ y) / float(y @ np.linalg.solve(M, y))
    for (s, y), alpha in zip(pairs, reversed(alphas), strict=True):
        r += s * (alpha - float(y @ r) / float(s @ y))
    return np.asarray(r)


@pytest.mark.parametrize(("few", "tolerance"), [(linalg.FEW_ENTRIES, 1e-9), (0, 2e-4)])
def test_the_compact_form_is_the_two_loops_also_when_the_oldest_steps_are_forgotten(
    few: int, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lbfgs, "FEW_ENTRIES", few)  # below it pairs are float64, else float32
    rng, shape = np.random.default_rng(0), (6, 11)
    n = shape[0] * shape[1]
    A, B = (X.T @ X / n + np.eye(n) for X in rng.normal(size=(2, n, n)))  # a Hessian, and M
    memory, pairs = Memory(shape), list[tuple[Float64, Float64]]()
    for _ in range(MAX_PAIRS + 7):
        s = rng.normal(size=n)
        y = A @ s
        pairs.append((s, y))
        memory.add([part.reshape(shape) for part in (s, y, np.linalg.solve(B, y))])
        g = rng.normal(size=n)
        divided = np.linalg.solve(B, g).reshape(shape)
        found = -memory.direction(g.reshape(shape), divided).ravel()
        expected = two_loops(g, pairs[-MAX_PAIRS:], B)
        np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())
    kept = [np.ravel(part) for pair in memory.pairs for part in pair]
    known = [part for pair in pairs[-MAX_PAIRS:] for part in pair]
    np.testing.assert_allclose(kept, known, rtol=1e-6)


@pytest.mark.parametrize("most", [1, 3])
@pytest.mark.parametrize("taken", [0, 5, MAX_PAIRS + 7])
def test_steps_renewed_in_place_are_those_of_an_empty_memory(taken: int, most: int) -> None:
    rng, shape = np.random.default_rng(0), (6, 11)
    memory, anew = Memory(shape), Memory(shape)
    for _ in range(taken):
        s, y = rng.normal(size=(2, *shape))
        memory.add((s, y if (s * y).sum() > 0.0 else s, y))
    kept, limit = memory.pairs, np.quantile([(s * y).sum() / (s * s).sum() for s, y in memory.pairs]
                                            or [0.0], 0.3)  # fmt: skip
    for step, change in kept:
        changed = change - limit * step  # of nearly a third of them this is against the curvature
        anew.add((step, changed, changed / 3.0))
    memory.renew(lambda changes: changes / 3.0, lambda step: -limit * step, most)
    assert len(memory) == len(anew)
    assert (0 < len(anew) < len(kept)) == (taken > 0)
    np.testing.assert_array_equal(memory.pairs, anew.pairs)
    g = rng.normal(size=shape)
    np.testing.assert_array_equal(memory.direction(g, g / 3.0), anew.direction(g, g / 3.0))
    restored = Memory(shape)
    restored.restore(kept)
    np.testing.assert_array_equal(restored.pairs, kept)


def test_steps_are_renewed_without_a_copy_of_them() -> None:
    rng, shape = np.random.default_rng(0), (200, 1000)
    memory = Memory(shape)
    for _ in range(MAX_PAIRS + 1):
        step = rng.normal(size=shape)
        memory.add((step, step, step))
    assert len(memory) == MAX_PAIRS
    growth = peak_growth(lambda: memory.renew(lambda changes: changes, np.negative, 1))
    assert growth < 10 * step.nbytes


def test_a_step_against_the_curvature_is_not_remembered() -> None:
    memory, step = Memory((2, 3)), np.ones((2, 3))
    memory.add((step, -step, -step))
    assert not memory
    assert memory.pairs == ()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_in_memory_make_the_pass_of_the_engine_and_bring_the_bias_to_its_best(
    dtype: Literal["float32", "float64"], classes: int, weighted: bool
) -> None:
    rng = np.random.default_rng(classes)
    X, y = rng.normal(size=(90, 4)), rng.integers(0, classes, 90)
    weights = rng.uniform(0.0, 2.0, 90) if weighted else None
    rows = Rows(X, y, np.ones(4), np.zeros(4), weights=weights)
    held = DenseRows(rows, np.ones(classes, bool), dtype)
    at = rng.normal(size=(classes, 5)).astype(np.float32).astype(float)
    at -= at.mean(axis=0)
    tiny = 1e-6 if dtype == "float32" else 1e-14
    for _ in range(6):
        loss, gradient = held.cost(at)
        expected = make_engine().gradient(rows, Weights(at[None, :, :-1], at[None, :, -1]))
        assert loss == pytest.approx(expected.loss[0], rel=tiny)
        np.testing.assert_allclose(gradient[:, :-1], expected.W[0], atol=tiny)
        np.testing.assert_allclose(gradient[:, -1], expected.b[0], atol=tiny)
        at = at.copy()
        at[:, -1] += held.bias_step(at, gradient[:, -1])
    assert np.abs(gradient[:, -1]).max() < 0.1 * tiny


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_is_as_long_as_lowers_the_cost_most(
    dtype: Literal["float32", "float64"],
    classes: int,
    weighted: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(classes)
    X, y = rng.normal(size=(90, 4)), rng.integers(0, classes, 90)
    X[np.arange(90), y % 4] += 2.0
    weights = rng.uniform(0.0, 2.0, 90) if weighted else None
    rows = Rows(X, y, np.ones(4), np.zeros(4), weights=weights)
    held, penalty = DenseRows(rows, np.ones(classes, bool), dtype), Penalty(1e-3)
    at = rng.normal(size=(classes, 5)) / 10
    at -= at.mean(axis=0)

    def slope(length: float) -> float:
        point = at + length * direction
        _, gradient = held.cost(point)
        gradient[:, :-1] += penalty.gradient(point[:, :-1])
        return float(np.sum(gradient * direction))

    _, direction = held.cost(at)
    direction = -direction
    steep, length = slope(0.0), held.best_length(at, direction, penalty)
    assert steep < 0.0
    assert length > 1.1
    assert abs(slope(length)) < 0.2 * abs(slope(1.0)) < 0.2 * abs(steep)
    monkeypatch.setattr(newton, "LINE_STEPS", 20)
    tiny = 1e-5 if dtype == "float32" else 1e-14
    assert abs(slope(held.best_length(at, direction, penalty))) < tiny * abs(steep)


def test_a_sample_of_rows_says_how_long_a_first_step_is_that_would_be_far_too_long() -> None:
    rng, N, D, K = np.random.default_rng(0), 2500, 6, 8
    y = rng.integers(0, K, N)
    X = rng.normal(size=(N, D)) + 1.5 * rng.normal(size=(K, D))[y]
    weights = rng.uniform(0.0, 2.0, N)
    rows = Rows(X - np.average(X, axis=0, weights=weights), y, np.ones(D), np.zeros(D),
                weights=weights)  # fmt: skip
    held, penalty, at = (
        DenseRows(rows, np.ones(K, bool), "float64"),
        Penalty(1e-3),
        np.zeros((K, D + 1)),
    )

    def cost(length: float) -> float:
        point = at + length * direction
        return held.cost(point)[0] + penalty.value(point[:, :-1])

    _, gradient = held.cost(at)
    direction = -40.0 * gradient
    falls, sample = float(np.sum(gradient * direction)), LineSample(make_engine(), rows)
    length = sample.best_length(at, direction, penalty, falls)
    lowest = min(map(cost, np.geomspace(0.01, 1.0, 60)))
    assert length is not None
    assert cost(length) - lowest < 0.02 * (cost(0.0) - lowest) < 0.1 * (cost(1.0) - lowest)
    assert sample.best_length(at, direction, penalty, 5.0 * falls) is None


@pytest.mark.parametrize("fit", [fit_variances, fit_preconditioner])
def test_what_is_constant_up_to_rounding_has_no_variance_and_what_is_far_from_0_keeps_its_own(
    fit: Callable[..., Preconditioner],
) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 4))
    X[:, 2] += 1e5
    X[:, 1] = 14.62
    rows = Rows(X, rng.integers(0, 3, 500), np.ones(4), np.zeros(4))
    found = fit(make_engine(), rows, 3)
    expected = X.var(axis=0)
    expected[1] = 0.0
    np.testing.assert_allclose(found.variances, expected, rtol=1e-5)
    assert found.variances[1] == found.centre(rows).scale[1] == 0.0


def test_more_solutions_on_many_features_share_more_directions() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1500, 1100)).astype(np.float32)
    rows = Rows(X, rng.integers(0, 10, 1500), np.ones(1100), np.zeros(1100))
    taken = []
    for solutions in (1, 100, 300):
        found = newton.choose_preconditioner(make_engine(), rows, 10, solutions)
        assert found.directions is not None
        taken.append(len(found.directions))
    assert taken == [RANK // 2, RANK, 2 * RANK]


def test_other_directions_are_taken_to_vary_by_a_quarter_of_their_largest_at_least() -> None:
    rng, D = np.random.default_rng(0), 1200
    X = (rng.standard_normal((2000, D)) * np.arange(1, D + 1) ** -0.5).astype(np.float32)
    rows = Rows(X, rng.integers(0, 3, 2000), np.ones(D), np.zeros(D))
    found = fit_preconditioner(make_engine(), rows, 3, rank=RANK // 2)
    assert found.directions is not None
    outside = X - X.mean(axis=0)
    outside -= (outside @ found.directions.T) @ found.directions
    largest = np.linalg.eigvalsh(outside.T @ outside / len(X))[-1]
    assert 0.25 * largest < found.rest < largest


def test_leading_directions_divide_as_an_inverse_of_features_that_vary_in_few_of_them() -> None:
    rng = np.random.default_rng(0)
    mix = np.linalg.qr(rng.normal(size=(600, 600)))[0] * np.geomspace(1.0, 1e-8, 600)
    X = (rng.normal(size=(4000, 600)) @ mix.T).astype(np.float32)
    rows = Rows(X, rng.integers(0, 3, 4000), np.ones(600), np.zeros(600))
    few = fit_preconditioner(make_engine(), rows, 3, rank=RANK // 2)
    assert few.directions is not None
    M = few.curvature * np.cov(X.T, bias=True) + 2e-3 * np.eye(600)
    gradient = np.c_[rng.normal(size=(3, 600)), np.zeros(3)]
    # Where the inverse itself is applied, M M⁻¹ g is g; eigenvalues of what is left are near 1.
    back = few.divide(gradient, Penalty(1e-3))[:, :-1] @ M
    angles = [
        a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        for a, b in zip(back, gradient[:, :-1], strict=True)
    ]
    assert min(angles) > 0.95


@pytest.mark.parametrize("l2", [1.0, 1e-3, 0.0])
def test_factors_and_eigenvectors_that_penalties_share_divide_as_an_inverse(l2: float) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 20)) * np.geomspace(1e3, 1e-3, 20)
    X[:, 7] = 2.5  # does not vary
    rows = Rows(X, rng.integers(0, 3, 100), np.ones(20), np.zeros(20))
    few, many = (fit_preconditioner(make_engine(), rows, 3, count) for count in (1, 3))
    assert few.divides_few
    assert many.directions is not None
    gradient = rng.normal(size=(3, 21)) * np.append(X.std(axis=0), 1.0)
    expected = replace(few, divides_few=False, _made={}).divide(gradient, Penalty(l2))
    unit = np.abs(expected).max(axis=0) + (gradient == 0.0).all(axis=0)
    for of, atol in ((few, 2e-6), (many, 2e-3)):
        found = of.divide(gradient, Penalty(l2))
        np.testing.assert_allclose(found / unit, expected / unit, atol=atol)


def test_a_matrix_without_a_root_is_inverted_as_it_is() -> None:
    covariance = np.array([[1.0, 1.1], [1.1, 1.0]])
    rows = Rows(np.eye(2), np.arange(2), np.ones(2), np.zeros(2))
    few = replace(fit_preconditioner(make_engine(), rows, 2, 1), covariance=covariance)
    gradient = np.array([[1.0, 2.0, 3.0]])
    found = replace(few, divides_few=True, curvature=1.0).divide(gradient, Penalty(1e-3))
    M = covariance + 2e-3 * np.eye(2)
    np.testing.assert_allclose(found[0, :2], np.linalg.solve(M, gradient[0, :2]), rtol=1e-3)


def test_a_penalty_whose_inverse_float32_lacks_gives_no_warning_of_numpy() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        assert solve(load("digits"), l2=1e-300, max_passes=30).status is not None

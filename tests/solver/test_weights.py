"""Weights of rows: a whole number counts a row as often, in every mean there is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onelayer.data.rows import Rows
from onelayer.data.scaling import fit_scaling
from onelayer.engines import ENGINE_NAMES, Method, State, Steps, Weights, make_engine
from onelayer.objective.penalty import Penalty
from onelayer.solver import certificate as bias
from onelayer.solver.certificate import certify_weights
from onelayer.solver.lbfgs import fit_preconditioner
from onelayer.solver.learning_rate import largest_curvatures, smoothness
from onelayer.solver.solver import Solver, Target, describe_solution
from tests.examples import tries
from tests.solver.oracle import (
    METHODS,
    Problem,
    independent_optimum,
    make_problem,
    random_weights,
    take_method,
)

engines = pytest.mark.parametrize("engine_name", ENGINE_NAMES)


def weighted_and_repeated(seed: int) -> tuple[Problem, Rows, Problem]:
    """Rows with whole weights, zero among them, and the same rows repeated as often."""
    problem = make_problem(seed)
    weights = np.random.default_rng([seed, 2]).integers(0, 4, len(problem.y))
    weights[0] = 2
    often = np.repeat(np.arange(len(problem.y)), weights)
    repeated = problem._replace(X=problem.X[often], y=problem.y[often])
    return problem, replace(problem.rows, weights=weights.astype(float)), repeated


@engines
@pytest.mark.parametrize("seed", range(6))
def test_a_weight_counts_its_row_as_often(engine_name: str, seed: int) -> None:
    engine = make_engine(engine_name)
    problem, rows, repeated = weighted_and_repeated(seed)
    W, b = random_weights(problem, seed)
    weights = Weights(np.stack([W, -W]), np.stack([b, b]))
    for ours, theirs in zip(
        engine.gradient(rows, weights)[:3],
        engine.gradient(repeated.rows, weights)[:3],
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-12)
    trainer = engine.begin(State(weights), Method.plain(np.zeros(2)))
    found = [np.stack(trainer.evaluate(r)[:3]) for r in (rows, repeated.rows)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)
    proofs = [
        certify_weights(engine, r, W, b, problem.penalty).given for r in (rows, repeated.rows)
    ]
    assert proofs[0].cost == pytest.approx(proofs[1].cost, rel=1e-12)
    assert proofs[0].gap == pytest.approx(proofs[1].gap, rel=1e-7, abs=1e-12)
    moments = [smoothness(engine, r, problem.penalty, 10**9)[0] for r in (rows, repeated.rows)]
    assert moments[0] == pytest.approx(moments[1], rel=2e-3)
    bends = [
        largest_curvatures(engine, r, weights.of([0]), [problem.penalty], tolerance=1e-9)[0][0]
        for r in (rows, repeated.rows)
    ]
    assert bends[0] == pytest.approx(bends[1], rel=1e-6)


@engines
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_batch_of_weighted_rows_is_one_of_repeated_rows(engine_name: str, dtype: str) -> None:
    problem, rows, repeated = weighted_and_repeated(3)
    assert rows.weights is not None
    rows = replace(rows, weights=rows.weights / rows.weights.mean())
    W, b = random_weights(problem, 1)
    start = Weights(W[None].astype(dtype), b[None].astype(dtype))
    ended = []
    for r in (rows, repeated.rows):
        trainer = make_engine(engine_name).begin(State(start), Method.plain(np.array([0.01])))
        for _ in range(5):
            trainer.epoch(r, Steps.constant(np.array([0.05]), len(r.y), len(r.y)))
        ended.append(trainer.weights())
    tolerance = 1e-4 if dtype == "float32" else 1e-11
    np.testing.assert_allclose(ended[0].W, ended[1].W, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(ended[0].b, ended[1].b, rtol=tolerance, atol=tolerance)


def test_both_engines_step_alike_on_weighted_batches_in_any_order() -> None:
    problem, rows, _ = weighted_and_repeated(5)
    order = np.random.default_rng(0).permutation(len(problem.y))
    W, b = random_weights(problem, 2)
    ended = []
    for name in ENGINE_NAMES:
        trainer = make_engine(name).begin(
            State(Weights(W[None], b[None])), Method.plain(np.zeros(1))
        )
        trainer.epoch(rows, Steps.constant(np.array([0.1]), len(order), 7, order))
        ended.append(trainer.weights())
    np.testing.assert_allclose(ended[0].W, ended[1].W, rtol=1e-11, atol=1e-12)


@engines
def test_weights_of_one_change_nothing(engine_name: str) -> None:
    problem = make_problem(8)
    W, b = (part[None] for part in random_weights(problem, 8))
    ones = replace(problem.rows, weights=np.ones(len(problem.y)))
    ended = []
    for rows in (ones, problem.rows):
        trainer = make_engine(engine_name).begin(
            State(Weights(W, b)), Method.plain(np.array([0.1]))
        )
        trainer.epoch(rows, Steps.constant(np.array([0.1]), len(rows.y), 7))
        ended.append(trainer.weights())
    np.testing.assert_array_equal(ended[0].W, ended[1].W)
    np.testing.assert_array_equal(ended[0].b, ended[1].b)


@pytest.mark.parametrize("method", METHODS)
def test_the_optimum_of_weighted_rows_is_that_of_repeated_ones(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_method(method, monkeypatch)
    for seed in range(8):
        problem, rows, repeated = weighted_and_repeated(seed)
        metric = fit_preconditioner(make_engine(), rows, problem.K)
        optimum = Solver(make_engine(), rows, problem.K, metric).solve(Target(1e-2, 1e-10, 3000))
        J, W = independent_optimum(repeated._replace(l2=1e-2))
        assert optimum.status == "optimal", (seed, describe_solution(optimum))
        assert optimum.certificate.cost == pytest.approx(J, rel=2e-10), seed
        assert np.linalg.norm(optimum.W - W) <= optimum.certificate.distance + 1e-7, seed


def test_the_bound_holds_for_weighted_rows_even_where_the_bias_is_not_minimised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bias, "MAX_PASSES", 1)
    for seed in range(tries(60)):
        problem, rows, repeated = weighted_and_repeated(seed)
        W, b = random_weights(problem, seed)
        proof = certify_weights(make_engine(), rows, W, b, problem.penalty).given
        assert proof.lower_bound <= independent_optimum(repeated)[0] + 1e-9, seed


def test_weights_follow_the_rows_that_are_chosen() -> None:
    problem, rows, _ = weighted_and_repeated(4)
    index = np.array([0, 2, 1])
    assert rows.weights is not None
    chosen = rows.only(index)
    expected = rows.weights[index][:2]
    assert chosen.row_weights is not None
    np.testing.assert_array_equal(chosen.row_weights[:2], expected)
    np.testing.assert_array_equal(chosen.part(1, 3).row_weights, rows.weights[[2, 1]])
    np.testing.assert_array_equal(rows.part(1, 3).row_weights, rows.weights[1:3])
    assert chosen.mass == rows.weights[index].sum()
    assert rows.class_frequencies(problem.K).sum() == pytest.approx(1.0)


def test_a_heavy_row_bounds_the_rate_of_small_batches() -> None:
    X, y = np.eye(4), np.array([0, 1, 0, 1])
    rows = Rows(X, y, np.ones(4), np.zeros(4), weights=np.array([1.0, 1.0, 1.0, 5.0]))
    _, single = smoothness(make_engine(), rows, Penalty(0.0), batch_size=1)
    assert single == pytest.approx(0.5 * 2.0 * 5.0 / 2.0)


def test_standardize_takes_weighted_mean_and_deviation() -> None:
    X = np.random.default_rng(0).normal(size=(50, 3))
    weights = np.random.default_rng(1).integers(0, 4, 50)
    ours = fit_scaling("standardize", X, weights=weights.astype(float))
    theirs = fit_scaling("standardize", np.repeat(X, weights, axis=0))
    np.testing.assert_allclose(ours.scale, theirs.scale, rtol=1e-12)
    np.testing.assert_allclose(ours.offset, theirs.offset, rtol=1e-12)


def test_the_kernel_refuses_weights_of_another_length() -> None:
    problem = make_problem(1)
    rows = replace(problem.rows, weights=np.ones(len(problem.y) + 1))
    W, b = (part[None] for part in random_weights(problem, 1))
    with pytest.raises(ValueError, match="weights: expected"):
        make_engine("native").gradient(rows, Weights(W, b))

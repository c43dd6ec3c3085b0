"""Without an intercept: b is 0, the optimum is the independent one, and the bound is true."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from onelayer import Model, certify, load, solve
from onelayer.data import Dataset
from onelayer.engines import make_engine
from onelayer.errors import DataError, SettingsError
from onelayer.solver import certificate as proofs
from onelayer.solver import newton, reduction, solver
from onelayer.solver.certificate import certify_weights
from onelayer.solver.lbfgs import fit_preconditioner
from onelayer.solver.reduction import Solvers
from onelayer.solver.solver import Solver, Target, describe_solution
from tests.examples import examples, tries
from tests.solver import oracle as problems
from tests.solver.oracle import Problem, independent_optimum, make_problem, random_weights


def without_intercept(seed: int, most: tuple[int, int, int] = (40, 12, 20)) -> Problem:
    return make_problem(seed, most)._replace(intercept=False)


@cache
def best_of(seed: int) -> tuple[Problem, float, NDArray[np.float64]]:
    problem = without_intercept(seed, (25, 8, 6))._replace(l2=1e-2)
    return (problem, *independent_optimum(problem))


@pytest.mark.parametrize(
    ("method", "engine_name"),
    [
        *((method, "native") for method in problems.METHODS),
        ("l-bfgs", "reference"),
        ("l-bfgs from float32", "torch"),
    ],
)
def test_the_optimum_is_the_independent_one(
    method: str, engine_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems.take_method(method, monkeypatch)
    for seed in range(tries(12)):
        problem, J, W_best = best_of(seed)
        optimum = problems.solve(make_engine(engine_name), problem)
        assert optimum.status == "optimal", (seed, describe_solution(optimum))
        assert not optimum.b.any()
        assert optimum.certificate.bias_residual == 0.0
        assert optimum.certificate.gap <= 1e-10 * optimum.certificate.cost
        assert problem.cost(optimum.W, optimum.b) == pytest.approx(J, rel=2e-10, abs=1e-13), seed
        distance = float(np.linalg.norm(optimum.W - W_best))
        assert distance <= optimum.certificate.distance + 1e-7, seed


@examples(40)
@given(
    seed=st.integers(0, 2**32 - 1),
    most=st.sampled_from([(40, 12, 20), (60, 5, 200), (12, 80, 4)]),
    float32=st.booleans(),
)
def test_no_model_costs_less_than_a_bound_says(
    seed: int, most: tuple[int, int, int], float32: bool
) -> None:
    problem, engine = without_intercept(seed, most), make_engine(threads=1)
    W, b = random_weights(problem, seed)[0], np.zeros(problem.K)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proofs, "FLOAT64_PRODUCTS", 0.0 if float32 else math.inf)
        patch.setattr(solver, "FLOAT64_PRODUCTS", 0.0)
        given = certify_weights(engine, problem.rows, W, b, problem.penalty)
        metric = fit_preconditioner(engine, problem.rows, problem.K)
        best = Solver(engine, problem.rows, problem.K, metric).solve(Target(problem.l2, 1e-6, 300))
    assert not given.bias.any()
    assert not best.b.any()
    lowest = problem.cost(best.W, best.b)
    slack = 1e-9 * (1.0 + lowest)
    for proof, cost in ((given.given, problem.cost(W, b)), (best.certificate, lowest)):
        assert abs(proof.cost - cost) <= proof.rounding + slack
        assert 0.0 <= proof.lower_bound <= lowest + slack
        assert cost - lowest <= proof.gap + slack
    assert best.certificate.gap <= 1e-6 * best.certificate.cost * (1.0 + 1e-9)


def test_rows_fewer_than_features_are_solved_in_their_span(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reduction, "is_faster", lambda *_: True)
    for seed in range(6):
        problem = without_intercept(seed, (8, 30, 3))._replace(l2=1e-2)
        if not problem.X.any():
            continue
        solvers = Solvers(make_engine(), problem.rows, problem.K).of_all()
        assert isinstance(solvers, reduction.ReducedSolver)
        optimum = solvers.solve(Target(problem.l2, 1e-9))
        assert optimum.status == "optimal"
        assert not optimum.b.any()
        J, _ = independent_optimum(problem)
        assert optimum.certificate.cost == pytest.approx(J, rel=2e-9)


def test_a_class_without_rows_has_the_weights_of_the_optimum() -> None:
    """Without a bias only weights keep its probability down."""
    problem = without_intercept(12)._replace(l2=0.01)
    problem = problem._replace(y=np.where(problem.y == 0, 1, problem.y))
    J, W = independent_optimum(problem)
    optimum = problems.solve(make_engine(), problem)
    assert optimum.W[0].any()
    assert optimum.certificate.cost == pytest.approx(J, rel=1e-9)
    np.testing.assert_allclose(optimum.W, W, atol=1e-5)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("scaling", ["none", "standardize"])
def test_coefficients_are_scikit_learns_to_1e_6(classes: int, scaling: str) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(classes)
    X = rng.normal(size=(200, 5)) * [1.0, 3.0, 0.2, 1.0, 1.0] + [1.0, -2.0, 0.0, 0.0, 5.0]
    y = np.argmax(X @ rng.normal(size=(5, classes)) + rng.gumbel(size=(200, classes)), axis=1)
    l2 = 0.01
    scaled = X if scaling == "none" else StandardScaler(with_mean=False).fit_transform(X)
    # Of two classes scikit-learn penalises W₁ − W₀, whose squares are twice those of both.
    C = 1.0 / (2.0 * l2 * len(y)) if classes > 2 else 1.0 / (l2 * len(y))
    other = LogisticRegression(C=C, fit_intercept=False, tol=1e-12, max_iter=10_000)
    other.fit(scaled, y)
    model = solve(Dataset(X, y, ("a", "b", "c")[:classes]), l2, intercept=False, tol=1e-13,
                  scaling=scaling)  # fmt: skip
    W = model.W if classes > 2 else model.W[1:] - model.W[:1]
    np.testing.assert_allclose(W, other.coef_, atol=1e-6)
    assert not model.b.any()
    assert not model.scaling.offset.any()


def test_a_constant_feature_is_a_penalised_intercept() -> None:
    """It is dropped where there is a bias, and the most useful feature where there is none."""
    rng = np.random.default_rng(0)
    X, y = np.c_[rng.normal(size=(90, 3)), np.full(90, 2.0)], rng.choice(3, 90, p=[0.7, 0.2, 0.1])
    for method in problems.METHODS:
        with pytest.MonkeyPatch.context() as patch:
            problems.take_method(method, patch)
            problem = Problem(X, y, 3, 1e-4, intercept=False)
            optimum = problems.solve(make_engine(), problem)
            assert optimum.certificate.cost == pytest.approx(
                independent_optimum(problem)[0], rel=1e-9
            )
            assert np.abs(optimum.W[:, -1]).max() > 0.1


def test_without_l2_the_gradient_decides_and_separable_rows_are_named() -> None:
    rng = np.random.default_rng(0)
    problem = Problem(rng.normal(size=(200, 3)) + 0.3, rng.integers(0, 3, 200), 3, 0.0, False)
    optimum = problems.solve(make_engine(), problem, tol=1e-8)
    assert (optimum.status, optimum.separated) == ("optimal", ())
    assert problem.cost(optimum.W, optimum.b) == pytest.approx(independent_optimum(problem)[0])
    # A plane through 0 does not part 1 from 2, as one with a bias does.
    line = Problem(np.array([[1.0], [1.2], [2.0], [2.2]]), np.array([0, 0, 1, 1]), 2, 0.0)
    assert problems.solve(make_engine(), line, tol=1e-4).separated
    assert not problems.solve(make_engine(), line._replace(intercept=False), tol=1e-4).separated
    signs = line._replace(X=line.X * [[-1.0], [-1.0], [1.0], [1.0]], intercept=False)
    assert problems.solve(make_engine(), signs, tol=1e-4).separated


def test_warm_starts_keep_the_bias_at_zero() -> None:
    problem = without_intercept(33)
    metric = newton.choose_preconditioner(make_engine(), problem.rows, problem.K)
    series = Solver(make_engine(), problem.rows, problem.K, metric)
    series.start_at(np.ones((problem.K, problem.X.shape[1])), np.arange(float(problem.K)))
    for l2 in (1.0, 0.1, 0.01):
        warm = series.solve(Target(l2, 1e-10, 3000))
        cold = problems.solve(make_engine(), problem._replace(l2=l2))
        assert not warm.b.any()
        assert warm.certificate.cost == pytest.approx(cold.certificate.cost, rel=3e-10)


def test_many_labels_are_logistic_regressions_without_intercept() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(2)
    X = rng.normal([0.0, 1.0, 0.0, -1.0], size=(150, 4))
    Y = (X @ rng.normal(size=(4, 3)) + rng.logistic(size=(150, 3)) > 0.3).astype(np.uint8)
    Y[:, 2] = 1  # a label that every row has is a problem as any other
    data, l2 = Dataset(X, Y, ("a", "b", "c")), 0.01
    model = solve(data, l2, intercept=False, scaling="none", tol=1e-12)
    proof = model.require_certificate()
    assert not model.b.any()
    assert (model.status, model.settings.get("constant_labels")) == ("optimal", None)
    assert all(
        gap <= 1e-12 * cost for gap, cost in zip(proof.label_gaps, proof.label_costs, strict=True)
    )
    for k in range(2):
        other = LogisticRegression(C=1.0 / (2.0 * l2 * 150), fit_intercept=False, tol=1e-12,
                                   max_iter=10_000).fit(X, Y[:, k])  # fmt: skip
        np.testing.assert_allclose(model.W[k], other.coef_[0], atol=1e-6)
    # The last label's gradient is 0: the mean of (p − 1) x is −2λ w.
    p = 1.0 / (1.0 + np.exp(-X @ model.W[2]))
    np.testing.assert_allclose((p - 1.0) @ X / 150 + 2 * l2 * model.W[2], 0.0, atol=1e-7)
    assert certify(model, data).gap == pytest.approx(proof.gap, abs=1e-12)


def test_a_model_without_intercept_is_certified_as_one() -> None:
    data = load("digits")
    model = solve(data, 0.01, intercept=False)
    own, proof = model.require_certificate(), certify(model, data)
    assert abs(proof.cost - own.cost) <= proof.rounding + own.rounding
    assert proof.gap <= 2e-6 * proof.cost
    # With a bias a lower cost is possible, so the same weights have a larger gap.
    free = Model(model.W, model.b, model.scaling, model.class_names, label_type=model.label_type)
    assert certify(free, data, l2=0.01).gap > 10.0 * proof.gap


def test_a_model_without_intercept_keeps_that_and_refuses_a_bias(tmp_path: Path) -> None:
    model = solve(load("digits"), 0.1, intercept=False)
    assert model.settings["intercept"] is False
    model.save(tmp_path / "model.safetensors")
    again = Model.load(tmp_path / "model.safetensors")
    assert not again.intercept
    with pytest.raises(DataError, match="without an intercept needs b and offset of 0"):
        Model(model.W, np.ones(10), settings=model.settings)
    with pytest.raises(SettingsError, match="intercept must be True or False, but 0 was given"):
        solve(load("digits"), 0.1, intercept=0)  # type: ignore[arg-type]

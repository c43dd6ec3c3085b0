"""Sparse rows are solved and proven as the same rows as an array, and never become one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from onelayer import certify, solve, solve_path, train
from onelayer.data import rows as data_rows
from onelayer.data.dataset import Dataset, Splits
from onelayer.data.rows import Rows
from onelayer.data.sparse import SparseRows
from onelayer.engines import make_engine
from onelayer.solver import certificate as proofs
from onelayer.solver import dual, lbfgs, reduction, solver
from onelayer.solver.certificate import certify_weights
from onelayer.solver.reduction import Solvers, StoredFeatures
from onelayer.solver.solver import Optimum, Target
from onelayer.training.run import Run
from tests.examples import tries
from tests.solver.oracle import Problem, independent_optimum, random_weights


def made(seed: int, features: tuple[int, int] = (2, 30)) -> tuple[Problem, Rows]:
    """A random problem of sparse rows, whose features are scaled, with an intercept or without.

    Of hundreds of features most that are stored are of a single row.
    """
    rng = np.random.default_rng(seed)
    N, D, K = (int(rng.integers(*of)) for of in ((3, 60), features, (2, 8)))
    N = N if D < 100 else 3 + N // 4
    often = rng.uniform(0.05, 0.6) * min(1.0, 10.0 / D)
    X = rng.exponential(size=(N, D)) * (rng.random((N, D)) < often)
    X[:, rng.random(D) < min(0.1, 2.0 / D)] = 1.0
    scale, l2 = rng.uniform(0.1, 3.0, D), float(np.exp(rng.uniform(np.log(1e-4), 0.0)))
    y = np.asarray(np.append(rng.integers(0, K, N - 1), K - 1), np.int64)
    problem = Problem(X * scale, y, K, l2, bool(seed % 3))
    stored: Any = SparseRows.of(sparse.csr_array(X.astype(np.float32 if seed % 2 else np.float64)))
    if seed % 2:
        problem = problem._replace(X=X.astype(np.float32) * scale)
    return problem, Rows(stored, y, scale, np.zeros(D), intercept=problem.intercept)


@pytest.fixture
def stays_sparse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes are float32 at first, and nobody makes an array of more than a few rows."""
    whole = SparseRows.toarray

    def toarray(X: SparseRows) -> Any:
        assert len(X) <= 2, "sparse rows became an array"
        return whole(X)

    monkeypatch.setattr(SparseRows, "toarray", toarray)
    monkeypatch.setattr(data_rows, "FEW_ENTRIES", 0)
    monkeypatch.setattr(solver, "FLOAT64_PRODUCTS", 0.0)
    monkeypatch.setattr(proofs, "FLOAT64_PRODUCTS", 0.0)


@pytest.mark.usefixtures("stays_sparse")
def test_the_optimum_is_the_independent_one() -> None:
    for seed in range(tries(10)):
        problem, rows = made(seed)
        J, _ = independent_optimum(problem)
        optimum = Solvers(make_engine(), rows, problem.K).of_all().solve(Target(problem.l2))
        assert optimum.status == "optimal", seed
        excess = problem.cost(optimum.W.astype(float), optimum.b) - J
        assert excess <= optimum.certificate.gap + 1e-12 * J, seed
        assert optimum.certificate.gap <= 1e-6 * optimum.certificate.cost, seed


def wide(intercept: bool, weighted: bool = False, scale: float = 0.3) -> tuple[Problem, Rows]:
    """Rows that share few features, in another order than they are stored."""
    rng = np.random.default_rng(3)
    N, D, K = 60, 500, 3
    X = rng.normal(size=(N, D)) * (rng.random((N, D)) < 0.02)
    y, order = rng.integers(0, K, N), rng.permutation(N)[:50]
    scales, weights = scale * rng.uniform(0.5, 2.0, D), rng.uniform(0.2, 2.0, N)
    stored: Any = SparseRows.of(sparse.csr_array(X))
    rows = Rows(stored, y, scales, np.zeros(D), order, weights if weighted else None)
    problem = Problem((X * scales)[order], y[order], K, 0.02, intercept)
    return problem, replace(rows, intercept=intercept)


@pytest.mark.usefixtures("stays_sparse")
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_rows_that_share_few_features_are_solved_by_sweeps_in_the_dual(
    intercept: bool, weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, rows = wide(intercept, weighted)
    engine = make_engine()
    with monkeypatch.context() as patch:
        patch.setattr(solver, "descend", None)
        told: list[solver.Progress] = []
        found = Solvers(engine, rows, 3).of_all(told.append).solve(Target(problem.l2, tol=1e-8))
    monkeypatch.setattr(reduction, "may_be_wide", lambda rows, classes: False)
    other = Solvers(engine, rows, 3).of_all().solve(Target(problem.l2, tol=1e-8))
    assert found.status == other.status == "optimal"
    assert found.certificate.cost == pytest.approx(other.certificate.cost, rel=2e-9)
    assert np.abs(found.b).max() == (
        pytest.approx(np.abs(other.b).max(), abs=1e-3) if intercept else 0.0
    )
    assert told[-1].cost == pytest.approx(found.certificate.cost, rel=1e-3)
    if not weighted:
        assert found.certificate.cost - independent_optimum(problem)[0] < 1e-8


@pytest.mark.usefixtures("stays_sparse")
def test_where_sweeps_gain_little_lbfgs_goes_on_from_them(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, rows = wide(intercept=True, scale=3.0)
    starts: list[float] = []

    def descend(descent: Any, start: Any) -> Any:
        starts.append(start.cost)
        return lbfgs.descend(descent, start)

    monkeypatch.setattr(solver, "descend", descend)
    monkeypatch.setattr(dual, "MAX_SWEEPS", 3)
    optimum = Solvers(make_engine(), rows, 3).of_all().solve(Target(problem.l2))
    assert optimum.status == "optimal"
    assert starts[0] < np.log(3) / 2
    J, _ = independent_optimum(problem)
    assert optimum.certificate.cost - J <= optimum.certificate.gap + 1e-12


@pytest.mark.usefixtures("stays_sparse")
@pytest.mark.parametrize("features", [(2, 30), (100, 200)])
def test_the_bound_of_sweeps_holds_wherever_they_and_the_bias_end(
    features: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dual, "is_wide", lambda *_: True)
    for seed in range(tries(20)):
        problem, rows = made(seed, features)
        if not rows.cold_probabilities(problem.K).all():
            continue
        J, _ = independent_optimum(problem)
        monkeypatch.setattr(dual, "MAX_SWEEPS", 1 + seed % 4)
        monkeypatch.setattr(dual, "MAX_STEPS", seed % 3)
        dtype = "float64" if seed % 5 else "float32"
        first = solver.first_bias(rows, problem.K)
        found = dual.ascend(rows, first, problem.l2, 1e-9, dtype, 9, lambda *_: None)
        assert found is not None
        cost = problem.cost(found.W.astype(float), found.b)
        assert found.proof.cost == pytest.approx(cost, rel=1e-12), seed
        assert cost - J <= found.proof.gap + 1e-12 * J, seed


@pytest.mark.usefixtures("stays_sparse")
def test_the_bound_of_sweeps_pays_for_a_bias_that_is_not_the_best(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Under so large a λ the weights are nearly best, and the bias is what is missing."""
    monkeypatch.setattr(dual, "MAX_STEPS", 0)
    monkeypatch.setattr(dual, "is_wide", lambda *_: True)
    for seed in range(30):
        problem, rows = made(seed)
        if not (problem.intercept and rows.cold_probabilities(problem.K).all()):
            continue
        problem = problem._replace(l2=20.0)
        off = np.random.default_rng(seed).normal(size=problem.K)
        found = dual.ascend(rows, off - off.mean(), 20.0, 1e-9, "float64", 1, lambda *_: None)
        assert found is not None
        J, _ = independent_optimum(problem)
        excess = problem.cost(found.W, found.b) - J
        assert excess <= found.proof.gap + 1e-12 * J, seed


@pytest.mark.usefixtures("stays_sparse")
@pytest.mark.parametrize("tol", [1e-6, 1e-9])
def test_a_path_goes_on_from_what_sweeps_reached(tol: float) -> None:
    problem, rows = wide(intercept=True)
    solvers = [Solvers(make_engine(), rows, 3).of_all() for _ in range(2)]
    a, b = solvers
    a.solve(Target(0.02, tol))
    b.solve(Target(0.02, tol))
    b.restore(a.state)
    a.move(0.5 * a.moved)
    b.move(0.5 * b.moved)
    found, again = (of.solve(Target(0.005, tol)) for of in solvers)
    assert found.status == "optimal"
    np.testing.assert_array_equal(found.W, again.W)
    J, _ = independent_optimum(problem._replace(l2=0.005))
    assert found.certificate.cost - J <= found.certificate.gap + 1e-12


@pytest.mark.usefixtures("stays_sparse")
def test_the_bound_of_any_weights_holds() -> None:
    for seed in range(24):
        problem, rows = made(seed)
        J, _ = independent_optimum(problem)
        W, b = random_weights(problem, seed)
        b = b if problem.intercept else np.zeros_like(b)
        found = certify_weights(make_engine(), rows, W, b, problem.penalty).given
        assert found.cost == pytest.approx(problem.cost(W, b), rel=1e-5)
        assert problem.cost(W, b) - J <= found.gap + found.rounding + 1e-12 * J, seed


def mails(rows: int = 400, features: int = 3000, classes: int = 3) -> Dataset:
    """Rows of few words, some of which tell the class."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, rows)
    words = np.minimum(rng.pareto(0.7, (rows, 20)) * 10, features - 1).astype(np.int64)
    words[:, :3] = y[:, None] * 7 + rng.integers(0, 9, (rows, 3))
    X = sparse.coo_array(
        (np.ones(words.size), (np.repeat(np.arange(rows), 20), words.ravel())), (rows, features)
    )
    return Dataset(X, y, tuple("abc"[:classes]), name="mails")


def as_array(data: Dataset) -> Dataset:
    X: Any = data.X
    return replace(data, X=X.toarray())


@pytest.mark.parametrize("scaling", ["none", "standardize"])
def test_solutions_of_sparse_rows_and_of_their_array_cost_the_same(scaling: str) -> None:
    data = mails()
    of_array = replace(as_array(data), name="array")
    a, b = (solve(of, 1e-3, scaling=scaling).certificate for of in (data, of_array))
    assert a is not None
    assert b is not None
    assert a.cost == pytest.approx(b.cost, rel=2e-6)


def test_a_path_with_folds_and_certificates_take_sparse_rows() -> None:
    data = mails()
    paths = [
        solve_path(Splits(of, of, of, "mails", "made"), l2=[1e-2, 1e-3], folds=3, scaling="none")
        for of in (data, as_array(data))
    ]
    for a, b in zip(*(path.models for path in paths), strict=True):
        assert a.certificate.gap <= 1e-6 * a.certificate.cost
        assert a.certificate.cost == pytest.approx(b.certificate.cost, rel=2e-6)
    assert paths[0].best.l2 == paths[1].best.l2
    trained = train(Splits(data, data, data, "mails", "made"), Run(0.5, l2=1e-3, epochs=3))
    proof = certify(trained.best, data)
    best = solve(data, 1e-3).certificate
    assert best is not None
    assert proof.cost - best.cost <= proof.gap + 1e-6


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("many", [False, True])
def test_features_that_no_row_stores_are_left_out_of_the_search(
    intercept: bool, many: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = mails()
    X: Any = data.X
    stored = X.toarray().any(axis=0)
    assert 0.0 < stored.mean() < 0.8
    y = np.arange(1200).reshape(400, 3) % 5 % 2 if many else data.y
    rows = Rows(X, y.astype(np.uint8) if many else y, np.full(3000, 2.0), np.zeros(3000))
    rows = replace(rows, intercept=intercept)

    def solved() -> Optimum:
        solver = Solvers(make_engine(), rows, 3).of_all()
        solver.start_at(np.zeros((3, 3000)), np.zeros(3))
        return solver.solve(Target(1e-3))

    found = solved()
    assert not found.W[:, ~stored].any()
    monkeypatch.setattr(StoredFeatures, "of", lambda rows: None)
    whole = solved()
    assert found.certificate.cost == pytest.approx(whole.certificate.cost, rel=2e-6)
    np.testing.assert_allclose(found.W, whole.W, atol=0.02 * np.abs(whole.W).max())


def test_features_that_are_not_zero_where_nothing_is_stored_stay() -> None:
    data = mails()
    rows = Rows(data.X, data.y, np.ones(3000), np.full(3000, 0.5))
    assert StoredFeatures.of(rows) is None
    assert StoredFeatures.of(replace(rows, offset=np.zeros(3000))) is not None


@pytest.mark.usefixtures("stays_sparse")
def test_rows_that_store_nothing_are_solved_by_the_bias() -> None:
    X: Any = SparseRows.of(sparse.csr_array((4, 5)))
    rows = Rows(X, np.array([0, 1, 1, 1]), np.ones(5), np.zeros(5))
    found = Solvers(make_engine(), rows, 2).of_all().solve(Target(1e-2))
    assert not found.W.any()
    assert found.b[1] - found.b[0] == pytest.approx(np.log(3.0))

"""The solver against independent ones, by either of its methods."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from onelayer import load
from onelayer.data import Dataset, Splits
from onelayer.data.rows import Rows
from onelayer.engines import ENGINE_NAMES, Engine, FullGradient, Weights, make_engine
from onelayer.errors import SettingsError
from onelayer.objective import loss as objective
from onelayer.solver import (
    Progress,
    newton,
    solve,
    solve_path,
    solver,
    suggest_learning_rate,
)
from onelayer.solver.certificate import Certified, Search
from onelayer.solver.lbfgs import fit_preconditioner
from onelayer.solver.newton import Prices
from onelayer.solver.solver import Optimum, Solver, Target, describe_solution
from tests.examples import examples, tries
from tests.solver import oracle as problems
from tests.solver.oracle import Problem, independent_optimum, make_problem


@pytest.fixture(params=problems.METHODS)
def method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every way that a problem can be solved in, whatever its size."""
    problems.take_method(str(request.param), monkeypatch)
    return str(request.param)


@pytest.mark.parametrize("engine_name", ENGINE_NAMES)
def test_the_optimum_is_the_independent_one(method: str, engine_name: str) -> None:
    for seed in range(tries(40)):
        problem = make_problem(seed)._replace(l2=1e-2)
        J, W_best = independent_optimum(problem)
        optimum = problems.solve(make_engine(engine_name), problem)
        assert optimum.status == "optimal", (seed, describe_solution(optimum))
        assert optimum.certificate.gap <= 1e-10 * optimum.certificate.cost
        assert problem.cost(optimum.W, optimum.b) == pytest.approx(J, rel=2e-10, abs=1e-13), seed
        distance = float(np.linalg.norm(optimum.W - W_best))
        assert distance <= optimum.certificate.distance + 1e-7, seed


def test_a_certificate_that_falls_short_is_no_reason_for_finer_arithmetic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problems.take_method("l-bfgs", monkeypatch)
    monkeypatch.setattr(solver, "FLOAT64_PRODUCTS", 0.0)
    prove, tries = solver.Solver._certify, 0

    def short_at_first(of: solver.Solver, search: Search) -> Certified:
        nonlocal tries
        tries += 1
        proven = prove(of, search)
        return replace(proven, best=replace(proven.best, gap=1.0)) if tries == 1 else proven

    monkeypatch.setattr(solver.Solver, "_certify", short_at_first)
    problem = make_problem(17)._replace(l2=1e-2)
    coarse = problems.solve(make_engine(), problem, tol=1e-5)
    assert (coarse.status, coarse.W.dtype.name, tries) == ("optimal", "float32", 2)
    fine = problems.solve(make_engine(), problem, tol=1e-10)
    assert (fine.status, fine.W.dtype.name) == ("optimal", "float64")


def test_the_optimum_is_scipys_to_1e_10() -> None:
    problem = make_problem(17, largest=(40, 12, 4))._replace(l2=0.05)
    problem.y[: problem.K] = np.arange(problem.K)
    K, D = problem.K, problem.X.shape[1]

    def cost(v: np.ndarray) -> tuple[float, np.ndarray]:
        V = v.reshape(K, D + 1)
        G = objective.gradient(problem.X, problem.y, V[:, :-1], V[:, -1], problem.l2)
        slope = np.concatenate([G.W, G.b[:, None]], axis=1).ravel()
        return problem.cost(V[:, :-1], V[:, -1]), slope

    found = minimize(
        cost, np.zeros(K * (D + 1)), jac=True, method="L-BFGS-B",
        options={"ftol": 1e-16, "gtol": 1e-12, "maxiter": 10_000, "maxfun": 20_000},
    )  # fmt: skip
    optimum = problems.solve(make_engine(), problem, tol=1e-12)
    assert optimum.certificate.cost == pytest.approx(found.fun, rel=1e-10)


@pytest.mark.slow
def test_the_optimum_is_scikit_learns_at_its_tightest(method: str) -> None:
    from sklearn.linear_model import LogisticRegression

    train = load("digits").train
    X, l2 = train.X.astype(np.float64) / train.max_value, 0.001
    C = 1.0 / (2.0 * l2 * train.rows)
    other = LogisticRegression(C=C, tol=1e-10, max_iter=20_000).fit(X, train.y)
    ours = solve(train, l2, tol=1e-11)
    assert ours.status == "optimal"
    np.testing.assert_allclose(ours.W, other.coef_ - other.coef_.mean(axis=0), atol=1e-5)
    theirs = objective.cost(X, train.y, other.coef_, other.intercept_, l2)
    assert ours.require_certificate().cost <= theirs * (1.0 + 1e-10)


def test_rows_in_any_order_and_doubled_rows_have_the_same_optimum(method: str) -> None:
    problem = make_problem(31)._replace(l2=1e-2)
    rng = np.random.default_rng(0)
    W = problems.solve(make_engine(), problem).W
    for index in (rng.permutation(len(problem.y)), np.tile(np.arange(len(problem.y)), 2)):
        other = problem._replace(X=problem.X[index], y=problem.y[index])
        np.testing.assert_allclose(problems.solve(make_engine(), other).W, W, atol=1e-5)
    place = rng.permutation(problem.K)
    renamed = problems.solve(make_engine(), problem._replace(y=place[problem.y]))
    np.testing.assert_allclose(renamed.W[place], W, atol=1e-5)


def test_one_lambda_after_another_is_each_from_scratch(method: str) -> None:
    problem = make_problem(33)
    metric = fit_preconditioner(make_engine(), problem.rows, problem.K)
    series = Solver(make_engine(), problem.rows, problem.K, metric)
    for l2 in (1.0, 0.1, 0.01, 0.5):
        warm = series.solve(Target(l2, 1e-10, 3000))
        cold = problems.solve(make_engine(), problem._replace(l2=l2))
        assert warm.status == cold.status == "optimal"
        assert warm.certificate.cost == pytest.approx(cold.certificate.cost, rel=3e-10)
        warm_start = Solver(make_engine(), problem.rows, problem.K, metric)
        warm_start.start_at(cold.W, cold.b)
        assert warm_start.solve(Target(l2, 1e-8)).passes <= 4


@cache
def cold_start(_: str, seed: int, l2: float) -> tuple[Problem, Optimum]:
    """A problem and its solution from zero by the method, which is the one that is taken now."""
    problem = make_problem(seed)._replace(l2=l2)
    return problem, problems.solve(make_engine(), problem, tol=1e-8)


@pytest.mark.parametrize(
    "start",
    ["+1e3", "-1e3", "* 1e6", "* 1e-6", "* 1e200", "one column * 5", "saturated", "permuted",
     "shared", "other bias", "other l2", "not a number"],
)  # fmt: skip
def test_every_start_ends_at_the_proven_optimum(method: str, start: str) -> None:
    for seed, l2 in ((6, 1e-2), (25, 1e-3)):
        problem, cold = cold_start(method, seed, l2)
        metric = fit_preconditioner(make_engine(), problem.rows, problem.K)
        solver = Solver(make_engine(), problem.rows, problem.K, metric)
        if start == "other l2":
            solver.solve(Target(1e-9, 1e-4))
        else:
            solver.start_at(*elsewhere(start, cold.W.astype(float), cold.b))
        optimum = solver.solve(Target(l2, 1e-8))
        assert optimum.status == "optimal", (seed, describe_solution(optimum))
        assert optimum.certificate.gap <= 1e-8 * optimum.certificate.cost
        assert optimum.certificate.cost == pytest.approx(cold.certificate.cost, rel=2e-8)


def elsewhere(start: str, W: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Another start than the optimum W, b."""
    rng = np.random.default_rng(0)
    signs = rng.choice([-1.0, 1.0], W.shape)
    column = np.where(np.arange(W.shape[1]) == 0, 5.0, 1.0)
    place = np.roll(np.arange(len(W)), 1)
    starts = {
        "+1e3": (W + 1e3 * signs, b),
        "-1e3": (W - 1e3, b - 1e3 * signs[:, 0]),
        "* 1e6": (W * 1e6, b * 1e6),
        "* 1e-6": (W * 1e-6, b * 1e-6),
        "* 1e200": (W * 1e200, b),
        "one column * 5": (W * column, b),
        "saturated": (30.0 * W[place], 30.0 * b),
        "permuted": (W[place], b[place]),
        "shared": (W + 1e3 * rng.normal(size=W.shape[1]), b + 1e3),
        "other bias": (W, b + 1e3 * signs[:, 0]),
        "not a number": (W * np.nan, b),
    }
    return starts[start]


def test_without_l2_newtons_method_ends_where_the_gradient_vanishes() -> None:
    for seed in (101, 114, 168, 206):
        problem = make_problem(seed)._replace(l2=0.0)
        optimum = problems.solve(make_engine(), problem, tol=1e-8)
        ended = "separated" if optimum.separated else "optimal"
        assert optimum.status == ended, (seed, describe_solution(optimum))
        assert optimum.certificate.gradient_norm < 1e-6, seed


def test_without_l2_the_weights_sum_to_zero_over_the_classes(method: str) -> None:
    for seed in (100, 101, 109):
        problem = make_problem(seed)._replace(l2=0.0)
        optimum = problems.solve(make_engine(), problem, tol=1e-4)
        size, present = np.abs(optimum.W).max(), np.unique(problem.y)
        tiny = 1e-6 if optimum.W.dtype == np.float32 else 1e-13
        np.testing.assert_allclose(optimum.W.sum(axis=0), 0.0, atol=tiny * size)
        np.testing.assert_allclose(optimum.b[present].sum(), 0.0, atol=tiny * size)


def test_a_dearer_method_is_taken_when_steps_have_cost_as_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem = make_problem(6)._replace(l2=1e-3)
    taken = set[str]()

    def counted(owner: Any, name: str) -> None:
        made = getattr(owner, name)

        def count(*given: Any) -> Any:
            taken.add(name)
            return made(*given)

        monkeypatch.setattr(owner, name, count)

    counted(newton.Newton, "descend")
    counted(newton, "_hessian")
    counted(solver, "ClassCurvature")
    costs, methods = [], []
    for prices in (
        Prices(step=1.0, directions=1.0, curvature=math.inf, newton=math.inf),
        Prices(step=1.0, directions=1.0, curvature=10.0, newton=math.inf),
        Prices(step=1.0, directions=1.0, curvature=math.inf, newton=1.5),
        Prices(step=1.0, directions=1.0, curvature=math.inf, newton=2.5),
    ):
        monkeypatch.setattr(Prices, "of", lambda *_, prices=prices: prices)
        taken.clear()
        optimum = problems.solve(make_engine(), problem, tol=1e-9)
        assert optimum.status == "optimal"
        costs.append(optimum.certificate.cost)
        methods.append((set(taken), optimum.passes > 25))
    assert methods == [
        (set(), True),
        ({"ClassCurvature"}, True),
        ({"descend"}, False),
        ({"_hessian"}, True),
    ]
    assert costs == pytest.approx([costs[0]] * 4, rel=2e-9)


def test_two_classes_have_opposite_weights_and_the_cost_of_the_general_method(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(4):
        problem = two_classes(seed)
        pair = problems.solve(make_engine(), problem, tol=1e-13)
        size = np.abs(pair.W).max()
        np.testing.assert_allclose(pair.W[0], -pair.W[1], atol=1e-6 * size)
        with monkeypatch.context() as general:
            general.setattr(newton.DenseRows, "is_pair", False)
            whole = problems.solve(make_engine(), problem, tol=1e-13)
        assert pair.certificate.cost == pytest.approx(whole.certificate.cost, rel=1e-12)
        J, _ = independent_optimum(problem)
        assert problem.cost(pair.W, pair.b) == pytest.approx(J, rel=1e-12)


@pytest.mark.parametrize("tol", [1e-3, 1e-8, 1e-12])
def test_who_is_told_of_steps_changes_no_bit(tol: float) -> None:
    for problem in (two_classes(0), two_classes(3), make_problem(6)._replace(l2=1e-3)):
        told: list[Progress] = []
        alone, watched = (
            solve(problem.dataset, problem.l2, tol=tol, scaling="none", on_progress=tell)
            for tell in (None, told.append)
        )
        np.testing.assert_array_equal(alone.W, watched.W)
        np.testing.assert_array_equal(alone.b, watched.b)
        assert alone.passes == watched.passes
        assert [step.passes for step in told] == sorted({step.passes for step in told})
        assert len(told) > 1
        assert told[-1].cost <= told[0].cost


def two_classes(seed: int) -> Problem:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(60, 3)) * [1.0, 5.0, 0.2] + [0.0, 3.0, 0.0]
    y = (X @ [1.0, 0.1, 1.0] + rng.normal(size=60) > 0.5).astype(np.int64)
    return Problem(X, y, 2, 10.0 ** -(seed + 1))


@given(
    rows=st.integers(4, 60),
    features=st.integers(1, 12),
    classes=st.integers(2, 5),
    exponent=st.floats(-6.0, 0.0),
    size=st.sampled_from([0.1, 1.0, 30.0]),
    seed=st.integers(0, 999),
)
@examples(12)
def test_no_method_changes_the_answer_beyond_what_is_proven(
    rows: int, features: int, classes: int, exponent: float, size: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    X = size * rng.normal(size=(rows, features)) + rng.normal(size=features)
    y = rng.integers(0, classes, rows)
    problem = Problem(X, y, classes, 10.0**exponent)
    found = []
    for method in ("newton", "class curvature", "l-bfgs", "by prices"):
        with pytest.MonkeyPatch.context() as patched:
            problems.take_method(method, patched)
            found.append(problems.solve(make_engine(), problem, tol=1e-7))
    lowest = max(optimum.certificate.lower_bound for optimum in found)
    assert found[0].status == "optimal"  # these sizes take Newton's method
    for optimum in found:
        proof = optimum.certificate
        assert lowest <= proof.cost * (1.0 + 1e-13)
        assert proof.cost <= lowest + proof.gap + 1e-7 * proof.cost + 2e-11
        if optimum.status in ("passes", "rounding"):  # rows that one direction all but separates
            continue
        assert optimum.status == "optimal"
        assert proof.gap <= 1e-7 * proof.cost + 1e-11  # separable rows cost 1e-6


def test_what_all_classes_share_stays_zero_at_a_small_lambda(method: str) -> None:
    problem = make_problem(6)._replace(l2=1e-4)
    optimum = problems.solve(make_engine(), problem, tol=1e-7)
    assert optimum.status == "optimal"
    assert np.abs(optimum.W.sum(axis=0)).max() < 1e-6 * np.abs(optimum.W).max()


def test_a_class_without_rows_gets_no_weights_and_is_never_predicted(method: str) -> None:
    problem = make_problem(12)._replace(l2=0.01)
    problem = problem._replace(y=np.where(problem.y == 0, 1, problem.y))
    optimum = problems.solve(make_engine(), problem)
    assert optimum.status == "optimal"
    assert not optimum.W[0].any()
    predicted = objective.scores(problem.X, optimum.W, optimum.b).argmax(axis=1)
    assert 0 not in predicted


def test_without_l2_the_gradient_decides() -> None:
    rng = np.random.default_rng(0)
    problem = Problem(rng.normal(size=(200, 3)), rng.integers(0, 3, 200), 3, 0.0)
    optimum = problems.solve(make_engine(), problem, tol=1e-6)
    at_zero = objective.gradient(
        problem.X, problem.y, np.zeros((3, 3)), np.log(np.bincount(problem.y) / 200)
    )
    assert optimum.status == "optimal"
    assert optimum.certificate.gradient_norm <= 1e-6 * np.linalg.norm(at_zero.W)
    assert "no bound exists" in describe_solution(optimum)


def test_separable_rows_without_l2_end_too(method: str) -> None:
    problem = Problem(np.array([[-1.0], [1.0]]), np.array([0, 1]), 2, 0.0)
    optimum = problems.solve(make_engine(), problem, tol=1e-3)
    assert optimum.status == "separated"
    assert optimum.certificate.cost < 1e-2
    assert "can be separated" in describe_solution(optimum)


def test_too_few_passes_are_said_and_the_gap_is_still_proven(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problems.take_method("l-bfgs", monkeypatch)
    problem = make_problem(40)._replace(l2=1e-4)
    optimum = problems.solve(make_engine(), problem, passes=3)
    assert optimum.status == "passes"
    assert "max_passes" in describe_solution(optimum)
    J, _ = independent_optimum(problem)
    assert optimum.certificate.lower_bound <= J <= optimum.certificate.cost


def test_more_than_float64_can_give_is_said(method: str) -> None:
    optimum = problems.solve(make_engine(), make_problem(41)._replace(l2=0.01), tol=1e-40)
    assert optimum.status in ("rounding", "optimal")
    assert optimum.certificate.gap <= 1e-15


class _Interrupts:
    """An engine on which Ctrl-C is pressed in the third pass."""

    def __init__(self) -> None:
        self._inner, self._passes = make_engine(), 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def gradient(self, rows: Rows, weights: Weights) -> FullGradient:
        self._passes += 1
        if self._passes == 3:
            raise KeyboardInterrupt
        return self._inner.gradient(rows, weights)


def test_ctrl_c_keeps_what_was_found_with_its_proof() -> None:
    problem = make_problem(50)
    engine: Engine = _Interrupts()  # type: ignore[assignment]
    optimum = problems.solve(engine, problem)
    assert optimum.status == "interrupted"
    assert "interrupted" in describe_solution(optimum)
    J, _ = independent_optimum(problem)
    assert optimum.certificate.lower_bound <= J <= optimum.certificate.cost < np.log(problem.K) + 1


def test_every_pass_is_told() -> None:
    told: list[Progress] = []
    optimum = solve(load("digits").train, 0.01, on_progress=told.append)
    assert [p.passes for p in told] == sorted(p.passes for p in told)
    assert told[-1].cost == pytest.approx(optimum.require_certificate().cost, rel=1e-6)
    assert {p.l2 for p in told} == {0.01}


def test_the_same_call_gives_the_same_bits(method: str) -> None:
    problem = make_problem(60)._replace(l2=0.01)
    first, second = (problems.solve(make_engine(threads=t), problem) for t in (1, 2))
    np.testing.assert_array_equal(first.W, second.W)
    np.testing.assert_array_equal(first.b, second.b)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"l2": -0.1}, r"l2 \(λ\)"),
        ({"tol": 0.0}, "tol must be"),
        ({"max_passes": 0}, "max_passes must be"),
        ({"scaling": "log"}, "scaling must be"),
    ],
)
def test_bad_settings_are_refused_in_a_sentence(change: dict[str, object], words: str) -> None:
    dataset = Dataset(np.eye(2), np.array([0, 1]), ("a", "b"))
    with pytest.raises(SettingsError, match=words):
        solve(dataset, **{"l2": 0.1} | change)  # type: ignore[arg-type]


@pytest.mark.parametrize("scaling", ["none", "standardize"])
@pytest.mark.parametrize("features", [6, 600])
@pytest.mark.parametrize("l2", [0.0, 0.001])
def test_a_feature_constant_up_to_rounding_has_no_say(
    scaling: str, features: int, l2: float
) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 300)
    X = rng.normal(size=(300, features)) + y[:, None]
    X[:, 1] = 14.62
    model = solve(Dataset(X, y, ("a", "b", "c")), l2, scaling=scaling)
    changed = X.copy()
    changed[:, 1] = 15.0
    np.testing.assert_allclose(model.predict_proba(changed), model.predict_proba(X), atol=1e-9)


def sized(size: float, features: int = 6, dtype: type = np.float64) -> Dataset:
    """Three classes of 300 rows, whose features are of that size."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 300)
    X = size * (rng.normal(size=(300, features)) + y[:, None])
    return Dataset(X.astype(dtype), y, ("a", "b", "c"))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("features", [6, 600])
@pytest.mark.parametrize("size", [1e-9, 1e-3, 1e3, 1e9])
def test_features_of_another_size_with_another_lambda_are_the_same_problem(
    size: float, features: int, dtype: type
) -> None:
    one = solve(sized(1.0, features, dtype), 0.01, scaling="none")
    other = solve(sized(size, features, dtype), 0.01 * size**2, scaling="none")
    assert other.status == "optimal"
    proofs = one.require_certificate(), other.require_certificate()
    assert proofs[1].cost == pytest.approx(proofs[0].cost, rel=3e-6)
    np.testing.assert_allclose(size * other.W, one.W, atol=0.02 * np.abs(one.W).max())


def test_features_of_very_different_sizes_are_no_obstacle_to_newtons_method() -> None:
    even, data = solve(sized(1.0), 0.0, scaling="none", tol=1e-9), sized(1.0)
    mixed = replace(data, X=data.X.astype(float) * [1, 1e9, 1e-6, 1e3, 1e-9, 1])
    odd = solve(mixed, 0.0, scaling="none", tol=1e-9)
    assert odd.status == "optimal"
    np.testing.assert_allclose(odd.predict_proba(mixed.X), even.predict_proba(data.X), atol=1e-6)


@pytest.mark.parametrize("size", [1e20, 1e30, 1e100, 1e300])
@pytest.mark.parametrize("features", [6, 600])
def test_features_beyond_the_range_of_squares_are_refused_in_a_sentence(
    size: float, features: int
) -> None:
    with pytest.raises(SettingsError, match="scaling='standardize'"):
        solve(sized(size, features), 0.01, scaling="none")
    with pytest.raises(SettingsError, match="scaling='standardize'"):
        suggest_learning_rate(sized(size, features), scaling="none")


@pytest.mark.parametrize("engine", ENGINE_NAMES)
@pytest.mark.parametrize("size", [1e30, 1e300])
@pytest.mark.filterwarnings("error")
def test_an_outlier_beyond_the_range_of_squares_is_refused_without_a_warning(
    size: float, engine: str
) -> None:
    y = np.arange(1500) % 3
    X = np.stack([y + 0.5, -y], axis=1)
    X[1, 0] = size  # scaling judges the features by every second row
    rows = Dataset(X, y, ("a", "b", "c"))
    splits = Splits(rows, rows, rows, "outlier", "made")
    for refused in (
        lambda: solve(rows, 0.01, scaling="none", engine=engine),
        lambda: solve_path(splits, scaling="none", engine=engine),
        lambda: suggest_learning_rate(rows, scaling="none", engine=engine),
    ):
        with pytest.raises(SettingsError, match="scaling='standardize'"):
            refused()


@pytest.mark.parametrize("scaling", ["none", "standardize"])
def test_many_features_of_which_none_varies_leave_the_class_frequencies(scaling: str) -> None:
    data = Dataset(np.full((30, 600), 14.62), np.arange(30) % 3, ("a", "b", "c"))
    model = solve(data, 0.1, scaling=scaling)
    assert model.require_certificate().cost == pytest.approx(np.log(3))
    assert np.abs(model.W).max() < 1e-12


@pytest.mark.parametrize("l2", [1e100, 1e308])
def test_a_lambda_whose_penalty_may_overflow_is_refused(l2: float) -> None:
    with pytest.raises(SettingsError, match="below 1e100"):
        solve(sized(1.0), l2)


@pytest.mark.parametrize("scaling", ["none", "standardize"])
@pytest.mark.parametrize("features", [6, 600])
def test_features_far_from_0_take_no_more_passes_and_give_the_same_probabilities(
    scaling: str, features: int
) -> None:
    near = sized(1.0, features)
    far = replace(near, X=near.X.astype(float) + 1.7e9)
    one, other = (solve(rows, 0.01, scaling=scaling) for rows in (near, far))
    assert one.passes is not None
    assert other.passes is not None
    assert other.passes <= one.passes + 3
    assert other.status == "optimal"
    np.testing.assert_allclose(other.predict_proba(far.X), one.predict_proba(near.X), atol=2e-3)


@pytest.mark.parametrize("size", [1e-300, 1e-100, 1e20, 1e100, 1e300])
@pytest.mark.parametrize("features", [6, 600])
def test_standardized_features_may_be_of_any_size(size: float, features: int) -> None:
    one, other = solve(sized(1.0, features), 0.01), solve(sized(size, features), 0.01)
    assert other.status == "optimal"
    np.testing.assert_allclose(other.W, one.W, atol=1e-3)


def test_a_model_of_classes_that_can_be_separated_says_so() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    data = Dataset(rng.normal(size=(90, 3)) + 9 * np.eye(3)[y], y, ("a", "b", "c"))
    found = solve(data, l2=0)
    assert found.status == "separated"
    assert "so W grows without end and has no optimum; solve with λ > 0" in repr(found)
    cut_short = solve(data, l2=0, max_passes=3)
    assert cut_short.status == "separated"
    assert "allow more passes" not in describe_solution(cut_short)
    assert "no optimum" not in repr(solve(data, l2=0.1))


@pytest.mark.parametrize("l2", [1e6, 10.0, 0.1, 1e-6, 0.0])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_gap_that_is_less_than_rounding_is_not_sought_for_long(l2: float, classes: int) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 4))
    y = (X[:, :classes] + rng.gumbel(size=(200, classes))).argmax(axis=1)
    data = Dataset(X, y, tuple("abc"[:classes]))
    for tol in (1e-20, 1e-30, 5e-324):
        found = solve(data, l2, tol=tol)
        assert found.status in ("rounding", "optimal")  # a gap may be 0
        assert found.passes is not None
        assert found.passes < 100


def test_a_constant_feature_of_any_size_warns_of_nothing() -> None:
    X = np.random.default_rng(0).normal(size=(90, 3))
    X[:, 2] = 1e300
    data = Dataset(X, np.arange(90) % 3, ("a", "b", "c"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not solve(data, l2=0.1).W[:, 2].any()


@pytest.mark.parametrize("l2", [np.array([0.1, 1.0]), [0.1], "0.1", -1.0])
def test_one_lambda_is_one_number(l2: Any) -> None:
    data = Dataset(np.eye(4), np.arange(4) % 2, ("a", "b"))
    with pytest.raises(SettingsError, match=r"l2 \(λ\) must be a finite number"):
        solve(data, l2=l2)

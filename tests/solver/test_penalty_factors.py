"""Factors of the features' penalties: 0 leaves a feature unpenalised, as the bias is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from onelayer import Model, SoftmaxClassifier, certify, solve, solve_path, split
from onelayer.data.dataset import Dataset
from onelayer.data.rows import Rows
from onelayer.engines import make_engine, streaming
from onelayer.errors import SettingsError
from onelayer.objective.penalty import Penalty
from onelayer.sklearn.classifier import SoftmaxClassifierCV
from onelayer.solver import free
from onelayer.solver.certificate import certify_weights
from onelayer.solver.path import largest_l2
from onelayer.solver.reduction import Solvers
from onelayer.solver.solver import Target, describe_solution
from tests.examples import few
from tests.solver.oracle import METHODS, make_problem, take_method

Float64 = NDArray[np.float64]


def made(K: int = 3, N: int = 240) -> Dataset:
    rng = np.random.default_rng(K)
    X = rng.normal(size=(N, 5)) * [1.0, 0.3, 2.0, 1.0, 1.0] + [40.0, 0.0, 1.0, 0.0, 0.0]
    scores = (X - X.mean(axis=0)) @ rng.normal(size=(5, K))
    y = np.argmax(scores + rng.gumbel(size=(N, K)), axis=1)
    names = ("age", "dose", "c", "d", "e")
    return Dataset(X, y, tuple(map(str, range(K))), feature_names=names)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("K", [2, 3])
def test_weights_under_a_factor_are_those_of_a_feature_in_other_units(
    method: str, K: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_method(method, monkeypatch)
    data, factors = made(K), np.array([0.25, 4.0, 1.0, 9.0, 1.0])
    model = solve(data, l2=0.01, penalty_factors=factors, tol=1e-10, scaling="none")
    units = np.sqrt(factors)
    other = solve(replace(data, X=data.X / units), l2=0.01, tol=1e-10, scaling="none")
    assert model.status == "optimal"
    np.testing.assert_allclose(model.W * units, other.W, atol=1e-4)


@pytest.mark.parametrize("penalty", [{"l2": 0.1}, {"l1": 0.02}, {"l1": 0.02, "grouped": True}])
def test_classes_that_free_features_separate_are_named(penalty: dict[str, Any]) -> None:
    rng, age = np.random.default_rng(0), np.linspace(-1.0, 1.0, 120)
    X = np.column_stack([age, rng.normal(size=(120, 2))])
    y = (age > 0.4).astype(np.int64)
    y[:60] = 2 * rng.integers(0, 2, 60)  # two classes that age does not tell apart
    data = Dataset(X, y, ("low", "high", "mixed"), feature_names=("age", "a", "b"))
    model = solve(data, penalty_factors={"age": 0}, **penalty)
    assert model.settings["separated"] == [["high"]]
    words = "the rows of high can be separated from the others by features without a penalty"
    assert words in describe_solution(model)
    numbered = words.replace("high", "1")
    with pytest.warns(ConvergenceWarning, match=f"^{numbered}, so coef_ grows without end"):
        SoftmaxClassifier(0.1, penalty_factors=[0, 1, 1]).fit(X, y)
    for factors in ({"age": 0.001}, {"a": 0}):
        assert "separated" not in solve(data, penalty_factors=factors, **penalty).settings


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("K", [2, 3])
def test_a_factor_of_0_is_the_limit_of_small_ones(
    method: str, K: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_method(method, monkeypatch)
    data = made(K)
    model = solve(data, l2=1.0, penalty_factors={"age": 0, "dose": 0}, tol=1e-10)
    proof = model.certificate
    assert proof is not None
    assert model.status == "optimal"
    near = solve(data, l2=1.0, penalty_factors={"age": 1e-9, "dose": 1e-9}, tol=1e-10)
    np.testing.assert_allclose(model.W, near.W, atol=2e-4)
    assert np.abs(model.W[:, :2]).max() > 3.0 * np.abs(solve(data, l2=1.0).W[:, :2]).max()


@pytest.mark.parametrize("intercept", [True, False])
def test_an_unpenalised_constant_is_an_intercept(intercept: bool) -> None:
    data = made()
    X = np.column_stack([data.X, np.ones(data.rows)])
    names = (*(data.feature_names or ()), "one")
    more = replace(data, X=X, feature_names=names)
    how: dict[str, Any] = {"l2": 0.1, "tol": 1e-9, "scaling": "none"}
    model = solve(more, intercept=intercept, penalty_factors={"one": 0}, **how)
    usual = solve(data, **how)
    assert model.certificate is not None
    assert usual.certificate is not None
    assert model.certificate.cost == pytest.approx(usual.certificate.cost, rel=1e-8)
    np.testing.assert_allclose(model.W[:, :-1], usual.W, atol=1e-4)


@pytest.mark.parametrize("steps", few(1, [1, 60]))
def test_no_model_costs_less_than_a_bound_beside_free_features_says(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where Newton's method left a gradient of the free weights."""
    monkeypatch.setattr(free, "MAX_STEPS", steps)
    beside_free, usual = [], []
    for seed in range(40):
        problem = make_problem(seed, (30, 6, 4))
        rng, (_, D) = np.random.default_rng(seed), problem.X.shape
        rows = replace(problem.rows, penalty_factors=np.r_[0.0, np.ones(D)[1:]])
        if D == 1:
            continue
        engine = streaming(make_engine(threads=1))
        best = Solvers(engine, rows, problem.K).of_all().solve(Target(problem.l2, 1e-9)).certificate
        W, b = 0.3 * rng.normal(size=(problem.K, D)), rng.normal(size=problem.K)
        given = certify_weights(engine, rows, W, b, problem.penalty).given
        assert given.lower_bound <= best.cost * (1.0 + 1e-9) + 1e-12, seed
        plain = certify_weights(engine, problem.rows, W, b, problem.penalty).given
        beside_free.append(given.gap < given.cost)
        usual.append(plain.gap < plain.cost)
    # A bound that says no more than J* ≥ 0 is no more often one than usual.
    assert sum(beside_free) >= (0.3 if steps == 1 else 1.0) * sum(usual)


def test_a_free_feature_is_solved_for_among_many_that_are_not() -> None:
    """Rows of more features than a Hessian is made of, and fewer rows than features."""
    rng = np.random.default_rng(0)
    for N, D in ((60, 1100), (1500, 600)):
        X = rng.normal(size=(N, D)).astype(np.float32)
        y = (3.0 * X[:, 0] + X[:, 1:].sum(axis=1) / 20.0 + rng.logistic(size=N) > 0).astype(int)
        data = Dataset(X, y, ("no", "yes"))
        model = solve(data, l2=0.3, penalty_factors={"0": 0.0}, tol=1e-6)
        assert model.status == "optimal", (N, D)
        G, _ = _gradient(data, model)
        assert np.abs(G[:, 0]).max() < 1e-6
        assert np.abs(G + 0.6 * model.W)[:, 1:].max() < 1e-3


def _gradient(data: Dataset, model: Model) -> tuple[Float64, Float64]:
    P = model.predict_proba(data)
    R = (P - np.eye(model.classes)[data.y]) / data.rows
    X = data.X.astype(float) * model.scaling.scale + model.scaling.offset
    return R.T @ X, R.sum(axis=0)


def test_paths_folds_and_refits_have_the_factors() -> None:
    data = made(2)
    parts = split(data.X, data.y, feature_names=data.feature_names)
    path = solve_path(parts, l2=5, folds=3, refit=True, penalty_factors={"age": 0, "c": 4})
    assert path.best.settings["penalty_factors"] == {"age": 0.0, "c": 4.0}
    assert all(model.status == "optimal" for model in path.models)
    # Under the largest λ what is penalised is as good as nothing, and age is not.
    W = np.abs(path.models[0].W[0])
    assert W[0] > 10.0 * W[1:].max()


def test_the_largest_l2_is_of_what_is_left_beside_free_features() -> None:
    data = made(2)
    rows = Rows(data.X - data.X.mean(axis=0), data.y, np.ones(5), np.zeros(5))
    engine, factors = streaming(make_engine(threads=1)), np.array([1.0, 1, 0, 1, 1])
    free_rows = replace(rows, penalty_factors=factors)
    largest = largest_l2(engine, free_rows, 2)
    assert largest < largest_l2(engine, rows, 2)
    null = Solvers(engine, free_rows, 2).of_all().solve(Target(1e6)).certificate.cost
    solved = Solvers(engine, free_rows, 2).of_all().solve(Target(largest)).certificate.cost
    assert 0.98 * null < solved < null


def test_a_saved_model_is_certified_with_its_factors(tmp_path: Path) -> None:
    data = made()
    model = solve(data, l2=0.1, penalty_factors=[0, 1, 2, 1, 1])
    model.save(tmp_path / "m.safetensors")
    again = Model.load(tmp_path / "m.safetensors")
    own, plain = certify(again, data), certify(again, data, penalty_factors=np.ones(5))
    assert own.gap < 1e-6 * own.cost < plain.gap


@pytest.mark.slow
def test_sandwich_and_bootstrap_errors_know_what_is_not_penalised() -> None:
    data = made(2)
    model = solve(data, l2=0.5, penalty_factors={"age": 0, "d": 3}, tol=1e-10)
    sandwich = model.inference(data, errors="sandwich").standard_errors[0]
    drawn = model.inference(data, errors="bootstrap", resamples=200).standard_errors[0]
    np.testing.assert_allclose(drawn[1:], sandwich[1:], rtol=0.35)
    shrunk = solve(data, l2=0.5, tol=1e-10).inference(data, errors="sandwich").standard_errors[0]
    assert sandwich[1] > 2.0 * shrunk[1]


def test_classifiers_take_factors_by_number_and_by_name() -> None:
    data, pandas = made(2), pytest.importorskip("pandas")
    frame = pandas.DataFrame(data.X, columns=data.feature_names)
    named = SoftmaxClassifier(0.1, penalty_factors={"dose": 0}).fit(frame, data.y)
    numbered = SoftmaxClassifier(0.1, penalty_factors=[1, 0, 1, 1, 1]).fit(data.X, data.y)
    np.testing.assert_allclose(named.coef_, numbered.coef_)
    again = SoftmaxClassifier.from_model(named.to_model()).fit(frame, data.y)
    np.testing.assert_allclose(again.coef_, named.coef_, rtol=1e-4)
    chosen = SoftmaxClassifierCV([10.0], cv=3, penalty_factors={"dose": 0}).fit(frame, data.y)
    assert np.abs(chosen.coef_[0, 1]) > 20.0 * np.abs(np.delete(chosen.coef_[0], 1)).max()
    with pytest.raises(ValueError, match=r"penalty_factors=.* would be ignored with"):
        SoftmaxClassifier(solver="minibatch", penalty_factors=[1, 0, 1, 1, 1]).fit(data.X, data.y)


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ([1.0, 2.0], "must be one number for each of the 5 features, or a dict of some features"),
        ("age", "must be one number for each of the 5 features"),
        ({"height": 0}, "name the feature 'height', which is not there"),
        ([1, 1, -1, 1, 1], "must be finite and 0 or above, but feature 'c' has -1"),
        ([1, 1, np.nan, 1, 1], "must be finite and 0 or above, but feature 'c' has nan"),
        ([1, 1, 1, np.inf, 1], "must be finite and 0 or above, but feature 'd' has inf"),
        ({"age": "much"}, "must be one number for each of the 5 features"),
        ([0] * 5, "must be above 0 for some features, but all of them are 0"),
    ],
)
def test_wrong_factors_are_refused_in_a_sentence(factors: Any, message: str) -> None:
    for fit in (solve, certify):
        of = (made(), 0.1) if fit is solve else (solve(made(), l2=0.1), made())
        with pytest.raises(SettingsError, match=message):
            fit(*of, penalty_factors=factors)


def test_factors_without_a_penalty_and_too_many_free_features_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(SettingsError, match="penalty_factors have no effect with l2=0"):
        solve(made(), l2=0.0, penalty_factors={"age": 0})
    monkeypatch.setattr(free, "MAX_FREE", 8)
    with pytest.raises(SettingsError, match="of 0 for 2 features make 9 unpenalised weights, more"):
        solve(made(), l2=0.1, penalty_factors={"age": 0, "c": 0})
    y = np.eye(3, dtype=int)[made().y]
    many = Dataset(made().X, y, ("a", "b", "c"))
    with pytest.raises(SettingsError, match="of 0 are not built for many labels a row"):
        solve(many, l2=0.1, penalty_factors=[0, 1, 1, 1, 1])


def test_labels_of_many_have_factors_too() -> None:
    data = made()
    y = np.eye(3, dtype=int)[data.y]
    many = Dataset(data.X, y, ("a", "b", "c"))
    how: dict[str, Any] = {"l2": 0.05, "scaling": "none", "tol": 1e-9}
    model = solve(many, penalty_factors=[4, 1, 1, 1, 1], **how)
    other = solve(replace(many, X=data.X / [2.0, 1, 1, 1, 1]), **how)
    np.testing.assert_allclose(model.W * [2.0, 1, 1, 1, 1], other.W, atol=1e-5)
    assert certify(model, many).gap < 1e-6


@pytest.mark.parametrize("K", [2, 3])
def test_of_l1_weights_under_a_factor_are_those_of_a_feature_in_other_units(K: int) -> None:
    """By ℓ1 alone; with an ℓ2 both parts have the same factor, which no units do."""
    data, factors = made(K), np.array([0.5, 2.0, 1.0, 3.0, 1.0])
    how: dict[str, Any] = {"l1": 0.03, "tol": 1e-9, "scaling": "none"}
    model = solve(data, penalty_factors=factors, **how)
    other = solve(replace(data, X=data.X / factors), **how)
    assert model.status == "optimal"
    np.testing.assert_allclose(model.W * factors, other.W, atol=1e-4)


@pytest.mark.parametrize("how", [{"l1": 0.05}, {"l1": 0.05, "l2": 0.1}, {"grouped": True}])
@pytest.mark.parametrize("K", [2, 3])
def test_of_l1_a_factor_of_0_is_the_limit_of_small_ones(K: int, how: dict[str, Any]) -> None:
    data, of = made(K), {"l1": 0.05} | how
    model = solve(data, penalty_factors={"age": 0, "dose": 0}, tol=1e-9, **of)
    near = solve(data, penalty_factors={"age": 1e-8, "dose": 1e-8}, tol=1e-9, **of)
    assert model.status == "optimal"
    np.testing.assert_allclose(model.predict_proba(data), near.predict_proba(data), atol=1e-3)
    assert certify(model, data).gap < 1e-8
    np.testing.assert_array_equal(model.W[:, 2:] == 0.0, near.W[:, 2:] == 0.0)


@pytest.mark.parametrize("grouped", [False, True])
def test_an_l1_path_begins_where_only_free_features_count(grouped: bool) -> None:
    data = made()
    parts = split(data.X, data.y, feature_names=data.feature_names)
    path = solve_path(parts, l1=6, grouped=grouped, penalty_factors={"age": 0, "c": 0.5})
    first, last = path.models[0].W, path.models[-1].W
    assert first[:, 0].any()
    assert not first[:, 1:].any()
    assert last[:, 1:].any()
    assert all(model.status == "optimal" for model in path.models)


def test_a_penalty_counts_each_feature_by_its_factor() -> None:
    W, f = np.array([[1.0, -2.0], [3.0, 0.5]]), np.array([0.0, 2.0])
    penalty = Penalty(0.5, factors=f)
    assert penalty.value(W) == pytest.approx(0.5 * 2.0 * (4.0 + 0.25))
    np.testing.assert_allclose(penalty.gradient(W), W * f)

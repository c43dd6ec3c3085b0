"""The model of the cost by the margins of each class's own rows."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize

from onelayer import solve
from onelayer.data import Dataset
from onelayer.data.rows import Rows
from onelayer.engines import make_engine
from onelayer.objective.penalty import Penalty
from onelayer.solver import own_rows
from onelayer.solver.certificate import RowSums
from onelayer.solver.lbfgs import fit_preconditioner
from onelayer.solver.own_rows import ClassMeans, OwnCurvature, OwnRows
from tests.examples import few

Float64 = NDArray[np.float64]

K, D, PENALTY = 5, 7, Penalty(3e-3)


class Case:
    """Rows of unequal classes, some weighted, and their model about a random point."""

    def __init__(self, seed: int, *, weighted: bool = False, intercept: bool = True) -> None:
        rng = np.random.default_rng(seed)
        self.y = np.concatenate([np.arange(K), rng.integers(0, K, 13)])
        X, N = rng.normal(size=(len(self.y), D)), len(self.y)
        weights = rng.uniform(0.0, 2.0, N) if weighted else None
        rows = Rows(X, self.y, np.ones(D), np.zeros(D), weights=weights, intercept=intercept)
        self.preconditioner = fit_preconditioner(make_engine(), rows, K)
        centred = self.preconditioner.centre(rows)
        self.X = np.column_stack([centred.scaled(), np.full(N, float(intercept))])
        self.f = (np.ones(N) if weights is None else weights) / rows.mass
        self.missing = rng.uniform(0.05, 0.95, N)
        self.model = OwnCurvature(OwnRows(centred, K), self.preconditioner, self.missing)
        self.gradient = rng.normal(size=(K, D + 1))
        self.gradient[:, -1] *= intercept

    def matrix(self) -> Float64:
        """M of the other classes' curvature and the penalty."""
        covariance = self.preconditioner.covariance
        assert covariance is not None
        c = float(np.sum(self.f * self.missing)) / K
        M = np.diag(np.r_[np.full(D, float(PENALTY.curvature)), c])
        M[:D, :D] += c * covariance
        return M

    def of_class(self, k: int) -> tuple[Float64, Float64, Float64]:
        own = self.y == k
        return self.X[own], self.f[own], self.missing[own]

    def modelled(self, k: int, d: Float64) -> float:
        """The model's change of the cost by a step of one class."""
        X, f, q = self.of_class(k)
        loss = np.logaddexp(np.log1p(-q), np.log(q) - X @ d) + q * (X @ d)
        return float(self.gradient[k] @ d + 0.5 * d @ self.matrix() @ d + f @ loss)


def cases() -> list[Case]:
    return [Case(0), Case(1, weighted=True), Case(2, intercept=False), Case(3)]


def test_the_curvature_divides_as_its_matrix_does() -> None:
    for case in cases():
        divided = case.model.divide(case.gradient, PENALTY)
        for k in range(K):
            X, f, missing = case.of_class(k)
            H = case.matrix() + (X.T * (f * missing * (1.0 - missing))) @ X
            expected = np.linalg.solve(H, case.gradient[k])
            np.testing.assert_allclose(divided[k], expected, atol=2e-4 * np.abs(expected).max())


@pytest.mark.parametrize("number", few(1, range(4)))
def test_a_step_is_where_the_model_is_lowest(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_rows, "MAX_SWEEPS", 1000)
    monkeypatch.setattr(own_rows, "SETTLED", 1e-9)
    case = cases()[number]
    step = case.model.step(case.gradient, PENALTY)
    for k in range(K):
        model = partial(case.modelled, k)
        best = minimize(model, np.zeros(D + 1), method="BFGS", options={"gtol": 1e-9}).x
        np.testing.assert_allclose(step[k], best, atol=1e-3 * np.abs(best).max())


@pytest.mark.parametrize("weighted", [False, True])
def test_means_stand_for_classes_of_equal_rows(
    weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_rows, "MAX_SWEEPS", 1000)
    monkeypatch.setattr(own_rows, "SETTLED", 1e-9)
    rng = np.random.default_rng(0)
    y, engine = np.concatenate([np.arange(K), rng.integers(0, K, 13)]), make_engine()
    X, missing = rng.normal(size=(K, D))[y], rng.uniform(0.05, 0.95, K)[y]
    weights = rng.uniform(0.5, 2.0, len(y)) if weighted else None
    rows = Rows(X, y, np.ones(D), np.zeros(D), weights=weights)
    preconditioner = fit_preconditioner(engine, rows, K)
    centred = preconditioner.centre(rows)
    gradient = rng.normal(size=(K, D + 1))
    by_rows, by_means = (
        OwnCurvature(own, preconditioner, missing)
        for own in (OwnRows(centred, K), ClassMeans(centred, RowSums.of(engine, centred, K)))
    )
    divided = by_rows.divide(gradient, PENALTY)
    np.testing.assert_allclose(by_means.divide(gradient, PENALTY), divided, rtol=2e-3, atol=2e-3)
    step = by_rows.step(gradient, PENALTY)
    size = np.abs(step).max()
    np.testing.assert_allclose(by_means.step(gradient, PENALTY), step, atol=1e-4 * size)
    kept = [of.missing_after(0.5, 0.7) for of in (by_rows, by_means)]
    np.testing.assert_allclose(kept[1], kept[0], atol=1e-3)


@pytest.mark.parametrize(
    ("apart", "classes", "tell"), [(1.0, 9, True), (0.05, 9, False), (0.05, 40, True)]
)
def test_means_of_few_classes_tell_where_rows_have_enough_in_common(
    apart: float, classes: int, tell: bool
) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(20_000) % classes
    X = rng.normal(size=(len(y), D)) + apart * rng.normal(size=(classes, D))[y]
    rows = Rows(X, y, np.ones(D), np.zeros(D))
    assert ClassMeans.tell(RowSums.of(make_engine(), rows, classes)) == tell


def make_classes(N: int, features: int, classes: int) -> Dataset:
    """Classes in families of twenty, few rows each."""
    rng = np.random.default_rng(0)
    families = rng.normal(size=(classes // 20, features))
    means = families[np.arange(classes) % len(families)] / 2
    means = means + rng.normal(size=(classes, features)) / 4
    y = rng.permutation(N) % classes
    X = (rng.normal(size=(N, features)) + means[y]).astype(np.float32)
    return Dataset(X, y, tuple(map(str, range(classes))))


@pytest.mark.parametrize(
    ("l2", "most"), [(1e-2, 6), pytest.param(1e-4, 20, marks=pytest.mark.slow)]
)
def test_many_classes_of_few_rows_take_few_passes(
    l2: float, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_classes(1200, 128, 300)
    model = solve(data, l2, tol=1e-3)
    assert model.settings["status"] == "optimal"
    assert 0 < (model.passes or 0) <= most
    monkeypatch.setattr(own_rows, "MIN_CLASSES", 301)
    monkeypatch.setattr(own_rows, "MIN_MEANS", 301)
    plain = solve(data, l2, tol=1e-6)
    J, lowest = model.require_certificate().cost, plain.require_certificate()
    assert lowest.lower_bound <= J <= lowest.cost * (1.0 + 1e-3)


@pytest.mark.slow
def test_many_classes_of_many_rows_take_fewer_passes_by_their_means(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = make_classes(16_000, 600, 100)
    model = solve(data, 1e-4, tol=1e-3)
    monkeypatch.setattr(own_rows, "MIN_MEANS", 101)
    plain = solve(data, 1e-4, tol=1e-3)
    assert (model.passes or 0) < 0.8 * (plain.passes or 0)
    found, known = model.require_certificate(), plain.require_certificate()
    assert max(found.lower_bound, known.lower_bound) <= min(found.cost, known.cost)


def test_the_probabilities_after_a_step_have_the_loss_that_was_found() -> None:
    for case in cases():
        step = case.model.step(0.02 * case.gradient, PENALTY)
        margins = 0.5 * np.einsum("nd,nd->n", case.X, step[case.y])
        odds = case.missing / (1.0 - case.missing) * np.exp(-margins)
        kept = case.model.missing_after(0.5, float(case.f @ np.log1p(odds)))
        np.testing.assert_allclose(kept, odds / (1.0 + odds), rtol=0.01, atol=1e-4)
        loss = 3.0 * float(case.f @ np.log1p(odds))
        other = case.model.missing_after(0.5, loss)
        assert float(case.f @ -np.log1p(-other)) == pytest.approx(loss, rel=1e-2)
        ratios = other / (1.0 - other) / odds
        np.testing.assert_allclose(ratios, ratios[0], rtol=0.02)

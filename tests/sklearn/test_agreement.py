"""At the optimum the coefficients are LogisticRegression's, for C = 1/(2λN), on every data set."""

from __future__ import annotations

import re

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from onelayer import Dataset, solve
from onelayer.sklearn import SoftmaxClassifier, SoftmaxClassifierCV
from onelayer.solver.solver import describe_solution

Float64 = NDArray[np.float64]


def assert_agrees(X: Float64, y: NDArray[np.int64], l2: float) -> None:
    ours = SoftmaxClassifier(l2=l2, tol=1e-12).fit(X, y)
    theirs = LogisticRegression(
        C=1.0 / (2.0 * l2 * len(X)), tol=1e-10, max_iter=10_000, solver="newton-cholesky"
    ).fit(X, y)
    assert ours.coef_.shape == theirs.coef_.shape
    size = np.abs(theirs.coef_).max()
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=0.0, atol=1e-5 * size)
    size = np.abs(theirs.intercept_).max()
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=0.0, atol=1e-5 * size)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("l2", [1e-2, 1e-4])
@pytest.mark.parametrize("scaled", [True, False], ids=["standardized", "as stored"])
@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits"])
def test_coefficients_and_predictions_are_logistic_regressions(
    name: str, scaled: bool, l2: float
) -> None:
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    assert_agrees(StandardScaler().fit_transform(X) if scaled else X, y, l2)


@pytest.mark.parametrize("seed", range(20))
def test_coefficients_are_logistic_regressions_on_made_problems(seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 6))
    X, y = datasets.make_classification(
        n_samples=int(rng.integers(60, 400)), n_features=int(rng.integers(8, 30)),
        n_informative=6, n_classes=classes, n_clusters_per_class=1, flip_y=0.1,
        class_sep=float(rng.uniform(0.5, 2.0)), random_state=seed,
    )  # fmt: skip
    assert_agrees(X, y, float(10.0 ** rng.uniform(-4, -1)))


@pytest.mark.filterwarnings("ignore:Setting penalty=None")  # of scikit-learn 1.8, whatever C
def test_without_a_penalty_coefficients_are_logistic_regressions_of_sum_zero() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 4))
    y = (X @ rng.normal(size=(4, 3)) + rng.gumbel(size=(600, 3))).argmax(axis=1)
    ours = SoftmaxClassifier(l2=0.0, tol=1e-9).fit(X, y)
    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=0.0, atol=1e-6)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=0.0, atol=1e-6)
    # What all classes share cannot be known; a warm start from other weights changes nothing.
    again = SoftmaxClassifier(l2=0.0, tol=1e-9, warm_start=True).fit(X, y)
    again.coef_ = again.coef_ + rng.normal(size=4)
    again.fit(X, y)
    np.testing.assert_allclose(again.coef_, theirs.coef_, rtol=0.0, atol=1e-6)
    np.testing.assert_allclose(again.coef_.sum(axis=0), 0.0, atol=1e-12)


def made(kind: str) -> tuple[Float64, NDArray[np.int64]]:
    """Rows of four classes: mixed, separated as two pairs, or all separated; or Fisher's irises."""
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(400, 3)), rng.integers(0, 4, 400)
    if kind == "irises":
        return datasets.load_iris(return_X_y=True)  # type: ignore[no-any-return]
    if kind == "pairs":
        X[:, 0] += np.where(y >= 2, 9.0, -9.0)
    if kind == "all":
        X[:, 0], X[:, 1] = np.where(y >= 2, 9.0, -9.0), np.where(y % 2, 9.0, -9.0)
    return X, y


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("irises", "the rows of 0 can be separated from the others"),
        ("pairs", "the rows of 2, 3 can be separated from the others|the rows of 0, 1 can be"),
        ("all", "the rows of all classes can be separated"),
    ],
)
def test_without_a_penalty_classes_that_can_be_separated_are_named(kind: str, said: str) -> None:
    X, y = made(kind)
    with pytest.warns(ConvergenceWarning, match=f"with l2=0 ({said}).*; set l2 above 0"):
        SoftmaxClassifier(l2=0.0).fit(X, y)
    with pytest.warns(ConvergenceWarning, match=f"with l2=0 ({said}).*; set l2 above 0"):
        SoftmaxClassifierCV([0.1, 0.0], cv=2).fit(X, y)
    model = solve(Dataset(X, y, tuple(map(str, np.unique(y)))), l2=0.0)
    assert re.search(said, describe_solution(model))
    SoftmaxClassifier(l2=1e-3).fit(X, y)  # with a penalty nothing is said


def test_without_a_penalty_nothing_is_said_of_classes_that_mix() -> None:
    SoftmaxClassifier(l2=0.0).fit(*made("mixed"))  # a warning would be an error


def test_two_classes_are_the_softmax_of_half_the_row_under_twice_the_penalty() -> None:
    # Formulations: v = W₁ − W₀, W₁ = −W₀ = v/2, and λ ‖v‖² = 2λ (‖W₀‖² + ‖W₁‖²).
    X, y = datasets.load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    model = SoftmaxClassifier(l2=0.01, tol=1e-12).fit(X, y)
    optimum = solve(Dataset(X, y, ("a", "b")), l2=0.02, tol=1e-12, scaling="none")
    np.testing.assert_allclose(optimum.W[1], model.coef_[0] / 2.0, atol=1e-7)
    np.testing.assert_allclose(optimum.W[0], -model.coef_[0] / 2.0, atol=1e-7)
    cost = optimum.require_certificate().cost
    assert cost == pytest.approx(model.history_["cost"][-1], rel=1e-10)


def test_the_gap_is_above_the_distance_to_the_minimum() -> None:
    X, y = datasets.load_digits(return_X_y=True)
    exact = SoftmaxClassifier(l2=0.01, tol=1e-12).fit(X, y).history_["cost"][-1]
    for model in (
        SoftmaxClassifier(l2=0.01, tol=1e-2),
        SoftmaxClassifier(l2=0.01, solver="minibatch", epochs=5, random_state=0),
    ):
        model.fit(X, y)
        excess = model.history_["cost"][-1] - exact
        assert 0.0 <= excess <= model.gap_ * (1.0 + 1e-9)

"""At the optimum the coefficients are LogisticRegression's, for C = 1/(2λN), on every data set."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from onelayer.sklearn import SoftmaxClassifier

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


def test_two_classes_are_the_softmax_of_half_the_row_under_twice_the_penalty() -> None:
    # Formulations: v = W₁ − W₀, W₁ = −W₀ = v/2, and λ ‖v‖² = 2λ (‖W₀‖² + ‖W₁‖²).
    from onelayer import Dataset, solve

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

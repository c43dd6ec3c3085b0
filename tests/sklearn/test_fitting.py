"""What fit and partial_fit promise: weights, warm starts, stopping, parts, repeatability."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits, load_iris, make_classification
from sklearn.exceptions import ConvergenceWarning

from onelayer import LearningRateWarning, certify
from onelayer.data import Dataset
from onelayer.objective import loss as objective
from onelayer.sklearn import LogisticRegression, SoftmaxClassifier, SoftmaxClassifierCV

Rows = tuple[NDArray[np.float64], NDArray[np.int64]]
ONE_BATCH: dict[str, Any] = {"solver": "minibatch", "batch_size": 10**6}


@pytest.fixture(params=[2, 3], ids=["two classes", "three classes"])
def rows(request: pytest.FixtureRequest) -> Rows:
    X, y = make_classification(
        n_samples=120, n_features=8, n_informative=5, n_classes=request.param, random_state=1
    )
    return X, y


@pytest.mark.parametrize("settings", [{"tol": 1e-12}, ONE_BATCH], ids=["optimum", "one batch"])
@pytest.mark.parametrize("scaling", ["none", "standardize"])
@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 3.0}])
def test_a_whole_weight_is_a_row_that_many_times(
    rows: Rows, settings: dict[str, Any], scaling: str, class_weight: Any
) -> None:
    X, y = rows
    weights = np.random.default_rng(0).integers(0, 4, len(y))
    model = SoftmaxClassifier(
        l2=0.01, scaling=scaling, class_weight=class_weight, random_state=0, **settings
    )
    coef = model.fit(X, y, sample_weight=weights).coef_
    often = np.repeat(np.arange(len(y)), weights)
    model.fit(X[often], y[often])
    np.testing.assert_allclose(coef, model.coef_, rtol=1e-6, atol=1e-8)


def test_all_weights_doubled_change_nothing(rows: Rows) -> None:
    X, y = rows
    for solver in ("optimum", "minibatch"):
        one, two = (
            SoftmaxClassifier(solver=solver, random_state=0).fit(X, y, np.full(len(y), w)).coef_
            for w in (1.0, 2.0)
        )
        np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("how", ["sample_weight", "class_weight"])
@pytest.mark.parametrize("settings", [{}, {"solver": "minibatch"}, {"early_stopping": True}])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_class_of_weight_zero_is_kept_and_not_predicted(
    how: str, settings: dict[str, Any], classes: int
) -> None:
    X, y = load_iris(return_X_y=True)
    X, y = X[y < classes], y[y < classes]
    if "early_stopping" in settings:
        settings = {**settings, "solver": "minibatch"}
    if how == "class_weight":
        model = SoftmaxClassifier(0.01, class_weight={1: 0}, **settings).fit(X, y)
    else:
        model = SoftmaxClassifier(0.01, **settings).fit(X, y, (y != 1).astype(float))
    assert model.classes_.tolist() == list(range(classes))
    assert 1 not in model.predict(X)
    assert model.predict_proba(X)[:, 1].max() < 1e-6
    if not settings:
        theirs = LogisticRegression(C=1.0 / (0.02 * np.sum(y != 1)), class_weight={1: 0}).fit(X, y)
        np.testing.assert_allclose(model.predict_proba(X), theirs.predict_proba(X), atol=1e-3)


def test_a_class_of_weight_zero_is_held_out_but_not_learned_by_a_path() -> None:
    X, y = load_iris(return_X_y=True)
    model = SoftmaxClassifierCV([0.01], cv=3, class_weight={1: 0}).fit(X, y)
    assert model.classes_.tolist() == [0, 1, 2]
    assert model.accuracy_path_.max() < 0.7  # a class weight counts in no score
    weighted = SoftmaxClassifierCV([0.01], cv=3).fit(X, y, (y != 1).astype(float))
    np.testing.assert_array_equal(weighted.coef_, model.coef_)
    assert weighted.accuracy_path_.min() > 0.9


@pytest.mark.parametrize("estimator", [SoftmaxClassifier, SoftmaxClassifierCV, LogisticRegression])
def test_some_class_must_weigh_more_than_nothing(estimator: Any) -> None:
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match="the weights of rows times those of classes are all 0"):
        estimator(class_weight={0: 0, 1: 0}).fit(X, y, (y != 2).astype(float))
    for weight in (-1.0, np.nan):
        with pytest.raises(ValueError, match="class_weight must be finite and 0 or above"):
            estimator(class_weight={0: weight}).fit(X, y)


def test_balanced_is_sample_weights_of_the_same_sum(rows: Rows) -> None:
    X, y = rows
    keep = (y != 0) | (np.arange(len(y)) % 3 == 0)
    X, y = X[keep], y[keep]
    counts = np.bincount(y)
    weights = len(y) / (len(counts) * counts[y])
    balanced = SoftmaxClassifier(class_weight="balanced", tol=1e-12).fit(X, y)
    by_hand = SoftmaxClassifier(tol=1e-12).fit(X, y, sample_weight=weights)
    plain = SoftmaxClassifier(tol=1e-12).fit(X, y)
    np.testing.assert_allclose(balanced.coef_, by_hand.coef_, rtol=1e-7, atol=1e-9)
    assert np.abs(balanced.coef_ - plain.coef_).max() > 1e-2


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_minibatch_is_the_equations_loop(rows: Rows, dtype: str) -> None:
    X, y = rows
    K, l2, eta = len(np.unique(y)), 0.01, 0.05
    model = SoftmaxClassifier(
        l2, solver="minibatch", learning_rate=eta, batch_size=32, epochs=3, random_state=7,
        dtype=dtype,
    ).fit(X, y)  # fmt: skip
    W, shares = np.zeros((K, X.shape[1])), np.bincount(y) / len(y)
    b = np.log(shares) - np.log(shares).mean()
    random = np.random.RandomState(7)
    penalty = 2.0 * l2 if K == 2 else l2
    for _ in range(3):
        order = random.permutation(len(y))
        for start in range(0, len(y), 32):
            batch = order[start : start + 32]
            G = objective.gradient(X[batch], y[batch], W, b, penalty)
            W, b = W - eta * G.W, b - eta * G.b
    coef, intercept = (W[1:] - W[:1], b[1:] - b[:1]) if K == 2 else (W, b)
    tolerance = 1e-10 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(model.coef_, coef, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(model.intercept_, intercept, rtol=tolerance, atol=tolerance)
    assert model.n_iter_ == 3 == len(model.history_["cost"])
    assert model.learning_rate_ == eta
    assert model.history_["cost"][-1] == pytest.approx(
        objective.cost(X, y, W, b, penalty), rel=tolerance
    )


def test_parts_of_whole_batches_are_the_rows_at_once(rows: Rows) -> None:
    X, y = rows
    settings: dict[str, Any] = {"solver": "minibatch", "batch_size": 20, "learning_rate": 0.1}
    weights = np.random.default_rng(0).uniform(0.5, 2.0, len(y))
    whole = SoftmaxClassifier(**settings)
    whole.partial_fit(X, y, classes=np.unique(y), sample_weight=weights)
    parts = SoftmaxClassifier(**settings)
    for start in range(0, len(y), 40):
        part = slice(start, start + 40)
        parts.partial_fit(X[part], y[part], np.unique(y), sample_weight=weights[part])
    np.testing.assert_allclose(parts.coef_, whole.coef_, rtol=1e-12)
    assert (whole.n_iter_, parts.n_iter_) == (1, 3)


def test_parts_learn_and_keep_the_rate_of_the_first() -> None:
    X, y = load_digits(return_X_y=True)
    model = SoftmaxClassifier(solver="minibatch", class_weight={3: 2.0})
    X = X.astype(np.uint8)
    model.partial_fit(X[:200], y[:200], classes=range(10))
    rate = model.learning_rate_
    for start in [*range(200, 1700, 100)] * 4:
        model.partial_fit(X[start : start + 100], y[start : start + 100])
    assert model.learning_rate_ == rate
    assert model.score(X[1700:], y[1700:]) > 0.7


def test_a_warm_start_at_the_optimum_stays_there(rows: Rows) -> None:
    X, y = rows
    for scaling in ("none", "standardize"):
        model = SoftmaxClassifier(l2=0.01, scaling=scaling, tol=1e-8, warm_start=True).fit(X, y)
        cold, coef = model.n_iter_, model.coef_
        model.fit(X, y)
        assert model.n_iter_ < cold
        np.testing.assert_allclose(model.coef_, coef, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("change", [5.0, -1.0, 1e3, 1e-6])
def test_a_warm_start_on_features_of_another_scale_ends_at_the_same_optimum(
    rows: Rows, change: float
) -> None:
    X, y = rows
    scales = np.where(np.arange(X.shape[1]) == 0, change, 1.0)
    cold = SoftmaxClassifier(tol=1e-8).fit(X * scales, y)
    warm = SoftmaxClassifier(tol=1e-8, warm_start=True).fit(X, y).fit(X * scales, y)
    cost = cold.history_["cost"][-1]
    assert warm.gap_ <= 1e-8 * cost
    assert warm.history_["cost"][-1] == pytest.approx(cost, rel=2e-8)
    assert (warm.predict(X * scales) == cold.predict(X * scales)).mean() > 0.99


def test_a_warm_start_goes_on_with_gradient_descent(rows: Rows) -> None:
    X, y = rows
    settings: dict[str, Any] = {**ONE_BATCH, "l2": 0.01, "learning_rate": 0.1}
    twice = SoftmaxClassifier(epochs=5, warm_start=True, **settings).fit(X, y).fit(X, y)
    once = SoftmaxClassifier(epochs=10, **settings).fit(X, y)
    anew = SoftmaxClassifier(epochs=5, **settings).fit(X, y).fit(X, y)
    np.testing.assert_allclose(twice.coef_, once.coef_, rtol=1e-9, atol=1e-12)
    assert np.abs(anew.coef_ - once.coef_).max() > 1e-3


def test_early_stopping_keeps_the_weights_of_the_lowest_validation_loss() -> None:
    X, y = make_classification(
        n_samples=120, n_features=60, n_informative=4, flip_y=0.4, random_state=3
    )
    settings: dict[str, Any] = {
        "solver": "minibatch",
        "l2": 0.0,
        "learning_rate": 0.1,
        "random_state": 0,
    }
    model = SoftmaxClassifier(
        early_stopping=True, n_iter_no_change=3, validation_fraction=0.3, epochs=400, **settings
    ).fit(X, y)
    losses = model.history_["validation_loss"]
    assert model.n_iter_ == len(losses) < 400
    assert int(losses.argmin()) == len(losses) - 1 - 3
    fewer = SoftmaxClassifier(
        early_stopping=True, n_iter_no_change=3, validation_fraction=0.3,
        epochs=len(losses) - 3, **settings,
    ).fit(X, y)  # fmt: skip
    np.testing.assert_array_equal(model.coef_, fewer.coef_)


@pytest.mark.parametrize("solver", ["optimum", "minibatch"])
def test_the_same_random_state_gives_the_same_bits_on_any_threads(solver: str, rows: Rows) -> None:
    one, two = (
        SoftmaxClassifier(solver=solver, random_state=5, threads=t).fit(*rows) for t in (1, 2)
    )
    np.testing.assert_array_equal(one.coef_, two.coef_)
    np.testing.assert_array_equal(one.predict_proba(rows[0]), two.predict_proba(rows[0]))


@pytest.mark.filterwarnings("ignore::onelayer.LearningRateWarning")
def test_a_rate_that_diverges_is_told_and_the_model_stays_finite() -> None:
    X, y = load_digits(return_X_y=True)
    model = SoftmaxClassifier(solver="minibatch", l2=1.0, learning_rate=1e30, random_state=0)
    with pytest.warns(ConvergenceWarning, match="stopped being finite in epoch"):
        model.fit(X, y)
    assert np.isfinite(model.coef_).all()


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_rate_above_what_is_stable_is_warned_of_as_in_training(rows: Rows, method: str) -> None:
    X, y = rows
    l2 = 0.01
    Z = np.column_stack([X, np.ones(len(X))])
    of_layer = 2.0 * l2 if len(np.unique(y)) == 2 else l2
    limit = 2.0 / (0.5 * np.linalg.eigvalsh(Z.T @ Z / len(Z))[-1] + 2.0 * of_layer)
    options = {"classes": np.unique(y)} if method == "partial_fit" else {}

    def learn(rate: float | str) -> list[Any]:
        model = SoftmaxClassifier(l2, solver="minibatch", learning_rate=rate, epochs=2)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            getattr(model, method)(X, y, **options)
            getattr(model, method)(X, y, **options)
        return [one for one in caught if one.category is LearningRateWarning]

    told = learn(1.1 * limit)
    assert len(told) == (2 if method == "fit" else 1)  # parts have the rate of the first
    assert f"exceeds the guaranteed-stable limit {limit:.3g} (2/L)" in str(told[0].message)
    assert all(one.filename == __file__ for one in told)
    assert not learn(0.9 * limit)
    assert not learn("auto")


def test_too_few_passes_are_told() -> None:
    X, y = load_digits(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match="max_passes"):
        SoftmaxClassifier(max_passes=2).fit(X, y)


def test_without_l2_there_is_no_gap() -> None:
    X, y = make_classification(n_samples=200, n_features=4, flip_y=0.3, random_state=0)
    assert SoftmaxClassifier(l2=0.0).fit(X, y).gap_ == math.inf


@pytest.mark.parametrize("size", [1e-308, 1e-160, 1e160, 1e308])
@pytest.mark.parametrize("make", [
    SoftmaxClassifier,
    lambda: SoftmaxClassifier(scaling="standardize"),
    lambda: SoftmaxClassifierCV([0.1, 0.01], cv=3),
])  # fmt: skip
def test_only_the_ratios_of_sample_weights_count(size: float, make: object) -> None:
    X, y = load_iris(return_X_y=True)
    weights = np.random.default_rng(0).integers(1, 4, len(y)) / 4.0
    one, other = (make().fit(X, y, sample_weight=f * weights) for f in (1.0, size))  # type: ignore[operator]
    np.testing.assert_allclose(other.coef_, one.coef_, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("classes", [2, 3])
def test_without_an_intercept_coefficients_are_scikit_learns_to_1e_6(classes: int) -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(classes)
    X = rng.normal([1.0, 0.0, -2.0], size=(150, 3))
    y = np.argmax(X @ rng.normal(size=(3, classes)) + rng.gumbel(size=(150, classes)), axis=1)
    theirs = LogisticRegression(C=1.0 / (2.0 * 0.01 * 150), fit_intercept=False, tol=1e-12,
                                max_iter=10_000).fit(X, y)  # fmt: skip
    ours = SoftmaxClassifier(l2=0.01, fit_intercept=False, tol=1e-13).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-6)
    path = SoftmaxClassifierCV(l2s=[0.01], cv=2, fit_intercept=False, tol=1e-13).fit(X, y)
    np.testing.assert_allclose(path.coef_, theirs.coef_, atol=1e-6)
    descended = SoftmaxClassifier(
        l2=0.01,
        fit_intercept=False,
        solver="minibatch",
        epochs=300,
        batch_size=150,
        dtype="float64",
    ).fit(X, y)
    np.testing.assert_allclose(descended.coef_, theirs.coef_, atol=1e-2)
    for fitted in (ours, path, descended):
        assert not fitted.intercept_.any()
        model = fitted.to_model()
        assert not model.intercept
        assert certify(model, Dataset(X, y, tuple("012"[:classes])), l2=model.l2).gap < 1e-3
    again = SoftmaxClassifier.from_model(ours.to_model()).fit(X, y)
    np.testing.assert_allclose(again.coef_, ours.coef_, atol=1e-3)
    assert not again.intercept_.any()


def test_a_warm_start_without_an_intercept_forgets_that_of_the_last_fit(rows: Rows) -> None:
    X, y = rows[0] + 1.0, rows[1]
    for solver in ("optimum", "minibatch"):
        model = SoftmaxClassifier(solver=solver, warm_start=True).fit(X, y)
        assert model.intercept_.any()
        model.set_params(fit_intercept=False)
        assert model.to_model().intercept  # what was fitted, until it is fitted again
        assert not model.fit(X, y).intercept_.any()


def test_an_intercept_that_is_no_truth_value_is_refused(rows: Rows) -> None:
    with pytest.raises(ValueError, match="fit_intercept must be True or False, but 'no' was given"):
        SoftmaxClassifier(fit_intercept="no").fit(*rows[:2])  # type: ignore[arg-type]

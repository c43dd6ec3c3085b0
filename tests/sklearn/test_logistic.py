"""LogisticRegression and LogisticRegressionCV have scikit-learn's answers, and prove them."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import joblib
import numpy as np
import pytest
import sklearn
from numpy.typing import NDArray
from sklearn import linear_model
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris, make_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from onelayer import SettingsError, certify, load, solve, split
from onelayer.sklearn import LogisticRegression, LogisticRegressionCV

Float64 = NDArray[np.float64]

# What scikit-learn warns of where its defaults are about to change.
SILENT: dict[str, Any] = {
    "l1_ratios": (0,), "scoring": "neg_log_loss", "use_legacy_attributes": False,
}  # fmt: skip


def make_rows(classes: int, rows: int = 200) -> tuple[Float64, NDArray[np.int64], Float64]:
    X, y = make_classification(
        rows, n_features=8, n_informative=6, n_classes=classes, flip_y=0.2, random_state=classes
    )
    return X, y, np.random.default_rng(0).integers(0, 4, rows).astype(float)


def cost(model: Any, X: Any, y: Any, weights: Float64 | None = None) -> float:
    """scikit-learn's C Σ w ℓ + ‖coef_‖²/2."""
    loss = log_loss(y, model.predict_proba(X), normalize=False, sample_weight=weights)
    return float(model.C * loss + 0.5 * np.sum(model.coef_**2))


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 0.5, 1: 3.0}])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_coefficients_and_cost_are_scikit_learns(
    classes: int, fit_intercept: bool, class_weight: Any, is_weighted: bool
) -> None:
    X, y, w = make_rows(classes)
    weights = w if is_weighted else None
    options = {"C": 0.3, "fit_intercept": fit_intercept, "class_weight": class_weight}
    ours = LogisticRegression(tol=1e-8, **options).fit(X, y, weights)
    theirs = linear_model.LogisticRegression(
        solver="newton-cholesky", tol=1e-12, **options
    ).fit(X, y, weights)  # fmt: skip
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=0, atol=1e-6)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=0, atol=1e-6)
    if class_weight is None:
        assert cost(ours, X, y, weights) == pytest.approx(cost(theirs, X, y, weights), rel=1e-9)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)
    assert ours.get_params() == theirs.set_params(solver="lbfgs", tol=1e-8).get_params()


@pytest.mark.parametrize("scaling", [1.0, 30.0])
def test_liblinears_intercept_is_penalised_as_there(scaling: float) -> None:
    X, y, w = make_rows(2)
    options: dict[str, Any] = {"solver": "liblinear", "intercept_scaling": scaling, "C": 0.1}
    ours = LogisticRegression(**options).fit(X, y, w)
    theirs = linear_model.LogisticRegression(tol=1e-12, max_iter=1000, **options).fit(X, y, w)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=0, atol=1e-6)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=0, atol=1e-6)


@pytest.mark.parametrize("classes", [2, 4])
def test_the_gap_bounds_what_is_left_of_the_cost(classes: int) -> None:
    X, y, w = make_rows(classes, rows=20_000)
    w += 0.1
    best = LogisticRegression(C=0.01, tol=1e-8).fit(X, y, w)
    for iterations in (1, 2, 100):
        model = LogisticRegression(C=0.01, max_iter=iterations)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X, y, w)
        left = (cost(model, X, y, w) - cost(best, X, y, w)) / (model.C * w.sum())
        assert left <= model.gap_ + 1e-12
        assert model.l2_ == pytest.approx(1.0 / (2.0 * 0.01 * w.sum()))
    assert model.gap_ <= 1e-6 * cost(model, X, y, w) / (model.C * w.sum())


@pytest.mark.parametrize("solver", ["lbfgs", "liblinear", "newton-cg", "newton-cholesky", "sag"])
def test_a_reached_max_iter_warns_under_scikit_learns_name(solver: str) -> None:
    X, y, _ = make_rows(2)
    with pytest.warns(ConvergenceWarning, match=r"converge.*above the best.*max_iter"):
        model = LogisticRegression(solver=solver, max_iter=1).fit(X, y)
    assert model.n_iter_.tolist() == [1]


def test_without_iterations_the_start_is_kept_and_certified() -> None:
    X, y, _ = make_rows(2)
    with pytest.warns(ConvergenceWarning):
        model = LogisticRegression(max_iter=0).fit(X, y)
    assert not model.coef_.any()
    best = LogisticRegression().fit(X, y)
    assert cost(model, X, y) - cost(best, X, y) <= model.gap_ * len(X)


@pytest.mark.filterwarnings("ignore:Setting penalty=None")  # of scikit-learn 1.8, whatever C
def test_without_a_penalty_separable_classes_are_named() -> None:
    X, y = load_iris(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match="with C=inf the rows of setosa can be separated"):
        model = LogisticRegression(C=np.inf).fit(X, np.array(["setosa", "b", "c"])[y])
    assert model.gap_ == np.inf
    assert model.l2_ == 0.0


@pytest.mark.filterwarnings("ignore:Setting penalty=None")
@pytest.mark.filterwarnings("ignore:'penalty' was deprecated")
def test_the_warning_of_separable_classes_names_what_was_set() -> None:
    X, y = load_iris(return_X_y=True)
    words = "with penalty=None the rows of 0 can.*; leave penalty at its default and C finite"
    with pytest.warns(ConvergenceWarning, match=words):
        LogisticRegression(penalty=None).fit(X, y)
    with pytest.warns(ConvergenceWarning, match="with C=inf .*; set C to a finite number"):
        LogisticRegressionCV(Cs=[1.0, np.inf], cv=3, **SILENT).fit(X, y)


@pytest.mark.parametrize(
    "values", [[], [-1.0], [1.0, 0.0], [np.nan], ["a"], [None], [[1.0, 2.0]], np.array([1, -2])]
)
def test_penalties_that_are_none_are_refused_in_a_sentence(values: Any) -> None:
    X, y, _ = make_rows(2)
    words = r"Cs must be numbers above 0, at least one, or how many to take, but .* was given\.$"
    with pytest.raises(SettingsError, match=words):
        LogisticRegressionCV(Cs=values, cv=3, **SILENT).fit(X, y)


@pytest.mark.parametrize("values", [[], [np.nan]])
def test_l1_ratios_that_are_none_are_refused_in_a_sentence(values: Any) -> None:
    X, y, _ = make_rows(2)
    options = SILENT | {"l1_ratios": values, "solver": "saga"}
    with pytest.raises(SettingsError, match="l1_ratios must be numbers from 0 to 1, at least one"):
        LogisticRegressionCV(Cs=[1.0], cv=3, **options).fit(X, y)


def test_the_type_of_the_coefficients_follows_the_rows() -> None:
    X, y, _ = make_rows(3)
    whole = LogisticRegression().fit(X, y)
    for dtype, expected in (
        (np.float32, np.float32), (np.float16, np.float64), (np.uint8, np.float64),
    ):  # fmt: skip
        rows = (X + 20.0).astype(dtype)
        model = LogisticRegression().fit(rows, y)
        assert model.coef_.dtype == model.intercept_.dtype == expected
        assert model.predict_proba(rows).dtype == (np.float32 if dtype == np.float32 else float)
    assert whole.coef_.dtype == np.float64


def test_a_class_may_weigh_nothing() -> None:
    X, y, _ = make_rows(3)
    model = LogisticRegression(class_weight={0: 0.0}).fit(X, y)
    assert model.classes_.tolist() == [0, 1, 2]
    assert set(model.predict(X)) == {1, 2}
    without = LogisticRegression(C=2.0).fit(X[y > 0], y[y > 0])  # ‖W₁‖² + ‖W₂‖² is ‖W₂ − W₁‖²/2
    np.testing.assert_allclose(model.predict_proba(X)[:, 1:], without.predict_proba(X), atol=1e-6)
    weighted = LogisticRegression().fit(X, y, (y > 0).astype(float))
    np.testing.assert_array_equal(weighted.coef_, model.coef_)
    with pytest.raises(SettingsError, match="class_weight must be finite"):
        LogisticRegression(class_weight={0: -1.0}).fit(X, y)


def test_a_warm_start_needs_no_more_steps_and_the_same_shape() -> None:
    X, y, _ = make_rows(5, rows=5000)
    model = LogisticRegression(warm_start=True).fit(X, y)
    cold = model.n_iter_[0]
    assert model.fit(X, y).n_iter_[0] < cold
    with pytest.raises(ValueError, match=r"shape \(5, 8\), expected shape \(5, 7\)"):
        model.fit(X[:, 1:], y)


def test_progress_is_printed_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    X, y, _ = make_rows(3)
    LogisticRegression(verbose=1).fit(X, y)
    assert "pass 2: cost" in capsys.readouterr().out


@pytest.mark.parametrize("classes", [2, 3])
def test_the_folds_answers_are_scikit_learns(classes: int) -> None:
    X, y, w = make_rows(classes)
    w += 0.5
    options = {"Cs": [1.0, 0.01, 0.1], "cv": 3, "class_weight": "balanced", **SILENT}
    ours = LogisticRegressionCV(tol=1e-8, **options).fit(X, y, w)
    options["solver"] = "newton-cholesky"
    theirs = linear_model.LogisticRegressionCV(tol=1e-12, **options).fit(X, y, w)
    for name in ("coefs_paths_", "scores_", "coef_", "intercept_", "C_", "Cs_", "l1_ratio_"):
        found, expected = getattr(ours, name), getattr(theirs, name)
        assert np.shape(found) == np.shape(expected), name
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5, err_msg=name)
    assert ours.n_iter_.shape == theirs.n_iter_.shape
    alone = LogisticRegression(C=ours.C_, tol=1e-8, class_weight="balanced").fit(X, y, w)
    np.testing.assert_array_equal(ours.coef_, alone.coef_)
    assert ours.gap_ == alone.gap_
    options["refit"] = False
    averaged = LogisticRegressionCV(tol=1e-8, **options).fit(X, y, w)
    assert averaged.gap_ == np.inf
    if sklearn.__version__.startswith("1.8."):  # which cannot fit that
        return
    expected = linear_model.LogisticRegressionCV(tol=1e-12, **options).fit(X, y, w)
    np.testing.assert_allclose(averaged.coef_, expected.coef_, rtol=0, atol=1e-5)


def test_they_work_inside_scikit_learns_tools() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    whole = make_pipeline(StandardScaler(), LogisticRegression(C=0.1)).fit(X, y)
    assert whole.score(X, y) > 0.97
    search = GridSearchCV(LogisticRegression(), {"C": [0.01, 1.0]}, error_score="raise")
    X = StandardScaler().fit_transform(X)
    alone = search.fit(X, y).cv_results_["mean_test_score"]
    with joblib.parallel_config("threading", n_jobs=2):
        together = search.set_params(n_jobs=2).fit(X, y).cv_results_["mean_test_score"]
    np.testing.assert_array_equal(alone, together)
    for estimator in (LogisticRegression(C=0.3), LogisticRegressionCV(Cs=2, cv=2, **SILENT)):
        copy = clone(estimator.fit(X, y))
        assert copy.get_params() == estimator.get_params()
        assert not hasattr(copy, "coef_")
        again = pickle.loads(pickle.dumps(estimator))
        np.testing.assert_array_equal(again.predict_proba(X), estimator.predict_proba(X))
        assert isinstance(again, linear_model.LogisticRegression)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_they_are_models_and_models_are_they(classes: int, fit_intercept: bool) -> None:
    X, y, _ = make_rows(classes)
    data = split(X, y, seed=0)
    train, labels = data.train.X, data.train.labels
    fitted = LogisticRegression(fit_intercept=fit_intercept).fit(train, labels)
    model = fitted.to_model()
    certificate = certify(model, data)
    assert certificate.cost == pytest.approx(cost(fitted, train, labels) / len(train))
    assert certificate.gap <= fitted.gap_ + 1e-9
    np.testing.assert_allclose(model.predict_proba(X), fitted.predict_proba(X), atol=1e-14)
    path = LogisticRegressionCV(Cs=2, cv=2, **SILENT).fit(train, labels)
    assert path.to_model().l2 == pytest.approx(path.l2_ * (2.0 if classes == 2 else 1.0))
    solved = solve(data, l2=0.01, scaling="none")
    again = LogisticRegression.from_model(solved)
    assert again.gap_ == solved.require_certificate().gap
    refitted = LogisticRegression(C=again.C).fit(train, labels)
    np.testing.assert_allclose(refitted.coef_, again.coef_, atol=1e-2)
    with pytest.raises(NotFittedError):
        LogisticRegression().to_model()


def test_a_model_of_many_labels_is_refused() -> None:
    digits = load("digits").train
    marks = np.stack([digits.y % 2 == 0, digits.y > 4, digits.y < 2], axis=1)
    model = solve(split(digits.X, marks), l2=0.01)
    with pytest.raises(SettingsError, match="the model has many labels"):
        LogisticRegression.from_model(model)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_few_features_are_those_of_saga(classes: int, l1_ratio: float, fit_intercept: bool) -> None:
    X, y, w = make_rows(classes)
    options: dict[str, Any] = {
        "solver": "saga", "C": 0.05, "l1_ratio": l1_ratio, "fit_intercept": fit_intercept,
    }  # fmt: skip
    ours = LogisticRegression(tol=1e-7, **options).fit(X, y, w)
    theirs = linear_model.LogisticRegression(tol=1e-9, max_iter=5000, **options).fit(X, y, w)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=0, atol=1e-5)
    assert (ours.coef_ == 0.0).any()

    def total(model: Any) -> float:
        loss = 0.05 * log_loss(y, model.predict_proba(X), normalize=False, sample_weight=w)
        squares, sizes = np.sum(model.coef_**2), np.sum(np.abs(model.coef_))
        return float(loss + 0.5 * (1.0 - l1_ratio) * squares + l1_ratio * sizes)

    assert total(ours) <= total(theirs) + 1e-9
    assert ours.l1_ == pytest.approx(l1_ratio / (0.05 * w.sum()))
    assert ours.gap_ * 0.05 * w.sum() <= 1e-9 * total(ours)
    ours.warm_start = True
    again = ours.fit(X, y, w)
    np.testing.assert_allclose(again.coef_, theirs.coef_, rtol=0, atol=1e-5)


def test_liblinears_intercept_counts_among_few_features() -> None:
    X, y, _ = make_rows(2)
    options: dict[str, Any] = {"solver": "liblinear", "C": 0.05, "l1_ratio": 1}
    ours = LogisticRegression(tol=1e-7, **options).fit(X, y)
    theirs = linear_model.LogisticRegression(tol=1e-10, max_iter=5000, **options).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=0, atol=1e-5)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=0, atol=1e-5)


def test_callbacks_are_kept_with_a_warning_that_none_is_called() -> None:
    if not hasattr(linear_model.LogisticRegression, "set_callbacks"):
        return  # before scikit-learn 1.9
    with pytest.warns(UserWarning, match="does not call callbacks; verbose=1 prints"):
        LogisticRegression().set_callbacks()


@pytest.mark.parametrize(
    ("size", "dtype", "options"),
    [
        (1e20, "f4", {"l1_ratio": 1.0, "solver": "saga"}),
        (1e30, "f8", {}),
        (1e300, "f8", {"C": np.inf}),
        (1e-44, "f4", {"C": np.inf}),
        (1e-310, "f8", {"C": np.inf}),
    ],
)
def test_features_beyond_the_numbers_are_refused_by_name(
    size: float, dtype: str, options: dict[str, Any]
) -> None:
    X, y = np.random.default_rng(0).normal(size=(90, 3)), np.arange(90) % 3
    X[:, 1] *= 10.0
    with pytest.raises(SettingsError, match=r"the largest feature is .* \(feature 1\), too far"):
        LogisticRegression(**options).fit((X * size).astype(dtype), y)


@pytest.mark.parametrize("weight", [1e-320, 1e307])
def test_weights_whose_penalty_is_no_number_are_refused_by_their_own_names(weight: float) -> None:
    X, y = np.random.default_rng(0).normal(size=(90, 3)), np.arange(90) % 3
    with (
        np.errstate(over="ignore"),
        pytest.raises(SettingsError, match=r"C=1 with weights of the sum .*; multiply sample_we"),
    ):
        LogisticRegression().fit(X, y, sample_weight=np.full(90, weight))

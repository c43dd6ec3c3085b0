"""Estimators as models and back, and what their pickles say of versions."""

from __future__ import annotations

import copy
import pickle
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import InconsistentVersionWarning, NotFittedError

from onelayer import (
    Dataset,
    Model,
    SettingsError,
    SoftmaxClassifier,
    SoftmaxClassifierCV,
    certify,
    compare,
    load,
    solve,
    split,
)
from onelayer.sklearn import LogisticRegression, LogisticRegressionCV

CLASSES: dict[str, Any] = {
    "text": np.array(["cat", "dog", "eel"]),
    "integer": np.array([3, 5, 70]),
    "boolean": np.array([False, True]),
}


def make_rows(labels: Any, rows: int = 120) -> tuple[pd.DataFrame, Any]:
    rng = np.random.default_rng(0)
    k = np.arange(rows) % len(labels)
    X = rng.normal(size=(rows, 3)) + 2.0 * np.eye(3)[k]
    return pd.DataFrame(X, columns=["a", "b", "c"]), labels[k]


@pytest.mark.parametrize("kind", CLASSES)
def test_a_classifier_is_a_model_with_the_same_labels_and_probabilities(
    kind: str, tmp_path: Path
) -> None:
    X, y = make_rows(CLASSES[kind])
    fitted = SoftmaxClassifier(l2=0.01).fit(X, y)
    fitted.to_model().save(tmp_path / "m")
    model = Model.load(tmp_path / "m")
    np.testing.assert_allclose(model.predict_proba(X), fitted.predict_proba(X), atol=1e-14)
    assert (model.predict(X) == fitted.predict(X)).all()
    assert model.predict(X).dtype.kind == fitted.predict(X).dtype.kind
    assert (model.predict(X[["c", "a", "b"]]) == fitted.predict(X)).all()
    np.testing.assert_array_equal(model.scaling.high, X.max())
    again = SoftmaxClassifier.from_model(model)
    np.testing.assert_allclose(again.coef_, fitted.coef_, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(again.intercept_, fitted.intercept_, rtol=1e-12, atol=1e-14)
    assert again.feature_names_in_.tolist() == ["a", "b", "c"]
    assert (again.predict(X) == fitted.predict(X)).all()
    assert again.l2 == fitted.l2
    assert again.n_iter_ == fitted.n_iter_


@pytest.mark.parametrize("kind", CLASSES)
def test_the_models_cost_and_bound_are_the_classifiers(kind: str) -> None:
    X, y = make_rows(CLASSES[kind])
    data = split(X, y)
    fitted = SoftmaxClassifier(l2=0.01).fit(data.train.X, data.train.labels)
    certificate = certify(fitted.to_model(), data)
    assert certificate.cost == pytest.approx(fitted.history_["cost"][-1], rel=1e-6)
    assert certificate.gap <= 1e-6 * certificate.cost
    assert certificate.trained_with == ""
    evaluation = fitted.to_model().evaluate(data.test)
    assert evaluation.accuracy == fitted.score(data.test.X, data.test.labels)
    weighted = SoftmaxClassifier(l2=0.01, class_weight="balanced")
    weighted.fit(data.train.X, data.train.labels, np.arange(data.train.rows) + 1.0)
    proven = certify(weighted.to_model(), data)
    assert proven.trained_with == "weights of the rows"
    weights: Any = np.arange(data.train.rows) + 1.0
    proven = certify(weighted.to_model(), replace(data.train, weights=weights))
    assert proven.trained_with == ""
    assert proven.cost == pytest.approx(weighted.history_["cost"][-1], rel=1e-6)
    assert proven.gap <= 1e-6 * proven.cost


@pytest.mark.parametrize("scaling", ["unit", "standardize", "none"])
def test_a_solved_model_is_fitted_again_to_itself(scaling: str) -> None:
    data = load("digits")
    model = solve(data, l2=0.01, scaling=scaling, tol=1e-9)
    made = SoftmaxClassifier.from_model(model)
    before = made.coef_.copy()
    again = made.set_params(tol=1e-9).fit(data.train.X, data.train.y)
    np.testing.assert_allclose(before, again.coef_, atol=1e-4 * np.abs(before).max())


ESTIMATORS: dict[str, Any] = {
    "scaled": SoftmaxClassifier(0.01, scaling="standardize"),
    "in units": SoftmaxClassifier(0.01, scaling="auto"),
    "by path": SoftmaxClassifierCV([0.1, 0.01], cv=2, scaling="standardize"),
    "by factors": SoftmaxClassifier(
        0.01, scaling="standardize", penalty_factors=np.linspace(0.5, 2.0, 30)
    ),
    "by class weight": SoftmaxClassifier(0.01, class_weight={"benign": 2.0}),
    "no intercept": SoftmaxClassifier(0.01, fit_intercept=False, scaling="standardize"),
    "logistic": LogisticRegression(C=0.3),
    "logistic by path": LogisticRegressionCV(
        Cs=[0.1, 1.0], cv=2, l1_ratios=(0,), use_legacy_attributes=False, scoring="accuracy"
    ),
    "few features": LogisticRegression(C=0.3, l1_ratio=1.0, solver="saga"),
    "some features": LogisticRegression(C=0.3, l1_ratio=0.5, solver="saga", fit_intercept=False),
}  # fmt: skip


@pytest.fixture(scope="module")
def tumours() -> Dataset:
    found = load_breast_cancer()
    X = (50.0 * found.data / found.data.max(axis=0)).astype(np.uint8)
    return Dataset(X, found.target, ("malignant", "benign"), label_type="text")


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_the_model_of_an_estimator_has_its_proof_and_so_has_the_way_back(
    kind: str, tumours: Dataset
) -> None:
    fitted = clone(ESTIMATORS[kind]).fit(tumours.X, tumours.labels)
    fitted.set_params(**{"C": 7.0} if kind == "logistic" else {})  # it is fitted no more
    model = fitted.to_model()
    proven = certify(model, tumours)
    assert proven.trained_with == ""
    assert proven.gap <= fitted.gap_ + 2e-6 * proven.cost
    back = LogisticRegression if model.l1 else SoftmaxClassifier
    for way in (back, LogisticRegression):
        again = way.from_model(model)
        np.testing.assert_allclose(again.coef_, fitted.coef_, rtol=1e-9, atol=1e-12)
        assert certify(again.to_model(), tumours).gap == pytest.approx(proven.gap, abs=1e-9)


@pytest.mark.parametrize("kind", [*ESTIMATORS])
def test_who_comes_from_a_model_finds_the_same_optimum_where_it_has_that_cost(
    kind: str, tumours: Dataset
) -> None:
    fitted = clone(ESTIMATORS[kind]).fit(tumours.X, tumours.labels)
    model = fitted.to_model()
    p = model.predict_proba(tumours.X)
    if not model.l1:
        again = SoftmaxClassifier.from_model(model).fit(tumours.X, tumours.labels)
        np.testing.assert_allclose(again.predict_proba(tumours.X), p, atol=0.02)
    of_standardized = model.scaling.name == "standardize"
    logistic = LogisticRegression.from_model(model)
    if of_standardized or isinstance(model.settings["class_weight"], dict):
        assert logistic.C == 1.0
    else:
        found = logistic.fit(tumours.X, tumours.labels).predict_proba(tumours.X)
        np.testing.assert_allclose(found, p, atol=0.02)
        if kind == "logistic":
            assert pytest.approx(0.3) == logistic.C
    theirs = model.to_sklearn()
    assert theirs.C == logistic.C
    assert theirs.fit_intercept == model.intercept
    assert theirs.class_weight == getattr(fitted, "class_weight", None)


def test_what_an_estimator_cannot_represent_is_refused_or_said(tumours: Dataset) -> None:
    X: Any = tumours.X
    labels = tumours.labels
    penalised = LogisticRegression(C=0.3, solver="liblinear").fit(X, labels).to_model()
    assert certify(penalised, tumours).trained_with == "a penalty of the intercept"
    again = LogisticRegression.from_model(penalised)
    assert (again.solver, again.C) == ("liblinear", pytest.approx(0.3))
    chosen = solve(tumours, l1=0.05)
    with pytest.raises(SettingsError, match=r"SoftmaxClassifier has no ℓ1, but .* λ₁ = 0\.05"):
        SoftmaxClassifier.from_model(chosen)
    many = solve(split(X, np.stack([tumours.y == 1, X[:, 0] > 20], axis=1)), l2=0.01)
    with pytest.raises(SettingsError, match="the model has many labels"):
        SoftmaxClassifier.from_model(many)
    averaged = LogisticRegressionCV(
        Cs=[0.1, 1.0], cv=2, l1_ratios=(0,), refit=False, scoring="accuracy",
        use_legacy_attributes=False,
    ).fit(X, labels)  # fmt: skip
    assert averaged.to_model().l2 is None
    said = list[str]()
    known = solve(split(X, labels), l2=0.01)
    compare(averaged.to_model(), known, tumours, log=said.append)
    assert said == ["the rows that a was fitted to are not known: none of them is left out"]


def test_sparsified_coefficients_are_a_model_and_a_start(tumours: Dataset) -> None:
    fitted = LogisticRegression(C=0.3, warm_start=True).fit(tumours.X, tumours.labels)
    p = fitted.predict_proba(tumours.X)
    model = fitted.sparsify().to_model()
    np.testing.assert_allclose(model.predict_proba(tumours.X), p, atol=1e-12)
    again = fitted.fit(tumours.X, tumours.labels)
    np.testing.assert_allclose(again.predict_proba(tumours.X), p, atol=1e-3)


def test_the_classifier_of_a_path_and_of_parts_are_models() -> None:
    X, y = make_rows(CLASSES["text"])
    path = SoftmaxClassifierCV(l2s=[0.1, 0.01], cv=3).fit(X, y)
    assert path.to_model().l2 == path.l2_
    parts = SoftmaxClassifier(solver="minibatch")
    for part in (slice(0, 50), slice(50, None)):
        parts.partial_fit(X[part], y[part], classes=CLASSES["text"])
    np.testing.assert_array_equal(parts.to_model().scaling.low, X.min())
    with pytest.raises(NotFittedError):
        SoftmaxClassifier().to_model()


def test_a_pickle_of_another_version_is_read_with_a_warning() -> None:
    X, y = make_rows(CLASSES["text"])
    fitted = SoftmaxClassifier().fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = pickle.loads(pickle.dumps(copy.deepcopy(fitted)))
    assert not hasattr(same, "_onelayer_version")
    state = fitted.__getstate__() | {"_onelayer_version": "0.0.1"}
    said = r"this SoftmaxClassifier was pickled by onelayer 0\.0\.1 and is read by .*; fit it again"
    with pytest.warns(InconsistentVersionWarning, match=said):
        same.__setstate__(state)
    assert (same.predict(X) == fitted.predict(X)).all()

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
from sklearn.exceptions import InconsistentVersionWarning, NotFittedError

from onelayer import Model, SoftmaxClassifier, SoftmaxClassifierCV, certify, load, solve, split

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

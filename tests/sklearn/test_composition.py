"""Inside scikit-learn's other tools: pipelines, searches, calibration, routing, pickles."""

from __future__ import annotations

import pickle
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import onelayer
from onelayer.sklearn import SoftmaxClassifier, SoftmaxClassifierCV

X, Y = load_iris(return_X_y=True)
ALL = [
    SoftmaxClassifier(),
    SoftmaxClassifier(solver="minibatch", scaling="standardize", epochs=200, random_state=0),
    SoftmaxClassifierCV(l2s=[0.1, 0.001], cv=3),
]
every_estimator = pytest.mark.parametrize("estimator", ALL, ids=["optimum", "minibatch", "path"])


def test_the_names_are_onelayers_own() -> None:
    assert onelayer.SoftmaxClassifier is SoftmaxClassifier
    assert onelayer.SoftmaxClassifierCV is SoftmaxClassifierCV
    assert "SoftmaxClassifier" in dir(onelayer)
    with pytest.raises(AttributeError, match="no attribute 'SoftmaxRegressor'"):
        _ = onelayer.SoftmaxRegressor


@every_estimator
def test_a_pipeline_scales_for_it(estimator: Any) -> None:
    pipeline = make_pipeline(StandardScaler(), clone(estimator)).fit(X, Y)
    assert pipeline.score(X, Y) > 0.9
    assert is_classifier(estimator)


@every_estimator
def test_cross_validation_scores_it(estimator: Any) -> None:
    assert cross_val_score(clone(estimator), X, Y, cv=3).mean() > 0.9


def test_searches_over_numpys_numbers_find_a_setting() -> None:
    grid = {"l2": np.logspace(-4, 0, 3), "scaling": ["none", "standardize"]}
    search = GridSearchCV(SoftmaxClassifier(), grid, cv=3, error_score="raise").fit(X, Y)
    assert search.best_score_ > 0.9
    grid = {"l2": [1e-3], "epochs": np.array([5, 50]), "batch_size": np.array([10, 50])}
    model = SoftmaxClassifier(solver="minibatch", random_state=0, scaling="standardize")
    random = RandomizedSearchCV(
        model, grid, n_iter=3, cv=3, random_state=0, error_score="raise"
    ).fit(X, Y)
    assert random.best_score_ > 0.9


@every_estimator
def test_calibration_and_bagging_take_it(estimator: Any) -> None:
    calibrated = CalibratedClassifierCV(clone(estimator), cv=3).fit(X, Y)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1.0)
    bagged = BaggingClassifier(clone(estimator), n_estimators=3, random_state=0).fit(X, Y)
    assert bagged.score(X, Y) > 0.9


@every_estimator
def test_weights_are_routed_through_a_pipeline(estimator: Any) -> None:
    weights = np.linspace(0.1, 3.0, len(Y))
    alone = clone(estimator).fit(X, Y, sample_weight=weights)
    with config_context(enable_metadata_routing=True):
        asked = clone(estimator).set_fit_request(sample_weight=True)
        asked.set_score_request(sample_weight=True)
        pipeline = make_pipeline(asked).fit(X, Y, sample_weight=weights)
        np.testing.assert_array_equal(pipeline[-1].coef_, alone.coef_)
        expected = alone.score(X, Y, sample_weight=weights)
        assert pipeline.score(X, Y, sample_weight=weights) == pytest.approx(expected)


@every_estimator
@pytest.mark.parametrize("keeper", ["pickle", "joblib"])
def test_a_pickle_predicts_and_learns_as_before(estimator: Any, keeper: str, tmp_path: Any) -> None:
    model = clone(estimator).fit(X, Y)
    if keeper == "pickle":
        again = pickle.loads(pickle.dumps(model))
    else:
        joblib.dump(model, tmp_path / "model")
        again = joblib.load(tmp_path / "model", mmap_mode="r")
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(again.fit(X, Y).coef_, model.coef_)


@every_estimator
def test_a_clone_has_the_arguments_and_nothing_learned(estimator: Any) -> None:
    copy = clone(clone(estimator).fit(X, Y))
    assert copy.get_params() == estimator.get_params()
    assert not hasattr(copy, "coef_")


@every_estimator
def test_probabilities_scores_and_labels_belong_together(estimator: Any) -> None:
    for data, labels in ((X, Y), load_breast_cancer(return_X_y=True)):
        model = clone(estimator)
        model.scaling = "standardize"
        model.fit(data, labels)
        p, s = model.predict_proba(data), model.decision_function(data)
        np.testing.assert_allclose(model.predict_log_proba(data), np.log(p), atol=1e-9)
        np.testing.assert_array_equal(model.predict(data), model.classes_[p.argmax(axis=1)])
        by_hand = data @ model.coef_.T + model.intercept_
        np.testing.assert_allclose(s, by_hand[:, 0] if s.ndim == 1 else by_hand, atol=1e-8)
        if s.ndim == 1:
            np.testing.assert_allclose(s, np.log(p[:, 1] / p[:, 0]), atol=1e-6)

"""Rows with weights are judged by them, as by scikit-learn's sample_weight; classes are not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as theirs

import onelayer as ol
from onelayer.data import Dataset
from onelayer.model.intervals import wilson_interval
from tests.made_data import make_dataset, make_splits

RNG = np.random.default_rng(5)
WEIGHTS: Any = RNG.choice([0.0, 0.5, 1.0, 3.0], 90)


def model_and_rows() -> tuple[ol.Model, Dataset]:
    data = make_splits()
    return ol.solve(data, 0.001, class_weight={"a": 2}), replace(data.test, weights=WEIGHTS)


def test_every_figure_is_scikit_learns_with_sample_weight() -> None:
    model, rows = model_and_rows()
    found = model.evaluate(rows)
    y, P, w = rows.y, model.predict_proba(rows.X), WEIGHTS
    predicted = P.argmax(axis=1)
    assert found.accuracy == pytest.approx(theirs.accuracy_score(y, predicted, sample_weight=w))
    assert found.log_loss == pytest.approx(theirs.log_loss(y, P, sample_weight=w))
    expected = theirs.precision_recall_fscore_support(y, predicted, sample_weight=w)
    for name, values in zip(("precision", "recall", "f1"), expected, strict=False):
        np.testing.assert_allclose(getattr(found, name), values, rtol=1e-12)
    kept = w > 0
    np.testing.assert_array_equal(
        found.confusion, theirs.confusion_matrix(y[kept], predicted[kept])
    )
    assert found.rows == kept.sum()
    n = float(w.sum() ** 2 / (w @ w))
    assert found.interval == pytest.approx(wilson_interval(found.accuracy * n, n))
    assert "weighted rows" in repr(found)
    assert found.as_dict()["effective_rows"] == pytest.approx(n)


@pytest.mark.parametrize("scoring", ["accuracy", "f1_macro", "roc_auc_ovr", "ece", "brier_score"])
def test_a_whole_weight_is_a_row_repeated(scoring: str) -> None:
    model, rows = model_and_rows()
    whole: Any = RNG.integers(0, 4, rows.rows)
    often = replace(rows, weights=None).take(np.repeat(np.arange(rows.rows), whole))
    by_weight = model.evaluate(replace(rows, weights=whole), scoring=scoring)
    by_rows = model.evaluate(often, scoring=scoring)
    for name in ("accuracy", "log_loss"):
        assert getattr(by_weight, name) == pytest.approx(getattr(by_rows, name), rel=1e-12)
    assert by_weight.reliability.error == pytest.approx(by_rows.reliability.error, rel=1e-9)
    assert by_weight.metrics[0].value == pytest.approx(by_rows.metrics[0].value, rel=1e-9)


def test_weights_times_a_constant_and_equal_weights_change_nothing() -> None:
    model, rows = model_and_rows()
    one, other = (model.evaluate(replace(rows, weights=f * WEIGHTS)) for f in (1.0, 1e-200))
    assert one.accuracy == pytest.approx(other.accuracy, rel=1e-12)
    assert one.interval == pytest.approx(other.interval, rel=1e-12)
    plain = model.evaluate(replace(rows, weights=None))
    equal = model.evaluate(replace(rows, weights=np.full(90, 2.0)))
    for name in ("accuracy", "log_loss", "interval"):
        assert getattr(equal, name) == pytest.approx(getattr(plain, name), rel=1e-12)
    np.testing.assert_allclose(equal.f1, plain.f1)


def test_solve_and_evaluate_agree_on_weighted_rows() -> None:
    data = make_splits()
    data = replace(data, **{
        role: replace(getattr(data, role), weights=WEIGHTS + 0.5) for role in ("validation", "test")
    })  # fmt: skip
    path = ol.solve_path(data, [0.1, 0.01], class_weight="balanced")
    judged = path.best.evaluate(data)
    assert path.test is not None
    assert judged.accuracy == pytest.approx(path.test.accuracy, rel=1e-12)
    assert judged.interval == pytest.approx(path.test.interval, rel=1e-12)
    result = ol.train(data, ol.Run(0.1, epochs=3))
    judged = result.best.evaluate(data)
    assert result.test_accuracy[0] == pytest.approx(judged.accuracy, rel=1e-12)
    assert result.test_interval(0) == pytest.approx(judged.interval, rel=1e-12)
    on_validation = result.best.evaluate(data.validation)
    assert result.validation_accuracy[0] == pytest.approx(on_validation.accuracy, rel=1e-12)
    best = result.ranking[0]
    assert best.mean == pytest.approx(on_validation.accuracy, rel=1e-12)


@pytest.mark.usefixtures("blank_pages")
def test_a_saved_result_keeps_its_weighted_figures(tmp_path: Any) -> None:
    data = make_splits()
    data = replace(data, test=replace(data.test, weights=WEIGHTS))
    result = ol.train(data, ol.Run(0.1, epochs=2), snapshots=[0])
    result.save(tmp_path / "run")
    again = ol.Result.load(tmp_path / "run")
    np.testing.assert_array_equal(again.test_accuracy, result.test_accuracy)
    np.testing.assert_array_equal(again.reliability[0].rows, result.reliability[0].rows)
    assert again.reliability[0].error == result.reliability[0].error


def test_weighted_rows_are_compared_by_the_bootstrap_of_their_weights() -> None:
    data = make_splits()
    strong, weak = ol.solve(data, 0.001), ol.solve(data, 5.0)
    rows = replace(data.test, weights=WEIGHTS)
    found = ol.compare(strong, weak, rows, resamples=200)
    accuracies = [model.evaluate(rows).accuracy for model in (strong, weak)]
    assert found.difference == pytest.approx(accuracies[0] - accuracies[1], abs=1e-12)
    assert found.rows == np.count_nonzero(WEIGHTS)
    assert found.test.startswith("paired bootstrap")


def test_many_labels_are_judged_by_weight_too() -> None:
    rng = np.random.default_rng(0)
    y = rng.random((90, 3)) < 0.4
    X = rng.normal(size=(90, 4)) + 2 * y[:, [0, 1, 2, 0]]
    data = ol.split(X, y)
    model = ol.solve(data, 0.01)
    whole: Any = rng.integers(0, 3, data.test.rows)
    often = data.test.take(np.repeat(np.arange(data.test.rows), whole))
    by_weight = model.evaluate(replace(data.test, weights=whole))
    by_rows = model.evaluate(often)
    for name, value in by_rows.figures.items():  # type: ignore[attr-defined]
        assert by_weight.figures[name] == pytest.approx(value, rel=1e-12)  # type: ignore[attr-defined]
    np.testing.assert_allclose(by_weight.f1, by_rows.f1, rtol=1e-12)
    assert by_weight.rows == np.count_nonzero(whole)


def test_rows_of_weight_0_are_not_counted_as_left_out_training_rows() -> None:
    data = make_splits()
    model = ol.solve(data, 0.05)
    rows = replace(make_dataset(90, 1), weights=WEIGHTS)
    found = model.evaluate(rows)
    assert found.training_rows == np.count_nonzero(WEIGHTS)

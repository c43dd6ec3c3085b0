"""Every figure of an evaluation against scikit-learn's, SciPy's, or its definition in loops."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics

from onelayer import Run, fit_best_linear, solve, solve_path, train
from onelayer.data import Dataset
from onelayer.data.dataset import data_card
from onelayer.data.fingerprints import row_fingerprints
from onelayer.data.scaling import Scaling
from onelayer.errors import DataError
from onelayer.experiments.best_linear import Recipe
from onelayer.model import evaluation as evaluation_module
from onelayer.model import rows as model_rows
from onelayer.model.evaluation import Evaluation, evaluate
from onelayer.model.intervals import wilson_interval
from onelayer.model.metrics import BINS
from onelayer.model.model import Model
from tests.made_data import make_splits
from tests.model.datasets import make_model, make_rows


def scored(S: NDArray[np.float64], y: NDArray[np.int64], names: tuple[str, ...] = ()) -> Evaluation:
    """Evaluate scores: rows are the scores themselves, and W is the identity."""
    K = S.shape[1]
    scaling = Scaling("none", np.ones(K), np.zeros(K))
    model = Model(np.eye(K), np.zeros(K), scaling, names or tuple(map(str, range(K))))
    return evaluate(model, Dataset(S, y, model.class_names))


def made(classes: int, rows: int = 400, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, rows)
    S = rng.normal(size=(rows, classes)) * 2.0
    S[np.arange(rows), y] += 1.5
    return S, y


def probabilities(S: NDArray[np.float64]) -> NDArray[np.float64]:
    e = np.exp(S - S.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("classes", [2, 3, 5, 6, 10, 40])
@pytest.mark.parametrize("seed", range(3))
def test_figures_are_those_of_scikit_learn(classes: int, seed: int) -> None:
    S, y = made(classes, seed=seed)
    evaluated, predicted, p = scored(S, y), S.argmax(axis=1), probabilities(S)
    labels = list(range(classes))
    assert evaluated.rows == len(y)
    assert evaluated.accuracy == metrics.accuracy_score(y, predicted)
    np.testing.assert_array_equal(
        evaluated.confusion, metrics.confusion_matrix(y, predicted, labels=labels)
    )
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        y, predicted, labels=labels, zero_division=np.nan
    )
    np.testing.assert_allclose(evaluated.precision, precision, rtol=1e-14)
    np.testing.assert_allclose(evaluated.recall, recall, rtol=1e-14)
    np.testing.assert_allclose(evaluated.f1, f1, rtol=1e-14)
    np.testing.assert_array_equal(evaluated.support, support)
    assert evaluated.log_loss == pytest.approx(metrics.log_loss(y, p, labels=labels), rel=1e-13)
    if classes > 5:
        top = metrics.top_k_accuracy_score(y, S, k=5, labels=labels)
        assert evaluated.top_accuracy == pytest.approx(top, rel=1e-14)
    else:
        assert evaluated.top_accuracy is None


@pytest.mark.parametrize("classes", [2, 10])
def test_calibration_is_its_definition_in_a_loop(classes: int) -> None:
    S, y = made(classes, seed=7)
    p = probabilities(S)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    curve = scored(S, y).reliability
    error = 0.0
    for m in range(BINS):
        inside = [i for i in range(len(y)) if m / BINS < confidence[i] <= (m + 1) / BINS]
        assert curve.rows[m] == len(inside)
        if not inside:
            assert math.isnan(curve.confidence[m])
            continue
        mean = sum(confidence[i] for i in inside) / len(inside)
        share = sum(bool(right[i]) for i in inside) / len(inside)
        assert curve.confidence[m] == pytest.approx(mean, rel=1e-13)
        assert curve.accuracy[m] == pytest.approx(share, rel=1e-13)
        error += len(inside) / len(y) * abs(share - mean)
    assert curve.error == pytest.approx(error, rel=1e-12)
    assert curve.rows.sum() == len(y)


def test_certain_predictions_fall_into_the_last_bin_and_even_ones_below_their_edge() -> None:
    S = np.array([[1e4, -1e4], [0.0, 0.0]])
    curve = scored(S, np.array([0, 1])).reliability
    assert curve.rows[-1] == 1
    assert curve.rows[7] == 1  # 0.5 lies in (7/15, 8/15]
    assert curve.error == pytest.approx(0.25)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    edges = np.array([1 / BINS, 0.2, 1.0])
    rows, right, confidence = evaluation_module._binned(edges, np.array([True, False, True]))
    assert np.flatnonzero(rows).tolist() == [0, 2, BINS - 1]
    assert (right[2], confidence[2]) == (0.0, 0.2)


def test_a_confident_mistake_has_a_finite_loss() -> None:
    evaluated = scored(np.array([[1e4, 0.0]]), np.array([1]))
    assert evaluated.log_loss == 1e4


def test_of_equal_scores_the_first_classes_count_in_the_top_as_well() -> None:
    evaluated = scored(np.zeros((7, 7)), np.arange(7))
    assert evaluated.in_top == 5
    assert evaluated.correct == 1


def test_a_class_that_is_never_predicted_or_never_there_has_no_share() -> None:
    evaluated = scored(np.array([[1.0, 0.0, 0.0]] * 2), np.array([0, 1]))
    np.testing.assert_array_equal(evaluated.precision, [0.5, np.nan, np.nan])
    np.testing.assert_array_equal(evaluated.recall, [1.0, 0.0, np.nan])
    np.testing.assert_array_equal(evaluated.f1, [2 / 3, 0.0, np.nan])


def test_tiles_do_not_change_a_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    model, X = make_model(6), make_rows(100)
    rows = Dataset(X, np.arange(100) % 6, model.class_names)
    whole = evaluate(model, rows)
    monkeypatch.setattr(model_rows, "TILE_ENTRIES", 12 * 9)
    parts = evaluate(model, rows)
    np.testing.assert_array_equal(parts.confusion, whole.confusion)
    assert parts.in_top == whole.in_top
    assert parts.log_loss == pytest.approx(whole.log_loss, rel=1e-13)
    assert parts.reliability.error == pytest.approx(whole.reliability.error, rel=1e-12)


def test_rows_of_other_classes_are_refused() -> None:
    rows = Dataset(make_rows(3), np.arange(3), ("x", "y", "z"), name="other")
    with pytest.raises(
        DataError, match=r"other should have the model's classes, class 0.* x, y, z"
    ):
        evaluate(make_model(), rows)
    with pytest.raises(DataError, match="12 features"):
        evaluate(make_model(), Dataset(make_rows(3, 9), np.arange(3), make_model().class_names))


def test_classes_are_met_by_name_in_any_order_and_number() -> None:
    model = make_model(4, class_names=("a", "b", "c", "d"))
    X = make_rows(200)
    y = np.arange(200) % 4
    whole = evaluate(model, Dataset(X, y, model.class_names))
    assert (whole.left_out, whole.omissions) == ({}, "")
    turned = evaluate(model, Dataset(X, 3 - y, ("d", "c", "b", "a")))
    np.testing.assert_array_equal(turned.confusion, whole.confusion)
    # Rows of b and d are absent, those of two other classes do not count.
    few = Dataset(X, np.array([2, 1, 0, 3])[y], ("c", "x", "a", "y"))
    part = evaluate(model, few)
    known = Dataset(X[y % 2 == 0], y[y % 2 == 0], model.class_names)
    np.testing.assert_array_equal(part.confusion, evaluate(model, known).confusion)
    assert part.log_loss == pytest.approx(evaluate(model, known).log_loss, rel=1e-13)
    assert part.left_out == {"x": 50, "y": 50}
    assert part.as_dict()["left_out"] == part.left_out
    assert repr(part).endswith(
        "left out, because the model has no such class: 50 rows of 'x', 50 rows of 'y'; "
        "no rows of the classes: b, d"
    )


@given(st.integers(1, 10**9).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_wilson_interval_lies_in_0_1_and_holds_the_share(counts: tuple[int, int]) -> None:
    right, rows = counts
    low, high = wilson_interval(right, rows)
    assert 0.0 <= low <= right / rows <= high <= 1.0
    assert low < high


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_wilson_interval_is_scipys(counts: tuple[int, int]) -> None:
    from scipy.stats import binomtest

    expected = binomtest(*counts).proportion_ci(0.95, method="wilson")
    assert wilson_interval(*counts) == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_wilson_interval_is_mirrored_and_narrows(counts: tuple[int, int]) -> None:
    right, rows = counts
    low, high = wilson_interval(right, rows)
    other_low, other_high = wilson_interval(rows - right, rows)
    assert (1 - other_high, 1 - other_low) == pytest.approx((low, high), abs=1e-12)
    four = wilson_interval(4 * right, 4 * rows)
    assert four[1] - four[0] < high - low


@pytest.mark.parametrize("classes", [3, 10])
def test_the_json_holds_every_figure(classes: int) -> None:
    S, y = made(classes, seed=2)
    y[y == 1] = 0
    evaluated = scored(S, y)
    told = json.loads(json.dumps(evaluated.as_dict(), allow_nan=False))
    assert told["accuracy"] == evaluated.accuracy
    assert told["accuracy_interval_95"] == list(evaluated.interval)
    assert told["top_5_accuracy"] == evaluated.top_accuracy
    assert told["log_loss"] == evaluated.log_loss
    assert told["expected_calibration_error"] == evaluated.reliability.error
    assert told["confusion"] == evaluated.confusion.tolist()
    assert told["classes"][1]["recall"] is None
    assert told["classes"][0] == {
        "name": "0",
        "precision": evaluated.precision[0],
        "recall": evaluated.recall[0],
        "f1": evaluated.f1[0],
        "support": evaluated.support[0],
    }
    assert sum(told["calibration"]["rows"]) == len(y)
    assert len(told["calibration"]["edges"]) == BINS + 1


def test_confident_mistakes_are_the_wrong_rows_of_highest_probability_in_any_tiles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    S, y = made(4, rows=300, seed=3)
    p, predicted = probabilities(S).max(axis=1), S.argmax(axis=1)
    wrong = np.flatnonzero(predicted != y)
    expected = wrong[np.argsort(-p[wrong])][:24]
    monkeypatch.setattr(model_rows, "TILE_ENTRIES", 4 * 7)
    found = scored(S, y).mistakes
    assert found is not None
    np.testing.assert_array_equal(found.rows, expected)
    np.testing.assert_array_equal(found.true, y[expected])
    np.testing.assert_array_equal(found.predicted, predicted[expected])
    np.testing.assert_allclose(found.confidence, p[expected], rtol=1e-14)
    assert found.images is None


def test_mistakes_keep_their_row_number_beside_unknown_classes_their_pixels_and_their_name() -> (
    None
):
    X = np.array([[0.0, 8.0], [8.0, 0.0], [16.0, 4.0]])
    rows = Dataset(
        *(X, np.array([2, 1, 1]), ("left", "right", "up")),
        image_shape=(1, 1, 2), max_value=16.0, ids=np.array(["p", "q", "r"]),
    )  # fmt: skip
    found = evaluate(Model(np.eye(2), np.zeros(2), class_names=("left", "right")), rows).mistakes
    assert found is not None
    assert found.rows.tolist() == [2, 1]
    assert found.ids == ("r", "q")
    assert found.images is not None
    assert found.images.tolist() == [[255, 64], [128, 0]]


def with_training_rows(rows: Dataset) -> Model:
    """A model that knows that it was fitted to these rows."""
    return replace(make_model(3), split=data_card(rows).split)


def test_rows_that_the_model_was_trained_on_are_left_out_and_counted() -> None:
    X, y = make_rows(60), np.arange(60) % 3
    names = make_model(3).class_names
    model = with_training_rows(Dataset(X[:40], y[:40], names))
    mixed = Dataset(X[20:].astype(np.float64), y[20:], names)
    fresh = evaluate(model, mixed)
    np.testing.assert_array_equal(
        fresh.confusion, evaluate(model, Dataset(X[40:], y[40:], names)).confusion
    )
    assert (fresh.rows, fresh.training_rows, fresh.training_rows_left_out) == (20, 0, 20)
    assert fresh.omissions == "left out, because the model was trained on them: 20 of 40 rows"
    assert fresh.mistakes is not None
    assert (fresh.mistakes.rows >= 20).all(), "numbers are those of the rows that were given"
    every = model.evaluate(mixed, include_training_rows=True)
    assert (every.rows, every.training_rows, every.training_rows_left_out) == (40, 20, 0)
    assert every.omissions == "the model was trained on 20 of these 40 rows"
    assert every.as_dict()["training_rows"] == 20


def test_rows_that_are_all_training_rows_are_evaluated_and_said_to_be_such() -> None:
    rows = Dataset(make_rows(30), np.arange(30) % 3, make_model(3).class_names)
    evaluated = with_training_rows(rows).evaluate(rows)
    np.testing.assert_array_equal(evaluated.confusion, evaluate(make_model(3), rows).confusion)
    assert "the model was trained on 30 of these 30 rows" in repr(evaluated)


def test_every_way_to_a_model_notes_its_training_rows() -> None:
    splits = make_splits()
    rows = np.unique(row_fingerprints(splits.train.X))
    made = [
        solve(splits, l2=0.1),
        solve_path(splits, [1.0, 0.1]).best,
        train(splits, Run(0.01, epochs=1)).best,
        fit_best_linear(splits, Recipe(epochs=1, moves=0, flips=False)),
    ]
    for model in made:
        assert model.split is not None
        np.testing.assert_array_equal(model.split.rows, rows)

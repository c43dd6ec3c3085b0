"""A model classifies rows as they are stored, whatever their type, without copying them."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onelayer.data import Splits, split
from onelayer.data.scaling import Scaling
from onelayer.engines import make_engine
from onelayer.errors import DataError, SettingsError
from onelayer.model import rows as model_rows
from onelayer.model.model import Model
from onelayer.objective.loss import scores, softmax
from onelayer.solver import solve
from onelayer.training.loop import train
from onelayer.training.result import Result
from onelayer.training.run import Run, grid
from onelayer.training.run_folder import save_records
from tests.model.datasets import make_model, make_rows
from tests.report.made_paths import make_path


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_are_the_softmax_of_the_oracles_scores(dtype: type, engine: str) -> None:
    model, X = make_model(dtype=dtype), make_rows()
    expected = scores(model.scaling.apply(X), model.W, model.b)
    chosen = make_engine(engine)
    np.testing.assert_allclose(model.scores(X, chosen), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(model.predict_proba(X, chosen), softmax(expected), atol=1e-14)
    np.testing.assert_array_equal(model.predict(X, chosen), expected.argmax(axis=1))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "kind", ["float16", "float32", "float64", ">f4", "int8", "int64", "bool", "list", "columns"]
)
def test_rows_of_any_type_give_the_scores_of_their_values(kind: str) -> None:
    model = make_model()
    X: Any = make_rows() % 2
    plain = model.scores(X)
    if kind == "list":
        X = X.tolist()
    elif kind == "columns":
        X = np.repeat(X, 2, axis=1)[:, ::2]
    else:
        X = X.astype(kind)
    np.testing.assert_array_equal(model.scores(X), plain)


def test_read_only_rows_are_read_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    model, X = make_model(), make_rows()
    X.flags.writeable = False
    seen: list[bool] = []
    engine = make_engine()
    inner = engine.scores

    def watched(rows: Any, weights: Any) -> Any:
        seen.append(np.shares_memory(rows.X, X))
        return inner(rows, weights)

    monkeypatch.setattr(engine, "scores", watched)
    model.scores(X, engine)
    assert seen == [True]


def test_tiles_do_not_change_a_score(monkeypatch: pytest.MonkeyPatch) -> None:
    model, X = make_model(), make_rows(40)
    whole = model.scores(X)
    monkeypatch.setattr(model_rows, "TILE_ENTRIES", 7 * model.features)
    tiles = list(model_rows.score_tiles(model, X))
    assert [len(tile) for tile in tiles] == [7, 7, 7, 7, 7, 5]
    np.testing.assert_array_equal(np.concatenate(tiles), whole)
    np.testing.assert_array_equal(model.predict(X), whole.argmax(axis=1))


def test_no_rows_give_no_predictions() -> None:
    model, X = make_model(), make_rows(0)
    assert model.scores(X).shape == model.predict_proba(X).shape == (0, 3)
    assert model.predict(X).shape == (0,)


def test_of_equal_scores_the_first_class_counts() -> None:
    model = make_model(W=np.zeros((3, 12)), b=np.array([0.0, 1.0, 1.0]))
    assert set(model.predict(make_rows())) == {1}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (np.zeros((2, 11)), r"12 features, in shape \(N, 12\), but their shape is \(2, 11\)"),
        (np.zeros(12), r"but their shape is \(12,\)"),
        (np.zeros((1, 12), complex), "must hold real numbers, but they are complex128"),
        (np.array([["a"] * 12]), "must hold real numbers"),
        (np.array([[0.0] * 12, [math.nan] + [0.0] * 11]), "row 1 gives a score that is no number"),
        (np.full((1, 12), math.inf), "row 0 gives"),
    ],
)
def test_rows_that_do_not_fit_are_refused_in_one_sentence(rows: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        make_model().predict(rows)


def test_the_row_with_a_nan_is_counted_over_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_rows, "TILE_ENTRIES", 12 * 4)
    X = make_rows().astype(float)
    X[9, 3] = math.nan
    with pytest.raises(DataError, match="row 9 gives"):
        make_model().predict_proba(X)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"W": np.zeros(12)}, r"its shape is \(12,\)"),
        ({"W": np.zeros((3, 0))}, "K rows of D weights"),
        ({"W": np.zeros((3, 12), np.int64)}, "W must be float32 or float64, but it is int64"),
        ({"W": np.full((3, 12), np.nan)}, "W must be finite"),
        ({"b": np.array([0.0, 0.0, np.inf])}, "b must be finite"),
        ({"b": np.zeros(2)}, r"needs b of size \(3,\), but it is \(2,\)"),
        ({"scaling": Scaling("none", np.ones(11), np.zeros(12))}, "needs scale of size"),
        ({"scaling": Scaling("none", np.ones(12), np.zeros(1))}, "needs offset of size"),
        ({"scaling": Scaling("none", np.ones(12), np.full(12, np.nan))}, "offset must be finite"),
        ({"class_names": ("a", "b")}, r"needs class_names of size \(3,\)"),
        ({"class_names": ("a", "b", "a")}, "different names, but they are a, b, a"),
        ({"feature_names": ("x",)}, r"needs feature_names of size \(12,\)"),
        ({"image_shape": (3, 2, 1)}, r"needs image_shape of size \(12,\), but it is \(6,\)"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(parts: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        make_model(**parts)


def test_finite_weights_whose_sum_is_not_are_taken() -> None:
    large = np.full((3, 12), np.finfo(np.float32).max, np.float32)
    assert make_model(W=large).W.shape == (3, 12)
    with pytest.raises(DataError, match="W must be finite"):
        make_model(W=np.where(np.arange(12) == 7, np.float32(-np.inf), large))


def test_the_model_of_a_result_scores_what_its_record_says(splits: Splits) -> None:
    runs = grid(learning_rate=0.1, l2=[0.01, 0.1], epochs=3, batch_size=30)
    result = train(splits, runs, scaling="standardize")
    for position in range(2):
        model = result.model(position)
        right = (model.predict(splits.test.X) == splits.test.y).mean()
        assert right == result.test_accuracy[position]
        np.testing.assert_array_equal(model.W, result.W[position])
        np.testing.assert_array_equal(model.b, result.b[position])
        assert model.settings["l2"] == result.runs[position].l2
        assert model.settings["train_rows"] == splits.train.rows
        assert model.certificate == result.certificates[position]
        assert model.image_shape == splits.train.image_shape


def test_a_model_knows_the_features_by_the_names_of_the_data(
    splits: Splits, tmp_path: Path
) -> None:
    names = tuple(f"column {j}" for j in range(splits.train.features))
    one = replace(splits.train, feature_names=names)
    named = Splits(one, one, one, name="made", source="made")
    save_records(train(named, [Run(0.1, epochs=1, batch_size=30)]), tmp_path / "run")
    assert Result.load(tmp_path / "run").model().feature_names == names


def test_a_run_that_was_never_measured_has_no_accuracy_in_its_settings(splits: Splits) -> None:
    result = train(splits, [Run(0.1, epochs=1, batch_size=30)])
    result.history.validation_accuracy[:] = np.nan
    assert result.model().settings["validation_accuracy"] is None


def test_the_model_of_a_path_is_the_chosen_one_or_the_one_that_is_named() -> None:
    record = make_path(folds=3)
    chosen = record.best
    assert chosen.settings["l2"] == record.l2[record.chosen]
    assert chosen.settings["choice"]["chosen"]
    last = record.models[-1]
    assert last.W.dtype == np.float64
    assert not last.settings["choice"]["chosen"]


@pytest.mark.parametrize("position", [-1, 1])
def test_a_position_that_is_not_there_is_refused(position: int, splits: Splits) -> None:
    with pytest.raises(SettingsError, match=r"0 to 0, but -?1 was given"):
        train(splits, [Run(0.1, epochs=1, batch_size=30)]).model(position)


def test_weights_from_elsewhere_need_no_names_and_no_scaling() -> None:
    model = Model(np.eye(2), np.array([0.0, 0.5]))
    assert model.class_names == ("0", "1")
    assert model.scaling.name == "none"
    np.testing.assert_array_equal(model.scores([[2.0, 1.0]]), [[2.0, 1.5]])
    assert (model.l2, model.status, model.passes) == (None, None, None)
    with pytest.raises(SettingsError, match=r"no certificate; certify\(model, data\) makes one"):
        model.require_certificate()


def test_a_model_prints_its_size_its_fit_and_what_is_proven() -> None:
    first, second = repr(make_model()).splitlines()
    assert first == "Model(3 classes, 12 features, scaling='standardize', l2=0.1)"
    assert second == "cost 1.5, at most 0.01 above the best possible"
    assert "<table" in make_model()._repr_html_()


def test_an_engine_may_be_named() -> None:
    model, X = make_model(), make_rows()
    np.testing.assert_allclose(model.scores(X, "reference"), model.scores(X), rtol=1e-12)
    with pytest.raises(SettingsError, match="engine must be one of"):
        model.predict(X, "abacus")


def test_evaluate_takes_the_test_part_of_splits(splits: Splits) -> None:
    model = train(splits, [Run(0.1, epochs=1, batch_size=30)]).model()
    evaluated = model.evaluate(splits)
    assert evaluated.as_dict() == model.evaluate(splits.test).as_dict()
    assert repr(evaluated).startswith(f"Evaluation: accuracy {evaluated.accuracy:.2%} of")


def test_scores_beyond_the_largest_number_are_blamed_on_the_weights() -> None:
    model = Model(np.full((2, 3), 1e308), np.zeros(2))
    with pytest.raises(DataError, match=r"row 1 gives a score beyond .* up to 1e\+308"):
        model.predict([[0.0, 0.0, 0.0], [9.0, 9.0, 9.0]])


def test_no_public_method_of_a_model_takes_scores_where_others_take_rows() -> None:
    assert not hasattr(Model, "probabilities")


def test_rows_with_nan_are_refused_without_a_warning_of_numpy() -> None:
    rows = np.random.default_rng(0).normal(size=(40, 3))
    model = solve(split(rows, [0, 1] * 20), l2=0.1)
    rows[5, 1] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with pytest.raises(DataError, match="row 5 gives a score that is no number"):
            model.predict(rows)

"""A model meets rows by the names of their columns, and says labels as they were given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from onelayer import Dataset, Model, Run, Splits, certify, load, solve, split, train
from onelayer.data.classes import LabelType
from onelayer.errors import DataError
from onelayer.model.predictions import read_rows

NAMES = ("age", "height", "income")
SHUFFLED = ("income", "age", "height")


def make_frame(rows: int = 90) -> pd.DataFrame:
    """Rows whose columns have such sizes that one in the place of another is useless."""
    rng = np.random.default_rng(0)
    X = rng.normal((40.0, 1.7, 3e4), (10.0, 0.1, 9e3), (rows, 3))
    frame = pd.DataFrame(X, columns=list(NAMES))
    frame["kind"] = np.where((X[:, 0] - 40) / 10 + (X[:, 1] - 1.7) / 0.1 > 0, "old", "young")
    return frame


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return make_frame()


@pytest.fixture(scope="module")
def model(frame: pd.DataFrame) -> Model:
    return solve(load(frame, labels="kind"), l2=1e-3)


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow", "dataset"])
def test_columns_in_another_order_give_the_same_predictions_to_the_bit(
    kind: str, model: Model, frame: pd.DataFrame
) -> None:
    other: Any = frame[list(SHUFFLED)]
    if kind == "polars":
        other = pl.DataFrame({name: other[name].to_numpy() for name in SHUFFLED})
    elif kind == "pyarrow":
        other = pa.table({name: other[name].to_numpy() for name in SHUFFLED})
    elif kind == "dataset":
        other = Dataset(other, np.zeros(len(frame), int), ("old", "young"))
    expected = model.predict_proba(frame[list(NAMES)].to_numpy())
    np.testing.assert_array_equal(model.predict_proba(other, log=pytest.fail), expected)
    assert (model.predict(other) == frame["kind"]).mean() > 0.95


def test_other_columns_are_left_out_with_one_line(model: Model, frame: pd.DataFrame) -> None:
    lines: list[str] = []
    found = model.predict_proba(frame.assign(weight=1.0), log=lines.append)
    np.testing.assert_array_equal(found, model.predict_proba(frame[list(NAMES)]))
    assert lines == ["rows: left out columns that are no features of the model: kind, weight."]


def test_a_missing_column_is_refused_by_its_name(model: Model, frame: pd.DataFrame) -> None:
    renamed = frame.rename(columns={"height": "size"})[["age", "size", "income"]]
    said = "the model's 3 features must be columns, but 1 is missing: height; add or rename"
    with pytest.raises(DataError, match=said):
        model.predict(renamed)
    data = split(renamed, frame["kind"])
    for verb in (model.evaluate, lambda data: certify(model, data)):
        with pytest.raises(DataError, match=said):
            verb(data)


def test_columns_without_names_are_met_by_their_places(model: Model, frame: pd.DataFrame) -> None:
    bare = frame[list(NAMES)].to_numpy()
    expected = model.predict(bare)
    np.testing.assert_array_equal(model.predict(pd.DataFrame(bare)), expected)
    numbered = solve(split(pd.DataFrame(bare), frame["kind"]), l2=1e-3)
    np.testing.assert_array_equal(numbered.predict(frame[list(NAMES)]), expected)
    np.testing.assert_array_equal(numbered.predict(pd.DataFrame(bare)[[2, 0, 1]]), expected)


def test_no_figure_depends_on_the_order_of_columns(model: Model, frame: pd.DataFrame) -> None:
    data = load(frame, labels="kind")
    other = load(frame[["kind", *SHUFFLED]].assign(more=frame["age"]), labels="kind")
    lines: list[str] = []
    assert model.evaluate(other, log=lines.append).as_dict() == model.evaluate(data).as_dict()
    assert certify(model, other, log=lines.append) == certify(model, data)
    assert [line.split(": ")[-1] for line in lines] == ["more."] * 2


def test_parts_of_splits_are_put_in_the_training_rows_order(frame: pd.DataFrame) -> None:
    data = load(frame, labels="kind")
    shuffled = data.test.with_features(SHUFFLED, "a file")
    whole = Splits(data.train, data.validation, shuffled, "made", "made")
    np.testing.assert_array_equal(whole.test.X, data.test.X)
    assert whole.test.feature_names == NAMES
    renamed = replace(data.test, feature_names=("age", "size", "income"))
    with pytest.raises(DataError, match="1 is missing: height"):
        Splits(data.train, data.validation, renamed, "made", "made")


@pytest.mark.parametrize("stream", [False, True])
def test_files_with_their_columns_in_other_orders_are_one_data_set(
    stream: bool, frame: pd.DataFrame, tmp_path: Path
) -> None:
    (tmp_path / "rows").mkdir()
    frame[:50].to_parquet(tmp_path / "rows" / "0.parquet")
    frame[50:][["kind", *SHUFFLED]].assign(more=1.0).to_parquet(tmp_path / "rows" / "1.parquet")
    frame[["income", "kind", "height", "age"]].to_parquet(tmp_path / "test.parquet")
    lines: list[str] = []
    options: dict[str, Any] = {"labels": "kind", "stream": stream, "log": lines.append}
    data = load(tmp_path / "rows", test=tmp_path / "test.parquet", **options)
    expected = frame[list(NAMES)].to_numpy()
    np.testing.assert_array_equal(data.test.X[:], expected)
    rows = np.concatenate([data.train.X[:], data.validation.X[:]])
    np.testing.assert_array_equal(np.sort(rows, axis=0), np.sort(expected, axis=0))
    assert sum("1.parquet: left out columns" in line and "more" in line for line in lines) == 1


def test_streamed_rows_are_scored_by_name(
    model: Model, frame: pd.DataFrame, tmp_path: Path
) -> None:
    for i in range(2):
        frame[["kind", *SHUFFLED]].to_parquet(tmp_path / f"{i}.parquet")
    data = load(tmp_path, labels="kind", stream=True, log=lambda line: None)
    expected = model.evaluate(replace(data.test, X=data.test.X[:])).as_dict()
    assert model.evaluate(data.test).as_dict() == expected
    assert expected["accuracy"] > 0.8


def test_rows_of_a_file_are_read_in_the_models_order(frame: pd.DataFrame, tmp_path: Path) -> None:
    frame[["kind", *SHUFFLED]].to_csv(tmp_path / "rows.csv", index=False)
    read: Any = read_rows(str(tmp_path / "rows.csv"), NAMES)[0]
    np.testing.assert_allclose(read, frame[list(NAMES)], rtol=1e-15)


def test_an_export_is_tested_on_rows_by_name(
    model: Model, frame: pd.DataFrame, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    model.to_onnx(path, rows=frame[list(SHUFFLED)], input_type="float64")
    with pytest.raises(DataError, match="1 is missing: age"):
        model.to_onnx(path, rows=frame[["income", "height"]])


LABELS: dict[LabelType, Any] = {
    "text": np.array(["cat", "dog", "Ä"]),
    "integer": np.array([-3, 5, 70]),
    "boolean": np.array([False, True]),
}


@pytest.mark.parametrize("kind", LABELS)
def test_predictions_are_labels_as_they_were_given(kind: LabelType, tmp_path: Path) -> None:
    choices = LABELS[kind]
    y = np.arange(60) % len(choices)
    X = np.eye(len(choices))[y] + 0.1
    data = split(X, choices[y])
    model = train(data, Run(0.5, epochs=3)).best
    model.save(tmp_path / "m")
    for one in (model, Model.load(tmp_path / "m"), model.to_sklearn()):
        found = one.predict(X)
        assert found.dtype.kind == choices.dtype.kind
        assert (found == choices[y]).all()
    assert model.label_type == data.test.label_type == kind
    assert (model.predict(data.test.X) == data.test.labels).all()
    assert (model.predict(data.test, indices=True) == data.test.y).all()


def test_classes_that_were_given_as_indices_are_predicted_as_indices() -> None:
    X, y = np.repeat(np.eye(2), 20, axis=0), np.repeat([0, 1], 20)
    data = split(X, y, class_names=("cat", "dog"))
    model = solve(data, l2=1e-3)
    assert (model.predict(X) == y).all()
    assert data.train.labels.tolist() == data.train.y.tolist()


def test_to_sklearn_sorts_classes_that_a_model_has_in_another_order() -> None:
    model = Model(np.eye(3), np.zeros(3), class_names=("c", "a", "b"), label_type="text")
    other = model.to_sklearn()
    assert other.classes_.tolist() == ["a", "b", "c"]
    assert other.predict(np.eye(3)).tolist() == model.predict(np.eye(3)).tolist() == ["c", "a", "b"]


def test_labels_that_class_names_cannot_be_are_refused() -> None:
    with pytest.raises(DataError, match="but 'integer' was given for classes such as 'left'"):
        Model(np.eye(2), np.zeros(2), class_names=("left", "right"), label_type="integer")


def range_lines(model: Model, X: Any) -> list[str]:
    lines: list[str] = []
    model.predict(X, log=lines.append)
    return lines


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_rows_in_other_units_than_the_training_rows_get_a_line(dtype: type) -> None:
    data = load("digits")
    pixels: Any = data.train.X.astype(dtype)
    model = solve(split(pixels, data.train.y, seed=1), l2=1e-3)
    assert model.scaling.low is not None
    assert model.scaling.high is not None
    for X in (data.test.X, data.test.X[:1], data.validation.X.astype(float), np.zeros((9, 64))):
        assert range_lines(model, X) == []
    test = data.test.X.astype(np.float64)
    for X in (test / 16, test[:1] / 255, test * 16, test - 40):
        [line] = range_lines(model, X)
        assert "not in the range of the training rows: feature" in line


def test_standardized_rows_get_a_line_where_raw_ones_were_trained_on(
    model: Model, frame: pd.DataFrame
) -> None:
    X = frame[list(NAMES)]
    assert range_lines(model, X) == []
    [line] = range_lines(model, (X - X.mean()) / X.std())
    assert line.startswith("the rows are not in the range of the training rows: feature 'age' is ")


@pytest.mark.parametrize("factor", [12, 365])
def test_one_column_in_other_units_is_named_among_others_that_are_as_they_were(
    factor: int,
) -> None:
    rng = np.random.default_rng(0)
    X = rng.uniform([20, 1.5, 50], [80, 2.0, 100], (200, 3))
    model = solve(split(X, (X[:, 0] > 50).astype(int)), l2=0.01)
    said: list[str] = []
    model.predict(X * [1.2, 1, 1], log=said.append)  # some rows are as before
    model.predict(X[:3] * [factor, 1, 1], log=said.append)  # few rows are no proof
    assert said == []
    model.predict(X * [factor, 1, 1], log=said.append)
    assert len(said) == 1
    assert "feature 0 is " in said[0]


def test_the_range_is_that_of_the_training_rows_and_kept_in_the_file(tmp_path: Path) -> None:
    data = load("digits")
    for name in ("unit", "standardize"):
        model = solve(data, l2=0.1, scaling=name)
        model.save(tmp_path / "m")
        for kept in (model.scaling, Model.load(tmp_path / "m").scaling):
            np.testing.assert_array_equal(kept.low, data.train.X.min(axis=0))
            np.testing.assert_array_equal(kept.high, data.train.X.max(axis=0))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"loss": "sigmoid"}, "loss='sigmoid'"),
        ({"label_smoothing": 0.1}, "label_smoothing=0.1"),
        ({"flip_seed": 1}, "mirrored images"),
        ({}, ""),
    ],
)
def test_certify_says_where_the_models_own_cost_is_another(
    options: dict[str, Any], words: str
) -> None:
    data = load("digits")
    model = train(data, Run(0.1, l2=0.01, epochs=1, **options)).best
    certificate = certify(model, data)
    assert certificate.trained_with == words
    which = "; of the mean cross-entropy, while training had "
    assert certificate.sentence.endswith(which + words) if words else which not in str(certificate)

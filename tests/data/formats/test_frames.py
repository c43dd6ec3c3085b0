"""Data frames in memory are read as a Parquet file of the same columns is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import polars
import pyarrow
import pyarrow.parquet
import pytest

from onelayer.data import load, split
from onelayer.errors import DataError, SettingsError

COLUMNS = {
    "age": np.arange(40, dtype=np.int32)[::-1].copy(),
    "height": np.linspace(0, 1, 40, dtype=np.float32),
    "species": ["cat", "dog"] * 20,
}
FRAMES = {"pandas": pandas.DataFrame, "polars": polars.DataFrame, "pyarrow": pyarrow.table}
frames = pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES.keys())


@frames
def test_a_frame_gives_the_splits_of_the_file_with_its_columns(make: Any, tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table(COLUMNS), tmp_path / "a.parquet")
    ours, theirs = (
        load(make(COLUMNS), labels="species"),
        load(tmp_path / "a.parquet", labels="species"),
    )
    for part in ("train", "validation", "test"):
        one, other = getattr(ours, part), getattr(theirs, part)
        np.testing.assert_array_equal(one.X, other.X)
        np.testing.assert_array_equal(one.y, other.y)
        assert one.X.dtype == other.X.dtype
    assert ours.train.feature_names == ("age", "height")
    assert ours.train.class_names == ("cat", "dog")
    assert ours.name == "data frame"


@frames
def test_labels_can_be_beside_the_frame_and_other_parts_frames_too(make: Any) -> None:
    features = make({name: COLUMNS[name] for name in ("age", "height")})
    splits = load(
        features,
        labels=COLUMNS["species"],
        test=make(COLUMNS | {"age": COLUMNS["age"] + 100}),  # type: ignore[operator]
        test_labels="species",
        validation=make({name: COLUMNS[name] for name in ("age", "height")}),
        validation_labels=np.array(COLUMNS["species"]),
    )
    assert (splits.train.rows, splits.validation.rows, splits.test.rows) == (40, 40, 40)
    assert splits.test.X[:, 0].min() == 100


def test_a_column_of_the_usual_name_is_found_and_an_index_is_no_feature() -> None:
    frame = pandas.DataFrame({"x": np.arange(20.0), "label": [0, 1] * 10}, index=np.arange(20) * 7)
    assert load(frame).train.feature_names == ("x",)


@frames
def test_text_is_ignored_with_a_message_and_mixed_text_refused(make: Any) -> None:
    messages: list[str] = []
    load(make(COLUMNS | {"note": ["a"] * 40}), labels="species", log=messages.append)
    assert "note" in messages[0]
    with pytest.raises(DataError, match=r"data frame, column 'note': .* numbers and text"):
        load(make(COLUMNS | {"note": ["1", "x"] * 20}), labels="species")


def test_categories_and_array_labels_of_files(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"x": np.arange(20.0), "kind": pandas.Categorical(["b", "a"] * 10)})
    assert load(frame, labels="kind").train.class_names == ("a", "b")
    np.save(tmp_path / "X.npy", np.arange(40.0).reshape(20, 2))
    splits = load(tmp_path / "X.npy", labels=["b", "a"] * 10)
    np.testing.assert_array_equal(splits.test.y, 1 - splits.test.X[:, 0] // 2 % 2)
    with pytest.raises(
        DataError, match=r"labels \(--labels\) must hold one label for each of the 20"
    ):
        load(tmp_path / "X.npy", labels=["a", "b"])


@frames
def test_an_empty_cell_is_refused_by_column_and_row(make: Any) -> None:
    height = [0.5] * 40
    height[3] = None  # type: ignore[call-overload]
    with pytest.raises(DataError, match="data frame, column 'height': row 3 is empty"):
        load(make(COLUMNS | {"height": height}), labels="species")


def test_what_is_no_source_is_said_to_be_none() -> None:
    with pytest.raises(DataError, match="data frame, array or dict of arrays, but it is a int"):
        load(3)
    frame = polars.DataFrame(COLUMNS)
    with pytest.raises(DataError, match="collect a lazy frame"):
        load(frame.lazy(), labels="species")
    with pytest.raises(SettingsError, match="same as the training rows"):
        load(frame, labels="species", test=frame)
    with pytest.raises(SettingsError, match="no effect on data in memory"):
        load(frame, labels="species", train_batches=(2,))
    with pytest.raises(SettingsError, match="no effect on data in memory"):
        load(frame, labels="species", stream=True)


@pytest.mark.parametrize("option", ["labels", "groups", "split", "weights"])
def test_values_whose_index_has_the_rows_in_another_order_are_told(option: str) -> None:
    frame = pandas.DataFrame({"x": np.arange(40.0), "z": np.arange(40.0) % 7})
    own = {
        "labels": pandas.Series(["a", "b"] * 20),
        "groups": pandas.Series(np.arange(40) // 2),
        "split": pandas.Series(["train", "train", "test", "validation"] * 10),
        "weights": pandas.Series(np.ones(40)),
    }
    messages: list[str] = []
    given = {"labels": own["labels"], option: own[option]}
    load(frame, **given, log=messages.append)
    assert not [line for line in messages if "another order" in line]
    given[option] = own[option].sample(frac=1.0, random_state=1)
    load(frame, **given, log=messages.append)
    assert [line for line in messages if f"{option} has the index of the rows in another" in line]


def test_split_tells_of_labels_in_another_order(capsys: pytest.CaptureFixture[str]) -> None:
    y = pandas.Series([0, 1] * 20).sample(frac=1.0, random_state=1)
    split(pandas.DataFrame({"x": np.arange(40.0)}), y)
    assert "give y.loc[frame.index] to match it by the index" in capsys.readouterr().err

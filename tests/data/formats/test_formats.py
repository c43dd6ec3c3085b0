"""Whatever kind of file rows lie in, the same bytes, labels and class names come out of it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from safetensors.numpy import save_file

from onelayer.data import Splits, load
from tests.examples import examples

from .file_writers import WRITERS, Array, columns, small_rows

LABELS: dict[str, Any] = {
    "text": st.sampled_from(["ant", "bee", "ünïcode", "with space", "a,b"]),
    "numbers": st.integers(-(2**40), 2**40),
    "booleans": st.booleans(),
}


def load_whole(kind: str, folder: Path, X: Array, labels: Array) -> Splits:
    """The same rows as training, validation and test, so that none is moved."""
    written = {r: WRITERS[kind](folder / r, X, labels) for r in ("train", "validation", "test")}
    return load(
        written["train"]["file"],
        labels=written["train"].get("labels"),
        validation=written["validation"]["file"],
        validation_labels=written["validation"].get("labels"),
        test=written["test"]["file"],
        test_labels=written["test"].get("labels"),
        log=lambda line: None,
    )


@examples(40)
@given(data=st.data())
@pytest.mark.parametrize("kind", WRITERS)
def test_a_round_trip_keeps_bytes_labels_and_class_names(kind: str, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(["float64"] if kind == "csv" else ["u1", "f2", "f4", "f8"]))
    shape = data.draw(st.tuples(st.integers(2, 20), st.integers(1, 5)))
    elements = npst.from_dtype(np.dtype(dtype), allow_nan=False, allow_infinity=False)
    X = data.draw(npst.arrays(dtype, shape, elements=elements))
    if kind == "csv":
        X[0] = 0.5  # a column of whole numbers is another type
    made_of = data.draw(st.sampled_from(sorted(LABELS)))
    several = st.lists(LABELS[made_of], min_size=shape[0], max_size=shape[0])
    labels = np.array(data.draw(several.filter(lambda drawn: len(set(drawn)) > 1)))
    with tempfile.TemporaryDirectory() as folder:
        splits = load_whole(kind, Path(folder), X, labels)
    for part in (splits.train, splits.validation, splits.test):
        assert part.X.dtype == X.dtype
        assert part.X.tobytes() == X.tobytes()
        names = [str(label).lower() if made_of == "booleans" else str(label) for label in labels]
        assert [part.class_names[i] for i in part.y] == names
    assert list(splits.train.class_names) == [
        str(value).lower() if made_of == "booleans" else str(value) for value in np.unique(labels)
    ]


def test_numbers_are_sorted_by_size_and_text_by_letters(tmp_path: Path) -> None:
    X, _ = small_rows(rows=12)
    for labels, names in (
        (np.array([10, 9, -1] * 4), ("-1", "9", "10")),
        (np.array(["10", "9", "x"] * 4), ("10", "9", "x")),
    ):
        np.savez(tmp_path / "a.npz", X=X, y=labels)
        assert load(tmp_path / "a.npz").train.class_names == names


def test_whole_numbers_that_were_stored_as_floats_are_the_same_labels(tmp_path: Path) -> None:
    X, y = np.zeros((12, 1)), np.tile([10, 9, -1], 4)
    for dtype in (np.int64, np.float64, np.float32, np.float16):
        np.savez(tmp_path / "a.npz", X=X, y=y.astype(dtype))
        train = load(tmp_path / "a.npz").train
        assert train.class_names == ("-1", "9", "10")
        np.savez(tmp_path / "t.npz", X=X, y=y)
        both = load(tmp_path / "a.npz", test=tmp_path / "t.npz")
        assert both.test.y.tolist() == [2, 1, 0] * 4


def test_columns_keep_their_names_and_order(tmp_path: Path) -> None:
    X, labels = small_rows(rows=20)
    pa.parquet.write_table(columns(X, labels).select(["x2", "label", "x0"]), tmp_path / "a.parquet")
    splits = load(tmp_path / "a.parquet")
    assert splits.train.feature_names == ("x2", "x0")
    assert splits.train.take([1]).feature_names == ("x2", "x0")


def test_columns_of_text_are_left_out_and_said(tmp_path: Path) -> None:
    X, labels = small_rows(rows=20)
    table = columns(X, labels).append_column("file", pa.array(["a.png"] * 20))
    pa.csv.write_csv(table, tmp_path / "a.csv")
    messages: list[str] = []
    assert load(tmp_path / "a.csv", log=messages.append).train.features == 3
    assert messages[0] == f"{tmp_path}/a.csv: ignored columns that are no features: file (string)."


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, 2**24], "float32"),
        ([1, -(2**24) - 1], "float64"),
        ([0, 255], "float32"),
        ([0.5, 1.0], "float64"),
        ([True, False], "uint8"),
    ],
)
def test_whole_numbers_take_the_smallest_float_that_holds_each(
    values: list[Any], dtype: str, tmp_path: Path
) -> None:
    table = pa.table({"x": values * 10, "label": ["a"] * 10 + ["b"] * 10})
    pa.csv.write_csv(table, tmp_path / "a.csv")
    train = load(tmp_path / "a.csv").train
    assert train.X.dtype == dtype
    assert set(train.X[:, 0].tolist()) == {float(value) for value in values}


def test_parts_of_several_types_take_one_that_holds_all(tmp_path: Path) -> None:
    for name, largest in (("train", 5), ("test", 2**24 + 1)):
        table = pa.table({"x": [1, largest] * 10, "label": ["a", "b"] * 10})
        pa.csv.write_csv(table, tmp_path / f"{name}.csv")
    splits = load(tmp_path / "train.csv", test=tmp_path / "test.csv")
    assert splits.train.X.dtype == splits.test.X.dtype == np.float64
    assert splits.test.X.max() == 2**24 + 1


def test_bfloat16_becomes_float32_once_and_says_so(tmp_path: Path) -> None:
    X, _ = small_rows()
    raw = (X.astype("f4").view("u4") >> 16).astype("u2")
    save_file({"X": raw, "y": np.arange(12) % 2}, tmp_path / "a.safetensors")
    written = (tmp_path / "a.safetensors").read_bytes()
    at = written.index(b'"X":{"dtype":"U16"')
    changed = written[:at] + written[at:].replace(b'"U16"', b'"BF16"', 1)
    size = int.from_bytes(changed[:8], "little") + 1
    header = changed[8 : 8 + size].rstrip(b" ").ljust((size + 7) // 8 * 8)
    body = changed[8 + size :]
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + body)
    messages: list[str] = []
    splits = load(tmp_path / "a.safetensors", log=messages.append)
    assert "bfloat16 and is converted to float32 once" in messages[0]
    got = np.concatenate([splits.train.X, splits.validation.X, splits.test.X])
    np.testing.assert_array_equal(np.sort(got[:, 0]), np.sort(X[:, 0]))


def test_fortran_order_and_a_foreign_byte_order_are_the_same_rows(tmp_path: Path) -> None:
    X, labels = small_rows()
    for kind in ("npy", "npz", "npz compressed"):
        splits = load_whole(kind, tmp_path, np.asfortranarray(X.astype(">f4")), labels)
        np.testing.assert_array_equal(splits.train.X, X)
        assert splits.train.X.dtype.isnative


def test_lists_of_any_length_are_rows_when_all_are_alike(tmp_path: Path) -> None:
    table = pa.table({"x": [[1.0, 2.0], [3.0, 4.0]] * 6, "label": [0, 1] * 6})
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    assert load(tmp_path / "a.parquet").train.features == 2


def test_dictionary_columns_are_labels(tmp_path: Path) -> None:
    X, labels = small_rows()
    table = columns(X, labels)
    table = table.set_column(3, "label", table["label"].dictionary_encode())
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    assert load(tmp_path / "a.parquet").train.class_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("name", "text", "names"),
    [
        ("y.txt", "9\n10\n" * 6 + "\n", ("9", "10")),
        ("y.txt", "01\n1\n" * 6, ("01", "1")),
        ("y.txt", "\ufeffbee\nant\n" + "bee\nant\n" * 5, ("ant", "bee")),
        ("y.csv", "anything\n" + "9\n10\n" * 6, ("9", "10")),
        ("y.csv", "id,label\n" + "9,b\n10,a\n" * 6, ("a", "b")),
    ],
)
def test_labels_may_lie_in_a_file_of_text(
    name: str, text: str, names: tuple[str, ...], tmp_path: Path
) -> None:
    np.save(tmp_path / "X.npy", small_rows()[0])
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert load(tmp_path / "X.npy", labels=str(tmp_path / name)).train.class_names == names


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_labels_may_lie_in_a_table(suffix: str, tmp_path: Path) -> None:
    X, labels = small_rows()
    np.save(tmp_path / "X.npy", X)
    table = pa.table({"species": pa.array(labels.tolist())})
    path = tmp_path / f"y.{suffix}"
    if suffix == "parquet":
        pa.parquet.write_table(table, path)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as to:
            to.write_table(table)
    assert load(tmp_path / "X.npy", labels=path).train.class_names == ("cat", "dog")

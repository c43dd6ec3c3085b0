"""Whatever is wrong with a file, one sentence says what, where, and what to do."""

from __future__ import annotations

import json
import os
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelayer.data import load
from onelayer.errors import DataError, OnelayerError
from tests.examples import examples

from .file_writers import WRITERS, columns, small_rows, write_arrow

WITH_AN_END = [kind for kind in WRITERS if kind != "csv"]


def written(kind: str, folder: Path, **changes: Any) -> dict[str, Any]:
    """A small_rows file of a kind, as arguments for `load`."""
    X, labels = small_rows()
    made = WRITERS[kind](folder / "a", changes.get("X", X), changes.get("labels", labels))
    return {"source": made["file"], "labels": made.get("labels")}


def refused(arguments: dict[str, Any], message: str = ".") -> str:
    with pytest.raises(DataError, match=message) as caught:
        load(**arguments, log=lambda line: None, progress=False)
    sentence = str(caught.value)
    assert sentence.endswith("."), sentence
    assert "\n" not in sentence
    return sentence


@pytest.mark.slow
@pytest.mark.parametrize("kind", WITH_AN_END)
def test_a_file_cut_at_any_byte_is_refused_and_named(kind: str, tmp_path: Path) -> None:
    arguments = written(kind, tmp_path)
    whole = arguments["source"].read_bytes()
    step = 1 if len(whole) < 1500 else 7
    for length in [*range(0, len(whole), step), len(whole) - 1]:
        arguments["source"].write_bytes(whole[:length])
        assert str(arguments["source"]) in refused(arguments), length


@pytest.mark.parametrize("kind", WRITERS)
def test_a_pipe_is_refused_and_not_waited_for(kind: str, tmp_path: Path) -> None:
    arguments = written(kind, tmp_path)
    arguments["source"].unlink()
    os.mkfifo(arguments["source"])
    refused(arguments, "it is no file but a pipe")


def test_a_csv_cut_at_any_byte_is_refused_or_is_a_shorter_csv(tmp_path: Path) -> None:
    arguments = written("csv", tmp_path)
    whole = arguments["source"].read_bytes()
    for length in range(len(whole)):
        arguments["source"].write_bytes(whole[:length])
        try:
            splits = load(**arguments)
        except DataError as error:
            assert str(arguments["source"]) in str(error)  # noqa: PT017  # some are no error
        else:
            assert splits.train.rows + splits.validation.rows + splits.test.rows <= 12


@examples(150)
@given(data=st.data())
@pytest.mark.parametrize("kind", WRITERS)
def test_one_changed_byte_never_ends_in_anything_but_one_sentence(
    kind: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    arguments = written(kind, tmp_path_factory.mktemp("changed"))
    raw = bytearray(arguments["source"].read_bytes())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    arguments["source"].write_bytes(raw)
    try:
        load(**arguments, log=lambda line: None)
    except OnelayerError as error:
        assert str(error).endswith(".")  # noqa: PT017  # most changes of a number are no error


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("other", ["csv", "npy", "npz", "parquet columns", "arrow stream"])
def test_a_file_under_a_wrong_suffix_is_refused(kind: str, other: str, tmp_path: Path) -> None:
    arguments = written(kind, tmp_path)
    (tmp_path / "b").mkdir()
    another = written(other, tmp_path / "b")["source"]
    if another.suffix != arguments["source"].suffix and other != "csv":
        arguments["source"].write_bytes(another.read_bytes())
        assert str(arguments["source"]) in refused(arguments)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_named_with_row_and_column(
    kind: str, value: float, tmp_path: Path
) -> None:
    X, _ = small_rows()
    X[7, 1] = value
    sentence = refused(written(kind, tmp_path, X=X))
    if kind == "csv" and np.isnan(value):
        assert "column 'x1': row 7 is empty or NaN" in sentence
        return
    assert re.search(r"a\.\w+.*row 7, column 1\b", sentence), sentence
    if "columns" in kind or kind == "csv":
        assert "(x1)" in sentence


@pytest.mark.parametrize("kind", WRITERS)
def test_one_class_is_refused_and_named(kind: str, tmp_path: Path) -> None:
    arguments = written(kind, tmp_path, labels=np.array(["cat"] * 12))
    assert "at least 2 classes, but every row is of class 'cat'" in refused(arguments)


@pytest.mark.parametrize("kind", ["npy", "npy with text", "safetensors"])
@pytest.mark.parametrize("count", [11, 13])
def test_a_label_file_of_another_length_is_refused_with_both(
    kind: str, count: int, tmp_path: Path
) -> None:
    arguments = written(kind, tmp_path, labels=np.array(["a", "b"] * 7)[:count])
    assert f"each of the 12 rows of {arguments['source']}, but it holds {count}" in refused(
        arguments
    )


class Runs:
    """Unpickled, it makes a folder."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.mkdir, (str(self.proof),)


@pytest.mark.parametrize("place", ["X.npy", "y.npy", "X in npz", "y in npz", "bare pickle"])
def test_pickled_objects_are_refused_and_nothing_is_run(place: str, tmp_path: Path) -> None:
    proof = tmp_path / "it ran"
    bad = np.array([Runs(proof)] * 12, object)
    X, labels = small_rows()
    if "npz" in place:
        arrays = {"X": X, "y": labels} | {place[0]: bad}
        np.savez(tmp_path / "a.npz", allow_pickle=True, **arrays)
        arguments = {"source": tmp_path / "a.npz"}
    else:
        np.save(tmp_path / "X.npy", bad if place[0] == "X" else X)
        np.save(tmp_path / "y.npy", bad if place[0] == "y" else labels)
        arguments = {"source": tmp_path / "X.npy", "labels": tmp_path / "y.npy"}
    if place == "bare pickle":
        (tmp_path / "X.npy").write_bytes(pickle.dumps(Runs(proof)))
        refused(arguments, r"X\.npy is not an array as NumPy saves them")
    else:
        refused(arguments, "holds pickled Python objects, which could run code and are refused")
    assert not proof.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"a\.csv is not a valid CSV file with a header line \("),
        ("x,label\n", "names of columns but no rows"),
        ("1,2,3\n4,5,6\n", r"first line must name the columns, but it holds numbers \(1, 2, 3\)"),
        ("x,x,label\n1,2,a\n1,2,b\n", "two columns 'x'"),
        ("x,label\n1,a\n2\n", r"every line needs the header's 2 columns, but line 3 has 1"),
        ("x,label\n1,a\n,b\n", "column 'x': row 1 is empty or NaN; fill the value"),
        (
            "x,label\n1,a\n2,\n",
            "column 'label': every row needs a label, but row 1 has none",
        ),
        (
            "x,label\n1,a\noops,b\n",
            "column 'x': it holds numbers and text, such as 'oops' in row 1",
        ),
        ("name,label\nu,a\nv,b\n", r"no numeric column besides the labels, only name \(string\)"),
        (
            "x,colour\n1,a\n2,b\n",
            r"cannot tell which column holds the labels.*none is called.*columns: x, colour",
        ),
        ("x,y,label\n1,a,a\n2,b,b\n", "because more than one is called label"),
        (
            "x,label\n1,0.5\n2,1.5\n",
            "column 'label': labels must be text, integers .* but row 0 is 0.5; name another",
        ),
        ("x,label\n9007199254740993,a\n1,b\n", "row 0 is 9007199254740993, more than float64"),
        ("x,label\n1,a\n\xff,b\n", r"be UTF-8, but column 'x', row 1 is b'\\xff'"),
        ("x,label\n1,\xe9\n2,b\n", r"be UTF-8, but column 'label', row 0 is b'\\xe9'; save it"),
        ("\xff\xfex\0,\0", "must be UTF-8, but it is UTF-16; save it as UTF-8"),
    ],
)
def test_a_wrong_csv_is_said_to_be_so(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(text.encode("latin-1"))
    refused({"source": tmp_path / "a.csv"}, message)


def test_a_column_that_is_not_there_is_said_with_those_that_are(tmp_path: Path) -> None:
    arguments = written("csv", tmp_path) | {"labels": "species"}
    refused(
        arguments, r"has no column 'species'; choose .* \(--labels\) \(columns: x0, x1, x2, label\)"
    )


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": [0, 1]}, "must hold one array of features besides the labels.*no other"),
        ({"a": [[1.0]], "b": [[1.0]], "y": [0]}, "but it holds a, b; rename"),
        ({"X": [1.0, 2.0], "y": [0, 1]}, r"\(N, D\).*shape is \(2,\)"),
        ({"X": np.zeros((0, 3)), "y": []}, r"shape is \(0, 3\)"),
        ({"X": [["a"], ["b"]], "y": [0, 1]}, "row 0, column 0 must be a number, .*<U1"),
        ({"X": [[1j], [2j]], "y": [0, 1]}, "must be a number, but its type is complex128"),
        ({"X": [[1.0]] * 2, "y": [[0, 3]] * 2}, "are 0 or 1, but row 0, column 1"),
        ({"X": [[1.0]] * 2, "y": [[[0]]] * 2}, r"but their shape is .2, 1, 1."),
        ({"X": [[1.0], [2.0]], "y": [0.0, 1.5]}, r"but row 1 is 1\.5; name another"),
        ({"X": [[1.0], [2.0]], "y": [np.nan, 1.0]}, "but row 0 has none"),
        ({"X": [[1.0], [2.0]], "y": [1e300, 1.0]}, r"but row 0 is 1e\+300"),
        ({"X": [[1.0], [2.0]], "y": [1j, 1.0]}, "but they are complex128"),
        ({}, "holds no array; write features and labels into it"),
        ({"X": [[1.0], [2.0]], "y": ["a", ""]}, "row 1 has none"),
        ({"X": [[1.0]], "b": [0]}, "which array holds the labels"),
        ({"X": [[1.0], [2.0]], "y": [0, 1]}, "the only one of its class"),
    ],
)
def test_a_wrong_npz_is_said_to_be_so(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    named: dict[str, Any] = {name: np.array(value) for name, value in arrays.items()}
    np.savez(tmp_path / "a.npz", **named)
    refused({"source": tmp_path / "a.npz"}, message)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"x": [1.0, None], "label": ["a", "b"]}, "column 'x': row 1 is empty"),
        ({"x": [[1.0], [1.0, 2.0]], "label": [0, 1]}, "length of the first, 1, but row 1 has 2"),
        ({"x": [[1.0], None], "label": [0, 1]}, "column 'x': row 1 is empty"),
        ({"x": [[1.0], [None]], "label": [0, 1]}, "column 'x': row 1 is empty"),
        ({"x": [[1.0]] * 2, "z": [[1.0]] * 2, "label": [0, 1]}, "several columns of lists, x, z"),
        ({"x": pa.array([[], []], pa.list_(pa.float32())), "label": [0, 1]}, "lists are empty"),
    ],
)
def test_a_wrong_parquet_is_said_to_be_so(
    table: dict[str, Any], message: str, tmp_path: Path
) -> None:
    pa.parquet.write_table(pa.table(table), tmp_path / "a.parquet")
    refused({"source": tmp_path / "a.parquet"}, message)


def test_labels_that_no_training_row_has_are_refused_with_their_row(tmp_path: Path) -> None:
    X, labels = small_rows()
    pa.parquet.write_table(columns(X, labels), tmp_path / "a.parquet")
    labels[5] = "cow"
    pa.parquet.write_table(columns(X, labels), tmp_path / "t.parquet")
    arguments = {"source": tmp_path / "a.parquet", "test": tmp_path / "t.parquet"}
    refused(arguments, r"t\.parquet, column 'label': row 5 has the label 'cow', .* cat, dog\)")


def test_columns_that_differ_between_parts_are_named(tmp_path: Path) -> None:
    X, labels = small_rows()
    table = columns(X, labels)
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    arguments = {"source": tmp_path / "a.parquet", "test": tmp_path / "t.parquet"}
    pa.parquet.write_table(table.select(["x0", "x1", "label"]), tmp_path / "t.parquet")
    refused(arguments, r"t\.parquet: .*a\.parquet's 3 features .* 1 is missing: x2")
    np.savez(tmp_path / "t.npz", X=X, label=labels)
    arguments["test"] = tmp_path / "t.npz"
    refused(arguments, r"t\.npz has no names of columns, but .*a\.parquet has")


def test_files_that_are_missing_or_of_no_kind_are_said_to_be_so(tmp_path: Path) -> None:
    arguments = written("npy", tmp_path)
    refused({"source": tmp_path / "no.csv"}, r"no such file or folder: .*no\.csv")
    (tmp_path / "a.xlsx").write_bytes(b"")
    refused(
        {"source": tmp_path / "a.xlsx"},
        r"unsupported file type \.xlsx: .*a\.xlsx; supported: \.npy",
    )
    refused(arguments | {"labels": tmp_path / "no.npy"}, r"no such file or folder: .*no\.npy")
    refused(
        arguments | {"labels": tmp_path / "a.xlsx"},
        r"unsupported file type \.xlsx for labels: .*a\.xlsx; supported: \.npy",
    )
    refused(arguments | {"labels": None}, r"has no labels; pass a file .*\(--labels\)")
    refused(arguments | {"test": tmp_path / "no.npy"}, r"no such file or folder: .*no\.npy")


@pytest.mark.parametrize("kind", ["npz", "npz compressed", "parquet lists"])
def test_a_changed_bit_of_a_value_is_noticed_where_a_format_carries_checksums(
    kind: str, tmp_path: Path
) -> None:
    X, mark = small_rows(rows=12)[0], b""
    if kind == "npz compressed":  # random bytes, which are kept nearly as they are
        X = np.random.default_rng(0).integers(1, 251, (12, 300)).astype(np.uint8)
        mark = b"anything.npy"
    arguments = written(kind, tmp_path, X=X)
    raw = bytearray(arguments["source"].read_bytes())
    raw[raw.index(mark) + 400 if mark else raw.index(X[:2].tobytes()[:8])] ^= 1
    arguments["source"].write_bytes(raw)
    refused(arguments, r"a\.(npz|parquet) is not a valid (\.npz|Parquet) file \(")


@pytest.mark.parametrize("stream", [False, True])
def test_wrong_offsets_of_texts_in_an_arrow_file_are_refused_before_they_are_followed(
    stream: bool, tmp_path: Path
) -> None:
    """Followed, they lead pyarrow out of the file, which ends the process."""
    X, labels = small_rows()
    path = write_arrow(tmp_path / "a", columns(X, labels))
    raw = path.read_bytes()
    offsets = np.arange(0, 3 * 13, 3, dtype="<i4").tobytes()  # of twelve texts of three letters
    assert raw.count(offsets) == 1
    wrong = raw.replace(offsets, offsets[:4] + b"\xff\xff\xff\x7f" + offsets[8:])
    path.write_bytes(wrong)
    refused({"source": path, "stream": stream}, r"a\.arrow is not a valid Arrow file \(")


def test_compressions_that_numpy_does_not_write_are_read_or_refused(tmp_path: Path) -> None:
    X, labels = small_rows()
    for kind in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        with zipfile.ZipFile(tmp_path / "a.npz", "w", kind) as archive:
            for name, array in (("X", X), ("y", labels)):
                with archive.open(f"{name}.npy", "w") as file:
                    np.save(file, array)
        assert load(tmp_path / "a.npz").train.features == 3
        raw = bytearray((tmp_path / "a.npz").read_bytes())
        raw[60:70] = bytes(10)
        (tmp_path / "a.npz").write_bytes(raw)
        refused({"source": tmp_path / "a.npz"}, r"a\.npz is not a valid \.npz file \(")


def test_a_member_that_unpacks_to_more_than_there_is_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "a.npz", X=np.zeros((1000, 100)), y=np.arange(1000) % 2)
    monkeypatch.setattr("onelayer.data.formats.arrays.available_memory", lambda: 10_000)
    refused({"source": tmp_path / "a.npz"}, r"array 'X' takes 800 kB, but 10 kB of memory are")


@pytest.mark.parametrize(
    "changes",
    [
        {"__metadata__": 5},
        {"__metadata__": ["a"]},
        {"X": {"dtype": "F32", "shape": [-12, -3], "data_offsets": [0, 144]}},
        {"X": {"dtype": "F32", "shape": [12, "3"], "data_offsets": [0, 144]}},
        {"X": {"dtype": 4, "shape": [12, 3], "data_offsets": [0, 144]}},
        {"X": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 144]}},
        {"X": [1, 2, 3]},
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_header_of_other_types_is_refused(
    changes: dict[str, Any], stream: bool, tmp_path: Path
) -> None:
    X, _ = small_rows()
    header: dict[str, Any] = {
        "X": {"dtype": "F32", "shape": [12, 3], "data_offsets": [0, 144]},
        "y": {"dtype": "I64", "shape": [12], "data_offsets": [144, 240]},
    }
    text = json.dumps(header | changes).encode()
    body = X.astype("<f4").tobytes() + (np.arange(12) % 2).tobytes()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    refused({"source": path, "stream": stream}, r"a\.safetensors is not a valid safetensors file")


def test_names_of_columns_do_not_break_a_message(tmp_path: Path) -> None:
    table = pa.table({"height\nin cm": [1.0, 2.0], "x\x1b[2J": [1.0, 2.0]})
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    refused({"source": tmp_path / "a.parquet"}, r"columns: height\\nin cm, x\\x1b\[2J")

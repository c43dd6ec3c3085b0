"""Text files of LIBSVM and SVMlight, and sparse .npz: what scikit-learn and SciPy read of them."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.datasets import dump_svmlight_file, load_svmlight_file, load_svmlight_files

from onelayer.data import load
from onelayer.data.formats import base, svmlight
from onelayer.data.formats.registry import read_features
from onelayer.data.sparse import SparseRows
from onelayer.errors import DataError, SettingsError


def quiet(line: str) -> None:
    """No messages."""


def read(path: Path) -> Any:
    return read_features(path, None, quiet).X


def some_rows(rows: int = 60, features: int = 30) -> tuple[Any, Any]:
    X = sparse.random(rows, features, 0.2, random_state=0).toarray()
    X[0, 0], X[1, -1] = 0.1, 1e-3
    return sparse.csr_matrix(X), np.arange(rows) % 3


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize("zero_based", [True, False])
@pytest.mark.parametrize("suffix", [".svm", ".svmlight", ".libsvm.gz", ".svm.bz2"])
def test_values_and_columns_are_those_that_scikit_learn_reads(
    suffix: str, zero_based: bool, tmp_path: Path
) -> None:
    X, y = some_rows()
    path = tmp_path / "a.txt"
    dump_svmlight_file(X, y, str(path), zero_based=zero_based, comment="made\nhere", query_id=y)
    packed: Any = {".gz": gzip.compress, ".bz2": bz2.compress}.get(suffix[-4:].lstrip("m"), bytes)
    file = written(tmp_path / f"a{suffix}", packed(path.read_bytes()))
    expected, labels = load_svmlight_file(str(path))
    found = read(file)
    assert np.array_equal(found.toarray(), expected.toarray())
    assert found.first_index == (0 if zero_based else 1)
    splits = load(file, log=quiet)
    assert splits.train.class_names == ("0", "1", "2")
    assert splits.train.label_type == "integer"
    parts = (splits.train, splits.validation, splits.test)
    assert sorted(v for part in parts for v in part.labels.tolist()) == sorted(labels.tolist())


@given(data=st.data())
def test_any_lines_are_read_as_by_scikit_learn(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    value = st.floats(allow_nan=False, allow_infinity=False, width=64)
    space = st.sampled_from([" ", "  ", "\t"])
    lines = []
    for _ in range(data.draw(st.integers(1, 8))):
        indices = sorted(data.draw(st.sets(st.integers(0, 40), max_size=5)))
        pairs = [f"{index}:{data.draw(value)!r}" for index in indices]
        line = data.draw(space).join([data.draw(st.sampled_from(["1", "-1", "+1", "2.0"])), *pairs])
        end = data.draw(st.sampled_from(["", " ", " # 1:2", "\r"]))
        lines += [line + end] + [""] * data.draw(st.integers(0, 1))
    file = written(tmp_path_factory.mktemp("a") / "a.svm", "\n".join(lines))
    expected = load_svmlight_file(str(file))[0]
    assert np.array_equal(read(file).to_scipy().toarray(), expected.toarray())


@pytest.mark.parametrize("read_bytes", [1, 7, 64])
def test_lines_are_whole_wherever_a_file_is_cut_as_it_is_read(
    read_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = some_rows(20)
    dump_svmlight_file(X, y, str(tmp_path / "a.svm"))
    monkeypatch.setattr(svmlight, "_READ_BYTES", read_bytes)
    expected = load_svmlight_file(str(tmp_path / "a.svm"))[0]
    assert np.array_equal(read(tmp_path / "a.svm").toarray(), expected.toarray())
    with (tmp_path / "a.svm").open("a") as file:
        file.write("1 3:x\n")
    with pytest.raises(DataError, match=r"a\.svm, line 21: '3:x' is no pair"):
        read(tmp_path / "a.svm")


def test_values_that_float32_holds_are_kept_in_it(tmp_path: Path) -> None:
    assert read(written(tmp_path / "a.svm", "1 1:1 2:2.5\n0 1:7\n")).dtype == np.float32
    assert read(written(tmp_path / "a.svm", "1 1:1 2:0.1\n0 1:7\n")).dtype == np.float64


def test_all_parts_say_together_which_number_the_first_column_has(tmp_path: Path) -> None:
    written(tmp_path / "train.svm", "1 1:1 9:2\n0 2:1\n" * 5)
    written(tmp_path / "test.svm", "1 0:3\n0 3:1\n")
    splits = load(tmp_path / "train.svm", test=tmp_path / "test.svm", log=quiet)
    of_both = load_svmlight_files([str(tmp_path / f"{part}.svm") for part in ("train", "test")])
    X: Any = splits.test.X
    assert splits.train.features == of_both[0].shape[1] == 10
    assert X.toarray().tolist() == of_both[2].toarray().tolist()
    assert load(tmp_path / "train.svm", log=quiet).train.features == 9
    folder = load(tmp_path, log=quiet)
    assert (folder.train.features, folder.test.rows) == (10, 2)


def test_the_files_of_a_folder_have_the_same_columns(tmp_path: Path) -> None:
    for part, text in enumerate(("1 2:1\n0 3:1\n", "0 7:2\n1\n", "# nothing\n")):
        written(tmp_path / f"part-{part}.svm", text)
    messages: list[str] = []
    table: Any = read_features(tmp_path, None, messages.append)
    assert table.X.toarray().tolist() == [
        [0, 1, 0, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 2],
        [0] * 7,
    ]
    assert messages == [f"{tmp_path}/part-2.svm: skipped, because it has no rows."]


def test_queries_are_groups_that_stay_together(tmp_path: Path) -> None:
    rows = "".join(f"{i % 2} qid:{i // 4} 1:{i}\n" for i in range(80))
    splits = load(written(tmp_path / "a.svm", rows), groups="qid", log=quiet)
    parts = [set(part.groups) for part in (splits.train, splits.validation, splits.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 20


def test_labels_with_commas_are_many_a_row(tmp_path: Path) -> None:
    text = "1,3 1:1 2:1\n3 2:1\n 1:5\n1,2 4:1\n" * 6
    splits = load(written(tmp_path / "a.svm", text), log=quiet)
    assert splits.train.many_labels
    assert splits.train.class_names == ("1", "2", "3")
    parts = (splits.train, splits.validation, splits.test)
    assert sum(part.y.sum(axis=0) for part in parts).tolist() == [12, 6, 12]


def test_labels_may_lie_in_another_file_and_rows_then_need_none(tmp_path: Path) -> None:
    written(tmp_path / "y.txt", "cat\ndog\n" * 6)
    file = written(tmp_path / "a.svm", "1:1 2:1\n0 2:3\n" * 6)
    splits = load(file, labels=tmp_path / "y.txt", log=quiet)
    assert splits.train.class_names == ("cat", "dog")
    with pytest.raises(DataError, match="line 1: there is no label before the first index:value"):
        load(file)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("1 3:0.5 x", "'x' is no pair of an index, 0 or above, and a finite number"),
        ("1 3:", "'3:' is no pair"),
        ("1 3:0.5:1", "'3:0.5:1' is no pair"),
        ("1 -3:0.5", "'-3:0.5' is no pair"),
        ("1 3.5:0.5", "'3.5:0.5' is no pair"),
        ("1 3:nan", "'3:nan' is no pair"),
        ("1 3:1e999", "'3:1e999' is beyond the largest number"),
        ("1 3:1 2:1", "the index 2 comes after 3, but indices must ascend"),
        ("1 3:1 3:1", "the index 3 comes after 3, but indices must ascend"),
        ("cat 3:1", "the label 'cat' is not a finite number"),
        ("nan 3:1", "the label 'nan' is not a finite number"),
        ("1,2.5 3:1", "many labels a row must be integers, but one is 2.5"),
        ("99999999999999999999:1 3:1", "'99999999999999999999:1' is no pair"),
        ("1 3:\0", "'3:.x00' is no pair"),
    ],
)
def test_a_damaged_line_is_refused_with_its_file_and_number(
    line: str, fault: str, tmp_path: Path
) -> None:
    text = f"1 1:1\n\n# a comment\n0 2:1\n{line}\n1 3:1\n"
    with pytest.raises(DataError, match=rf"a\.svm, line 5: {fault}.*; correct the line\.$"):
        load(written(tmp_path / "a.svm", text))


@pytest.mark.parametrize(
    ("options", "fault", "error"),
    [
        ({"labels": "y"}, "names no column of .*a.svm, whose lines begin with", SettingsError),
        ({"features": "x*"}, "features, drop and id have no effect on .*a.svm", SettingsError),
        ({"drop": "3"}, "features, drop and id have no effect", SettingsError),
        ({"groups": "patient"}, r"no column 'patient' for groups .*; it has qid", DataError),
        ({"groups": "qid"}, "line 1: there is no qid", DataError),
        ({"stream": True}, r"stream .* is for .*, but .*a.svm is none of them", SettingsError),
    ],
)  # fmt: skip
def test_options_that_such_a_file_has_nothing_for_are_refused(
    options: dict[str, Any], fault: str, error: type[Exception], tmp_path: Path
) -> None:
    file = written(tmp_path / "a.svm", "1 1:1\n0 2:1\n" * 5)
    with pytest.raises(error, match=fault):
        load(file, **options)


def test_columns_that_memory_has_no_room_for_are_refused(tmp_path: Path) -> None:
    file = written(tmp_path / "a.svm", f"1 {10**15}:1\n0 2:1\n")
    with pytest.raises(DataError, match="has 1,000,000,000,000,000 columns, for which"):
        load(file)


def test_rows_that_memory_has_no_room_for_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path / "a.svm.gz", gzip.compress(b"1 1:1\n" * 10_000))
    monkeypatch.setattr(svmlight, "available_memory", lambda: 1 << 19)
    with pytest.raises(DataError, match="holds more rows than fit into the 524 kB of memory"):
        load(file)
    written(tmp_path / "a.svm.gz", gzip.compress(b"1" * (1 << 20)))
    with pytest.raises(DataError, match="line 1: it takes more than the 131 kB"):
        load(file)


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no rows; write a label and values a line"):
        load(written(tmp_path / "a.svm", "# nothing\n\n"))


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("of", [sparse.csr_array, sparse.csr_matrix])
def test_sparse_npz_is_read_as_scipy_wrote_it(
    of: Any, compressed: bool, form: str, tmp_path: Path
) -> None:
    X, y = some_rows()
    sparse.save_npz(tmp_path / "a.npz", of(X).asformat(form), compressed=compressed)
    found = read(tmp_path / "a.npz")
    assert isinstance(found, SparseRows)
    assert np.array_equal(found.toarray(), X.toarray())
    np.save(tmp_path / "y.npy", y)
    splits = load(tmp_path / "a.npz", labels=tmp_path / "y.npy", log=quiet)
    assert (splits.train.features, splits.train.class_names) == (30, ("0", "1", "2"))
    with pytest.raises(DataError, match="has no labels; pass a file of labels"):
        load(tmp_path / "a.npz")


def test_places_of_coo_rows_come_in_any_order(tmp_path: Path) -> None:
    X = some_rows()[0].tocoo()
    order = np.random.default_rng(0).permutation(X.nnz)
    sparse.save_npz(
        tmp_path / "a.npz",
        sparse.coo_array((X.data[order], (X.row[order], X.col[order])), shape=X.shape),
    )
    assert np.array_equal(read(tmp_path / "a.npz").toarray(), X.toarray())


def test_labels_may_lie_beside_sparse_arrays(tmp_path: Path) -> None:
    X, y = some_rows()
    held = {"data": X.data, "indices": X.indices, "indptr": X.indptr, "shape": X.shape}
    np.savez(tmp_path / "a.npz", format=b"csr", y=y, g=np.arange(60) // 4, **held)
    splits = load(tmp_path / "a.npz", groups="g", log=quiet)
    assert splits.train.features == 30


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"format": b"bsr"}, "in the format 'bsr' with .*; write X.tocsr"),
        ({"format": 3}, "in the format '3'"),
        ({"shape": (60,)}, r"the shape of sparse rows must be \(N, D\)"),
        ({"shape": (59, 30)}, r"indptr must hold 60 numbers for .*, but it holds 61"),
        ({"shape": (60, 10)}, "indices of sparse rows must be 0 to 9"),
        ({"shape": (60, 10**15)}, "has 1,000,000,000,000,000 columns, for which"),
        ({"indices": np.full(361, -1)}, "sparse rows need one index for each|must be 0 to 29"),
        ({"indices": np.zeros((3, 3), int)}, "must be whole numbers"),
        ({"indptr": np.zeros(61)}, "must be whole numbers"),
        ({"indptr": np.arange(61)[::-1]}, "must ascend"),
        ({"data": np.array(["a"] * 361)}, "must be integers, float32 or float64"),
    ],
)  # fmt: skip
def test_damaged_sparse_arrays_are_refused_in_one_sentence(
    changes: dict[str, Any], fault: str, tmp_path: Path
) -> None:
    X, y = some_rows()
    held = {"data": X.data, "indices": X.indices, "indptr": X.indptr, "shape": X.shape}
    np.savez(tmp_path / "a.npz", **{"format": b"csr", "y": y, **held, **changes})
    with pytest.raises(DataError, match=fault) as caught:
        load(tmp_path / "a.npz")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes", [{"row": [0, 9]}, {"row": [-1, 0]}, {"row": [0]}, {"col": [0, 5]}, {"col": [1]}]
)
def test_places_outside_of_coo_rows_are_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    held: Any = {"data": [1.0, 2.0], "row": [0, 1], "col": [0, 1], "shape": (2, 2), "y": [0, 1]}
    np.savez(tmp_path / "a.npz", format=b"coo", **held | changes)
    with pytest.raises(DataError, match=r"must say where each of 2 values is|must be 0 to 1"):
        load(tmp_path / "a.npz")


def test_sparse_files_and_others_do_not_mix(tmp_path: Path) -> None:
    X, _ = some_rows()
    sparse.save_npz(tmp_path / "a0.npz", X)
    np.savez(tmp_path / "a1.npz", X.toarray())
    with pytest.raises(DataError, match=r"a0.npz has sparse rows, but .*a1.npz has not"):
        read(tmp_path / "a*.npz")


def test_sparse_arrays_in_memory_are_loaded_with_their_labels() -> None:
    X, y = some_rows()
    for source, options in ((X, {"labels": y}), ({"X": X, "y": y}, {})):
        assert isinstance(load(source, **options, log=quiet).train.X, SparseRows)
    parts = load({"X_train": X, "y_train": y, "X_test": X[:9], "y_test": y[:9]}, log=quiet)
    assert (parts.test.rows, parts.test.X.shape[1]) == (9, 30)


def test_columns_take_memory_whatever_their_rows_hold() -> None:
    with pytest.raises(DataError, match="x has 1,000,000,000,000 columns"):
        base.check_columns(10**12, "x")

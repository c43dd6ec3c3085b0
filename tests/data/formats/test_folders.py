"""Folders as other tools write them: all rows, each with its own label, or one sentence."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet
import pytest

from onelayer.data import Splits, load
from onelayer.data.streaming import stored_rows
from onelayer.errors import DataError, SettingsError

from .file_writers import Array, columns, lists, write_arrow, write_parquet, write_safetensors

N = 36
X: Array = np.random.default_rng(0).normal(size=(N, 3)).round(3)
Y = np.arange(N) % 3
KINDS = np.array(["ant", "bee", "cow"])[Y]
# What X's first column says of a row.
KIND_OF = dict(zip(X[:, 0], KINDS, strict=True))

streams = pytest.mark.parametrize("stream", [None, True], ids=["loaded", "streamed"])


def held(splits: Splits, kind_of: dict[float, str] = KIND_OF) -> int:
    """How many rows there are, once each has the label that it was written with."""
    parts = (splits.train, splits.validation, splits.test)
    for part in parts:
        expected = [kind_of[value] for value in part.X[:][:, 0]]
        assert [part.class_names[k] for k in part.y] == expected
    return sum(part.rows for part in parts)


def write_all(folder: Path, write: Callable[[Path, Array, Array], object]) -> Path:
    """Twelve files of three rows: part-10 comes before part-2 by its letters."""
    folder.mkdir()
    for i in range(12):
        write(folder / f"part-{i}", X[3 * i : 3 * i + 3], KINDS[3 * i : 3 * i + 3])
    return folder


def _npy(path: Path, rows: Array, labels: Array) -> None:
    np.save(f"{path}.npy", rows)


@streams
def test_shards_are_in_natural_order_where_their_labels_are_one_file(
    stream: bool | None, tmp_path: Path
) -> None:
    folder, said = write_all(tmp_path / "shards", _npy), list[str]()
    labels = (np.arange(N) >= N // 2).astype(int)  # part-2 has others than part-10
    np.save(tmp_path / "labels.npy", labels)
    kind_of = dict(zip(X[:, 0], labels.astype(str), strict=True))
    for source in (folder, folder / "*.npy"):
        splits = load(source, labels=tmp_path / "labels.npy", stream=stream, log=said.append)
        assert held(splits, kind_of) == N
    assert (
        f"{tmp_path}/labels.npy: one label for each row of 12 files in natural order, part-0.npy, "
        "part-1.npy, … part-11.npy."
    ) in said


def test_labels_in_as_many_files_belong_to_them_one_by_one(tmp_path: Path) -> None:
    for i, count in enumerate((12, 10, 14)):
        np.save(tmp_path / f"X-{i}.npy", X[:count])
        np.save(tmp_path / f"y-{i}.npy", Y[:count])
    load(tmp_path / "X-*.npy", labels=tmp_path / "y-*.npy", log=lambda line: None)
    np.save(tmp_path / "y-1.npy", Y[:14])
    np.save(tmp_path / "y-2.npy", Y[:10])  # together they are as many as before
    with pytest.raises(DataError, match=r"y-1.npy must hold one .* the 10 rows of .*X-1.npy, but"):
        load(tmp_path / "X-*.npy", labels=tmp_path / "y-*.npy")


@streams
@pytest.mark.parametrize("write", [
    lambda path, rows, labels: write_parquet(path, columns(rows, labels)),
    lambda path, rows, labels: write_arrow(path, lists(rows, labels)),
])  # fmt: skip
def test_empty_shards_are_skipped_with_a_line(
    write: Any, stream: bool | None, tmp_path: Path
) -> None:
    folder, said = write_all(tmp_path / "shards", write), list[str]()
    first = next(folder.glob("part-4.*"))
    write(first.with_suffix(""), X[:0], KINDS[:0])
    assert held(load(folder, stream=stream, log=said.append)) == N - 3
    assert f"{first}: skipped, because it has no rows." in said


def test_a_folder_whose_shards_are_all_empty_says_so(tmp_path: Path) -> None:
    for i in range(2):
        write_parquet(tmp_path / f"{i}", columns(X[:0], KINDS[:0]))
    with pytest.raises(DataError, match=r"none of its 2 files has rows; give at least one row"):
        load(tmp_path)


@streams
def test_columns_of_shards_go_by_name_and_take_the_type_that_holds_all(
    stream: bool | None, tmp_path: Path
) -> None:
    whole = np.column_stack([X.round()[:, :2], np.arange(N) * 5 - 20])
    table = columns(whole, KINDS)
    write_parquet(tmp_path / "0", table[:20].select(["x2", "x0", "x1", "label"]))
    small = table[20:].select(["label", "x1", "x0", "x2"])
    for i in (1, 2, 3):
        small = small.set_column(i, small.column_names[i], small[i].cast(pa.int16()))
    write_parquet(tmp_path / "1", small)
    said: list[str] = []
    splits = load(tmp_path, stream=stream, log=said.append)
    assert held(splits, dict(zip(whole[:, 2], KINDS, strict=True))) == N
    assert splits.train.feature_names == ("x2", "x0", "x1")
    rows = np.concatenate([p.X[:] for p in (splits.train, splits.validation, splits.test)])
    np.testing.assert_array_equal(rows[np.argsort(rows[:, 0])], whole[:, [2, 0, 1]])
    assert any("the files hold float64 and float32 features; all are read as" in s for s in said)


@streams
def test_int16_beside_double_is_double_with_a_line(stream: bool | None, tmp_path: Path) -> None:
    rows = np.arange(3 * N).reshape(N, 3)
    np.save(tmp_path / "0.npy", rows[:20] + 0.0)
    np.save(tmp_path / "1.npy", rows[20:].astype(np.int16))
    said: list[str] = []
    splits = load(tmp_path, labels=KINDS, stream=stream, log=said.append)
    assert splits.train.X.dtype == np.float64
    assert held(splits, dict(zip(rows[:, 0].astype(float), KINDS, strict=True))) == N
    assert any("the files hold float64 and float32 features; all are read as" in s for s in said)
    # So are whole parts of other types.
    write_safetensors(tmp_path / "a", rows.astype(np.float32), Y)
    write_safetensors(tmp_path / "b", rows + 0.5, Y)
    both = load(tmp_path / "a.safetensors", test=tmp_path / "b.safetensors", stream=stream,
                log=said.append)  # fmt: skip
    np.testing.assert_array_equal(both.test.X[:], rows + 0.5)
    assert both.train.X[:].dtype == np.float64


@pytest.mark.parametrize("zipped", [False, True])
def test_csv_files_of_a_folder_or_a_pattern_are_one_table(zipped: bool, tmp_path: Path) -> None:
    def write(path: Path, rows: Array, labels: Array) -> None:
        # Alone each file would have labels of another type: 1, 01, b.
        codes = {"ant": "1", "bee": "01", "cow": "b"}
        lines = [f"{codes[y]},{a},{b}\n" for (a, b, _), y in zip(rows, labels, strict=True)]
        text = "label,x,z\n" + "".join(lines)
        if zipped:
            Path(f"{path}.csv.gz").write_bytes(gzip.compress(text.encode()))
        else:
            Path(f"{path}.csv").write_text(text)

    folder = tmp_path / "tables"
    folder.mkdir()
    order = np.argsort(Y, kind="stable")
    for i in range(12):
        write(folder / f"{i}", X[order[3 * i : 3 * i + 3]], KINDS[order[3 * i : 3 * i + 3]])
    codes = {"ant": "1", "bee": "01", "cow": "b"}
    kind_of = {value: codes[kind] for value, kind in KIND_OF.items()}
    for source in (folder, folder / "*.csv*"):
        assert held(load(source, log=lambda line: None), kind_of) == N


def save_to_disk(folder: Path, rows: Array, labels: Array, *, in_files: bool = True) -> None:
    """What Hugging Face's `Dataset.save_to_disk` writes, and a cache that `map` leaves there."""
    folder.mkdir(parents=True)
    about = {"features": {"label": {"names": ["cow", "ant", "bee"], "_type": "ClassLabel"}}}
    numbers = np.array([["cow", "ant", "bee"].index(label) for label in labels])
    table = pa.table({"embedding": rows.tolist(), "label": numbers, "text": ["a"] * len(rows)})
    if in_files:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": about})})
    names = [f"data-{i:05d}-of-00012.arrow" for i in range(12)]
    each = -(-len(rows) // 12)
    for i, name in enumerate((*names, "cache-0123456789abcdef.arrow")):
        write_arrow(folder / name, table[i * each : (i + 1) * each], 2, pa.ipc.new_stream)
    listed = {"_data_files": [{"filename": name} for name in names], "_split": None}
    (folder / "state.json").write_text(json.dumps(listed))
    (folder / "dataset_info.json").write_text(json.dumps(about))


@streams
@pytest.mark.parametrize("in_files", [True, False], ids=["names in files", "names beside them"])
def test_a_data_set_that_save_to_disk_wrote_has_its_rows_and_class_names(
    in_files: bool, stream: bool | None, tmp_path: Path
) -> None:
    save_to_disk(tmp_path / "set", X, KINDS, in_files=in_files)
    splits = load(tmp_path / "set", stream=stream, log=lambda line: None)
    assert held(splits) == N
    assert (stored_rows(splits.train.X) is not None) == bool(stream)
    for state in ("{}", json.dumps({"_data_files": [{"filename": "a\0.arrow"}]})):
        (tmp_path / "set" / "state.json").write_text(state)
        with pytest.raises(DataError, match=r"state.json is not a valid state of a data set"):
            load(tmp_path / "set")


def test_a_dict_of_data_sets_that_save_to_disk_wrote_is_the_split(tmp_path: Path) -> None:
    for name, rows in (("train", slice(0, 24)), ("test", slice(24, N))):
        save_to_disk(tmp_path / "dict" / name, X[rows], KINDS[rows])
    (tmp_path / "dict" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    splits = load(tmp_path / "dict", log=lambda line: None)
    assert held(splits) == N
    np.testing.assert_array_equal(splits.test.X, X[24:])
    (tmp_path / "dict" / "train").rename(tmp_path / "dict" / "unsupervised")
    with pytest.raises(DataError, match=r"has its rows in sub-folders; name .*/test or .*vised\."):
        load(tmp_path / "dict")


@pytest.mark.parametrize(("train", "test"), [("Train", "Test"), ("TRAIN", "test"),
                                             ("Training", "Testing")])  # fmt: skip
def test_train_and_test_are_the_split_in_any_case(train: str, test: str, tmp_path: Path) -> None:
    for name, rows in ((train, slice(0, 24)), (test, slice(24, N))):
        (tmp_path / "set" / name).mkdir(parents=True)
        write_parquet(tmp_path / "set" / name / "0", columns(X[rows], KINDS[rows]))
    splits = load(tmp_path / "set", log=lambda line: None)
    np.testing.assert_array_equal(splits.test.X, X[24:])
    (tmp_path / "set" / "Val.").mkdir()
    with pytest.raises(DataError, match=r"but Val\. beside it is none of train, training"):
        load(tmp_path / "set")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_files_whose_names_begin_with_train_and_test_are_the_split(
    suffix: str, tmp_path: Path
) -> None:
    def write(name: str, rows: slice) -> None:
        frame = pandas.DataFrame(X[rows], columns=list("abc")).assign(label=KINDS[rows])
        if suffix == "csv":
            frame.to_csv(tmp_path / name, index=False)
        else:
            frame.to_parquet(tmp_path / name)

    write(f"train-00000-of-00002.{suffix}", slice(0, 12))
    write(f"train-00001-of-00002.{suffix}", slice(12, 24))
    write(f"Test.{suffix}", slice(24, N))
    splits = load(tmp_path, log=lambda line: None)
    np.testing.assert_array_equal(splits.test.X, X[24:])
    assert held(splits) == N
    with pytest.raises(SettingsError, match=r"already has test rows, .*Test\.\w+; leave test"):
        load(tmp_path, test=tmp_path / f"Test.{suffix}")
    write(f"notes.{suffix}", slice(0, 1))
    with pytest.raises(DataError, match=r"the name of notes\.\w+ begins with none of train"):
        load(tmp_path)
    (tmp_path / f"notes.{suffix}").unlink()
    write(f"testing.{suffix}", slice(0, 1))
    with pytest.raises(DataError, match=r"holds test twice, as testing\.\w+ too; keep one"):
        load(tmp_path)


def test_a_label_that_no_class_name_is_of_is_refused_by_its_row(tmp_path: Path) -> None:
    about = {"info": {"features": {"label": {"names": ["a", "b"], "_type": "ClassLabel"}}}}
    table = pa.table({"x": X[:, 0], "label": [0, 1, -1] * 12})
    table = table.replace_schema_metadata({"huggingface": json.dumps(about)})
    with pytest.raises(DataError, match=r"column 'label': row 2 is -1, and of the 2 class names"):
        load(table)
    for broken in ("[", "[1]", '{"info": {"features": {"label": {"names": [1]}}}}', '{"info": 1}'):
        found = load(table.replace_schema_metadata({"huggingface": broken}))
        assert found.train.class_names == ("-1", "0", "1")


@streams
def test_an_arrow_stream_with_dictionaries_is_read_as_its_file_is(
    stream: bool | None, tmp_path: Path
) -> None:
    parts = [slice(i, i + 4) for i in range(0, N, 4)]  # each begins with another class
    batches = [
        pa.record_batch({"x": X[part, 0], "label": pa.array(KINDS[part]).dictionary_encode()})
        for part in parts
    ]
    file = pa.OSFile(str(tmp_path / "a.arrow"), "wb")
    with file, pa.ipc.new_stream(file, batches[0].schema) as to:
        for batch in batches:
            to.write_batch(batch)
    assert held(load(tmp_path / "a.arrow", stream=stream, log=lambda line: None)) == N


@streams
@pytest.mark.parametrize("keys", [["label"], ["year"], ["year", "label"]])
def test_a_folder_in_hive_s_layout_has_the_labels_that_its_folders_name(
    keys: list[str], stream: bool | None, tmp_path: Path
) -> None:
    frame = pandas.DataFrame(X, columns=list("abc")).assign(label=KINDS, year=2000 + Y % 2)
    frame.replace("bee", "a bee/b").to_parquet(tmp_path / "hive", partition_cols=keys)
    said: list[str] = []
    splits = load(tmp_path / "hive", stream=stream, log=said.append, drop="year"
                  if "year" not in keys else None)  # fmt: skip
    kind_of = {value: kind.replace("bee", "a bee/b") for value, kind in KIND_OF.items()}
    assert held(splits, kind_of) == N
    assert splits.train.feature_names == ("a", "b", "c")
    ignored = f"{tmp_path}/hive: ignored columns that are no features: year (in names of folders)."
    assert (ignored in said) == ("year" in keys)


def test_a_column_that_folders_name_is_no_feature_of_their_files(tmp_path: Path) -> None:
    for label in (0, 1):
        (tmp_path / f"label={label}").mkdir()
        rows = columns(X, np.full(N, label))
        write_parquet(tmp_path / f"label={label}" / "a", rows)
    assert load(tmp_path, log=lambda line: None).train.feature_names == ("x0", "x1", "x2")


def test_brackets_in_names_are_names_where_they_are_there(tmp_path: Path) -> None:
    folder = tmp_path / "run[1]"
    (tmp_path / "run1").mkdir()
    folder.mkdir()
    np.save(tmp_path / "run1" / "x[0].npy", X[:2])
    for i in range(3):
        np.save(folder / f"x[{i}].npy", X[12 * i : 12 * i + 12])
    for source in (folder, folder / "*.npy", folder / "x[?].npy", folder / "x[[]*.npy"):
        assert held(load(source, labels=KINDS, log=lambda line: None)) == N
    np.save(tmp_path / "run[1].npy", KINDS)
    assert held(load(folder, labels=tmp_path / "run[1].npy", log=lambda line: None)) == N


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("train-images-idx3-ubyte.gz", "is an IDX file, as MNIST has them"),
        ("t10k-labels.idx1-ubyte", "is an IDX file, as MNIST has them"),
        ("rows.tar.gz", "is an archive; unpack it and name the folder"),
        ("rows.tgz", "is an archive; unpack it"),
        ("rows.zip", "is an archive; unpack it"),
        (
            "rows.json.gz",
            r"is compressed, and only .csv.gz, .tsv.gz, .svm.gz and .svm.bz2 are read so",
        ),
        ("cifar-10-python.tar.gz", "is an archive of CIFAR; name the folder that it lies in"),
    ],
)
def test_files_that_are_not_read_are_named_for_what_they_are(
    name: str, told: str, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / name).write_bytes(gzip.compress(b"anything"))
    for source in (folder / name, folder):
        if "CIFAR" not in told or source != folder:  # a folder with this archive is unpacked
            with pytest.raises(DataError, match=f"{name} {told}"):
                load(source)

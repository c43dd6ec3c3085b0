"""Files that rows stay in: every kind gives the rows that were written, or says what is wrong."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from onelayer.data import Splits, load
from onelayer.data.streaming import (
    StoredRows,
    block_order,
    iter_tiles,
    stored_rows,
)
from onelayer.errors import DataError, SettingsError

from .file_writers import Array, columns, lists, write_arrow, write_parquet, write_safetensors

N, D = 90, 6
RNG = np.random.default_rng(0)
X: Array = RNG.normal(size=(N, D)).astype(np.float32)
Y: Array = np.arange(N) % 3
CUTS = ((0, 30), (30, 31), (31, 90))

Write = Callable[[Path, Array, Array], object]


def _npy(path: Path, rows: Array, labels: Array) -> None:
    np.save(path.with_suffix(".npy"), rows)


def _parquet(table: Callable[[Array, Array], Any]) -> Write:
    return lambda path, rows, labels: write_parquet(path, table(rows, labels), row_group_size=7)


def _arrow(path: Path, rows: Array, labels: Array, chunk: int = 8) -> None:
    write_arrow(path, lists(rows, labels), chunk)


def _stream(path: Path, rows: Array, labels: Array) -> None:
    write_arrow(path, lists(rows, labels), 8, pa.ipc.new_stream)


def _ragged(rows: Array, labels: Array) -> Any:
    return pa.table({"embedding": rows.tolist(), "label": labels})


WRITERS: dict[str, Write] = {
    "npy": _npy,
    "safetensors": write_safetensors,
    "parquet of lists": _parquet(lists),
    "parquet of lists of any length": _parquet(_ragged),
    "parquet of columns": _parquet(columns),
    "arrow": _arrow,
    "arrow stream": _stream,
}


def write_shards(folder: Path, write: Write, rows: Array = X, labels: Array = Y) -> Path:
    folder.mkdir()
    for i, (a, b) in enumerate(CUTS):
        write(folder / f"part-{i}", rows[a:b], labels[a:b])
    np.save(folder.parent / "labels.npy", labels)
    return folder


def open_rows(source: Path, *, elsewhere: bool = False, **more: Any) -> Splits:
    if elsewhere:
        more["labels"] = source.parent / "labels.npy"
    return load(source, stream=True, log=lambda line: None, **more)


def everything(splits: Splits) -> tuple[Array, Array]:
    """All rows and labels, back in the order of the files."""
    parts = [splits.train, splits.validation, splits.test]
    rows = np.concatenate([part.X[:] for part in parts])
    labels = np.concatenate([part.y for part in parts])
    order = np.lexsort(rows.T)
    return rows[order], labels[order]


def the_rows(X: Any) -> StoredRows:
    rows = stored_rows(X)
    assert rows is not None
    return rows


@pytest.mark.parametrize("kind", WRITERS)
def test_every_kind_gives_the_rows_that_were_written(kind: str, tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards", WRITERS[kind])
    splits = open_rows(folder, elsewhere=kind == "npy")
    for part in (splits.train, splits.validation, splits.test):
        assert stored_rows(part.X) is not None
    got, labels = everything(splits)
    order = np.lexsort(X.astype(got.dtype).T)
    np.testing.assert_array_equal(got, X.astype(got.dtype)[order])
    np.testing.assert_array_equal(labels, Y[order])


@pytest.mark.parametrize("kind", WRITERS)
def test_every_kind_is_walked_in_any_order(kind: str, tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards", WRITERS[kind])
    whole = the_rows(open_rows(folder, elsewhere=kind == "npy").train.X)
    values = whole[:]
    shuffled = block_order(whole.blocks, 20, 0, 1)
    for order in (shuffled, RNG.permutation(len(whole)), np.arange(len(whole))[::-1]):
        got = [h.copy() if s.order is None else h[s.order]
               for s, h in iter_tiles(whole, order, batch=3, most=22)]  # fmt: skip
        np.testing.assert_array_equal(np.concatenate(got), values[order])


@pytest.mark.parametrize("kind", WRITERS)
def test_shards_that_fit_are_loaded_and_a_shard_alone_is_streamed(
    kind: str, tmp_path: Path
) -> None:
    folder = write_shards(tmp_path / "shards", WRITERS[kind])
    labels = {"labels": tmp_path / "labels.npy"} if kind == "npy" else {}
    loaded = load(folder, **labels)  # type: ignore[arg-type]
    assert isinstance(loaded.train.X, np.ndarray)
    np.testing.assert_array_equal(everything(loaded)[0], everything(open_rows(
        folder, elsewhere=kind == "npy"))[0])  # fmt: skip
    alone = sorted(folder.iterdir())[2]
    np.save(folder / "labels.npy", Y[31:])
    assert len(everything(open_rows(alone, elsewhere=kind == "npy"))[0]) == 59


def test_rows_stay_on_disk_where_they_would_take_too_much_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, messages = write_shards(tmp_path / "shards", write_safetensors), list[str]()
    monkeypatch.setattr("onelayer.data.formats.registry.available_memory", lambda: 4 * X.nbytes - 1)
    splits = load(folder, log=messages.append)
    assert stored_rows(splits.train.X) is not None
    assert messages[0].startswith(
        f"{folder}: 2.16 kB of rows in 3 files stay on disk, more than a quarter of the 8.64 kB"
    )
    alone = load(folder / "part-2.safetensors", log=messages.append, stream=False)
    assert stored_rows(alone.train.X) is None
    monkeypatch.setattr("onelayer.data.formats.registry.available_memory", lambda: 4 * X.nbytes)
    assert stored_rows(load(folder).train.X) is None


def test_a_large_single_file_stays_on_disk_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_safetensors(tmp_path / "a", X, Y)
    monkeypatch.setattr("onelayer.data.formats.registry.available_memory", lambda: X.nbytes)
    path = tmp_path / "a.safetensors"
    assert stored_rows(load(path, log=lambda line: None).train.X) is not None
    assert stored_rows(load(path, stream=False).train.X) is None


def test_a_pattern_takes_the_files_that_match_and_labels_may_be_one_too(tmp_path: Path) -> None:
    folder = tmp_path / "all"
    folder.mkdir()
    for i, (a, b) in enumerate(CUTS):
        np.save(folder / f"X-{i}.npy", X[a:b])
        np.save(folder / f"y-{i}.npy", Y[a:b])
    splits = load(folder / "X-*.npy", labels=str(folder / "y-*.npy"), stream=True,
                  log=lambda line: None)  # fmt: skip
    assert splits.name == "all"
    got, labels = everything(splits)
    np.testing.assert_array_equal(labels, Y[np.lexsort(X.T)])
    np.testing.assert_array_equal(got, X[np.lexsort(X.T)])


def test_the_labels_file_is_no_shard_of_its_own_folder(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards", _npy)
    os.rename(tmp_path / "labels.npy", folder / "labels.npy")
    splits = load(folder, labels=folder / "labels.npy", stream=True, log=lambda line: None)
    assert len(everything(splits)[0]) == N


def test_sub_folders_are_the_split(tmp_path: Path) -> None:
    for part, (a, b) in zip(("train", "val", "test"), ((0, 50), (50, 70), (70, 90)), strict=True):
        (tmp_path / "set" / part).mkdir(parents=True)
        write_safetensors(tmp_path / "set" / part / "0", X[a:b], Y[a:b])
    splits = load(tmp_path / "set", stream=True, log=lambda line: None)
    np.testing.assert_array_equal(splits.train.X[:], X[:50])
    np.testing.assert_array_equal(splits.test.X[:], X[70:])


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float64", ">f4", "int16", "int32", "bool"])
def test_numbers_of_every_type_come_out_as_they_are(dtype: str, tmp_path: Path) -> None:
    values = RNG.integers(0, 2 if dtype == "bool" else 200, (N, D)).astype(dtype)
    folder = write_shards(tmp_path / "shards", _npy, values)
    splits = open_rows(folder, elsewhere=True)
    wide = {"int16": "float32", "int32": "float64", "bool": "uint8", ">f4": "float32"}
    assert splits.train.X.dtype == wide.get(dtype, dtype)
    assert splits.train.max_value == (255.0 if dtype == "uint8" else 1.0)
    got, _ = everything(splits)
    np.testing.assert_array_equal(got, values[np.lexsort(values.T)].astype(got.dtype))


def test_bfloat16_becomes_float32(tmp_path: Path) -> None:
    bits = (X.view(np.uint32) >> 16).astype(np.uint16)
    header = {
        "X": {"dtype": "BF16", "shape": [N, D], "data_offsets": [0, bits.nbytes]},
        "y": {"dtype": "I64", "shape": [N], "data_offsets": [bits.nbytes, bits.nbytes + 8 * N]},
    }
    text = json.dumps(header).encode()
    head = len(text).to_bytes(8, "little") + text
    (tmp_path / "a.safetensors").write_bytes(head + bits.tobytes() + Y.tobytes())
    got, _ = everything(open_rows(tmp_path / "a.safetensors"))
    exact = (X.view(np.uint32) & 0xFFFF0000).view(np.float32)
    np.testing.assert_array_equal(got, exact[np.lexsort(exact.T)])


def test_rows_in_files_survive_pickling(tmp_path: Path) -> None:
    rows = the_rows(open_rows(write_shards(tmp_path / "shards", _arrow)).train.X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(rows))[:], rows[:])


def test_a_parquet_file_is_not_decoded_again_for_each_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where row groups are shuffled, and where a batch takes rows of two windows."""
    folder = write_shards(tmp_path / "shards", _parquet(lists))
    rows = the_rows(open_rows(folder, test_size=0.01, validation_size=0.01).train.X)
    decoded = list[int]()
    original = pyarrow.parquet.ParquetFile.iter_batches

    def counting(self: Any, *words: Any, **options: Any) -> Any:
        for batch in original(self, *words, **options):
            decoded.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "iter_batches", counting)
    monkeypatch.setattr("onelayer.data.streaming.GAP_BYTES", 0)  # these rows are tiny
    for order in (None, block_order(rows.blocks, 20, 0, 1)):
        decoded.clear()
        for _ in iter_tiles(rows, order, batch=3, most=22):
            pass
        # A row group that a window's last batch cuts is met twice at most.
        assert sum(decoded) <= 1.3 * N


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (
        lambda folder: os.truncate(folder / "part-2.npy", 300),
        r"part-2.npy must hold 1416 bytes for its shape \(59, 6\) .* truncated or damaged",
    ),
    "of another width": (
        lambda folder: np.save(folder / "part-1.npy", X[:5, :4]),
        r"part-1.npy has rows of 4 features where .*part-0.npy has 6; give every file rows of one",
    ),
    "without columns": (
        lambda folder: np.save(folder / "part-1.npy", X[:, :0]),
        r"part-1.npy: the features must be an array of rows and columns.* \(90, 0\)",
    ),
    "without a byte": (
        lambda folder: (folder / "part-1.npy").write_bytes(b""),
        r"part-1.npy is not an array as NumPy saves them",
    ),
    "in Fortran order": (
        lambda folder: np.save(folder / "part-1.npy", np.asfortranarray(X)),
        r"part-1.npy is in Fortran order, .* numpy.ascontiguousarray",
    ),
    "of another kind": (
        lambda folder: _parquet(lists)(folder / "other", X, Y),
        r"names .npy, .parquet files, .* where all are of one format; name them by a pattern",
    ),
    "missing rows": (
        lambda folder: (folder / "part-1.npy").unlink(),
        r"labels.npy must hold one label for each of the 89 rows of .*shards, but it holds 90",
    ),
    "a pickle": (
        lambda folder: np.save(folder / "part-1.npy", np.array([{}]), allow_pickle=True),
        r"part-1.npy holds pickled Python objects",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_shard_is_named(what: str, tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards", _npy)
    spoil, message = BAD[what]
    spoil(folder)
    with pytest.raises(DataError, match=message) as caught:
        open_rows(folder, elsewhere=True)
    assert str(caught.value).count("\n") == 0


def test_a_folder_without_shards_and_a_pattern_without_a_match_say_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"a folder of shards holds .npy, .parquet"):
        load(tmp_path / "empty", stream=True)
    with pytest.raises(DataError, match=r"no file matches .*\*.npy; name a folder or a pattern"):
        load(tmp_path / "*.npy", labels="y.npy")


@pytest.mark.parametrize(
    ("write", "suffix"),
    [(write_safetensors, "safetensors"), (_parquet(lists), "parquet"), (_arrow, "arrow")],
)
def test_a_truncated_file_of_every_kind_is_named(write: Write, suffix: str, tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards", write)
    path = folder / f"part-2.{suffix}"
    os.truncate(path, path.stat().st_size - 100)
    with pytest.raises(DataError, match=rf"part-2.{suffix} .*; download or write it again"):
        open_rows(folder)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_number_that_is_none_is_found_when_it_is_read(kind: str, tmp_path: Path) -> None:
    wrong = X.copy()
    wrong[40, 3] = np.nan
    folder = write_shards(tmp_path / "shards", WRITERS[kind], wrong)
    rows = the_rows(open_rows(folder, elsewhere=kind == "npy").train.X)
    name = "3 (x3)" if kind == "parquet of columns" else "3"
    file = sorted(folder.iterdir())[2].name
    with pytest.raises(DataError) as caught:
        rows[:]
    assert f"{file}: every feature must be a finite number, but row 9, column {name} is nan" in str(
        caught.value
    )
    with pytest.raises(DataError, match="row 9"):  # it is not forgotten
        list(iter_tiles(rows))


def test_a_file_that_is_cut_short_while_it_is_read_is_named(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards", _npy)
    rows = the_rows(open_rows(folder, elsewhere=True).train.X)
    os.truncate(folder / "part-2.npy", 500)
    with pytest.raises(DataError, match=r"part-2.npy ended before row .* cut short"):
        list(iter_tiles(rows))
    (folder / "part-0.npy").unlink()
    with pytest.raises(DataError, match=r"part-0.npy cannot be read: No such file"):
        list(iter_tiles(rows))


def test_a_null_and_lists_of_several_lengths_are_found_with_their_row(tmp_path: Path) -> None:
    ragged = X.tolist()
    ragged[33] = ragged[33][:4]
    write = _parquet(lambda rows, labels: pa.table({"e": ragged, "label": Y}))
    write(tmp_path / "a", X, Y)
    rows = the_rows(open_rows(tmp_path / "a.parquet").train.X)
    with pytest.raises(DataError, match=r"a.parquet, column 'e': every list .* row 33 has 4"):
        rows[:]
    empty = X.tolist()
    empty[21][2] = None
    _parquet(lambda rows, labels: pa.table({"e": empty, "label": Y}))(tmp_path / "b", X, Y)
    rows = the_rows(open_rows(tmp_path / "b.parquet").train.X)
    with pytest.raises(DataError, match=r"b.parquet, column 'e': row 21 is empty"):
        rows[:]


def test_a_huge_batch_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onelayer.data.formats.tables.MAX_BATCH_BYTES", 10 * 4 * D)
    _arrow(tmp_path / "b", X, Y, chunk=20)
    with pytest.raises(DataError, match=r"a record batch of 20 rows, .* max_chunksize=10 or less"):
        open_rows(tmp_path / "b.arrow")


def test_streaming_what_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("label,x\n0,1\n1,2\n")
    with pytest.raises(SettingsError, match=r"stream \(--stream\) is for .npy, .*a.csv is none of"):
        load(tmp_path / "a.csv", stream=True)
    with pytest.raises(SettingsError, match=r"stream .* has no effect on the digits"):
        load("digits", stream=True)

"""Predictions on disk say what the model says; what cannot be read or written is said."""

from __future__ import annotations

import csv
import errno
import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image
from safetensors.numpy import save_file

from onelayer.data import load
from onelayer.data.streaming import stored_rows
from onelayer.errors import DataError, SaveError, SettingsError
from onelayer.model import rows as model_rows
from onelayer.model.predictions import read_rows, write_predictions
from tests.model.datasets import make_model, make_rows

ODD = ('cat, "the" one', "naïve\nλ", "p_label")


def read_back(path: Path) -> tuple[list[str], list[str], np.ndarray[Any, Any]]:
    """Column names, labels and probabilities of a file."""
    if path.suffix == ".npy":
        table = np.load(path, allow_pickle=False)
        return list(table.dtype.names), table["label"].tolist(), table["probabilities"]
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        columns = pq.read_table(path).to_pydict()
        names = list(columns)
        return names, columns["label"], np.array([columns[name] for name in names[1:]]).T
    with path.open(encoding="utf-8", newline="") as file:
        head, *lines = csv.reader(file)
    return head, [line[0] for line in lines], np.array([line[1:] for line in lines], np.float64)


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".npy"])
@pytest.mark.parametrize("rows_of_a_tile", [7, 1000])
def test_predictions_are_the_models_own_to_the_last_bit(
    rows_of_a_tile: int, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_rows, "TILE_ENTRIES", 12 * rows_of_a_tile)
    model, X = make_model(class_names=ODD), make_rows(40)
    path = tmp_path / f"out{ending}"
    write_predictions(model, X, path)
    names, labels, probabilities = read_back(path)
    if ending == ".npy":
        assert names == ["label", "probabilities"]
    else:
        assert names == ["label", *(f"p_{name}" for name in ODD)]
    assert labels == [ODD[k] for k in model.predict(X)]
    np.testing.assert_array_equal(probabilities, model.predict_proba(X))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".npy"])
def test_bad_rows_leave_the_old_file(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_rows, "TILE_ENTRIES", 12 * 8)
    path = tmp_path / f"out{ending}"
    path.write_text("old")
    X = make_rows(40).astype(np.float32)
    X[30, 0] = np.nan
    with pytest.raises(DataError, match="row 30"):
        write_predictions(make_model(), X, path)
    with pytest.raises(DataError, match="12 features"):
        write_predictions(make_model(), X[:, :4], path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_another_ending_and_a_place_that_is_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"written as .csv, .parquet, .npy, but out.xlsx"):
        write_predictions(make_model(), make_rows(), tmp_path / "out.xlsx")
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveError, match="could not be written"):
        write_predictions(make_model(), make_rows(), tmp_path / "file" / "out.csv")


def test_rows_are_read_from_files_and_data_sets(tmp_path: Path) -> None:
    X = make_rows()
    np.save(tmp_path / "rows.npy", X)
    np.testing.assert_array_equal(read_rows(str(tmp_path / "rows.npy"))[0], X)
    splits = load("digits")
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(read_rows(f"digits:{part}")[0], getattr(splits, part).X)
    np.testing.assert_array_equal(read_rows("digits")[0], splits.test.X)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_table_gives_the_models_features_by_name(ending: str, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import csv as pa_csv
    from pyarrow import parquet as pq

    model, X = make_model(), make_rows(9)
    assert model.feature_names is not None
    columns = dict(zip(model.feature_names, X.T.astype(np.float64), strict=True))
    mixed = {"row": np.arange(9)} | dict(reversed(columns.items())) | {"label": ["a"] * 9}
    path = tmp_path / f"rows.{ending}"
    write = pa_csv.write_csv if ending == "csv" else pq.write_table
    write(pa.table(mixed), str(path))
    np.testing.assert_array_equal(read_rows(str(path), model.feature_names)[0], X)
    with pytest.raises(DataError, match=r"the model's 2 features must .* 1 is missing: nose"):
        read_rows(str(path), ("row", "nose"))
    write(pa.table(columns), str(path))
    np.testing.assert_array_equal(read_rows(str(path))[0], X)
    with pytest.raises(DataError, match="no such file"):
        read_rows(str(tmp_path / f"absent.{ending}"))


def test_images_are_taken_with_their_channels_first_only(tmp_path: Path) -> None:
    model, X = make_model(image_shape=(3, 2, 2)), make_rows()
    images = X.reshape(-1, 3, 2, 2)
    for rows, name in ((X, "rows.parquet"), (images, "images.parquet")):
        write_predictions(model, rows, tmp_path / name)
    np.testing.assert_array_equal(
        read_back(tmp_path / "images.parquet")[2], read_back(tmp_path / "rows.parquet")[2]
    )
    with pytest.raises(DataError, match=r"shape \(N, 3, 2, 2\), but theirs is \(40, 2, 2, 3\)"):
        write_predictions(model, images.transpose(0, 2, 3, 1), tmp_path / "last.csv")
    with pytest.raises(DataError, match=r"shape \(N, 12\), but theirs"):
        write_predictions(make_model(image_shape=None), images, tmp_path / "last.csv")
    assert not (tmp_path / "last.csv").exists()


class _Trap:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (open, (str(self.target), "w"))


@pytest.mark.parametrize("kind", ["empty", "picture", "head", "pickle", "objects"])
def test_a_file_that_is_no_array_is_one_sentence_and_runs_nothing(
    kind: str, tmp_path: Path
) -> None:
    path, trap = tmp_path / "rows.npy", _Trap(tmp_path / "ran")
    if kind == "objects":
        np.save(path, np.array([trap], object), allow_pickle=True)
    else:
        content = {"empty": b"", "picture": b"GIF89a", "head": b"\x93NUMPY"}
        path.write_bytes(content.get(kind) or pickle.dumps(trap) * (kind == "pickle"))
    with pytest.raises(
        DataError, match=r"rows.npy (is not an array as NumPy saves them|holds pickled)"
    ):
        read_rows(str(path))
    assert [p.name for p in tmp_path.iterdir()] == ["rows.npy"]


@pytest.mark.parametrize("ending", [".npy", ".h5"])
def test_a_single_number_is_no_rows(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows{ending}"
    if ending == ".h5":
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            file["X"] = np.float32(3)
    else:
        np.save(path, np.float32(3))
    with pytest.raises(DataError, match=r"\(N, D\), .* but their shape is \(\); reshape it\."):
        read_rows(str(path))


def test_pictures_take_the_form_that_the_model_was_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    colours = make_rows(1).reshape(2, 2, 3)
    Image.fromarray(colours).save(tmp_path / "a.png")
    Image.fromarray(colours[..., 0]).save(tmp_path / "b.png")
    X, ids = read_rows(str(tmp_path), None, image_shape=(3, 2, 2))
    np.testing.assert_array_equal(X[0], colours.transpose(2, 0, 1).ravel())
    np.testing.assert_array_equal(X[1], np.tile(colours[..., 0].ravel(), 3))
    assert (ids[0], ids[1].tolist()) == ("file", ["a.png", "b.png"])
    assert capsys.readouterr().err == ""
    gray, _ = read_rows(str(tmp_path), None, image_shape=(1, 4, 4))
    np.testing.assert_array_equal(
        gray[0], np.asarray(Image.fromarray(colours).convert("L").resize((4, 4), 2)).ravel()
    )
    said = capsys.readouterr().err
    assert f"colours become the model's gray: 1 of 2, first {tmp_path}/a.png." in said
    assert f"resized to the model's 4 × 4: 2 of 2, first {tmp_path}/a.png." in said


def test_a_folder_without_rows_says_what_it_could_hold(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataError, match=r"holds no rows: no file of \.npy.*, and no picture"):
        read_rows(str(tmp_path))
    for part in ("train", "test"):
        (tmp_path / "parts" / part).mkdir(parents=True)
        np.save(tmp_path / "parts" / part / "0.npy", np.eye(3))
    with pytest.raises(DataError, match=r"has its rows in sub-folders; name .*/test or .*/train\."):
        read_rows(str(tmp_path / "parts"))


def test_a_folder_that_links_to_itself_is_read_once(tmp_path: Path) -> None:
    Image.fromarray(make_rows(1).reshape(3, 4)).save(tmp_path / "a.png")
    (tmp_path / "again").symlink_to(tmp_path)
    assert read_rows(str(tmp_path), None)[1][1].tolist() == ["a.png"]


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".npy"])
def test_rows_are_named_by_their_column_or_number(ending: str, tmp_path: Path) -> None:
    model, X = make_model(), make_rows(3)
    assert model.feature_names is not None
    columns = {"who": ["x", "y", "z"]} | dict(zip(model.feature_names, X.T, strict=True))
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "rows.parquet")
    for column, expected in (("who", ["x", "y", "z"]), (None, [0, 1, 2])):
        rows, ids = read_rows(str(tmp_path / "rows.parquet"), model.feature_names, column)
        write_predictions(model, rows, tmp_path / f"p{ending}", ids=ids)
        path = tmp_path / f"p{ending}"
        if ending == ".npy":
            found = np.load(path)[column or "row"].tolist()
        elif ending == ".csv":
            with path.open(newline="") as file:
                found = [line[column or "row"] for line in csv.DictReader(file)]
            expected = list(map(str, expected))
        else:
            found = pyarrow.parquet.read_table(path)[column or "row"].to_pylist()
        assert found == expected


def test_absent_rows_are_said() -> None:
    with pytest.raises(DataError, match=r"no such file or folder: absent.npy"):
        read_rows("absent.npy")
    with pytest.raises(DataError, match="no such file or folder: absent"):
        read_rows("absent:test")


def test_shards_are_classified_where_they_lie(tmp_path: Path) -> None:
    """A folder, a pattern, and files of kinds that hold more than the rows."""
    splits = load("digits")
    X, y = splits.test.X, splits.test.y
    (tmp_path / "shards").mkdir()
    for i, part in enumerate(np.array_split(np.arange(len(X)), 3)):
        np.save(tmp_path / "shards" / f"{i}.npy", X[part])
    save_file({"X": np.ascontiguousarray(X), "y": y}, tmp_path / "rows.safetensors")
    for named in ("shards", "shards/*.npy"):
        rows = read_rows(str(tmp_path / named))[0]
        assert stored_rows(rows) is not None
        np.testing.assert_array_equal(rows[:], X)
    mapped = read_rows(str(tmp_path / "rows.safetensors"))[0]
    assert isinstance(mapped.base, np.memmap)
    np.testing.assert_array_equal(mapped, X)


def test_columns_of_shards_are_taken_by_the_models_names(tmp_path: Path) -> None:
    X = np.arange(12.0).reshape(4, 3)
    table = pa.table({"label": [0, 1, 0, 1], **{name: X[:, i] for i, name in enumerate("cab")}})
    for i in range(2):
        pa.parquet.write_table(table, tmp_path / f"{i}.parquet")
    rows = read_rows(str(tmp_path), ("a", "c"))[0]
    np.testing.assert_array_equal(rows[:], np.concatenate([X, X])[:, [1, 0]])
    with pytest.raises(DataError, match=r"0.parquet: the model's 2 .* 1 is missing: nose"):
        read_rows(str(tmp_path), ("a", "nose"))
    assert read_rows(str(tmp_path))[0].shape == (8, 4)


def test_a_file_too_large_for_memory_is_classified_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X = np.ones((40, 8), np.float32)
    np.save(tmp_path / "rows.npy", X)
    np.save(tmp_path / "pictures.npy", X.reshape(40, 1, 2, 4))
    monkeypatch.setattr("onelayer.data.formats.registry.available_memory", lambda: X.nbytes)
    assert stored_rows(read_rows(str(tmp_path / "rows.npy"))[0]) is not None
    assert stored_rows(read_rows(str(tmp_path / "pictures.npy"))[0]) is None


def test_tensors_are_predicted_and_what_is_no_array_of_numbers_is_refused() -> None:
    import torch

    model, X = make_model(), make_rows(4).astype(np.float32)
    tensor = torch.tensor(X, requires_grad=True)
    np.testing.assert_array_equal(model.predict(tensor), model.predict(X))
    assert model.predict(tensor.to(torch.bfloat16)).shape == (4,)
    with pytest.raises(DataError, match="rows has masked values"):
        model.predict(np.ma.masked_array(X, mask=X.max() == X))
    with pytest.raises(DataError, match="rows cannot be read as an array"):
        model.predict([[1.0, 2.0], [1.0]])


def test_a_full_disk_is_an_error_and_leaves_no_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page of a mapped file that the disk has no room for would end the process."""

    class Full(io.FileIO):
        def write(self, _: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "open", lambda path, mode: Full(path, mode.replace("b", "")))
    with pytest.raises(SaveError, match=r"p.npy could not be written: No space left on device"):
        write_predictions(make_model(), make_rows(3), tmp_path / "p.npy")
    assert list(tmp_path.iterdir()) == []

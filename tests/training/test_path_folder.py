"""A saved λ path comes back as it was, or a sentence says why not; nothing is ever half there."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onelayer.data import Splits
from onelayer.errors import SaveError
from onelayer.solver import Choice, solve_path
from onelayer.solver import Path as LambdaPath
from onelayer.training.loop import train
from onelayer.training.result import Result
from onelayer.training.run import Run
from onelayer.training.run_folder import load_any, save_records
from tests.report.made_paths import make_path
from tests.training.damage import DAMAGE, damage_file, reseal

RECORDS = {"settings.json", "weights.safetensors"}

FILES = RECORDS | {"path.parquet", "held_out.parquet", "manifest.json"}


@pytest.fixture
def record() -> LambdaPath:
    choice = Choice("log_loss", "one-standard-error")
    return make_path((0.1, 0.01, 0.0), folds=3, choice=choice, image_shape=None, features=7)


def assert_same(one: LambdaPath, other: LambdaPath) -> None:
    assert one.data == other.data
    assert one.environment == other.environment
    for name in (
        "train",
        "held_out",
        "chosen",
        "choice",
        "test",
        "folds",
        "model_seconds",
        "seconds",
    ):
        assert getattr(one, name) == getattr(other, name), name
    for mistakes in zip(
        *(asdict(p.mistakes).values() for p in (one, other) if p.mistakes), strict=True
    ):
        np.testing.assert_array_equal(*mistakes)
    assert one.scaling.name == other.scaling.name
    np.testing.assert_array_equal(one.scaling.scale, other.scaling.scale)
    np.testing.assert_array_equal(one.scaling.offset, other.scaling.offset)
    for a, b in zip(one.models, other.models, strict=True):
        assert a.W.tobytes() == b.W.tobytes()
        assert a.W.dtype == b.W.dtype
        assert a.b.tobytes() == b.b.tobytes()
        assert a.certificate == b.certificate
        assert a.settings == b.settings


def test_a_path_comes_back_bit_for_bit(record: LambdaPath, tmp_path: Path) -> None:
    assert {str(one.W.dtype) for one in record.models} == {"float32", "float64"}
    save_records(record, tmp_path / "path")
    assert {p.name for p in (tmp_path / "path").iterdir()} == FILES
    assert_same(LambdaPath.load(tmp_path / "path"), record)


def test_a_solved_path_comes_back_bit_for_bit(splits: Splits, tmp_path: Path) -> None:
    record = solve_path(splits, [1.0, 0.1, 0.01])
    assert record.mistakes is not None
    assert record.mistakes.images is not None
    save_records(record, tmp_path / "path")
    assert_same(LambdaPath.load(tmp_path / "path"), record)


def test_a_path_without_test_rows_or_picture_comes_back(tmp_path: Path) -> None:
    from dataclasses import replace

    whole = make_path((0.5,), image_shape=None, features=3)
    record = replace(whole, test=None)
    save_records(record, tmp_path / "path")
    assert_same(LambdaPath.load(tmp_path / "path"), record)


def test_anybody_can_read_the_table(record: LambdaPath, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    save_records(record, tmp_path / "path")
    table = pq.read_table(tmp_path / "path" / "path.parquet")
    assert table["l2"].to_pylist() == [0.1, 0.01, 0.0]
    assert table["gap"].to_pylist()[-1] == np.inf
    folds = pq.read_table(tmp_path / "path" / "held_out.parquet")
    assert folds["fold"].to_pylist() == [0, 1, 2] * 3


def test_a_folder_says_what_it_holds(record: LambdaPath, splits: Splits, tmp_path: Path) -> None:
    save_records(record, tmp_path / "path")
    save_records(train(splits, [Run(0.1, epochs=1, batch_size=9)]), tmp_path / "runs")
    assert isinstance(load_any(tmp_path / "path"), LambdaPath)
    assert isinstance(load_any(tmp_path / "runs"), Result)
    with pytest.raises(SaveError, match="it is of the kind 'path' and not 'runs'"):
        Result.load(tmp_path / "path")
    with pytest.raises(SaveError, match="it is of the kind 'runs' and not 'path'"):
        LambdaPath.load(tmp_path / "runs")


def test_a_folder_of_a_kind_from_the_future_is_refused(record: LambdaPath, tmp_path: Path) -> None:
    save_records(record, tmp_path / "path")
    change_settings(tmp_path / "path", lambda settings: settings.update(kind="forest"))
    with pytest.raises(SaveError, match="the kind 'forest' is none of runs, path"):
        load_any(tmp_path / "path")


def test_another_format_is_refused(record: LambdaPath, tmp_path: Path) -> None:
    save_records(record, tmp_path / "path")
    change_settings(tmp_path / "path", lambda settings: settings.update(format=99))
    with pytest.raises(SaveError, match="format 99 is not 4"):
        LambdaPath.load(tmp_path / "path")


def change_settings(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "settings.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    change(settings)
    path.write_text(json.dumps(settings), encoding="utf-8")
    reseal(folder)


@pytest.mark.parametrize("name", sorted(RECORDS))
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_path_is_refused_with_the_file_named(
    name: str, damage: str, record: LambdaPath, tmp_path: Path
) -> None:
    save_records(record, tmp_path / "path")
    damage_file(tmp_path / "path" / name, damage)
    with pytest.raises(SaveError) as refusal:
        LambdaPath.load(tmp_path / "path")
    assert name in str(refusal.value)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda settings: settings.pop("choice"), "settings.json"),
        (lambda settings: settings.update(chosen=3), "settings.json"),
        (lambda settings: settings.update(chosen=-1), "settings.json"),
        (lambda settings: settings["choice"].update(rule="the prettiest"), "settings.json"),
        (lambda settings: settings["data"].pop("name"), "settings.json"),
    ],
    ids=["no choice", "chosen beyond", "chosen before", "odd rule", "no name"],
)
def test_settings_that_cannot_be_are_refused(
    change: Callable[[dict[str, Any]], object], named: str, record: LambdaPath, tmp_path: Path
) -> None:
    save_records(record, tmp_path / "path")
    change_settings(tmp_path / "path", change)
    with pytest.raises(SaveError, match=named):
        LambdaPath.load(tmp_path / "path")


def test_files_of_two_paths_are_not_taken_for_one(record: LambdaPath, tmp_path: Path) -> None:
    save_records(record, tmp_path / "path")
    save_records(make_path((0.1, 0.01), image_shape=None, features=7), tmp_path / "other")
    name = "weights.safetensors"
    (tmp_path / "other" / name).replace(tmp_path / "path" / name)
    with pytest.raises(SaveError, match="cannot be read"):
        LambdaPath.load(tmp_path / "path")


@pytest.mark.parametrize("fails_on", sorted(FILES - {"manifest.json"}))
def test_a_full_disk_leaves_nothing_half_written(
    fails_on: str, record: LambdaPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_records(record, tmp_path / "path")
    before = {p.name: p.read_bytes() for p in (tmp_path / "path").iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    import pyarrow.parquet

    if fails_on == "weights.safetensors":
        monkeypatch.setattr(Path, "write_bytes", full)
    elif fails_on == "settings.json":
        monkeypatch.setattr(Path, "write_text", full)
    else:
        write = pyarrow.parquet.write_table
        monkeypatch.setattr(
            pyarrow.parquet,
            "write_table",
            lambda table, file: (full if Path(file.name).name == fails_on else write)(table, file),
        )
    with pytest.raises(SaveError, match=r"path could not be written: No space left on device"):
        save_records(record, tmp_path / "path", overwrite=True)
    assert {p.name: p.read_bytes() for p in (tmp_path / "path").iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["path"]

"""A saved run comes back as it was, or a sentence says why not; nothing is ever half there."""

from __future__ import annotations

import errno
import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onelayer.data import Splits
from onelayer.errors import SaveError
from onelayer.experiments.reproduce import reproduce
from onelayer.files import atomic as run_folder
from onelayer.files.atomic import check_replaceable, staged_folder, writing
from onelayer.training.loop import train
from onelayer.training.result import History, ReportedFigures, Result
from onelayer.training.run import Run, grid
from onelayer.training.run_folder import save_records
from tests.training.damage import DAMAGE, damage_file

RECORDS = {"settings.json", "weights.safetensors"}

FILES = RECORDS | {"history.parquet"}


@pytest.fixture
def result(splits: Splits) -> Result:
    runs = [
        *grid(learning_rate=0.1, seeds=2, epochs=3, batch_size=9),
        Run(1e30, 1.0, epochs=5),
    ]
    trained = train(splits, [*runs[:2], Run(1e30, 1.0, epochs=5, batch_size=9)], snapshots=[0, 2])
    return replace(trained, reported=(ReportedFigures(runs[0].name, 0.4, 0.3),))


def test_a_result_comes_back_bit_for_bit(result: Result, tmp_path: Path) -> None:
    save_records(result, tmp_path / "run")
    assert {p.name for p in (tmp_path / "run").iterdir()} == FILES
    back = Result.load(tmp_path / "run")
    assert back.runs == result.runs
    assert back.outcomes == result.outcomes
    assert back.data == result.data
    assert back.reported == result.reported
    assert back.environment == result.environment
    assert back.seconds == result.seconds
    for name in ("W", "b", "test_loss", "confusion"):
        np.testing.assert_array_equal(getattr(back, name), getattr(result, name))
        assert getattr(back, name).dtype == getattr(result, name).dtype
    np.testing.assert_array_equal(back.scaling.scale, result.scaling.scale)
    for measure in History.measures():
        np.testing.assert_array_equal(
            getattr(back.history, measure), getattr(result.history, measure)
        )
    assert set(back.snapshots) == {0, 2}
    np.testing.assert_array_equal(back.snapshots[2], result.snapshots[2])
    best = result.best_position
    assert set(back.mistakes) == {best}
    mistakes = (back.mistakes[best], result.mistakes[best])
    for one, other in zip(*(asdict(each).values() for each in mistakes), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_folder_from_before_mistakes_were_kept_has_none(result: Result, tmp_path: Path) -> None:
    save_records(replace(result, mistakes={}), tmp_path / "run")
    path = tmp_path / "run" / "settings.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    assert settings.pop("mistakes") == {}
    path.write_text(json.dumps(settings), encoding="utf-8")
    assert Result.load(tmp_path / "run").mistakes == {}


@pytest.mark.parametrize(
    ("name", "changed", "words"),
    [
        ("images", np.zeros((1, 5), np.uint8), r"its mistakes.images should be \(\d+, 12\)"),
        ("true", np.zeros(1, np.int64), "its mistakes.true should be"),
        ("ids", (), "its mistakes.ids should be"),
    ],
)
def test_mistakes_that_do_not_fit_together_are_refused(
    name: str, changed: Any, words: str, result: Result, tmp_path: Path
) -> None:
    worst = {i: replace(one, **{name: changed}) for i, one in result.mistakes.items()}
    save_records(replace(result, mistakes=worst), tmp_path / "run")
    with pytest.raises(SaveError, match=words):
        Result.load(tmp_path / "run")


def test_gradient_checks_come_back(tmp_path: Path) -> None:
    from onelayer.data import load

    result = reproduce(load("digits"), seeds=1)
    save_records(result, tmp_path / "run")
    back = Result.load(tmp_path / "run")
    assert [asdict(c) for c in back.gradient_checks] == [asdict(c) for c in result.gradient_checks]
    assert len(back.gradient_checks) == 12


def test_a_loaded_result_predicts_as_the_saved_one(
    result: Result, tmp_path: Path, splits: Splits
) -> None:
    save_records(result, tmp_path / "run")
    back = Result.load(tmp_path / "run")
    for one, other in zip(result.W, back.W, strict=True):
        np.testing.assert_array_equal(
            (result.scaling.apply(splits.test.X) @ one.T).argmax(axis=1),
            (back.scaling.apply(splits.test.X) @ other.T).argmax(axis=1),
        )


def test_saving_again_replaces_the_earlier_run_and_leaves_nothing_else(
    result: Result, tmp_path: Path
) -> None:
    save_records(result, tmp_path / "run")
    (tmp_path / "run" / "report.html").write_text("old")
    save_records(result, tmp_path / "run")
    assert {p.name for p in (tmp_path / "run").iterdir()} == FILES
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_folder_that_is_not_a_run_is_never_replaced(result: Result, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(SaveError, match="holds other files"):
        save_records(result, tmp_path)
    with pytest.raises(SaveError, match="is a file; name a folder"):
        save_records(result, tmp_path / "thesis.tex")
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_an_empty_folder_may_become_a_run(tmp_path: Path) -> None:
    check_replaceable(tmp_path)
    with staged_folder(tmp_path / "run") as folder:
        (folder / "settings.json").write_text("{}")
    assert os.stat(tmp_path / "run").st_mode & 0o444


@pytest.mark.parametrize("fails_on", ["weights.safetensors", "history.parquet", "settings.json"])
def test_a_full_disk_leaves_nothing_half_written(
    fails_on: str, result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_records(result, tmp_path / "run")
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    import pyarrow.parquet

    if fails_on == "weights.safetensors":
        monkeypatch.setattr(Path, "write_bytes", full)
    elif fails_on == "history.parquet":
        monkeypatch.setattr(pyarrow.parquet, "write_table", full)
    else:
        monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(SaveError, match=r"run could not be written: No space left on device"):
        save_records(result, tmp_path / "run")
    assert {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_run_that_cannot_be_moved_into_place_leaves_the_old_one_there(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_records(result, tmp_path / "run")
    before = (tmp_path / "run" / "weights.safetensors").read_bytes()
    monkeypatch.setattr(run_folder, "_exchange", lambda *_: False)
    rename = Path.rename
    calls = []

    def second_fails(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", second_fails)
    with pytest.raises(SaveError, match="Input/output error"):
        save_records(result, tmp_path / "run")
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_read_only_place_is_said_in_one_sentence(result: Result, tmp_path: Path) -> None:
    # A file where a parent folder should be refuses everybody, root included.
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveError, match="could not be written"):
        save_records(result, tmp_path / "file" / "run")


@pytest.mark.parametrize("name", sorted(RECORDS))
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_run_is_refused_with_the_file_named(
    name: str, damage: str, result: Result, tmp_path: Path
) -> None:
    save_records(result, tmp_path / "run")
    damage_file(tmp_path / "run" / name, damage)
    with pytest.raises(SaveError) as refusal:
        Result.load(tmp_path / "run")
    assert name in str(refusal.value)


def test_another_format_is_refused(result: Result, tmp_path: Path) -> None:
    save_records(result, tmp_path / "run")
    path = tmp_path / "run" / "settings.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(SaveError, match="format 99 is not 4"):
        Result.load(tmp_path / "run")


def test_an_error_in_the_block_leaves_no_staging_folder(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), staged_folder(tmp_path / "run"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    assert run_folder.SETTINGS_FILE == "settings.json"


def _fill(folder: Path, word: str) -> None:
    (folder / "settings.json").write_text(word)


def _with_checkpoint(target: Path) -> Path:
    (target / "checkpoints").mkdir(parents=True)
    (target / "checkpoints" / "runs-000001.safetensors").write_text("state")
    return target


@pytest.mark.parametrize("swaps", [True, False])
def test_a_run_takes_the_place_of_its_checkpoints_unless_they_are_to_be_kept(
    swaps: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not swaps:
        monkeypatch.setattr(run_folder, "_exchange", lambda *_: False)
    target = _with_checkpoint(tmp_path / "run")
    check_replaceable(target)
    with staged_folder(target, keep_checkpoints=True) as folder:
        _fill(folder, "interrupted")
    assert {p.name for p in target.iterdir()} == {"settings.json", "checkpoints"}
    assert (target / "checkpoints" / "runs-000001.safetensors").read_text() == "state"
    with staged_folder(target) as folder:
        _fill(folder, "finished")
    assert [p.name for p in target.iterdir()] == ["settings.json"]
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_full_disk_at_the_end_says_that_the_checkpoints_are_there(tmp_path: Path) -> None:
    target = _with_checkpoint(tmp_path / "run")
    with (
        pytest.raises(SaveError, match=r"The checkpoints are kept: --resume"),
        staged_folder(target),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert (target / "checkpoints" / "runs-000001.safetensors").read_text() == "state"


def test_the_folders_swap_their_names_in_one_step(tmp_path: Path) -> None:
    """Where the system cannot, the test above covers the two steps in its place."""
    for name in "ab":
        (tmp_path / name).mkdir()
        _fill(tmp_path / name, name)
    swapped = run_folder._exchange(tmp_path / "a", tmp_path / "b")
    assert swapped or sys.platform != "linux"
    now = [(tmp_path / name / "settings.json").read_text() for name in "ab"]
    assert now == (["b", "a"] if swapped else ["a", "b"])


def test_what_a_killed_process_left_beside_a_run_is_put_in_order(tmp_path: Path) -> None:
    retired, staged = tmp_path / ".run.old-abcd_f12" / "run", tmp_path / ".run.new-12345678"
    others = [".run.new-1", ".run.new-1.new-12345678", ".rum.new-12345678", ".run.lock2"]
    for folder in (retired, staged, *(tmp_path / name for name in others)):
        folder.mkdir(parents=True)
        _fill(folder, str(folder.name))
    with writing(tmp_path / "run"):
        pass
    assert {p.name for p in tmp_path.iterdir()} == {"run", *others}
    assert (tmp_path / "run" / "settings.json").read_text() == "run"


def test_an_old_run_does_not_replace_the_one_that_took_its_place(tmp_path: Path) -> None:
    retired = tmp_path / ".run.old-abcd_f12" / "run"
    for folder in (retired, tmp_path / "run"):
        folder.mkdir(parents=True)
        _fill(folder, "old" if folder == retired else "new")
    with writing(tmp_path / "run"):
        pass
    assert (tmp_path / "run" / "settings.json").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["run"]

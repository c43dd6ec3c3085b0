"""A saved run comes back as it was, or a sentence says why not; nothing is ever half there."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onelayer.data import Splits
from onelayer.errors import SaveError
from onelayer.experiments.reproduce import reproduce
from onelayer.files import atomic
from onelayer.files.atomic import check_replaceable, staged_folder, writing
from onelayer.files.manifest import COMMITTED, STAGING, FileSum, Manifest, read_manifest
from onelayer.files.tensors import write_sealed
from onelayer.training.checkpoint import KIND, VERSION, Checkpoint, unfinished
from onelayer.training.loop import train
from onelayer.training.result import History, Outcome, ReportedFigures, Result
from onelayer.training.run import Run, grid
from onelayer.training.run_folder import draw_page, save_records
from tests.made_data import make_splits
from tests.training.damage import DAMAGE, damage_file, reseal

RECORDS = {"settings.json", "weights.safetensors", "history.parquet"}

FILES = RECORDS | {"manifest.json"}

RUN = [Run(0.1, epochs=1, batch_size=9)]


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
    reseal(tmp_path / "run")
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


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("W", lambda W: np.where(W.max() == W, np.float32(np.nan), W), "its W should be 'finite'"),
        ("b", lambda b: b + np.float32(np.inf), "its b should be 'finite'"),
        ("W", lambda W: W.astype(np.float16), "its type of W should be 'float32'"),
        ("b", lambda b: b.astype(np.float64), "its type of b should be 'float32'"),
        ("W", lambda W: W[:, :, :-1], "its scaling should be"),
        ("confusion", lambda n: -n, "its smallest count of confusion should be 0"),
        ("confusion", lambda n: n.astype(float), "its confusion should be an array of"),
    ],
)
def test_arrays_that_no_training_gives_are_refused(
    name: str, change: Callable[[Any], Any], words: str, result: Result, tmp_path: Path
) -> None:
    save_records(replace(result, **{name: change(getattr(result, name))}), tmp_path / "run")
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


def test_saving_again_replaces_what_onelayer_wrote_and_leaves_the_rest(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("onelayer.report.page.write_report", _page_of_words("old"))
        result.save(run)
    (run / "model.onnx").write_text("exported")
    (run / "charts" / "mine.png").write_text("mine")
    (run / "notes").mkdir()
    (run / "notes" / "thesis.tex").write_text("precious")
    inode = run.stat().st_ino
    save_records(result, run, overwrite=True)
    assert {p.name for p in run.iterdir()} == FILES | {"model.onnx", "charts", "notes"}
    assert [p.name for p in (run / "charts").iterdir()] == ["mine.png"]
    assert (run / "notes" / "thesis.tex").read_text() == "precious"
    assert run.stat().st_ino == inode
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def _page_of_words(words: str) -> Callable[[object, Path], None]:
    def write(_: object, folder: Path) -> None:
        (folder / "charts").mkdir()
        (folder / "charts" / "accuracy.svg").write_text(words)
        (folder / "report.html").write_text(words)

    return write


def test_a_new_page_touches_nothing_but_the_page(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_records(result, tmp_path)
    (tmp_path / "model.onnx").write_text("exported")
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in RECORDS}
    for words in ("first", "second"):
        monkeypatch.setattr("onelayer.report.page.write_report", _page_of_words(words))
        draw_page(result, tmp_path)
        assert (tmp_path / "charts" / "accuracy.svg").read_text() == words
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in RECORDS} == before
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    assert set(manifest.files) == RECORDS | {"report.html", "charts/accuracy.svg"}
    assert (tmp_path / "model.onnx").read_text() == "exported"


def test_a_page_that_cannot_be_drawn_leaves_the_run_saved(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ValueError("no ink")

    monkeypatch.setattr("onelayer.report.page.write_report", fails)
    with pytest.raises(
        SaveError, match=r"be drawn \(no ink\). The run is saved; .*: onelayer report"
    ):
        result.save(tmp_path / "run")
    assert Result.load(tmp_path / "run").runs == result.runs
    assert {p.name for p in (tmp_path / "run").iterdir()} == FILES


def test_a_finished_run_is_replaced_only_to_overwrite(result: Result, tmp_path: Path) -> None:
    save_records(result, tmp_path / "run")
    before = (tmp_path / "run" / "settings.json").read_bytes()
    with pytest.raises(SaveError, match=r"holds a finished run; .*overwrite=True"):
        result.save(tmp_path / "run")
    with pytest.raises(SaveError, match="holds a finished run"):
        train(make_splits(), RUN, checkpoint=Checkpoint(tmp_path / "run"))
    assert (tmp_path / "run" / "settings.json").read_bytes() == before
    train(make_splits(), RUN, checkpoint=Checkpoint(tmp_path / "run", overwrite=True))


def test_an_interrupted_run_is_replaced_without_being_asked(result: Result, tmp_path: Path) -> None:
    stopped = replace(result, outcomes=(Outcome("interrupted", 0), *result.outcomes[1:]))
    save_records(stopped, tmp_path / "run")
    save_records(result, tmp_path / "run")
    assert not Result.load(tmp_path / "run").interrupted


@pytest.mark.parametrize("foreign", ["thesis.tex", "settings.json", "checkpoints/model.pt"])
def test_a_folder_of_other_files_is_refused_before_anything_is_done(
    foreign: str, result: Result, tmp_path: Path
) -> None:
    (tmp_path / foreign).parent.mkdir(exist_ok=True)
    (tmp_path / foreign).write_text("precious")
    for work in (
        lambda: save_records(result, tmp_path),
        lambda: train(make_splits(), RUN, checkpoint=Checkpoint(tmp_path, every=0)),
    ):
        with pytest.raises(SaveError, match="holds other files than a run"):
            work()
    with pytest.raises(SaveError, match="is a file; name a folder"):
        save_records(result, tmp_path / foreign)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / foreign]


def test_a_foreign_file_in_the_place_of_a_record_is_refused(result: Result, tmp_path: Path) -> None:
    save_records(result, tmp_path)
    (tmp_path / "path.parquet").write_text("mine")
    with pytest.raises(SaveError, match=r"path.parquet was not written by onelayer"):
        check_replaceable(tmp_path, overwrite=True)
    (tmp_path / "path.parquet").unlink()
    (tmp_path / "charts").symlink_to(tmp_path)
    with pytest.raises(SaveError, match="charts is not a folder, or is a link"):
        check_replaceable(tmp_path, overwrite=True)


def test_a_page_alone_is_a_file_and_replaces_nothing_in_a_folder(
    result: Result, tmp_path: Path
) -> None:
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(SaveError, match="is a folder; name a file for the page"):
        result.report(tmp_path)
    assert (tmp_path / "report.html").read_text() == "mine"


def test_a_foreign_chart_is_not_replaced_and_the_run_is_saved(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onelayer.report.page.write_report", _page_of_words("ours"))
    save_records(result, tmp_path)
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts" / "accuracy.svg").write_text("mine")
    with pytest.raises(SaveError, match=r"accuracy.svg was not written by onelayer"):
        draw_page(result, tmp_path)
    assert (tmp_path / "charts" / "accuracy.svg").read_text() == "mine"
    assert {p.name for p in tmp_path.iterdir()} == FILES | {"charts"}


def test_an_empty_folder_may_become_a_run(tmp_path: Path) -> None:
    check_replaceable(tmp_path)
    with staged_folder(tmp_path / "run", Manifest(finished=True)) as folder:
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
        save_records(result, tmp_path / "run", overwrite=True)
    assert {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


class Killed(BaseException):
    """What stands for SIGKILL."""


def _killed_at(step: int, patch: pytest.MonkeyPatch) -> None:
    """Kill the process before its change number `step` of the disk, from 0."""
    left = [step]

    def counted(function: Any) -> Any:
        def call(*words: Any, **more: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return function(*words, **more)

        return call

    # A killed process lets go of its lock.
    patch.setattr(atomic, "run_lock", nullcontext)
    for name in ("rename", "unlink", "mkdir", "write_bytes", "write_text", "rmdir", "chmod"):
        patch.setattr(Path, name, counted(getattr(Path, name)))
    patch.setattr(os, "replace", counted(os.replace))
    patch.setattr(shutil, "rmtree", counted(shutil.rmtree))


def test_a_kill_at_any_step_leaves_the_old_run_or_the_new_one_and_what_others_wrote(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onelayer.report.page.write_report", _page_of_words("old"))
    new, steps, killed = replace(result, W=-result.W), {True: 0, False: 0}, True
    page, state = {"report.html", "charts/accuracy.svg"}, {"checkpoints/runs-000001.safetensors"}
    while killed:
        run, killed = tmp_path / str(sum(steps.values())), False
        result.save(run)
        (run / "charts" / "mine.png").write_text("mine")
        _with_checkpoint(run)
        with monkeypatch.context() as patch:
            _killed_at(sum(steps.values()), patch)
            try:
                save_records(new, run, overwrite=True)
            except Killed:
                killed = True
        is_new = np.array_equal(Result.load(run).W, new.W)
        assert is_new or np.array_equal(Result.load(run).W, result.W)
        assert is_new or unfinished(run) is not None
        with writing(run):
            pass
        assert np.array_equal(Result.load(run).W, new.W) == is_new
        names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
        assert names == FILES | {"charts/mine.png"} | (set() if is_new else page | state)
        steps[is_new] += 1
    assert min(steps.values()) > 4


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
    reseal(tmp_path / "run")
    with pytest.raises(SaveError, match="format 99 is not 4"):
        Result.load(tmp_path / "run")


def test_an_error_in_the_block_leaves_no_staging_folder(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), staged_folder(tmp_path / "run", Manifest(finished=True)):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def _fill(folder: Path, word: str) -> None:
    (folder / "settings.json").write_text(word)


def _with_checkpoint(target: Path) -> Path:
    (target / "checkpoints").mkdir(parents=True)
    with (target / "checkpoints" / "runs-000001.safetensors").open("wb") as stream:
        texts = {"progress": "[1, 2]", "command": ""}
        write_sealed(stream, KIND, VERSION, texts, {})
    return target


def test_a_run_takes_the_place_of_its_checkpoints_once_it_has_finished(tmp_path: Path) -> None:
    target = _with_checkpoint(tmp_path / "run")
    (target / "checkpoints" / "mine.pt").write_text("mine")
    check_replaceable(target)
    with staged_folder(target, Manifest(finished=False)) as folder:
        _fill(folder, "interrupted")
    assert unfinished(target) is not None
    with staged_folder(target, Manifest(finished=True)) as folder:
        _fill(folder, "finished")
    assert [p.name for p in (target / "checkpoints").iterdir()] == ["mine.pt"]
    assert {p.name for p in target.iterdir()} == {"settings.json", "manifest.json", "checkpoints"}
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_full_disk_at_the_end_says_that_the_checkpoints_are_there(tmp_path: Path) -> None:
    target = _with_checkpoint(tmp_path / "run")
    with (
        pytest.raises(SaveError, match=r"The checkpoints are kept: --resume"),
        staged_folder(target, Manifest(finished=True)),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert unfinished(target) is not None


@pytest.mark.parametrize("name", ["../thesis.tex", "/thesis.tex", ".bashrc", "a/b/c", "a\\b", ""])
def test_a_forged_manifest_names_nothing_outside_of_its_folder(name: str, tmp_path: Path) -> None:
    forged = Manifest(True, {name: FileSum(1, "0" * 64)})
    (tmp_path / "manifest.json").write_bytes(forged.encode())
    with pytest.raises(SaveError, match="it names files outside of the run folder"):
        read_manifest(tmp_path)


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    (tmp_path / "run" / STAGING / "charts").mkdir(parents=True)
    with writing(tmp_path / "run"):
        assert list((tmp_path / "run").iterdir()) == []


def test_links_lead_neither_to_other_folders_nor_from_them(result: Result, tmp_path: Path) -> None:
    save_records(result, tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "manifest.json").write_text("precious")
    (tmp_path / "run" / COMMITTED).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SaveError, match=r"manifest.json cannot be read"):
        save_records(result, tmp_path / "run", overwrite=True)
    assert (tmp_path / "elsewhere" / "manifest.json").read_text() == "precious"
    (tmp_path / "run" / COMMITTED).unlink()
    save_records(result, tmp_path / "other")
    (tmp_path / "run" / COMMITTED).symlink_to(tmp_path / "other")
    with pytest.raises(SaveError, match="is a link"):
        save_records(result, tmp_path / "run", overwrite=True)
    assert {p.name for p in (tmp_path / "other").iterdir()} == FILES


def test_a_link_to_a_run_folder_stays_and_the_folder_is_replaced(
    result: Result, tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk/run")
    save_records(result, tmp_path / "link")
    (tmp_path / "disk" / "run" / "settings.json").chmod(0o600)
    save_records(replace(result, W=-result.W), tmp_path / "link", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert np.array_equal(Result.load(tmp_path / "disk" / "run").W, -result.W)
    assert (tmp_path / "disk" / "run" / "settings.json").stat().st_mode & 0o777 == 0o600
    assert {p.name for p in tmp_path.iterdir()} == {"disk", "link"}
    assert [p.name for p in (tmp_path / "disk").iterdir()] == ["run"]


def test_checkpoints_that_are_a_link_are_neither_written_nor_removed(
    result: Result, tmp_path: Path
) -> None:
    _with_checkpoint(tmp_path / "other")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").symlink_to(tmp_path / "other" / "checkpoints")
    for work in (
        lambda: save_records(result, tmp_path / "run"),
        lambda: train(make_splits(), RUN, checkpoint=Checkpoint(tmp_path / "run", every=0)),
    ):
        with pytest.raises(SaveError, match="checkpoints is not a folder, or is a link"):
            work()
    assert unfinished(tmp_path / "other") is not None


@pytest.mark.parametrize("name", ["manifest.json", "settings.json", "weights.safetensors"])
def test_a_pipe_in_the_place_of_a_record_is_not_waited_for(
    name: str, result: Result, tmp_path: Path
) -> None:
    save_records(result, tmp_path)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(SaveError, match=f"{name} cannot be read.*it is no file"):
        Result.load(tmp_path)

"""Checkpoint files: damaged ones are skipped, others refused, a bad disk loses nothing."""

from __future__ import annotations

import errno
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from safetensors import safe_open

from onelayer.data import Dataset, Splits
from onelayer.engines import make_engine
from onelayer.errors import CheckpointWarning, SaveError, SettingsError
from onelayer.files.atomic import durable_file
from onelayer.files.lock import run_lock
from onelayer.files.manifest import CHECKPOINTS
from onelayer.training import checkpoint as module
from onelayer.training.checkpoint import (
    Checkpoint,
    CheckpointInterval,
    CheckpointManager,
    data_fingerprint,
    differences,
    newest_first,
    read_state,
)
from onelayer.training.loop import Progress, train
from onelayer.training.run import Run, grid
from tests.made_data import make_splits
from tests.training.resuming import (
    RUNS,
    WITH_STATE,
    Killed,
    assert_same,
    killed,
    killed_after,
    raises,
    steady_parts,
    trained,
    undisturbed,
)

__all__ = ["steady_parts"]  # a fixture

ADAPT = CheckpointInterval.adapt


def _flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(bytes(content))


def _damage(file: Path, how: str) -> None:
    whole = file.read_bytes()
    if how == "cut":
        file.write_bytes(whole[: len(whole) // 2])
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "flipped":
        _flip(file, len(whole) - 20)
    elif how.startswith("header"):
        _flip(file, int(how.split()[1]))
    else:
        file.write_bytes(b"GIF89a")


@pytest.mark.parametrize(
    "how", ["cut", "empty", "flipped", "header 8", "header 301", "header 308", "foreign"]
)
def test_a_damaged_newest_gives_way_to_the_one_before(how: str, tmp_path: Path) -> None:
    newest, before = killed(tmp_path, 5)
    _damage(newest, how)
    kept = Checkpoint(tmp_path, every=0, resume=True)
    with pytest.warns(CheckpointWarning) as said, killed_after(1), pytest.raises(Killed):
        train(make_splits(), RUNS, snapshots=[1], curvature_of=[0, 1], checkpoint=kept)
    told = [str(w.message) for w in said if w.category is CheckpointWarning]
    assert len(told) == 1
    assert told[0].startswith(f"cannot read {newest}, trying an older checkpoint: it")
    names = [file.name for _, file in newest_first(tmp_path / CHECKPOINTS, "runs")]
    # What does not begin as a checkpoint of onelayer's stays where it is.
    left = [newest.name] if how in ("empty", "header 8", "foreign") else []
    assert names == ["runs-000006.safetensors", *left, before.name]
    assert_same(trained(make_splits(), RUNS, checkpoint=kept), undisturbed(RUNS))


def test_when_both_are_damaged_training_starts_at_the_beginning(tmp_path: Path) -> None:
    for file in killed(tmp_path, 5):
        _damage(file, "cut")
    said: list[Progress] = []
    kept = Checkpoint(tmp_path, every=0, resume=True)
    result = trained(make_splits(), RUNS, checkpoint=kept, on_progress=said.append)
    assert said[0].done == 2
    assert_same(result, undisturbed(RUNS))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dtype": "float64"}, "the dtype was float32 and is float64"),
        ({"scaling": "none"}, "the scaling was unit and is none"),
        ({"engine": make_engine("reference")}, "the engine was native and is reference"),
    ],
)
def test_training_of_something_else_is_refused_and_loses_nothing(
    options: Any, said: str, tmp_path: Path
) -> None:
    files = killed(tmp_path, 5)
    before = [file.read_bytes() for file in files]
    kept = Checkpoint(tmp_path, every=0, resume=True)
    with pytest.raises(SaveError, match=f"cannot resume from .*: {said}.*drop --resume"):
        trained(make_splits(), RUNS, checkpoint=kept, **options)
    assert [file.read_bytes() for file in files] == before


def test_other_data_and_runs_are_refused_and_threads_are_not(tmp_path: Path) -> None:
    killed(tmp_path, 5)
    kept = Checkpoint(tmp_path, every=0, resume=True)
    with pytest.raises(SaveError, match="the number of training rows was 90 and is 80"):
        trained(make_splits(rows=80), RUNS, checkpoint=kept)
    with pytest.raises(SaveError, match=r"run 2's l2 was 0\.1 and is 0\.0"):
        trained(make_splits(), [*RUNS[:2], replace(RUNS[2], l2=0.0)], checkpoint=kept)
    other = make_engine("native", threads=1)
    assert_same(
        trained(make_splits(), RUNS, checkpoint=kept, engine=other),
        trained(make_splits(), RUNS, engine=other),
    )


def test_training_resumes_on_another_instruction_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(tmp_path, 3)
    engine = make_engine()
    other = engine.describe() | {"instruction_set": "abacus"}
    monkeypatch.setattr(type(engine), "describe", lambda _: other)
    resumed = trained(make_splits(), RUNS, checkpoint=Checkpoint(tmp_path, resume=True))
    assert_same(resumed, undisturbed(RUNS))


def test_starting_anew_leaves_old_checkpoints_until_the_first_new_one(tmp_path: Path) -> None:
    old = killed(tmp_path, 5)
    kept = Checkpoint(tmp_path, every=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointManager, "_write", raises(Killed()))
        with pytest.raises(Killed):
            trained(make_splits(), RUNS[:1] * 2, checkpoint=kept)
    assert all(file.exists() for file in old)
    with pytest.raises(Killed), killed_after(1):
        trained(make_splits(), RUNS[:1] * 2, checkpoint=kept)
    names = [file.name for _, file in newest_first(tmp_path / CHECKPOINTS, "runs")]
    assert names == ["runs-000006.safetensors"]


class FullDisk:
    """A disk that takes so many bytes of a file and then none."""

    def __init__(self, stream: BinaryIO, takes: int) -> None:
        self._stream, self._left = stream, takes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        if size > self._left:
            self._stream.write(memoryview(data).cast("B")[: self._left])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._left -= size
        return self._stream.write(data)


def test_a_disk_that_fills_up_in_the_middle_of_a_write_is_told_of_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full for the writes 3 to 6 and 9, after 0, 1, … bytes of each."""
    count = [0]

    @contextmanager
    def fills_up(target: Path) -> Iterator[Any]:
        count[0] += 1
        with durable_file(target) as stream:
            full = count[0] in (3, 4, 5, 6, 9)
            yield FullDisk(stream, 300 * (count[0] - 3)) if full else stream

    monkeypatch.setattr(module, "durable_file", fills_up)
    kept = Checkpoint(tmp_path, every=0)
    with pytest.warns(
        CheckpointWarning, match="No space left on device; training continues"
    ) as said:
        result = train(make_splits(), RUNS[:1], checkpoint=kept)
    assert len([w for w in said if w.category is CheckpointWarning]) == 2
    assert count[0] > 9
    names = [path.name for path in (tmp_path / CHECKPOINTS).iterdir()]
    assert len(names) == 1  # the last state
    assert all(read_state(tmp_path / CHECKPOINTS / name) for name in names)
    assert_same(result, train(make_splits(), RUNS[:1]))


def test_a_disk_that_is_full_from_then_on_keeps_what_was_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = killed(tmp_path, 4)
    monkeypatch.setattr(os, "fsync", raises(OSError(errno.ENOSPC, "full")))
    kept = Checkpoint(tmp_path, every=0, resume=True)
    with pytest.warns(CheckpointWarning):
        train(make_splits(), RUNS, snapshots=[1], curvature_of=[0, 1], checkpoint=kept)
    assert [f for _, f in newest_first(tmp_path / CHECKPOINTS, "runs")] == files
    assert len(list((tmp_path / CHECKPOINTS).iterdir())) == 2


def test_checkpoints_are_as_far_apart_as_was_said_and_one_stands_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, wrote = [0.0], []
    monkeypatch.setattr("onelayer.training.checkpoint.time.monotonic", lambda: now[0])
    manager = CheckpointManager(Checkpoint(tmp_path, every=10), dict)
    monkeypatch.setattr(CheckpointManager, "_write", lambda _, state: wrote.append(state))
    for second in range(1, 36):
        now[0] = float(second)
        manager.offer(lambda: now[0])
    assert wrote == [10.0, 20.0, 30.0]
    manager.finish(lambda: -1.0, last=False)
    assert wrote[-1] == -1.0
    manager.finish(lambda: -2.0, last=False)
    assert wrote[-1] == -1.0
    manager.finish(lambda: -3.0, last=True)
    assert wrote[-1] == -3.0


def test_parts_come_to_a_few_seconds_and_hold_a_batch_at_least(steady_parts: None) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointInterval, "adapt", ADAPT)
        interval = CheckpointInterval(60.0)
        for _ in range(20):
            interval.adapt(interval.batches, 0.001 * interval.batches)
        assert interval.batches == 10_000
        interval.adapt(10_000, 1e7)
        assert interval.batches == 1


def test_seconds_below_zero_are_refused() -> None:
    with pytest.raises(SettingsError, match="seconds, 0 or above, but -1 was given"):
        Checkpoint("runs/x", every=-1)


def test_a_folder_that_another_writes_or_that_is_no_run_is_refused(tmp_path: Path) -> None:
    refused: list[Exception] = []

    def second() -> None:
        try:
            train(make_splits(), RUNS[:1], checkpoint=Checkpoint(tmp_path))
        except SaveError as error:
            refused.append(error)

    with run_lock(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert "is being written by process" in str(refused[0])
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(SaveError, match="holds other files"):
        trained(make_splits(), RUNS, checkpoint=Checkpoint(tmp_path))


def test_the_file_holds_what_its_page_names(tmp_path: Path) -> None:
    """docs/guide/checkpoints.md, and safetensors without a line of onelayer."""
    docs = Path(__file__).parents[2] / "docs"
    page = (docs / "guide" / "checkpoints.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w.]+)`", page))
    runs = (WITH_STATE[2], replace(WITH_STATE[2], learning_rate=0.1))
    kept = Checkpoint(tmp_path, every=0)
    with pytest.raises(Killed), killed_after(2):
        trained(make_splits(), runs, checkpoint=kept)
    with safe_open(tmp_path / CHECKPOINTS / "runs-000002.safetensors", "np") as file:
        texts, names = file.metadata(), set(file.keys())
        assert file.get_tensor("cursor.state.weights.W").shape == (2, 3, 12)
    assert set(texts) <= named
    assert set(json.loads(texts["state"])) <= named
    generic = {re.sub(r"\.\d+$", ".I", name) for name in names}
    assert {re.sub(r"^history\..*", "history.NAME", name) for name in generic} <= named
    for pair in ("weights", "slots.velocity", "slots.average"):
        assert {f"cursor.state.{pair}.W", f"cursor.state.{pair}.b"} <= names


def described(before: Any, now: Any) -> list[str]:
    return list(differences(before, now))


def changed(splits: Splits, role: str, **changes: Any) -> Splits:
    return replace(splits, **{role: replace(getattr(splits, role), **changes)})


@pytest.mark.parametrize("role", ["train", "validation", "test"])
@pytest.mark.parametrize("what", ["X", "y"])
@pytest.mark.parametrize("place", [0, 57, -1])
def test_one_other_value_anywhere_is_noticed(role: str, what: str, place: int) -> None:
    splits = make_splits()
    values = getattr(getattr(splits, role), what).copy()
    values.reshape(-1)[place] = (values.reshape(-1)[place] + 1) % 3
    name = {"train": "training"}.get(role, role)
    other = changed(splits, role, **{what: values})
    said = described({"data": data_fingerprint(splits)}, {"data": data_fingerprint(other)})
    assert said == [f"the {name} data changed"]
    assert (
        described({"data": data_fingerprint(splits)}, {"data": data_fingerprint(make_splits())})
        == []
    )


def test_other_sizes_are_told_before_other_values() -> None:
    one = data_fingerprint(make_splits())
    fewer = data_fingerprint(make_splits(rows=80))
    wider = data_fingerprint(make_splits(dtype=np.float32))
    said = described({"data": one}, {"data": fewer})
    assert said == ["the number of training rows was 90 and is 80"]
    said = described({"data": one}, {"data": wider})
    assert said == ["the dtype of the training rows was uint8 and is float32"]


def test_of_a_large_set_the_first_and_last_rows_count_and_most_are_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "WHOLE_BYTES", 100)
    monkeypatch.setattr(module, "SAMPLED_ROWS", 5)
    splits = make_splits()
    one = data_fingerprint(splits)

    def with_other(row: int) -> dict[str, Any]:
        X = splits.train.X.copy()
        X[row, 3] ^= 1
        return data_fingerprint(changed(splits, "train", X=X))

    noticed = [row for row in range(90) if with_other(row) != one]
    assert len(noticed) == 5
    assert (noticed[0], noticed[-1]) == (0, 89)


def test_the_sum_does_not_depend_on_the_blocks_it_is_taken_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = data_fingerprint(make_splits())
    monkeypatch.setattr(module, "_BLOCK_BYTES", 50)
    assert data_fingerprint(make_splits()) == one


def test_the_setting_of_the_run_that_differs_is_told() -> None:
    def runs(*given: Run) -> dict[str, Any]:
        return {"runs": [run.as_dict() for run in given]}

    two = grid(learning_rate=[0.1, 0.2])
    other = (two[0], replace(two[1], l2=0.5, epochs=3))
    assert described(runs(*two), runs(*two)) == []
    assert described(runs(*two), runs(two[0])) == ["there were 2 runs and are 1"]
    [said] = described(runs(*two), runs(*other))
    assert said == "run 1's l2 was 0.0 and is 0.5 (1 more settings differ)"
    [said] = described(runs(*two), runs(two[0], replace(two[1], name="other")))
    assert said == "the run names changed"
    assert described({"instruction_set": "avx2"}, {"instruction_set": "avx512", "torch": "2"}) == [
        "the instruction set was avx2 and is avx512",
        "the torch was not set and is 2",
    ]


def test_a_dataset_that_is_a_view_has_the_sum_of_its_rows() -> None:
    splits = make_splits()
    whole = splits.train
    view = Dataset(whole.X[:50], whole.y[:50], whole.class_names, max_value=255.0)
    copy = replace(view, X=view.X.copy())
    assert module._hash(view) == module._hash(copy)

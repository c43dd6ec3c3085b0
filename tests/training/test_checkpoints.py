"""Training that was stopped anywhere goes on to the same bits, and a bad disk loses nothing."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from onelayer.data import Splits
from onelayer.engines import Engine, Trainer, make_engine
from onelayer.errors import CheckpointWarning, SaveError, SettingsError
from onelayer.files.atomic import CHECKPOINTS, durable_file
from onelayer.files.lock import run_lock
from onelayer.training import checkpoint as module
from onelayer.training.checkpoint import Checkpoint, Keeper, Pace, unfinished
from onelayer.training.loop import Clock, Progress, train
from onelayer.training.result import History, Result
from onelayer.training.run import AUTO, Run
from onelayer.training.run_folder import load_result, save_result
from onelayer.training.state import read_standing
from tests.made_data import make_splits

LEARN = Pace.learn

# Two passes, shuffled and in file order, one run that diverges late, all kinds of state.
RUNS = (
    Run(0.1, epochs=3, batch_size=4, shuffle_seed=5),
    Run(300.0, l2=0.05, epochs=3, batch_size=4, shuffle_seed=5),
    Run(0.2, l2=0.1, epochs=2, batch_size=5, seed=1),
)
WITH_STATE = (
    replace(RUNS[0], momentum=0.9, nesterov=True),
    replace(RUNS[1], momentum=0.5),
    replace(RUNS[2], momentum=0.9, averaging="tail:0.6"),
)


@pytest.fixture(autouse=True, scope="module")
def steady_parts() -> Iterator[None]:
    """Parts of 16 batches, however fast: as the interval is 0, they would come down to one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pace, "learn", lambda *_: None)
        yield


class Killed(BaseException):
    """What stands for SIGKILL: nobody catches it."""


def _raises(error: BaseException) -> Any:
    def raising(*_: object) -> None:
        raise error

    return raising


def assert_same(result: Result, whole: Result) -> None:
    """Every figure is the same, bit for bit."""
    assert result.runs == whole.runs
    assert result.outcomes == whole.outcomes
    for name in ("W", "b", "test_loss", "confusion"):
        one, other = getattr(result, name), getattr(whole, name)
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    for name in History.measures():
        one, other = getattr(result.history, name), getattr(whole.history, name)
        assert one.tobytes() == other.tobytes(), name
    assert set(result.snapshots) == set(whole.snapshots)
    for i, shots in whole.snapshots.items():
        assert result.snapshots[i].tobytes() == shots.tobytes()
    assert result.curvatures == whole.curvatures
    assert result.certificates == whole.certificates


@contextmanager
def killed_after(writes: int) -> Iterator[None]:
    """Kill training as soon as it has written so many checkpoints."""
    write, count = Keeper._write, [0]

    def counted(self: Keeper, *standing: Any) -> None:
        write(self, *standing)
        count[0] += 1
        if count[0] == writes:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Keeper, "_write", counted)
        yield


def trained(splits: Splits, runs: Any, **options: Any) -> Result:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return train(splits, runs, snapshots=[1], curvature_of=[0, 1], **options)


@pytest.mark.parametrize(
    ("name", "runs", "dtype"),
    [
        ("native", WITH_STATE, "float32"),
        ("reference", (WITH_STATE[0], replace(WITH_STATE[1], l2=20.0), WITH_STATE[2]), "float64"),
    ],
)
def test_killed_at_any_of_its_checkpoints_training_goes_on_to_the_same_bits(
    name: str, runs: Any, dtype: str, tmp_path: Path
) -> None:
    splits, options = make_splits(), {"engine": make_engine(name), "dtype": dtype}
    whole = trained(splits, runs, **options)
    assert {outcome.status for outcome in whole.outcomes} == {"finished", "diverged"}
    assert whole.outcomes[1].epochs > 0
    places = set()
    for writes in range(1, 100):
        folder = tmp_path / str(writes)
        kept = Checkpoint(folder, every=0)
        try:
            with killed_after(writes):
                trained(splits, runs, checkpoint=kept, **options)
        except Killed:
            file = folder / CHECKPOINTS / f"runs-{writes:06d}.safetensors"
            place = read_standing(file)[0].place
            places.add((place.sharing, place.epoch, place.batch))
            resumed = replace(kept, resume=True)
            assert_same(trained(splits, runs, checkpoint=resumed, **options), whole)
            files = sorted(path.name for path in (folder / CHECKPOINTS).iterdir())
            assert len(files) <= 2
        else:
            break
    batches = {place for place in places if place[2] not in (0, 23, 18)}
    assert batches, "a checkpoint stands inside an epoch"
    assert {(0, 2, 0), (1, 1, 0), (2, 0, 0)} <= places


def test_the_curvature_is_measured_at_the_same_epochs_when_those_are_far_apart(
    tmp_path: Path,
) -> None:
    splits, runs = make_splits(), [Run(0.1, epochs=16, batch_size=45)] * 2
    kept = Checkpoint(tmp_path, every=0)
    with pytest.raises(Killed), killed_after(28):
        trained(splits, runs, checkpoint=kept)
    whole = trained(splits, runs)
    assert whole.curvatures[0].epochs[-3:] != (14, 15, 16)
    assert_same(trained(splits, runs, checkpoint=replace(kept, resume=True)), whole)


@given(kills=st.lists(st.integers(1, 4), min_size=1, max_size=6), data=st.data())
@settings(max_examples=15)
def test_killed_again_and_again_it_comes_to_the_same_bits(
    kills: list[int], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = st.builds(
        Run,
        st.sampled_from([0.01, 0.3, 60.0]),
        l2=st.sampled_from([0.0, 0.05]),
        epochs=st.integers(1, 3),
        batch_size=st.sampled_from([3, 7, 45]),
        shuffle=st.booleans(),
        seed=st.integers(0, 2),
    )
    runs = data.draw(st.lists(run, min_size=2, max_size=4))
    splits, kept = make_splits(), Checkpoint(tmp_path_factory.mktemp("run"), every=0, resume=True)
    for writes in kills:
        try:
            with killed_after(writes):
                trained(splits, runs, checkpoint=kept)
        except Killed:
            continue
    assert_same(trained(splits, runs, checkpoint=kept), trained(splits, runs))


def test_learning_rates_that_were_settled_stay_and_progress_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits, runs = make_splits(), [Run(AUTO, epochs=3, batch_size=9), Run(0.1, epochs=2)]
    runs[1] = replace(runs[1], batch_size=9)
    said: list[Progress] = []
    kept = Checkpoint(tmp_path, every=0)
    with pytest.raises(Killed), killed_after(3):
        train(splits, runs, checkpoint=kept)
    whole = train(splits, runs)
    monkeypatch.setattr(
        sys.modules["onelayer.training.loop"], "settle_learning_rates", _raises(AssertionError())
    )
    resumed = train(splits, runs, checkpoint=replace(kept, resume=True), on_progress=said.append)
    assert_same(resumed, whole)
    assert said[0].done > 0
    assert said[-1] == Progress(5, 5)


def test_after_the_end_nothing_is_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits, kept = make_splits(), Checkpoint(tmp_path, every=0, resume=True)
    whole = trained(splits, RUNS, checkpoint=kept)
    engine = make_engine()
    begin = type(engine).begin

    def untrained(self: Any, *start: Any) -> Trainer:
        trainer = begin(self, *start)
        monkeypatch.setattr(type(trainer), "epoch", lambda *_: pytest.fail("trained again"))
        return trainer

    monkeypatch.setattr(type(engine), "begin", untrained)
    again = trained(splits, RUNS, checkpoint=kept)
    assert_same(again, whole)
    [_, (_, file)] = sorted(module._newest_first(tmp_path / CHECKPOINTS, "runs"))
    assert read_standing(file)[0].seconds > 0


def test_time_and_progress_count_on_from_an_earlier_process() -> None:
    said: list[Progress] = []
    clock = Clock(8, said.append)
    clock.go_on_from(3, 1000.0)
    assert clock.seconds > 1000.0
    assert said == [Progress(3, 8)]


class _Interrupts:
    """An engine whose trainer is hit by Ctrl-C in one call of epoch, its weights half changed."""

    def __init__(self, call: int) -> None:
        self._inner: Engine = make_engine()
        self._left = call
        self.name = self._inner.name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def begin(self, *start: Any) -> Trainer:
        trainer = self._inner.begin(*start)
        whole = trainer.epoch

        def epoch(*work: Any) -> None:
            self._left -= 1
            whole(*work)
            if self._left == 0:
                raise KeyboardInterrupt

        trainer.epoch = epoch  # type: ignore[method-assign, assignment]
        return trainer


@pytest.mark.parametrize(
    ("every", "call"), [*product([0.0], [1, 3, 8]), *product([1e6], [1, 2, 5])]
)
def test_ctrl_c_keeps_whole_epochs_and_training_can_go_on(
    every: float, call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a long interval the checkpoint is the one that Ctrl-C has written."""
    monkeypatch.setattr(module, "HOLD_SECONDS", 0.0)
    splits, kept = make_splits(), Checkpoint(tmp_path, every=every)
    stopped = trained(splits, RUNS, checkpoint=kept, engine=_Interrupts(call))
    assert stopped.interrupted
    whole = trained(splits, RUNS)
    measured = np.isfinite(stopped.history.train_loss)
    np.testing.assert_array_equal(
        stopped.history.train_loss[measured], whole.history.train_loss[measured]
    )
    save_result(stopped, tmp_path)
    assert load_result(tmp_path).interrupted
    found = unfinished(tmp_path)
    assert found is not None
    assert found.total == 8
    assert measured[:, 1:].sum() <= found.done + 3
    resumed = trained(splits, RUNS, checkpoint=replace(kept, resume=True))
    assert_same(resumed, whole)
    save_result(resumed, tmp_path)
    assert not (tmp_path / CHECKPOINTS).exists()


def test_stopped_again_after_it_was_resumed_it_shows_no_epoch_that_it_does_not_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The standing that is written may be older than the logbook that it is written with."""
    splits, run = make_splits(), [Run(0.1, epochs=6, batch_size=9)]
    kept = Checkpoint(tmp_path, every=1e6)
    times = iter([0.0, *[0.0] * 6, *[2.0] * 2, *[2.1] * 100])
    monkeypatch.setattr("onelayer.training.checkpoint.time.monotonic", lambda: next(times))
    watched: Any = {"snapshots": [0], "curvature_of": [0]}
    train(splits, run, checkpoint=kept, engine=_Interrupts(5), **watched)
    monkeypatch.undo()
    [(_, file)] = module._newest_first(tmp_path / CHECKPOINTS, "runs")
    standing, _ = read_standing(file)
    behind = standing.entries.epochs[0]
    assert behind < np.isfinite(standing.entries.history.train_loss[0]).sum() - 1
    kept = replace(kept, resume=True)
    again = train(splits, run, checkpoint=kept, engine=_Interrupts(1), **watched)
    assert again.outcomes[0].epochs == behind
    assert again.curvatures[0].epochs == tuple(range(behind + 1))
    as_far = train(splits, [Run(0.1, epochs=behind, batch_size=9)])
    np.testing.assert_array_equal(again.W, as_far.W)
    assert np.isfinite(again.history.train_loss[0]).sum() == behind + 1
    assert np.isfinite(again.snapshots[0]).all(axis=(1, 2)).sum() == behind + 1


def test_ctrl_c_does_not_write_again_what_is_written(tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path, every=0)
    train(make_splits(), RUNS[:1], checkpoint=kept, engine=_Interrupts(1))
    names = [path.name for path in (tmp_path / CHECKPOINTS).iterdir()]
    assert names == ["runs-000001.safetensors"]


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


def _killed(folder: Path, writes: int, **options: Any) -> list[Path]:
    """Checkpoints of a training that was killed, newest first."""
    kept = Checkpoint(folder, every=0)
    with pytest.raises(Killed), killed_after(writes):
        trained(make_splits(), RUNS, checkpoint=kept, **options)
    return [file for _, file in module._newest_first(folder / CHECKPOINTS, "runs")]


@pytest.mark.parametrize(
    "how", ["cut", "empty", "flipped", "header 8", "header 301", "header 308", "foreign"]
)
def test_a_damaged_newest_gives_way_to_the_one_before(how: str, tmp_path: Path) -> None:
    newest, before = _killed(tmp_path, 5)
    _damage(newest, how)
    kept = Checkpoint(tmp_path, every=0, resume=True)
    with pytest.warns(CheckpointWarning) as said, killed_after(1), pytest.raises(Killed):
        train(make_splits(), RUNS, snapshots=[1], curvature_of=[0, 1], checkpoint=kept)
    told = [str(w.message) for w in said if w.category is CheckpointWarning]
    assert len(told) == 1
    assert told[0].startswith(f"{newest} cannot be read, so an older one is looked for: it")
    names = [file.name for _, file in module._newest_first(tmp_path / CHECKPOINTS, "runs")]
    assert names == ["runs-000006.safetensors", before.name]
    assert_same(trained(make_splits(), RUNS, checkpoint=kept), trained(make_splits(), RUNS))


def test_when_both_are_damaged_training_starts_at_the_beginning(tmp_path: Path) -> None:
    for file in _killed(tmp_path, 5):
        _damage(file, "cut")
    said: list[Progress] = []
    kept = Checkpoint(tmp_path, every=0, resume=True)
    result = trained(make_splits(), RUNS, checkpoint=kept, on_progress=said.append)
    assert said[0].done == 2
    assert_same(result, trained(make_splits(), RUNS))


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
    files = _killed(tmp_path, 5)
    before = [file.read_bytes() for file in files]
    kept = Checkpoint(tmp_path, every=0, resume=True)
    with pytest.raises(
        SaveError, match=f"cannot go on from it: {said}.*without|leave out --resume"
    ):
        trained(make_splits(), RUNS, checkpoint=kept, **options)
    assert [file.read_bytes() for file in files] == before


def test_other_data_and_runs_are_refused_and_threads_are_not(tmp_path: Path) -> None:
    _killed(tmp_path, 5)
    kept = Checkpoint(tmp_path, every=0, resume=True)
    with pytest.raises(SaveError, match="the training rows were 90 and are 80"):
        trained(make_splits(rows=80), RUNS, checkpoint=kept)
    with pytest.raises(SaveError, match=r"run 2's l2 was 0\.1 and is 0\.0"):
        trained(make_splits(), [*RUNS[:2], replace(RUNS[2], l2=0.0)], checkpoint=kept)
    other = make_engine("native", threads=1)
    assert_same(
        trained(make_splits(), RUNS, checkpoint=kept, engine=other),
        trained(make_splits(), RUNS, engine=other),
    )


def test_another_instruction_set_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _killed(tmp_path, 3)
    engine = make_engine()
    had = engine.describe()
    monkeypatch.setattr(type(engine), "describe", lambda _: had | {"instruction_set": "abacus"})
    said = f"the instruction set was {had['instruction_set']} and is abacus"
    with pytest.raises(SaveError, match=said):
        trained(make_splits(), RUNS, checkpoint=Checkpoint(tmp_path, resume=True))


def test_starting_anew_leaves_old_checkpoints_until_the_first_new_one(tmp_path: Path) -> None:
    old = _killed(tmp_path, 5)
    kept = Checkpoint(tmp_path, every=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Keeper, "_write", _raises(Killed()))
        with pytest.raises(Killed):
            trained(make_splits(), RUNS[:1] * 2, checkpoint=kept)
    assert all(file.exists() for file in old)
    with pytest.raises(Killed), killed_after(1):
        trained(make_splits(), RUNS[:1] * 2, checkpoint=kept)
    names = [file.name for _, file in module._newest_first(tmp_path / CHECKPOINTS, "runs")]
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
    with pytest.warns(CheckpointWarning, match="No space left on device; training goes on") as said:
        result = train(make_splits(), RUNS[:1], checkpoint=kept)
    assert len([w for w in said if w.category is CheckpointWarning]) == 2
    assert count[0] > 9
    names = [path.name for path in (tmp_path / CHECKPOINTS).iterdir()]
    assert len(names) == 2
    assert all(read_standing(tmp_path / CHECKPOINTS / name) for name in names)
    assert_same(result, train(make_splits(), RUNS[:1]))


def test_a_disk_that_is_full_from_then_on_keeps_what_was_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = _killed(tmp_path, 4)
    monkeypatch.setattr(os, "fsync", _raises(OSError(errno.ENOSPC, "full")))
    kept = Checkpoint(tmp_path, every=0, resume=True)
    with pytest.warns(CheckpointWarning):
        train(make_splits(), RUNS, snapshots=[1], curvature_of=[0, 1], checkpoint=kept)
    assert [f for _, f in module._newest_first(tmp_path / CHECKPOINTS, "runs")] == files
    assert len(list((tmp_path / CHECKPOINTS).iterdir())) == 2


def test_checkpoints_are_as_far_apart_as_was_said_and_one_stands_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, wrote = [0.0], []
    monkeypatch.setattr("onelayer.training.checkpoint.time.monotonic", lambda: now[0])
    keeper = Keeper(Checkpoint(tmp_path, every=10), dict)
    monkeypatch.setattr(Keeper, "_write", lambda _, standing: wrote.append(standing))
    for second in range(1, 36):
        now[0] = float(second)
        keeper.offer(lambda: now[0])  # type: ignore[arg-type, return-value]
    assert wrote == [10.0, 20.0, 30.0]
    keeper.finish(lambda: -1.0)  # type: ignore[arg-type, return-value]
    assert wrote[-1] == -1.0
    keeper.finish(lambda: -2.0)  # type: ignore[arg-type, return-value]
    assert wrote[-1] == -1.0


def test_parts_come_to_a_few_seconds_and_hold_a_batch_at_least(steady_parts: None) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pace, "learn", LEARN)
        pace = Pace(60.0)
        for _ in range(20):
            pace.learn(pace.batches, 0.001 * pace.batches)
        assert pace.batches == 10_000
        pace.learn(10_000, 1e7)
        assert pace.batches == 1


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
        assert file.get_tensor("state.W").shape == (2, 3, 12)
    assert set(texts) <= named
    assert set(json.loads(texts["standing"])) <= named
    generic = {re.sub(r"\.\d+$", ".I", name) for name in names}
    assert {re.sub(r"^history\..*", "history.NAME", name) for name in generic} <= named
    for pair in ("state", "slot.velocity", "slot.average"):
        assert {f"{pair}.W", f"{pair}.b"} <= names

"""Training that was killed or interrupted anywhere resumes bit for bit."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelayer.data.rows import Rows
from onelayer.engines import Trainer, Weights, make_engine
from onelayer.errors import SaveError
from onelayer.files.manifest import CHECKPOINTS
from onelayer.training import checkpoint as module
from onelayer.training.checkpoint import Checkpoint, newest_first, read_state, unfinished
from onelayer.training.loop import Progress, Training, train
from onelayer.training.result import Result
from onelayer.training.run import AUTO, Run
from onelayer.training.run_folder import save_records
from onelayer.training.state import TrainingState
from tests.examples import examples, few
from tests.made_data import make_splits
from tests.training.resuming import (
    RUNS,
    WITH_STATE,
    Interrupts,
    Killed,
    assert_same,
    killed_after,
    raises,
    steady_parts,
    trained,
    undisturbed,
)

__all__ = ["steady_parts"]  # a fixture


@pytest.mark.slow
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
            cursor = read_state(file)[0].cursor
            places.add((cursor.pass_index, cursor.epoch, cursor.batch))
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
@examples(15)
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


@pytest.mark.parametrize("how", few(1, [
    {"patience": 1, "momentum": 0.5}, {"averaging": "ema:0.5"}, {"warmup": 1.5}, {},
    {"momentum": 0.9, "nesterov": True}, {"schedule": "step:1:0.5"}, {"schedule": "cyclical:0.1:1"},
]))  # fmt: skip
def test_more_epochs_go_on_to_the_bits_of_all_of_them(how: dict[str, Any], tmp_path: Path) -> None:
    """Of whole trainings, and of those killed in any pass, once and again."""
    splits = make_splits()
    few, more = (
        [replace(run, epochs=run.epochs + longer, **how) for run in RUNS] for longer in (0, 2)
    )
    whole = train(splits, more, snapshots=[1])
    for writes in (2, 8, 14, 99):
        kept = Checkpoint(tmp_path / str(writes), every=0, resume=True)
        for runs, kill in ((few, writes), (more, writes // 2), (more, 99)):
            with suppress(Killed), killed_after(kill):
                result = train(splits, runs, checkpoint=kept, snapshots=[1])
        assert_same(result, whole)


def test_a_plan_over_all_epochs_takes_no_more_of_them(tmp_path: Path) -> None:
    splits = make_splits()

    def go_on(*runs: Run) -> None:
        folder = tmp_path / runs[0].schedule / runs[0].averaging.partition(":")[0]
        train(splits, runs, checkpoint=Checkpoint(folder, every=0, resume=True))

    for how in ({"schedule": "cosine"}, {"averaging": "tail:0.5"}):
        run = Run(0.1, epochs=2, batch_size=9, **how)  # type: ignore[arg-type]
        go_on(run)
        [what] = how.items()
        said = f"run 0's {what[0]} {what[1]} was planned over 2 epochs and not 3. Use the"
        with pytest.raises(SaveError, match=said):
            go_on(replace(run, epochs=3))
    two = Run(0.1, epochs=2, batch_size=9), Run(0.1, epochs=2, batch_size=9, l2=1.0)
    go_on(*two)
    with pytest.raises(SaveError, match="run 0's epochs was 2 and is 1"):
        go_on(*(replace(run, epochs=1) for run in two))
    with pytest.raises(SaveError, match="with these epochs other runs share their batches"):
        go_on(two[0], replace(two[1], epochs=3))


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
        sys.modules["onelayer.training.loop"], "resolve_learning_rates", raises(AssertionError())
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
    [(_, file)] = newest_first(tmp_path / CHECKPOINTS, "runs")
    assert read_state(file)[0].seconds > 0


def test_time_and_progress_count_on_from_an_earlier_process() -> None:
    said: list[Progress] = []
    weights = Weights(np.zeros((1, 2, 1)), np.zeros((1, 2)))
    state = TrainingState.start([Run(0.1, epochs=8)], weights)
    rows = Rows(np.zeros((2, 1)), np.arange(2), np.ones(1), np.zeros(1))
    earlier = replace(state, done=3, seconds=1000.0)
    training = Training(make_engine(), earlier, rows, on_progress=said.append)
    assert training.seconds > 1000.0
    training.advance(2)
    assert said == [Progress(5, 8)]


@pytest.mark.parametrize(
    ("every", "call"), [*product([0.0], [1, 3, 8]), *product([1e6], [1, 2, 5])]
)
def test_ctrl_c_keeps_whole_epochs_and_training_can_go_on(
    every: float, call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a long interval the checkpoint is the one that Ctrl-C has written."""
    monkeypatch.setattr(module, "HOLD_SECONDS", 0.0)
    splits, kept = make_splits(), Checkpoint(tmp_path, every=every)
    stopped = trained(splits, RUNS, checkpoint=kept, engine=Interrupts(call))
    assert stopped.interrupted
    whole = undisturbed(RUNS)
    measured = np.isfinite(stopped.history.train_loss)
    np.testing.assert_array_equal(
        stopped.history.train_loss[measured], whole.history.train_loss[measured]
    )
    save_records(stopped, tmp_path)
    assert Result.load(tmp_path).interrupted
    found = unfinished(tmp_path)
    assert found is not None
    assert found.total == 8
    assert measured[:, 1:].sum() <= found.done + 3
    resumed = trained(splits, RUNS, checkpoint=replace(kept, resume=True))
    assert_same(resumed, whole)
    save_records(resumed, tmp_path)
    assert not (tmp_path / CHECKPOINTS).exists()


def test_stopped_again_after_it_was_resumed_it_shows_no_epoch_that_it_does_not_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state that is written may be older than the recorder that it is written with."""
    splits, run = make_splits(), [Run(0.1, epochs=6, batch_size=9)]
    kept = Checkpoint(tmp_path, every=1e6)
    times = iter([0.0, *[0.0] * 6, *[2.0] * 2, *[2.1] * 100])
    monkeypatch.setattr("onelayer.training.checkpoint.time.monotonic", lambda: next(times))
    watched: Any = {"snapshots": [0], "curvature_of": [0]}
    train(splits, run, checkpoint=kept, engine=Interrupts(5), **watched)
    monkeypatch.undo()
    [(_, file)] = newest_first(tmp_path / CHECKPOINTS, "runs")
    state, _ = read_state(file)
    behind = state.epochs[0]
    assert behind < np.isfinite(state.history.train_loss[0]).sum() - 1
    kept = replace(kept, resume=True)
    again = train(splits, run, checkpoint=kept, engine=Interrupts(1), **watched)
    assert again.outcomes[0].epochs == behind
    assert again.curvatures[0].epochs == tuple(range(behind + 1))
    as_far = train(splits, [Run(0.1, epochs=behind, batch_size=9)])
    np.testing.assert_array_equal(again.W, as_far.W)
    assert np.isfinite(again.history.train_loss[0]).sum() == behind + 1
    assert np.isfinite(again.snapshots[0]).all(axis=(1, 2)).sum() == behind + 1


def test_ctrl_c_does_not_write_again_what_is_written(tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path, every=0)
    train(make_splits(), RUNS[:1], checkpoint=kept, engine=Interrupts(1))
    names = [path.name for path in (tmp_path / CHECKPOINTS).iterdir()]
    assert names == ["runs-000001.safetensors"]

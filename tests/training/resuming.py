"""Training that is killed at a checkpoint or by Ctrl-C, and a comparison of results by bits."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from onelayer.data import Splits
from onelayer.engines import Engine, Trainer, make_engine
from onelayer.files.manifest import CHECKPOINTS
from onelayer.solver import PathProgress
from onelayer.training.checkpoint import (
    Checkpoint,
    CheckpointInterval,
    CheckpointManager,
    newest_first,
)
from onelayer.training.loop import train
from onelayer.training.result import History, Result
from onelayer.training.run import Run
from tests.made_data import make_splits

# Two passes, shuffled and in file order, one run that diverges late, all kinds of state.
RUNS = (
    Run(0.1, epochs=3, batch_size=4, shuffle_seed=5),
    Run(300.0, l2=0.05, epochs=3, batch_size=4, shuffle_seed=5),
    Run(0.2, l2=0.1, epochs=2, batch_size=5, seed=1, shuffle=False),
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
        patch.setattr(CheckpointInterval, "adapt", lambda *_: None)
        yield


class Killed(BaseException):
    """What stands for SIGKILL: nobody catches it."""


def raises(error: BaseException) -> Any:
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
    write, count = CheckpointManager._write, [0]

    def counted(self: CheckpointManager, *state: Any) -> None:
        write(self, *state)
        count[0] += 1
        if count[0] == writes:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointManager, "_write", counted)
        yield


def trained(splits: Splits, runs: Any, **options: Any) -> Result:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return train(splits, runs, snapshots=[1], curvature_of=[0, 1], **options)


@cache
def undisturbed(runs: tuple[Run, ...]) -> Result:
    """What training is compared with that was killed or whose files were damaged."""
    return trained(make_splits(), runs)


def killed(folder: Path, writes: int, **options: Any) -> list[Path]:
    """Checkpoints of a training that was killed, newest first."""
    kept = Checkpoint(folder, every=0)
    with pytest.raises(Killed), killed_after(writes):
        trained(make_splits(), RUNS, checkpoint=kept, **options)
    return [file for _, file in newest_first(folder / CHECKPOINTS, "runs")]


class Interrupts:
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


def stopping(at: int, error: type[BaseException]) -> Callable[[PathProgress], None]:
    """A callback that ends the work after so many λ of this process."""
    left = [at]

    def on_progress(_: PathProgress) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise error

    return on_progress

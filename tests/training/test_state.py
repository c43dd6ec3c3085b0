"""Early stopping: which epoch's weights are kept, when a run ends, and what is left of the rest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelayer.data import Splits
from onelayer.engines import Weights, make_engine
from onelayer.files.manifest import CHECKPOINTS
from onelayer.solver import certify
from onelayer.training.checkpoint import Checkpoint, read_state
from onelayer.training.loop import Progress, train
from onelayer.training.run import Run
from onelayer.training.state import TrainingState
from tests.made_data import make_dataset, make_splits
from tests.training.resuming import Killed, assert_same, killed_after
from tests.training.test_loop import _StopsInEpoch


@pytest.fixture
def overfitting() -> Splits:
    """So few training rows, and half of their labels wrong, that the validation loss soon rises."""
    train_set = make_dataset(20, seed=1)
    y = np.where(np.arange(20) % 2, train_set.y, (train_set.y + 1) % train_set.classes)
    return replace(make_splits(), train=replace(train_set, y=y))


RUN = Run(1.0, epochs=60, batch_size=4, patience=4, shuffle=False)


def entered(run: Run, losses: list[float]) -> tuple[TrainingState, list[int]]:
    """The state after epochs with these validation losses, and the epochs that were taken."""
    start = Weights(np.zeros((1, 2, 1)), np.zeros((1, 2)))
    state, epochs = TrainingState.start([run], start), []
    for epoch, loss in enumerate(losses):
        weights = Weights(np.full((1, 2, 1), epoch), np.full((1, 2), epoch))
        half = np.array([0.5])
        figures = {"train": (np.array([1.0]), half), "validation": (np.array([loss]), half)}
        epochs.append(epoch)
        if not state.record([0], epoch, weights, figures):
            return state, epochs
    state.finish([0])
    return state, epochs


@given(
    st.lists(st.sampled_from([0.5, 1.0, 1.5, 2.0, np.nan, np.inf]), min_size=2, max_size=12),
    st.integers(1, 4),
)
def test_the_first_epoch_of_the_lowest_loss_is_kept_and_patience_counts_from_it(
    losses: list[float], patience: int
) -> None:
    run = Run(0.1, epochs=len(losses) - 1, patience=patience)
    state, epochs = entered(run, losses)
    seen = [x if np.isfinite(x) else np.inf for x in losses[1 : len(epochs)]]
    outcome = state.outcomes[0]
    assert outcome is not None
    if np.isfinite(seen).any():
        assert outcome.epochs == 1 + int(np.argmin(seen))
    np.testing.assert_array_equal(state.weights.W, np.full((1, 2, 1), outcome.epochs))
    waited = epochs[-1] - outcome.epochs
    if outcome.status == "stopped":
        assert waited == patience
    else:
        assert outcome.status == "finished"
        assert epochs[-1] == run.epochs
        assert waited <= patience


def test_without_patience_the_last_weights_are_kept() -> None:
    state, epochs = entered(Run(0.1, epochs=3), [1.0, 0.5, 2.0, 3.0])
    assert epochs == [0, 1, 2, 3]
    assert (state.weights.b == 3).all()


@pytest.mark.parametrize("engine_name", ["native", "reference"])
def test_a_stopped_run_has_the_weights_of_training_for_that_long(
    engine_name: str, overfitting: Splits
) -> None:
    engine = make_engine(engine_name)
    stopped = train(overfitting, [RUN], engine=engine)
    outcome, losses = stopped.outcomes[0], stopped.history.validation_loss[0]
    assert outcome.status == "stopped"
    assert outcome.message == ""
    best, taken = outcome.epochs, int(np.isfinite(losses).sum()) - 1
    assert 1 < best < taken == best + 4 < RUN.epochs
    assert losses[best] == np.nanmin(losses[1:])
    short = train(overfitting, [replace(RUN, epochs=best, patience=None)], engine=engine)
    np.testing.assert_array_equal(stopped.W, short.W)
    np.testing.assert_array_equal(stopped.b, short.b)
    np.testing.assert_array_equal(stopped.confusion, short.confusion)
    assert stopped.validation_accuracy == short.validation_accuracy
    assert stopped.certificates == short.certificates


def test_the_other_runs_of_the_pass_go_on_to_the_same_bits(overfitting: Splits) -> None:
    others = [replace(RUN, patience=None), replace(RUN, learning_rate=0.01, seed=3, patience=None)]
    together = train(overfitting, [RUN, *others])
    assert [o.status for o in together.outcomes] == ["stopped", "finished", "finished"]
    for r, run in enumerate(others, start=1):
        alone = train(overfitting, [run])
        np.testing.assert_array_equal(together.W[r], alone.W[0])
        np.testing.assert_array_equal(
            together.history.validation_loss[r], alone.history.validation_loss[0]
        )


@pytest.mark.slow
@pytest.mark.parametrize("engine_name", ["native", "reference"])
def test_killed_at_any_of_its_checkpoints_a_run_stops_at_the_same_epoch_with_the_same_bits(
    engine_name: str, overfitting: Splits, tmp_path: Path
) -> None:
    """Also between its best epoch and its last, when the weights to keep are not those it has."""
    runs = (RUN, replace(RUN, momentum=0.5, patience=None, epochs=12), replace(RUN, patience=7))
    options: Any = {"engine": make_engine(engine_name), "snapshots": [0], "curvature_of": [0, 2]}
    whole = train(overfitting, runs, **options)
    assert [o.status for o in whole.outcomes] == ["stopped", "finished", "stopped"]
    best, behind = whole.outcomes[0].epochs, set()
    for writes in range(3, 200, 8):
        kept = Checkpoint(tmp_path / str(writes), every=0)
        try:
            with killed_after(writes):
                train(overfitting, runs, checkpoint=kept, **options)
        except Killed:
            file = tmp_path / str(writes) / CHECKPOINTS / f"runs-{writes:06d}.safetensors"
            behind.add(read_state(file)[0].reached[0])
            resumed = train(overfitting, runs, checkpoint=replace(kept, resume=True), **options)
            assert_same(resumed, whole)
        else:
            break
    assert any(best < reached < best + 4 for reached in behind)


def test_the_epochs_that_are_not_taken_count_as_done(overfitting: Splits) -> None:
    calls: list[Progress] = []
    train(overfitting, [RUN, replace(RUN, patience=None)], on_progress=calls.append)
    assert calls[-1].done == calls[-1].total == 120


def test_the_curvature_is_measured_at_the_weights_where_the_run_ends(overfitting: Splits) -> None:
    result = train(overfitting, [RUN], curvature_of=[0])
    taken = int(np.isfinite(result.history.validation_loss[0]).sum()) - 1
    met = result.curvatures[0]
    assert met.epochs[-1] == taken > result.outcomes[0].epochs
    longer = train(
        overfitting, [replace(RUN, patience=None, epochs=taken)], curvature_of=[0]
    ).curvatures[0]
    assert met == longer


def test_an_interrupted_run_says_which_weights_it_keeps(overfitting: Splits) -> None:
    best = train(overfitting, [RUN]).outcomes[0].epochs
    result = train(overfitting, [RUN], engine=_StopsInEpoch(best + 3))
    outcome = result.outcomes[0]
    assert (outcome.status, outcome.epochs) == ("interrupted", best)
    words = f"interrupted after {best + 2} of 60 epochs; the weights after epoch {best} are kept."
    assert words in outcome.message


def test_a_certificate_is_that_of_the_kept_weights(overfitting: Splits) -> None:
    run = replace(RUN, l2=1e-4)
    result = train(overfitting, [run])
    assert result.outcomes[0].status == "stopped"
    proof = certify(result.model(), overfitting)
    assert result.certificates[0] == proof

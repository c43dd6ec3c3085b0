"""The loop: what it records, how runs end, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from onelayer.data import Splits, split
from onelayer.engines import ENGINE_NAMES, Engine, Trainer, make_engine
from onelayer.errors import SettingsError
from onelayer.objective import loss as objective
from onelayer.training.loop import Progress, initial_weights, train
from onelayer.training.row_order import row_order
from onelayer.training.run import Run, grid
from onelayer.training.sweep import sweep
from tests.made_data import make_dataset, make_splits
from tests.oracle import accuracy
from tests.trajectories import trajectory_tolerance

engines = pytest.mark.parametrize("engine_name", ENGINE_NAMES)


@engines
def test_history_is_what_the_oracle_measures_of_the_kept_weights(
    engine_name: str, splits: Splits
) -> None:
    runs = grid(learning_rate=0.1, l2=[0.0, 0.2], batch_size=20, epochs=3)
    result = train(splits, runs, engine=make_engine(engine_name), dtype="float64")
    for r, run in enumerate(runs):
        W, b = result.W[r], result.b[r]
        for prefix, dataset in (("train", splits.train), ("validation", splits.validation)):
            X, y = result.scaling.apply(dataset.X), dataset.y
            s = objective.scores(X, W, b)
            measured = {
                m: getattr(result.history, f"{prefix}_{m}")[r, 3]
                for m in ("loss", "cost", "accuracy")
            }
            assert measured["loss"] == pytest.approx(objective.loss(s, y), rel=1e-12)
            assert measured["cost"] == pytest.approx(objective.cost(X, y, W, b, run.l2), rel=1e-12)
            assert measured["accuracy"] == pytest.approx(accuracy(s, y))
        assert result.history.weight_norm[r, 3] == pytest.approx(np.linalg.norm(W))


@engines
def test_the_confusion_matrix_and_test_loss_belong_to_the_kept_weights(
    engine_name: str, splits: Splits
) -> None:
    result = train(splits, [Run(0.3, epochs=5, batch_size=9)], engine=make_engine(engine_name))
    s = objective.scores(result.scaling.apply(splits.test.X), result.W[0], result.b[0])
    predicted = s.argmax(axis=1)
    for true in range(3):
        for said in range(3):
            expected = np.sum((splits.test.y == true) & (predicted == said))
            assert result.confusion[0, true, said] == expected
    assert result.test_accuracy[0] == pytest.approx(accuracy(s, splits.test.y))
    assert result.test_loss[0] == pytest.approx(objective.loss(s, splits.test.y), rel=1e-5)


def test_column_0_of_the_history_is_the_initial_weights(splits: Splits) -> None:
    run = Run(0.1, epochs=2, seed=5)
    result = train(splits, [Run(0.1, epochs=2, seed=5, batch_size=30)], dtype="float64")
    start = initial_weights([run], 3, 12, "float64")
    X = result.scaling.apply(splits.train.X)
    expected = objective.cost(X, splits.train.y, start.W[0], start.b[0])
    assert result.history.train_cost[0, 0] == pytest.approx(expected, rel=1e-12)


def test_training_lowers_the_cost_and_learns_the_classes(splits: Splits) -> None:
    result = train(splits, [Run(0.3, epochs=30, batch_size=10)])
    assert result.history.train_cost[0, -1] < 0.5 * result.history.train_cost[0, 0]
    assert result.test_accuracy[0] > 0.8


def test_one_diverging_run_stops_alone_and_its_message_names_eta_and_epoch(
    splits: Splits,
) -> None:
    runs = [
        Run(0.1, epochs=6, batch_size=10),
        Run(1e12, l2=1.0, epochs=6, batch_size=10),
        Run(0.2, epochs=6, batch_size=10),
    ]
    result = train(splits, runs, snapshots=[1])
    assert [o.status for o in result.outcomes] == ["finished", "diverged", "finished"]
    diverged = result.outcomes[1]
    assert "η = 1e+12" in diverged.message
    assert f"in epoch {diverged.epochs + 1}" in diverged.message
    assert np.isfinite(result.W).all()
    kept = result.history.train_cost[1]
    assert np.isfinite(kept[: diverged.epochs + 1]).all()
    assert np.isnan(kept[diverged.epochs + 1 :]).all()
    for r in (0, 2):
        alone = train(splits, [runs[r]])
        tolerance = trajectory_tolerance(runs[r], splits.train, np.float32)
        np.testing.assert_allclose(result.W[r], alone.W[0], rtol=0, atol=2 * tolerance)
        assert result.outcomes[r].epochs == 6


def test_when_every_run_diverges_training_ends_early(splits: Splits) -> None:
    calls: list[Progress] = []
    result = train(splits, [Run(1e30, 1.0, epochs=50, batch_size=9)], on_progress=calls.append)
    assert result.outcomes[0].status == "diverged"
    assert len(calls) < 10
    assert calls[-1].done == calls[-1].total


def test_runs_with_other_batches_are_trained_in_passes_of_their_own(splits: Splits) -> None:
    runs = [Run(0.1, batch_size=10, epochs=2), Run(0.1, batch_size=30, epochs=4)]
    together = train(splits, runs, dtype="float64")
    for r, run in enumerate(runs):
        alone = train(splits, [run], dtype="float64")
        np.testing.assert_allclose(together.W[r], alone.W[0], rtol=0, atol=1e-14)
    assert np.isnan(together.history.train_cost[0, 3:]).all()
    assert together.train_accuracy[0] == together.history.train_accuracy[0, 2]


class _StopsInEpoch:
    """An engine whose trainer is hit by Ctrl-C in one epoch, with the weights half changed."""

    def __init__(self, epoch: int) -> None:
        self._inner: Engine = make_engine("reference")
        self._countdown = epoch
        self.name = "stops"

    def describe(self) -> dict[str, str]:
        return {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def begin(self, *start: object) -> Trainer:
        trainer = self._inner.begin(*start)  # type: ignore[arg-type]
        whole_epoch = trainer.epoch

        def epoch(*work: object) -> None:
            self._countdown -= 1
            whole_epoch(*work)  # type: ignore[arg-type]
            if self._countdown == 0:
                raise KeyboardInterrupt

        trainer.epoch = epoch  # type: ignore[method-assign, assignment]
        return trainer


def test_ctrl_c_keeps_the_whole_epochs_trained_so_far(splits: Splits) -> None:
    run = Run(0.1, epochs=9, batch_size=10)
    result = train(splits, [run, Run(0.1, epochs=5, batch_size=20)], engine=_StopsInEpoch(4))
    assert [o.status for o in result.outcomes] == ["interrupted", "interrupted"]
    assert [o.epochs for o in result.outcomes] == [3, 0]
    assert "after 3 of 9 epochs" in result.outcomes[0].message
    three = train(splits, [Run(0.1, epochs=3, batch_size=10)], engine=make_engine("reference"))
    np.testing.assert_array_equal(result.W[0], three.W[0])
    assert np.isnan(result.history.train_cost[0, 4:]).all()


def test_snapshots_hold_the_weights_of_every_epoch(splits: Splits) -> None:
    result = train(splits, grid(learning_rate=[0.1, 0.2], epochs=3, batch_size=10), snapshots=[1])
    assert set(result.snapshots) == {1}
    shots = result.snapshots[1]
    assert shots.shape == (4, 3, 12)
    np.testing.assert_array_equal(shots[3], result.W[1].astype(np.float16))
    np.testing.assert_array_equal(
        shots[0], initial_weights([Run(0.2)], 3, 12, "float32").W[0].astype(np.float16)
    )


def test_progress_counts_every_run_epoch(splits: Splits) -> None:
    calls: list[Progress] = []
    runs = grid(learning_rate=[0.1, 0.2], epochs=3, batch_size=10)
    train(splits, [*runs, Run(0.1, epochs=2, batch_size=5)], on_progress=calls.append)
    assert [call.done for call in calls] == [2, 4, 6, 7, 8]
    assert {call.total for call in calls} == {8}


def test_a_last_smaller_batch_is_averaged_over_its_own_size() -> None:
    dataset = make_dataset(7, seed=1)
    splits = Splits(train=dataset, validation=dataset, test=dataset, name="made", source="made")
    run = Run(0.1, epochs=1, batch_size=4, shuffle=False)
    result = train(splits, [run], dtype="float64")
    X, y = result.scaling.apply(dataset.X), dataset.y
    start = initial_weights([run], 3, 12, "float64")
    W, b = start.W[0], start.b[0]
    for rows in (slice(0, 4), slice(4, 7)):
        p = objective.softmax(objective.scores(X[rows], W, b))
        p[np.arange(len(p)), y[rows]] -= 1
        W, b = W - 0.1 * p.T @ X[rows] / len(p), b - 0.1 * p.sum(axis=0) / len(p)
    np.testing.assert_allclose(result.W[0], W, rtol=0, atol=1e-14)


def test_shuffled_orders_are_permutations_that_change_with_epoch_and_seed() -> None:
    orders = [row_order(seed, epoch, 50) for seed in (0, 1) for epoch in (1, 2)]
    assert all(sorted(order) == list(range(50)) for order in orders if order is not None)
    assert len({tuple(order) for order in orders if order is not None}) == 4
    np.testing.assert_array_equal(row_order(1, 2, 50), orders[3])
    assert row_order(None, 1, 50) is None


def test_a_seed_draws_the_same_weights_whatever_it_is_trained_beside() -> None:
    together = initial_weights([Run(0.1, seed=4), Run(0.1, seed=9)], 3, 5, "float32")
    alone = initial_weights([Run(0.1, seed=9)], 3, 5, "float32")
    np.testing.assert_array_equal(together.W[1], alone.W[0])
    assert together.W.std() == pytest.approx(0.01, rel=0.5)


def test_same_runs_give_the_same_bits(splits: Splits) -> None:
    runs = grid(learning_rate=0.1, seeds=3, epochs=2, shuffle_seed=1, batch_size=8)
    first, second = train(splits, runs), train(splits, runs)
    np.testing.assert_array_equal(first.W, second.W)
    np.testing.assert_array_equal(first.history.train_cost, second.history.train_cost)


def test_a_batch_larger_than_the_training_set_is_refused(splits: Splits) -> None:
    with pytest.raises(SettingsError, match="at most the number of training rows, 90, but 91"):
        train(splits, [Run(0.1, batch_size=91)])
    train(splits, [Run(0.1, batch_size=90, epochs=1)])


def test_no_runs_and_unknown_dtypes_are_refused(splits: Splits) -> None:
    with pytest.raises(SettingsError, match="at least one run"):
        train(splits, [])
    with pytest.raises(SettingsError, match="float32 or float64, but 'int8' was given"):
        train(splits, [Run(0.1)], dtype="int8")


@pytest.mark.parametrize("far", [1e8, 1.6e9])
def test_float32_learns_from_features_far_from_0_or_says_which_it_cannot_read(far: float) -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(400, 2))
    X, y = z + np.array([far, 0.0]), (z[:, 0] > 0.0).astype(int)
    data, run = split(X, y), Run(0.5, epochs=10)
    assert train(data, run).test_accuracy[0] > 0.95
    # To name the column is all that can be done where nothing may be subtracted.
    with pytest.warns(UserWarning, match=r"values of 1 feature, such as 0 \(.*'standardize'"):
        train(data, run, scaling="none")
    named = replace(data, train=replace(data.train, feature_names=("time", "z")))
    with pytest.warns(UserWarning, match="values of 1 feature, such as time"):
        train(named, run, scaling="none")


def test_permuting_the_classes_permutes_the_weights() -> None:
    splits, order = make_splits(), np.array([2, 0, 1])
    place = np.argsort(order)
    run = Run(0.2, 0.05, epochs=5, batch_size=10, init_scale=0.0)
    straight = train(splits, [run], dtype="float64")
    relabelled = [replace(d, y=place[d.y]) for d in (splits.train, splits.validation, splits.test)]
    shuffled = Splits(
        train=relabelled[0],
        validation=relabelled[1],
        test=relabelled[2],
        name="made",
        source="made",
    )
    permuted = train(shuffled, [run], dtype="float64")
    np.testing.assert_allclose(permuted.W[0], straight.W[0][order], rtol=0, atol=1e-13)
    np.testing.assert_array_equal(
        permuted.confusion[0], straight.confusion[0][np.ix_(order, order)]
    )


@pytest.mark.parametrize("method", [{"momentum": 0.9}, {"averaging": "ema:0.9"}, {}])
def test_a_run_goes_on_to_the_same_bits_when_the_one_beside_it_diverges(
    method: dict[str, Any], splits: Splits
) -> None:
    run = Run(0.05, epochs=6, batch_size=10, **method)
    lost = Run(1e30, 1.0, epochs=6, batch_size=10, averaging="tail:0.5")
    engine = make_engine("reference")
    beside = train(splits, [run, lost], engine=engine, dtype="float64")
    alone = train(splits, [run], engine=engine, dtype="float64")
    assert beside.outcomes[1].status == "diverged"
    np.testing.assert_allclose(beside.W[0], alone.W[0], rtol=0, atol=1e-13)


def test_flips_of_rows_that_are_no_images_are_refused(splits: Splits) -> None:
    parts = ("train", "validation", "test")
    plain = replace(
        splits, **{part: replace(getattr(splits, part), image_shape=None) for part in parts}
    )
    with pytest.raises(SettingsError, match="flip_seed flips images, but the rows of made are"):
        train(plain, [Run(0.1, batch_size=9, flip_seed=0)])


def test_batches_that_nobody_set_hold_100_rows_or_all_of_fewer() -> None:
    for rows, size in ((40, 40), (99, 99), (100, 100), (130, 100)):
        result = train(make_splits(rows=rows), [Run(0.1, epochs=1)])
        assert result.runs[0].batch_size == size
        given = train(make_splits(rows=rows), [Run(0.1, epochs=1, batch_size=size)])
        np.testing.assert_array_equal(result.W, given.W)
    swept = sweep(make_splits(rows=40), learning_rate=0.1, batch_size=["auto", 20], epochs=1)
    assert swept.settings == ("λ=0, η=0.1, batch 40", "λ=0, η=0.1, batch 20")

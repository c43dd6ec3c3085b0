"""Rows in files train, evaluate and certify as the same rows in memory do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from onelayer import Run, grid, load, train
from onelayer.data import Dataset, Splits
from onelayer.data.fingerprints import row_fingerprints
from onelayer.data.rows import Rows
from onelayer.data.scaling import fit_scaling
from onelayer.data.streaming import stored_rows
from onelayer.engines import Engine, State, Steps, Weights, make_engine, streaming
from onelayer.errors import DataError, SettingsError
from onelayer.model.evaluation import evaluate
from onelayer.model.model import Model
from onelayer.solver import certify, solve, solve_path, suggest_learning_rate
from onelayer.training.checkpoint import Checkpoint
from onelayer.training.loop import initial_weights, steps_of_epoch
from onelayer.training.row_order import row_order
from onelayer.training.run import method_arrays
from tests.data.streaming.counted_rows import CountedRows, even
from tests.examples import examples
from tests.training.resuming import Interrupts

N, D, K = 130, 12, 3
RNG = np.random.default_rng(0)
Y = RNG.integers(0, K, N)
X: NDArray[Any] = (RNG.normal(size=(N, D)) + 2.0 * np.eye(K, D)[Y]).astype(np.float16)
ROUNDING = 1e-12


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onelayer.data.streaming.TILE_BYTES", 16 * X.itemsize * D)


def in_files(values: NDArray[Any] = X, block: int = 5) -> NDArray[Any]:
    return cast(NDArray[Any], CountedRows(values, even(len(values), block)))


def dataset(values: NDArray[Any], **more: Any) -> Dataset:
    return Dataset(values, Y, tuple("abc"), **more)


def both_splits() -> tuple[Splits, Splits]:
    """The same split of rows in memory and in files."""
    return _split(dataset(X)), _split(dataset(in_files()))


def _split(whole: Dataset) -> Splits:
    chosen = np.split(np.random.default_rng(0).permutation(N), [80, 105])
    train_set, validation, test = (whole.take(np.sort(rows)) for rows in chosen)
    return Splits(train_set, validation, test, name="made", source="made")


runs_drawn = st.builds(
    Run,
    learning_rate=st.sampled_from([0.1, 0.01]),
    l2=st.sampled_from([0.0, 0.1]),
    batch_size=st.integers(1, 40),
    epochs=st.just(2),
    momentum=st.sampled_from([0.0, 0.9]),
    schedule=st.sampled_from(["constant", "cosine"]),
    averaging=st.sampled_from(["none", "tail:0.5"]),
    label_smoothing=st.sampled_from([0.0, 0.1]),
    flip_seed=st.sampled_from([None, 1]),
)


@settings(examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs_drawn, st.booleans(), st.integers(1, 9))
def test_an_epoch_from_files_is_that_from_memory_bit_for_bit(
    run: Run, shuffle: bool, block: int
) -> None:
    """In file order and shuffled, with all that a run may have, whatever the blocks and batches."""
    stored = stored_rows(in_files(block=block))
    run = replace(run, shuffle=shuffle, shuffle_seed=3)
    engine, scaling = streaming(make_engine()), fit_scaling("standardize", X)
    start = Weights(np.zeros((1, K, D), np.float32), np.zeros((1, K), np.float32))
    states = []
    for x in (X, cast(NDArray[Any], stored)):
        trainer = engine.begin(State(start), method_arrays([run]))
        rows = Rows(x, Y, scaling.scale, scaling.offset, image_width=4)
        for epoch in (1, 2):
            trainer.epoch(rows, steps_of_epoch([run], epoch, N, stored))
        states.append(trainer.state())
    for one, other in zip(states[0].weights, states[1].weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.array_equal(states[0].model.W, states[1].model.W)


@pytest.mark.parametrize("name", ["native", "reference"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("indexed", [False, True])
def test_every_pass_from_files_is_that_from_memory(
    name: str, weighted: bool, indexed: bool
) -> None:
    engine: Engine = streaming(make_engine(name))
    W, b = RNG.normal(size=(2, K, D)), RNG.normal(size=(2, K))
    weights = Weights(W, b)
    of_row = RNG.integers(0, 3, N).astype(float) if weighted else None
    if of_row is not None:
        of_row[:40] = 0.0  # more rows than a tile, which then counts for nothing
    index = RNG.permutation(N)[:70] if indexed else None
    scaling = fit_scaling("standardize", X)
    one, other = (Rows(x, Y, scaling.scale, scaling.offset, index, of_row) for x in (X, in_files()))
    for mean, expected in zip(
        engine.gradient(other, weights)[:3], engine.gradient(one, weights)[:3], strict=True
    ):
        np.testing.assert_allclose(mean, expected, rtol=ROUNDING, atol=ROUNDING)
    np.testing.assert_allclose(
        engine.scores(other, weights), engine.scores(one, weights), rtol=ROUNDING
    )
    factors = RNG.normal(size=(2, one.count, K))
    np.testing.assert_allclose(
        engine.weighted_sums(other, factors),
        engine.weighted_sums(one, factors),
        rtol=ROUNDING,
        atol=ROUNDING,
    )
    for sums, expected in zip(engine.class_sums(other, K), engine.class_sums(one, K), strict=True):
        np.testing.assert_allclose(sums, expected, rtol=ROUNDING, atol=ROUNDING)
    trainer = engine.begin(State(weights), method_arrays([Run(0.1), Run(0.1, loss="sigmoid")]))
    for measure in (trainer.evaluate, lambda r: engine.evaluate(r, weights)):
        for streamed, whole in zip(measure(other), measure(one), strict=True):
            np.testing.assert_allclose(streamed, whole, rtol=ROUNDING)
    for streamed, whole in zip(
        engine.classify(other, weights), engine.classify(one, weights), strict=True
    ):
        np.testing.assert_allclose(streamed, whole, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("scaling", ["unit", "standardize"])
def test_training_by_the_loop_is_the_same(scaling: str) -> None:
    """From the split to the certificate: in file order to the same weights."""
    runs = grid(learning_rate=[0.05, 0.01], l2=0.01, batch_size=7, epochs=3, shuffle=False)
    memory, files = (train(splits, runs, scaling=scaling) for splits in both_splits())
    np.testing.assert_array_equal(files.W, memory.W)
    np.testing.assert_array_equal(files.confusion, memory.confusion)
    np.testing.assert_allclose(files.history.train_cost, memory.history.train_cost, rtol=ROUNDING)
    for one, other in zip(files.certificates, memory.certificates, strict=True):
        assert one.gap == pytest.approx(other.gap, rel=1e-9)


def test_a_shuffled_run_follows_the_order_of_blocks() -> None:
    splits = both_splits()[1]
    run = Run(0.05, batch_size=7, epochs=2, shuffle_seed=4)
    got = train(splits, [run], certify=False)
    stored = stored_rows(splits.train.X)
    assert stored is not None
    engine, values = make_engine(), stored[:]
    rows = Rows(values, splits.train.y, got.scaling.scale, got.scaling.offset)
    trainer = engine.begin(State(_start(run)), method_arrays([run]))
    for epoch in (1, 2):
        order = row_order(4, epoch, len(values), stored)
        trainer.epoch(rows, Steps.constant(np.array([0.05]), len(values), 7, order))
    np.testing.assert_array_equal(trainer.weights().W, got.W)


def _start(run: Run) -> Weights:
    return initial_weights([run], K, D, "float32")


def test_the_optimum_and_its_proof_are_the_same() -> None:
    memory, files = (solve(dataset(x), 0.01, tol=1e-10) for x in (X, in_files()))
    assert (files.status, memory.status) == ("optimal", "optimal")
    np.testing.assert_allclose(files.W, memory.W, atol=1e-6)
    one, other = (certify(memory, dataset(x), l2=0.02) for x in (X, in_files()))
    assert other.cost == pytest.approx(one.cost, rel=ROUNDING)
    assert other.gap == pytest.approx(one.gap, rel=1e-9)


@pytest.mark.parametrize("folds", [0, 3])
def test_a_path_chooses_the_same_with_a_validation_set_and_with_folds(folds: int) -> None:
    memory, files = (solve_path(s, [1.0, 0.1, 0.001], folds=folds) for s in both_splits())
    assert files.chosen == memory.chosen
    for one, other in zip(files.held_out, memory.held_out, strict=True):
        for a, b in zip(one, other, strict=True):
            assert a.loss == pytest.approx(b.loss, rel=1e-3)  # the gap that is asked for is 1e-4


def test_the_advice_on_learning_rates_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onelayer.solver.learning_rate.SAMPLE_BYTES", 40 * D * X.itemsize)
    memory, files = (
        suggest_learning_rate(dataset(x), l2=0.1, batch_size=10) for x in (X, in_files())
    )
    assert files.smoothness == pytest.approx(memory.smoothness, rel=2e-3)
    assert files.batch_smoothness == pytest.approx(memory.batch_smoothness, rel=2e-3)
    assert files.start_curvature == pytest.approx(memory.start_curvature, rel=1e-5)


def test_a_model_is_evaluated_and_predicts_the_same() -> None:
    scaling = fit_scaling("standardize", X)
    model = Model(RNG.normal(size=(K, D)), np.zeros(K), scaling, tuple("abc"))
    stored = in_files()
    np.testing.assert_array_equal(model.predict(stored), model.predict(X))
    np.testing.assert_array_equal(model.predict_proba(stored), model.predict_proba(X))
    one, other = evaluate(model, dataset(X)), evaluate(model, dataset(stored))
    assert other.log_loss == pytest.approx(one.log_loss, rel=ROUNDING)
    np.testing.assert_array_equal(other.confusion, one.confusion)
    np.testing.assert_allclose(other.reliability.confidence, one.reliability.confidence)


def test_standardizing_reads_blocks_and_finds_the_same_bits() -> None:
    memory, files = fit_scaling("standardize", X), fit_scaling("standardize", in_files())
    np.testing.assert_allclose(files.scale, memory.scale, rtol=ROUNDING)
    np.testing.assert_allclose(files.offset, memory.offset, rtol=ROUNDING)


def test_a_batch_that_does_not_fit_in_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onelayer.engines.streamed.available_memory", lambda: 3000)
    with pytest.raises(SettingsError, match=r"batch_size 80 of made takes .* two batches are in"):
        train(both_splits()[1], [Run(0.1, batch_size=80)], certify=False)


def test_row_groups_too_large_to_be_mixed_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onelayer.training.row_order.available_memory", lambda: 1000)
    with pytest.raises(SettingsError, match=r"largest has 100 rows .* leave the seed out"):
        row_order(0, 1, N, stored_rows(in_files(block=100)))


def test_a_choice_of_rows_in_files_must_be_in_their_order() -> None:
    with pytest.raises(DataError, match="not ascending"):
        dataset(in_files()).take([2, 1])


@pytest.mark.parametrize("shuffle", [False, True])
def test_training_from_files_goes_on_from_a_checkpoint_to_the_same_bits(
    shuffle: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also from the middle of a window; an epoch is walked in parts, one for each checkpoint."""
    monkeypatch.setattr("onelayer.training.checkpoint.HOLD_SECONDS", 0.0)
    monkeypatch.setattr("onelayer.training.checkpoint.FIRST_BATCHES", 5)
    run = Run(0.05, momentum=0.9, batch_size=3, epochs=2, shuffle=shuffle, shuffle_seed=5)
    splits, kept = both_splits()[1], Checkpoint(tmp_path, every=0.0, resume=True)
    whole = train(splits, [run], certify=False)
    stopped = train(splits, [run], certify=False, checkpoint=kept, engine=Interrupts(9))
    assert stopped.interrupted
    again = train(splits, [run], certify=False, checkpoint=kept)
    np.testing.assert_array_equal(again.W, whole.W)
    np.testing.assert_array_equal(again.history.train_loss, whole.history.train_loss)


def test_rows_in_files_get_their_fingerprints_as_they_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    stored, loaded = (
        load(tmp_path / "x.npy", labels=tmp_path / "y.npy", stream=stream, log=lambda line: None)
        for stream in (True, False)
    )
    assert stored.train.fingerprints is None
    model = train(stored, [Run(0.1, epochs=1)], certify=False).best
    assert model.split is not None
    expected = np.unique(row_fingerprints(loaded.train.X))
    np.testing.assert_array_equal(model.split.rows, expected)
    held, names = len(loaded.train.X), tuple("012")
    every, stays = (replace(dataset(values), class_names=names) for values in (X, in_files()))
    for rows in (every, stays, stored.train):
        evaluated = model.evaluate(rows)
        found = (evaluated.training_rows, evaluated.training_rows_left_out)
        assert found == ((held, 0) if rows is stored.train else (0, held))

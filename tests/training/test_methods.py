"""What the parts of a method mean, on every engine: bits that must agree, and what equals what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelayer.data import Dataset
from onelayer.data.rows import rows_of
from onelayer.data.scaling import fit_scaling
from onelayer.engines import ENGINE_NAMES, State, Trainer, make_engine
from onelayer.training.loop import initial_weights, steps_of_epoch, train
from onelayer.training.run import Run, method_arrays
from tests.engines.test_engines import run_engine
from tests.examples import examples
from tests.made_data import make_dataset, make_splits
from tests.trajectories import methods, mirrored

engines = pytest.mark.parametrize("engine_name", ENGINE_NAMES)
DATASET = make_dataset(41, seed=5)
SHARED: dict[str, Any] = {"epochs": 3, "batch_size": 9, "shuffle_seed": 2, "flip_seed": 2}


def trained(engine_name: str, runs: list[Run], dataset: Dataset = DATASET, dtype: str = "float32"):  # type: ignore[no-untyped-def]
    return run_engine(engine_name, dataset, runs, dtype)[0].weights()


def same_bits(one: Any, other: Any) -> None:
    np.testing.assert_array_equal(one.W, other.W)
    np.testing.assert_array_equal(one.b, other.b)


@examples(40)
@given(st.lists(methods(), min_size=2, max_size=5))
def test_a_run_of_any_method_is_the_same_bits_alone_or_beside_others(
    drawn: list[dict[str, Any]],
) -> None:
    runs = [Run(seed=i, **SHARED, **method) for i, method in enumerate(drawn)]
    together = trained("native", runs)
    for r, run in enumerate(runs):
        same_bits(trained("native", [run]), together.of([r]))


@engines
@examples(30)
@given(st.lists(methods(), min_size=1, max_size=3), st.integers(0, 2), st.integers(1, 4))
def test_training_goes_on_from_a_state_and_a_step_to_the_same_bits(
    engine_name: str, drawn: list[dict[str, Any]], epochs: int, batches: int
) -> None:
    runs = [Run(seed=i, **SHARED, **method) for i, method in enumerate(drawn)]
    rows = rows_of(DATASET, fit_scaling("unit", DATASET.X, DATASET.max_value))
    start = initial_weights(runs, DATASET.classes, DATASET.features, "float32")
    engine, method = make_engine(engine_name), method_arrays(runs)
    trainer: Trainer = engine.begin(State(start), method)
    for epoch in range(1, runs[0].epochs + 1):
        steps = steps_of_epoch(runs, epoch, DATASET.rows)
        trainer.epoch(rows, steps.part(0, batches if epoch == epochs + 1 else 5))
        if epoch == epochs + 1:
            trainer = engine.begin(trainer.state(), method)
            trainer.epoch(rows, steps.part(batches, 5))
    same_bits(trainer.weights(), trained(engine_name, runs))


@engines
def test_flipping_every_row_is_training_on_mirrored_images(engine_name: str) -> None:
    runs = [Run(0.1, momentum=0.5, epochs=2, batch_size=9)]
    mirror = replace(DATASET, X=mirrored(DATASET, DATASET.X))
    rows = rows_of(DATASET, fit_scaling("unit", DATASET.X, DATASET.max_value))
    start = initial_weights(runs, DATASET.classes, DATASET.features, "float32")
    trainer = make_engine(engine_name).begin(State(start), method_arrays(runs))
    for epoch in (1, 2):
        steps = steps_of_epoch(runs, epoch, DATASET.rows)
        trainer.epoch(rows, replace(steps, flipped=np.ones(DATASET.rows, bool)))
    same_bits(trainer.weights(), trained(engine_name, runs, mirror))


@engines
def test_mirrored_weights_do_on_mirrored_images_what_weights_do(engine_name: str) -> None:
    run = Run(0.1, epochs=3, batch_size=9, init_scale=0.0, momentum=0.9, averaging="tail:0.5")
    mirror = replace(DATASET, X=mirrored(DATASET, DATASET.X))
    one, other = (trained(engine_name, [run], d, "float64") for d in (DATASET, mirror))
    np.testing.assert_allclose(mirrored(DATASET, one.W[0]), other.W[0], rtol=0, atol=1e-13)


@engines
@pytest.mark.parametrize(
    "same",
    [
        {"nesterov": True},
        {"schedule": "step:5:0.1"},
        {"averaging": "tail:0.001"},
        {"warmup": 0.001},
    ],
)
def test_a_method_that_changes_nothing_gives_the_bits_of_plain_descent(
    engine_name: str, same: dict[str, Any]
) -> None:
    plain = Run(0.1, 0.01, **SHARED)
    same_bits(trained(engine_name, [replace(plain, **same)]), trained(engine_name, [plain]))


@engines
def test_smoothing_to_nothing_and_momentum_to_nothing_are_without_them(engine_name: str) -> None:
    plain = Run(0.1, 0.01, **SHARED)
    bare = trained(engine_name, [plain], dtype="float64")
    for change in ({"label_smoothing": 1e-14}, {"momentum": 1e-14}):
        near = trained(engine_name, [replace(plain, **change)], dtype="float64")  # type: ignore[arg-type]
        np.testing.assert_allclose(near.W, bare.W, rtol=0, atol=1e-12)


@engines
def test_an_average_of_the_last_epoch_is_the_mean_of_the_weights_after_its_steps(
    engine_name: str,
) -> None:
    run = Run(0.2, 0.01, momentum=0.5, averaging="tail:0.3333", **SHARED)
    rows = rows_of(DATASET, fit_scaling("unit", DATASET.X, DATASET.max_value))
    start = initial_weights([run], DATASET.classes, DATASET.features, "float64")
    trainer = make_engine(engine_name).begin(State(start), method_arrays([run]))
    iterates = []
    for epoch in (1, 2, 3):
        steps = steps_of_epoch([run], epoch, DATASET.rows)
        for batch in range(5):
            trainer.epoch(rows, steps.part(batch, batch + 1))
            iterates.append(trainer.state().weights)
    last = iterates[-5:]
    model, mean = trainer.weights(), np.mean([w.W for w in last], axis=0)
    np.testing.assert_allclose(model.W, mean, rtol=0, atol=1e-14)
    np.testing.assert_allclose(model.b, np.mean([w.b for w in last], axis=0), rtol=0, atol=1e-14)


@engines
def test_a_run_without_an_average_has_its_weights_as_its_model_beside_one_that_averages(
    engine_name: str,
) -> None:
    # A whole step away from where it began, A + 1 · (W − A) is W to rounding only.
    runs = [Run(1.0, averaging=kind, epochs=2, batch_size=41) for kind in ("none", "ema:0.9")]
    trainer = run_engine(engine_name, DATASET, runs, "float32")[0]
    models, weights = trainer.weights(), trainer.state().weights
    same_bits(models.of([0]), weights.of([0]))
    assert (models.W[1] != weights.W[1]).any()


@engines
def test_two_classes_of_equal_and_opposite_weights_stay_so_under_every_method(
    engine_name: str,
) -> None:
    dataset = make_dataset(40, seed=1, classes=2)
    run = Run(
        0.1, 0.1, init_scale=0.0, momentum=0.9, nesterov=True, averaging="ema:0.9",
        label_smoothing=0.1, schedule="cosine", **SHARED,
    )  # fmt: skip
    W = trained(engine_name, [run], dataset, "float64").W[0]
    assert np.abs(W).max() > 0.01
    np.testing.assert_allclose(W[0], -W[1], rtol=0, atol=1e-14)


def test_shares_of_flips_are_one_half_and_orders_and_flips_are_drawn_apart() -> None:
    from onelayer.training.row_order import mirrored_rows, row_order

    flips = mirrored_rows(3, 1, 10_000)
    assert flips is not None
    assert abs(flips.mean() - 0.5) < 5 * 0.5 / 100  # five standard deviations
    assert (flips != mirrored_rows(3, 2, 10_000)).any()
    assert (flips != mirrored_rows(4, 1, 10_000)).any()
    assert (flips != (np.random.default_rng([3, 1]).random(10_000) < 0.5)).any()
    order = row_order(3, 1, 10_000)
    assert order is not None
    # Rows that are visited early are mirrored no more often than others.
    assert abs(np.corrcoef(order, flips)[0, 1]) < 5 / 100


def test_history_and_certificate_of_a_flipped_run_are_of_the_images_as_they_are() -> None:
    splits = make_splits()
    result = train(splits, [Run(0.1, 0.1, **SHARED)])
    proof = result.certificates[0]
    assert proof.cost == pytest.approx(result.history.train_cost[0, -1], rel=1e-6)


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_a_method_learns_the_classes(loss: Any) -> None:
    splits = make_splits()
    run = Run(
        0.3, loss=loss, momentum=0.9, schedule="cosine", warmup=1, averaging="tail:0.25",
        epochs=20, batch_size=10, label_smoothing=0.05, shuffle_seed=0, flip_seed=None,
    )  # fmt: skip
    result = train(splits, [run])
    assert result.test_accuracy[0] > 0.8

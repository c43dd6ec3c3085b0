"""Momentum, schedules, averages, flips and losses in the kernel: the equations, and the bits."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from onelayer.data.rows import Rows
from onelayer.engines import AVERAGE, VELOCITY, Method, State, Steps, Weights
from onelayer.engines.native import NativeEngine
from onelayer.engines.reference import ReferenceEngine
from tests.examples import examples, few
from tests.native.descents import Descent, descents, exact, of_runs, taken
from tests.native.problems import Problem
from tests.native.test_training import big_problem, score_bound, step_bound


def assert_same_bits(one: State, other: State) -> None:
    for part, wanted in zip(pairs(one), pairs(other), strict=True):
        np.testing.assert_array_equal(part, wanted)


def pairs(state: State) -> list[NDArray[Any]]:
    parts = [state.weights, *(state.slots[name] for name in sorted(state.slots))]
    return [array for part in parts for array in part]


def pass_bound(d: Descent) -> float:
    """That of plain descent, by steps; momentum repeats an error 1/(1 − μ) times, or each step."""
    steps = len(d.steps.learning_rate)
    repeats = min(steps, 1 / (1 - float(d.method.momentum.max())))
    return 2 * steps * step_bound(d.problem) * repeats


@examples(150)
@given(d=descents(), threads=st.integers(1, 4))
def test_a_pass_is_the_reference_engines_in_float64(d: Descent, threads: int) -> None:
    got, wanted = taken(d, threads), exact(d)
    moving = d.method.momentum > 0
    assert got.slots.keys() == wanted.slots.keys()
    np.testing.assert_allclose(got.weights.W, wanted.weights.W, rtol=0, atol=pass_bound(d))
    np.testing.assert_allclose(got.weights.b, wanted.weights.b, rtol=0, atol=pass_bound(d))
    np.testing.assert_allclose(got.model.W, wanted.model.W, rtol=0, atol=pass_bound(d))
    np.testing.assert_allclose(got.model.b, wanted.model.b, rtol=0, atol=pass_bound(d))
    for r in np.flatnonzero(moving):
        # A velocity is a step over its η; with an l1 it takes in a weight over η as well.
        over = 50 + float(d.method.l1[r] > 0) / d.steps.learning_rate[:, r].min()
        for part, oracle in zip(got.slots[VELOCITY], wanted.slots[VELOCITY], strict=True):
            np.testing.assert_allclose(part[r], oracle[r], rtol=0, atol=over * pass_bound(d))


@examples(60)
@given(d=descents(), threads=st.integers(2, 6))
def test_threads_change_no_bit(d: Descent, threads: int) -> None:
    assert_same_bits(taken(d, threads), taken(d))


@examples(60)
@given(d=descents(), threads=st.integers(1, 3))
def test_a_run_alone_has_the_bits_it_has_beside_others(d: Descent, threads: int) -> None:
    together = taken(d)
    for r in range(len(d.problem.W)):
        alone = taken(of_runs(d, [r]), threads)
        beside = together.of([r])
        # Without momentum no run has to keep a velocity.
        slots = {name: slot for name, slot in beside.slots.items() if name in alone.slots}
        assert_same_bits(alone, replace(beside, slots=slots))


@examples(40)
@given(d=descents(stored=("uint8",)), wide=st.sampled_from(["float16", "float32", "float64"]))
def test_bytes_by_an_identity_order_and_floats_give_the_same_bits(d: Descent, wide: str) -> None:
    order = np.arange(len(d.rows.y)) if d.steps.order is None else d.steps.order
    floats = d._replace(
        rows=replace(d.rows, X=d.rows.X.astype(wide)), steps=replace(d.steps, order=order)
    )
    assert_same_bits(taken(floats, 2), taken(d))


@examples(60)
@given(d=descents(), cuts=st.sets(st.integers(0, 40)), begin_again=st.booleans())
def test_a_pass_in_parts_from_where_the_runs_stood_has_the_bits_of_the_whole(
    d: Descent, cuts: set[int], begin_again: bool
) -> None:
    order = np.arange(len(d.rows.y)) if d.steps.order is None else d.steps.order
    steps = replace(d.steps, order=order)
    last = len(steps.learning_rate)
    edges = sorted({0, last} | {cut for cut in cuts if cut < last})
    engine = NativeEngine(2)
    trainer = engine.begin(d.start, d.method)
    for begin, end in pairwise(edges):
        trainer.epoch(d.rows, steps.part(begin, end))
        if begin_again:
            trainer = engine.begin(trainer.state(), d.method)
    assert_same_bits(trainer.state(), taken(d))


@examples(80)
@given(d=descents(), threads=st.integers(1, 3))
def test_flipping_is_reading_mirrored_rows(d: Descent, threads: int) -> None:
    order = np.arange(len(d.rows.y)) if d.steps.order is None else d.steps.order
    flipped = np.zeros(len(order), bool) if d.steps.flipped is None else d.steps.flipped
    X = d.rows.X[order]
    lines = X.reshape(len(X), -1, d.rows.image_width)[:, :, ::-1].reshape(X.shape)
    mirrored = np.where(flipped[:, None], lines, X)
    weights = None if d.rows.weights is None else d.rows.weights[order]
    rows = replace(d.rows, X=mirrored, y=d.rows.y[order], weights=weights)
    by_hand = d._replace(rows=rows, steps=replace(d.steps, order=None, flipped=None))
    assert_same_bits(taken(by_hand), taken(d, threads))


@examples(60)
@given(d=descents(), threads=st.integers(1, 3))
def test_losses_are_those_of_the_run(d: Descent, threads: int) -> None:
    start = State(d.start.weights)
    loss, square, _, correct = NativeEngine(threads).begin(start, d.method).evaluate(d.rows)
    doubled = Weights(*(part.astype(np.float64) for part in start.weights))
    rows = replace(d.rows, X=d.problem.features(), scale=np.ones(len(d.problem.scale)))
    rows = replace(rows, offset=np.zeros(len(d.problem.scale)))
    wanted = ReferenceEngine().begin(State(doubled), d.method).evaluate(rows)
    most = 2 * score_bound(d.problem)
    np.testing.assert_allclose(loss, wanted.loss, rtol=0, atol=most)
    # No row's loss is more than N times their mean, so no square errs by more than this.
    most = 2 * most * len(d.rows.y) * (1 + float(wanted.loss.max()))
    np.testing.assert_allclose(square, wanted.square, rtol=0, atol=most)
    plain = NativeEngine().begin(start, Method.plain(d.method.l2)).evaluate(d.rows)
    np.testing.assert_array_equal(correct, plain.correct)
    same = ~d.method.sigmoid & (d.method.label_smoothing == 0)
    np.testing.assert_array_equal(loss[same], plain.loss[same])


def everything(p: Problem, rows: int) -> Descent:
    """Momentum, l1, averages, flips, smoothing and both losses on a large problem."""
    (R, _, _), rng = p.W.shape, np.random.default_rng(6)
    count, half = -(-rows // p.batch), np.arange(R) % 2 == 0
    method = replace(
        Method.plain(p.l2), momentum=np.where(half, 0.9, 0.0), nesterov=np.arange(R) % 4 == 0,
        sigmoid=~half, label_smoothing=0.1 * half, l1=np.where(np.arange(R) % 3 == 0, 0.1, 0.0),
        grouped=np.arange(R) % 2 == 0,
    )  # fmt: skip
    averaging = 1 / (1 + np.arange(count)[:, None] * np.where(half, 1, 0))
    flipped = rng.random(rows) < 0.5
    steps = Steps(p.batch, p.rates(rows), averaging, rng.permutation(rows), flipped)
    images = Rows(p.X, p.y.astype(np.int64), p.scale, p.offset, image_width=p.X.shape[1] // 4)
    return Descent(p, images, State(Weights(p.W, p.b)), method, steps)


@pytest.mark.parametrize(
    "shape",
    [
        (300, 3072, 10, 4, 100),
        (200, 3072, 10, 40, 100),  # residuals that are shared out
        (700, 784, 10, 2, 300),  # batches longer than a chunk of the backward pass
        (520, 512, 300, 1, 260),  # more columns than a group
    ],
)
@pytest.mark.parametrize("arithmetic", few(1, ["float32", "float64"]))
def test_large_shapes(shape: tuple[int, int, int, int, int], arithmetic: str) -> None:
    d = everything(big_problem(shape, arithmetic=arithmetic), shape[0])
    one, wanted = taken(d), exact(d)
    # A hundredth of what the pass moves the weights would be seen, and of the intercepts.
    for got, exactly in ((one.weights, wanted.weights), (one.model, wanted.model)):
        for part, oracle, start in zip(got, exactly, d.start.weights, strict=True):
            assert pass_bound(d) < 0.01 * np.abs(oracle - start).max()
            np.testing.assert_allclose(part, oracle, rtol=0, atol=pass_bound(d))
    for threads in (2, 3):
        assert_same_bits(taken(d, threads), one)


def test_a_rate_whose_inverse_is_no_number_leaves_numbers() -> None:
    d = everything(big_problem((60, 40, 4, 2, 20)), 60)
    start = Weights(np.zeros_like(d.problem.W), d.problem.b)
    rates = np.full_like(d.steps.learning_rate, 1e-42)
    ended = taken(d._replace(start=State(start), steps=replace(d.steps, learning_rate=rates)))
    assert d.method.l1[0] > 0.0 < d.method.momentum[0]
    for of in (ended.weights, ended.slots[VELOCITY]):
        assert np.isfinite(of.W).all()


def test_an_average_of_the_last_weights_alone_is_the_weights() -> None:
    d = everything(big_problem((90, 300, 5, 3, 20)), 90)
    ones = d._replace(steps=replace(d.steps, averaging=np.ones((5, 3))))
    ended = taken(ones)
    np.testing.assert_array_equal(ended.slots[AVERAGE].W, ended.weights.W)
    np.testing.assert_array_equal(ended.slots[AVERAGE].b, ended.weights.b)
    none = d._replace(steps=replace(d.steps, averaging=None))
    np.testing.assert_array_equal(ended.weights.W, taken(none).weights.W)


def test_averages_that_are_left_alone_stay() -> None:
    d = everything(big_problem((60, 40, 4, 2, 20)), 60)
    kept = Weights(d.problem.W + np.float32(1), d.problem.b)
    d = d._replace(start=State(d.start.weights, {AVERAGE: kept}))
    ended = taken(d._replace(steps=replace(d.steps, averaging=None)))
    np.testing.assert_array_equal(ended.slots[AVERAGE].W, kept.W)


@pytest.mark.parametrize(("arithmetic", "largest"), [(np.float32, 80.0), (np.float64, 700.0)])
def test_the_sigmoid_and_its_loss_are_right_to_a_few_units_in_the_last_place(
    arithmetic: type, largest: float
) -> None:
    # One class of score t: the loss of a row of this class is log(1 + e⁻ᵗ). Thousands of t are
    # as many runs. Of two classes, ∂loss/∂s is σ(t) / 2 for the one that is not the row's.
    t: NDArray[Any] = np.linspace(-largest, largest, 4001).astype(arithmetic)
    eps, exact_t = float(np.finfo(arithmetic).eps), t.astype(np.float64)
    rows = Rows(np.ones((1, 1), np.uint8), np.array([0]), np.ones(1), np.zeros(1))
    method = replace(Method.plain(np.zeros(len(t))), sigmoid=np.ones(len(t), bool))
    start = State(Weights(t[:, None, None], np.zeros((len(t), 1), arithmetic)))
    loss = NativeEngine().begin(start, method).evaluate(rows).loss
    np.testing.assert_allclose(loss, np.logaddexp(0, -exact_t), rtol=8 * eps, atol=0)
    other: NDArray[Any] = np.zeros((len(t), 2, 1), arithmetic)
    other[:, 1] = t[:, None]
    trainer = NativeEngine().begin(State(Weights(other, other[:, :, 0] * 0)), method)
    trainer.epoch(rows, Steps.constant(np.ones(len(t)), 1, 1))
    e = np.exp(-np.abs(exact_t))
    sigmoid = np.where(exact_t < 0, e, 1.0) / (1 + e)
    np.testing.assert_allclose(-2 * trainer.weights().b[:, 1], sigmoid, rtol=6 * eps, atol=0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_no_number_gives_a_sigmoid_loss_that_is_none(bad: float) -> None:
    W = np.zeros((2, 3, 4), np.float32)
    W[0, 1, 2] = bad
    rows = Rows(np.ones((5, 4)), np.arange(5) % 3, np.ones(4), np.zeros(4))
    method = replace(Method.plain(np.zeros(2)), sigmoid=np.ones(2, bool))
    trainer = NativeEngine().begin(State(Weights(W, W[:, :, 0] * 0)), method)
    loss, *_ = trainer.evaluate(rows)
    assert not np.isfinite(loss[0])
    assert loss[1] == pytest.approx(np.log(2))

"""Full passes of the torch engine: gradients, scores, sums, losses and predictions of any rows."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelayer.data.rows import Rows
from onelayer.engines import Engine, Method, State, Steps, Weights, make_engine
from onelayer.engines.torch import device as devices
from onelayer.engines.torch.trainer import Graphs
from tests.engines.torch.drawn import Problem, assert_same, problems, scaled_features

tile_sizes = st.sampled_from([1, 2000, 1 << 20])


@pytest.fixture(scope="module")
def torch_engine() -> Engine:
    return make_engine("torch", device="cpu")


@given(problem=problems(), tile_size=tile_sizes, chosen=st.booleans(), seed=st.integers(0, 99))
def test_full_passes_are_the_references(
    torch_engine: Engine, problem: Problem, tile_size: int, chosen: bool, seed: int
) -> None:
    rows, weights = problem.rows, problem.state.weights
    rng = np.random.default_rng(seed)
    if chosen:
        rows = rows.only(np.r_[0, rng.integers(0, len(rows.y), rng.integers(1, 50))])
    factors = rng.normal(size=(*weights.b.shape, rows.count)).swapaxes(1, 2)
    factors = factors.astype(weights.W.dtype)
    reference = make_engine("reference")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(devices.TILE_BYTES, "cpu", tile_size)
        got = torch_engine.gradient(rows, weights)
        scores = torch_engine.scores(rows, weights)
        sums = torch_engine.weighted_sums(rows, factors)
        trainer = torch_engine.begin(State(weights), problem.method)
        judged, figures = trainer.evaluate(rows), torch_engine.classify(rows, weights)
    unit, largest = float(np.finfo(weights.W.dtype).eps), np.abs(scaled_features(rows)).max() + 1.0
    near = {"rtol": 0.0, "atol": 8.0 * unit * (rows.X.shape[1] + rows.count) * largest**2}
    for mine, theirs in zip(got[:3], reference.gradient(rows, weights)[:3], strict=True):
        assert mine.dtype == np.float64
        np.testing.assert_allclose(mine, theirs, **near)
    expected = reference.scores(rows, weights)
    assert scores.dtype == weights.W.dtype
    np.testing.assert_allclose(scores, expected, **near)
    np.testing.assert_allclose(
        sums, reference.weighted_sums(rows, factors), rtol=0, atol=near["atol"] * rows.count * 4
    )
    other = reference.begin(State(weights), problem.method)
    np.testing.assert_allclose(judged.loss, other.evaluate(rows).loss, **near)
    for mine, theirs in zip(figures[1:3], reference.classify(rows, weights)[1:3], strict=True):
        np.testing.assert_allclose(mine, theirs, **near)
    classes = figures.classes
    # Where the two largest scores differ by rounding alone either class is right.
    best = np.take_along_axis(expected, classes[:, :, None], 2)[:, :, 0]
    np.testing.assert_allclose(best, expected.max(axis=2), **near)
    assert classes.dtype == np.int64
    assert classes.shape == (len(weights.b), rows.count)


def test_of_equal_scores_the_first_class_counts(torch_engine: Engine) -> None:
    rows = Rows(np.ones((40, 3)), np.zeros(40, np.int64), np.ones(3), np.zeros(3))
    state = State(Weights(np.zeros((2, 5, 3)), np.zeros((2, 5))))
    trainer = torch_engine.begin(state, Method.plain(np.zeros(2)))
    figures = torch_engine.classify(rows, state.weights)
    assert not figures.classes.any()
    assert not figures.rank.any()
    assert trainer.evaluate(rows).correct.tolist() == [40, 40]


def test_a_score_that_overflows_shows_in_the_loss(torch_engine: Engine) -> None:
    rows = Rows(np.ones((4, 3), np.float32), np.zeros(4, np.int64), np.ones(3), np.zeros(3))
    W = np.stack([np.zeros((2, 3)), np.full((2, 3), 3e38)]).astype(np.float32)
    trainer = torch_engine.begin(
        State(Weights(W, np.zeros((2, 2), np.float32))), Method.plain(np.zeros(2))
    )
    finite = np.isfinite(trainer.evaluate(rows).loss)
    assert finite.tolist() == [True, False]


def test_bfloat16_rows_are_read_as_what_they_are(torch_engine: Engine) -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(50, 7)).astype(ml_dtypes.bfloat16)
    rows = Rows(X, rng.integers(0, 3, 50), np.ones(7), np.zeros(7))
    widened = replace(rows, X=X.astype(np.float32))
    weights = Weights(rng.normal(size=(1, 3, 7)), np.zeros((1, 3)))
    for mine, theirs in zip(
        torch_engine.gradient(rows, weights)[:3],
        torch_engine.gradient(widened, weights)[:3],
        strict=True,
    ):
        np.testing.assert_array_equal(mine, theirs)


@given(problem=problems(), cut=st.integers(0, 2))
def test_going_on_from_a_state_gives_the_same_bits(
    torch_engine: Engine, problem: Problem, cut: int
) -> None:
    cut = min(cut, len(problem.passes))
    straight = torch_engine.begin(problem.state, problem.method)
    stopped = torch_engine.begin(problem.state, problem.method)
    for steps in problem.passes:
        straight.epoch(problem.rows, steps)
    for steps in problem.passes[:cut]:
        stopped.epoch(problem.rows, steps)
    resumed = torch_engine.begin(stopped.state(), problem.method)
    for steps in problem.passes[cut:]:
        resumed.epoch(problem.rows, steps)
    assert_same(resumed.state(), straight.state(), tolerance=0)


def test_a_trainer_goes_from_rows_to_rows_and_from_order_to_order(torch_engine: Engine) -> None:
    # Buffers are kept between epochs: none may be taken for another's.
    rng = np.random.default_rng(3)
    sets = [
        Rows(rng.normal(size=(n, 4)), rng.integers(0, 2, n), np.ones(4), np.zeros(4), None, w)
        for n, w in ((20, None), (20, rng.uniform(0.5, 1.5, 20)), (11, None))
    ]
    state = State(Weights(np.zeros((2, 2, 4)), np.zeros((2, 2))))
    trainers = [e.begin(state, Method.plain(np.array([0.0, 0.1]))) for e in (
        torch_engine, make_engine("reference"))]  # fmt: skip
    plans = [
        (rows, Steps(B, rates * np.ones((-(-len(rows.y) // B), 1)), averaging, order))
        for rows in (*sets, sets[0])
        for B in (4, 7, 4)
        for rates in (np.array([0.1, 0.2]), np.array([0.3, 0.1]), np.array([0.3, 0.1]))
        for order in (None, rng.permutation(len(rows.y)), None, None)
        for averaging in (None,)
    ]
    for rows, steps in plans:
        for trainer in trainers:
            trainer.epoch(rows, steps)
        mine, theirs = (trainer.weights() for trainer in trainers)
        np.testing.assert_allclose(mine.W, theirs.W, rtol=0, atol=1e-12)


def test_an_epoch_that_was_broken_off_leaves_no_rows_behind(
    torch_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(4)
    rows = Rows(rng.normal(size=(20, 4)), rng.integers(0, 2, 20), np.ones(4), np.zeros(4))
    state = State(Weights(np.zeros((1, 2, 4)), np.zeros((1, 2))))
    rates = np.array([0.1])
    trainer = torch_engine.begin(state, Method.plain(np.zeros(1)))
    trainer.epoch(rows, Steps.constant(rates, 20, 5))

    def ctrl_c(*work: object) -> None:
        raise KeyboardInterrupt

    shuffled = Steps.constant(rates, 20, 5, rng.permutation(20))
    with monkeypatch.context() as patch:
        patch.setattr(Graphs, "run", ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            trainer.epoch(rows, shuffled)
    trainer.epoch(rows, Steps.constant(rates, 20, 5))
    other = make_engine("reference").begin(state, Method.plain(np.zeros(1)))
    for _ in range(2):
        other.epoch(rows, Steps.constant(rates, 20, 5))
    np.testing.assert_allclose(trainer.weights().W, other.weights().W, rtol=0, atol=1e-13)

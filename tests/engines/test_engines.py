"""Every engine against the oracle over whole trajectories, and against itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from onelayer.data.rows import Rows, rows_of
from onelayer.data.scaling import fit_scaling
from onelayer.data.sparse import SparseRows
from onelayer.engines import (
    ENGINE_NAMES,
    Method,
    State,
    Steps,
    Weights,
    make_engine,
    streaming,
)
from onelayer.errors import SettingsError
from onelayer.objective import loss as objective
from onelayer.training.loop import initial_weights, steps_of_epoch
from onelayer.training.run import Run, method_arrays
from tests.data.streaming.counted_rows import CountedRows
from tests.made_data import make_dataset
from tests.oracle import accuracy
from tests.trajectories import methods, oracle_trajectory, trajectory_tolerance

engines = pytest.mark.parametrize("engine_name", ENGINE_NAMES)


def run_engine(engine_name: str, dataset, runs: list[Run], dtype: str, scaling_name: str = "unit"):  # type: ignore[no-untyped-def]
    """Weights of runs that share a pass, after all of their epochs."""
    scaling = fit_scaling(scaling_name, dataset.X, dataset.max_value)
    start = initial_weights(runs, dataset.classes, dataset.features, dtype)
    rows = rows_of(dataset, scaling)
    trainer = make_engine(engine_name).begin(State(start), method_arrays(runs))
    for epoch in range(1, runs[0].epochs + 1):
        trainer.epoch(rows, steps_of_epoch(runs, epoch, dataset.rows))
    return trainer, rows, scaling, start


@engines
@given(
    dtype=st.sampled_from(["float32", "float64"]),
    stored=st.sampled_from([np.uint8, np.float32, np.float64]),
    batch_size=st.integers(1, 40),
    shuffle=st.booleans(),
    flip_seed=st.sampled_from([None, 5]),
    methods_of_runs=st.lists(methods(), min_size=1, max_size=4),
    scaling=st.sampled_from(["unit", "standardize"]),
    classes=st.integers(2, 5),
)
def test_trajectories_follow_the_oracle(  # type: ignore[no-untyped-def]
    engine_name, dtype, stored, batch_size, shuffle, flip_seed, methods_of_runs, scaling,
    classes,
) -> None:  # fmt: skip
    dataset = make_dataset(40, seed=1, dtype=stored, classes=classes)
    shared = {"batch_size": batch_size, "shuffle": shuffle, "flip_seed": flip_seed}
    runs = [Run(seed=i, epochs=3, **shared, **method) for i, method in enumerate(methods_of_runs)]
    trainer, rows, fitted, start = run_engine(engine_name, dataset, runs, dtype, scaling)
    got, evaluation, X = trainer.weights(), trainer.evaluate(rows), fitted.apply(dataset.X)
    # Standardised features are a few deviations large instead of at most 1.
    largest = np.abs(X).max()
    for r, run in enumerate(runs):
        W, b = oracle_trajectory(dataset, fitted, run, start.W[r], start.b[r])
        tolerance = trajectory_tolerance(run, dataset, got.W.dtype.type) * largest**2
        np.testing.assert_allclose(got.W[r], W, rtol=0, atol=tolerance)
        np.testing.assert_allclose(got.b[r], b, rtol=0, atol=tolerance)
        s = objective.scores(X, got.W[r], got.b[r])
        loss = objective.loss(s, dataset.y, (run.loss, run.label_smoothing))
        # A score is a sum of D products, and a loss no more curved than its scores are large.
        bound = 8 * float(np.finfo(dtype).eps) * dataset.features * max(1.0, np.abs(s).max())
        assert evaluation.loss[r] == pytest.approx(loss, abs=bound)


@engines
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_evaluation_is_the_oracles_loss_and_accuracy(engine_name: str, dtype: str) -> None:
    dataset = make_dataset(77, seed=4)
    runs = [Run(0.1, seed=i, epochs=1, batch_size=7, init_scale=1.0) for i in range(3)]
    trainer, rows, scaling, _ = run_engine(engine_name, dataset, runs, dtype)
    evaluation, weights = trainer.evaluate(rows), trainer.weights()
    predicted = make_engine(engine_name).classify(rows, weights).classes
    for r in range(len(runs)):
        s = objective.scores(scaling.apply(dataset.X), weights.W[r], weights.b[r])
        unit = float(np.finfo(dtype).eps)
        # A score is a sum of D products of numbers of order 1 to 4.
        bound = 8 * unit * dataset.features
        assert evaluation.loss[r] == pytest.approx(objective.loss(s, dataset.y), abs=bound)
        assert evaluation.correct[r] == round(accuracy(s, dataset.y) * dataset.rows)
        np.testing.assert_array_equal(predicted[r], s.argmax(axis=1))


@engines
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_figures_of_rows_and_their_means_are_the_oracles(
    engine_name: str, dtype: str, weighted: bool
) -> None:
    data = make_dataset(300, seed=5, classes=7)
    scaling, rng = fit_scaling("standardize", data.X), np.random.default_rng(1)
    rows = rows_of(data, scaling).only(rng.permutation(data.rows)[:200])
    w = np.ones(data.rows)
    if weighted:
        w = np.floor(rng.uniform(0.0, 3.0, data.rows))
        rows = replace(rows, weights=w)
    w = w[rows.index]
    runs = [Run(0.1, seed=i, init_scale=0.5) for i in range(3)]
    weights = initial_weights(runs, data.classes, data.features, dtype)
    engine = make_engine(engine_name)
    means, figures = engine.evaluate(rows, weights), engine.classify(rows, weights)
    X, y = scaling.apply(data.X)[rows.index], rows.labels
    near = {"rtol": 0, "atol": 64 * float(np.finfo(dtype).eps) * (1 + np.abs(X).max() ** 2)}
    for r in range(len(runs)):
        S = objective.scores(X, weights.W[r], weights.b[r])
        losses = -objective.log_softmax(S)[np.arange(len(y)), y]
        right = S.argmax(axis=1) == y
        np.testing.assert_array_equal(figures.classes[r], S.argmax(axis=1))
        np.testing.assert_allclose(figures.confidence[r], objective.softmax(S).max(axis=1), **near)
        np.testing.assert_allclose(figures.loss[r], losses, **near)
        np.testing.assert_array_equal(
            figures.rank[r], (S[np.arange(len(y)), y][:, None] < S).sum(1)
        )
        assert means.loss[r] == pytest.approx(np.average(losses, weights=w), abs=near["atol"])
        square = np.average(losses**2, weights=w)
        assert means.square[r] == pytest.approx(square, abs=2 * near["atol"] * losses.max())
        assert means.accuracy[r] == pytest.approx(np.average(right, weights=w), rel=1e-12)
        assert means.correct[r] == right.sum()


@engines
def test_a_row_of_weight_zero_counts_for_nothing_whatever_its_loss(engine_name: str) -> None:
    X, largest = np.array([[1.0, 0.0], [0.0, 1.0]]), np.finfo(np.float32).max
    weights = Weights(
        np.array([[[0.0, largest], [0.0, -largest]]], np.float32), np.zeros((1, 2), np.float32)
    )
    rows = Rows(X, np.array([0, 1]), np.ones(2), np.zeros(2), None, np.array([1.0, 0.0]))
    found = make_engine(engine_name).evaluate(rows, weights)
    assert found.loss[0] == pytest.approx(np.log(2))
    assert found.square[0] == pytest.approx(np.log(2) ** 2)
    assert found.accuracy[0] == found.correct[0] == 1


@engines
def test_a_row_with_a_score_that_is_no_number_has_no_confidence(engine_name: str) -> None:
    W = np.array([[[3e38, 0.0], [0.0, 1.0], [-3e38, 0.0]]], np.float32)
    rows = Rows(np.array([[0.0, 1.0], [2.0, 0.0]]), np.zeros(2, int), np.ones(2), np.zeros(2))
    found = make_engine(engine_name).classify(rows, Weights(W, np.zeros((1, 3), np.float32)))
    assert np.isfinite(found.confidence[0]).tolist() == [True, False]
    assert found.classes[0, 0] == 1


@engines
def test_a_run_trained_beside_others_is_the_run_trained_alone(engine_name: str) -> None:
    dataset = make_dataset(53, seed=2)
    runs = [Run(0.2, l2, seed=i, batch_size=10, epochs=4) for i, l2 in enumerate([0.0, 0.1, 1.0])]
    together = run_engine(engine_name, dataset, runs, "float32")[0].weights()
    for r, run in enumerate(runs):
        alone = run_engine(engine_name, dataset, [run], "float32")[0].weights()
        if engine_name == "native":
            np.testing.assert_array_equal(together.W[r], alone.W[0])
            np.testing.assert_array_equal(together.b[r], alone.b[0])
        else:  # BLAS sums in an order that depends on the shapes
            tolerance = 2 * trajectory_tolerance(run, dataset, np.float32)
            np.testing.assert_allclose(together.W[r], alone.W[0], rtol=0, atol=tolerance)


@engines
def test_an_identity_order_is_file_order(engine_name: str) -> None:
    dataset = make_dataset(31, seed=3)
    scaling = fit_scaling("unit", dataset.X, 255.0)
    rows = Rows(dataset.X, dataset.y, scaling.scale, scaling.offset)
    start = initial_weights([Run(0.1)], dataset.classes, dataset.features, "float32")
    ends = []
    for order in (None, np.arange(31)):
        trainer = make_engine(engine_name).begin(State(start), Method.plain(np.zeros(1)))
        trainer.epoch(rows, Steps.constant(np.array([0.1]), 31, 8, order))
        ends.append(trainer.weights().W)
    np.testing.assert_array_equal(ends[0], ends[1])


@engines
def test_an_engine_leaves_the_weights_it_was_given_alone(engine_name: str) -> None:
    dataset = make_dataset(20, seed=1)
    scaling = fit_scaling("unit", dataset.X, 255.0)
    start = Weights(np.ones((1, 3, 12), np.float32), np.zeros((1, 3), np.float32))
    trainer = make_engine(engine_name).begin(State(start), Method.plain(np.array([0.1])))
    rows = Rows(dataset.X, dataset.y, scaling.scale, scaling.offset)
    steps = Steps.constant(np.array([0.1]), 20, 5)
    trainer.epoch(rows, steps)
    given = trainer.weights()
    trainer.epoch(rows, steps)
    assert (start.W == 1).all()
    assert (given.W != trainer.weights().W).any()


@engines
def test_a_diverged_run_does_not_disturb_the_one_beside_it(engine_name: str) -> None:
    dataset = make_dataset(30, seed=1)
    runs = [Run(0.1, 0.1, batch_size=5, epochs=8), Run(1e30, 1.0, batch_size=5, epochs=8)]
    beside = run_engine(engine_name, dataset, runs, "float32")[0]
    alone = run_engine(engine_name, dataset, runs[:1], "float32")[0]
    tolerance = trajectory_tolerance(runs[0], dataset, np.float32)
    assert not np.isfinite(beside.weights().W[1]).all()
    np.testing.assert_allclose(beside.weights().W[0], alone.weights().W[0], rtol=0, atol=tolerance)


def labelled(rows: int, features: int, labels: int, seed: int = 0) -> Rows:
    """Weighted rows of many labels."""
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((rows, features)), (rng.random((rows, labels)) < 0.3).astype("u1")
    scale, weights = np.full(features, 0.5), rng.random(rows) + 0.1
    return Rows(X, Y, scale, np.full(features, 0.1), weights=weights)


@engines
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_passes_over_many_labels_are_the_oracles(engine_name: str, dtype: str) -> None:
    rows, rng, engine = labelled(503, 37, 5), np.random.default_rng(1), make_engine(engine_name)
    weights = Weights(rng.standard_normal((3, 5, 37)), rng.standard_normal((3, 5)))
    given = Weights(*(part.astype(dtype) for part in weights))
    found, figures = engine.gradient(rows, given), engine.evaluate(rows, given)
    scores = engine.scores(rows, given)
    X, w, unit = rows.scaled(), rows.weights, 64 * float(np.finfo(dtype).eps)
    assert w is not None
    for r, (W, b) in enumerate(zip(*weights, strict=True)):
        S = objective.scores(X, W, b)
        losses = np.logaddexp(0.0, S) - rows.y * S
        residual = w[:, None] * (objective.sigmoid(S) - rows.y) / w.sum()
        right = ((S > 0) == rows.y).all(axis=1)
        np.testing.assert_allclose(scores[r], S, rtol=0, atol=unit * 40)
        np.testing.assert_allclose(found.W[r], residual.T @ X, rtol=0, atol=unit)
        np.testing.assert_allclose(found.b[r], residual.sum(axis=0), rtol=0, atol=unit)
        assert found.loss[r] == pytest.approx(w @ losses.sum(axis=1) / w.sum(), rel=unit)
        assert figures.loss[r] == pytest.approx(found.loss[r], rel=unit)
        assert figures.accuracy[r] == pytest.approx(w @ right / w.sum(), rel=1e-6)
        assert figures.correct[r] == right.sum()
        # As many runs of one class as there are labels tell their losses apart.
        apart = engine.gradient(rows, Weights(given.W[r][:, None], given.b[r][:, None]))
        np.testing.assert_allclose(apart.loss, w @ losses / w.sum(), rtol=unit)
        np.testing.assert_allclose(apart.W[:, 0], found.W[r], rtol=0, atol=unit)


def one_class_a_row(rows: Rows, classes: int) -> Rows:
    """The same rows, each of one of the labels alone."""
    return replace(rows, y=np.arange(len(rows.y)) % classes)


@engines
@pytest.mark.parametrize("classes", [4, 5])
def test_labels_of_which_each_row_has_one_train_as_the_sigmoid_loss_of_one_class_a_row(
    engine_name: str, classes: int
) -> None:
    """The sum over K labels is K times the mean: η and λ are divided by K and multiplied by it."""
    one, engine = one_class_a_row(labelled(90, 7, classes), classes), make_engine(engine_name)
    many = replace(one, y=np.eye(classes, dtype="u1")[one.y])
    rng, ended = np.random.default_rng(1), []
    start = Weights(rng.standard_normal((2, classes, 7)), rng.standard_normal((2, classes)))
    plain = Method.plain(np.array([0.0, 0.01]))
    for rows, factor in ((one, 1.0), (many, float(classes))):
        method = replace(plain, l2=plain.l2 * factor, sigmoid=np.ones(2, bool))
        trainer = engine.begin(State(start), method)
        steps = Steps.constant(np.array([0.5, 2.0]) / factor, rows=90, batch_size=16)
        for _ in range(3):
            trainer.epoch(rows, steps)
        ended.append(trainer.weights())
    for of_one, of_many in zip(*ended, strict=True):
        np.testing.assert_allclose(of_many, of_one, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("threads", [1, 3])
def test_labels_train_beside_others_to_the_bits_that_each_has_alone(threads: int) -> None:
    """K labels are K problems: what another label is changes no bit of a label's weights."""
    rows, engine = labelled(90, 40, 6), make_engine("native", threads=threads)
    rng = np.random.default_rng(2)
    start = Weights(rng.standard_normal((1, 6, 40)), rng.standard_normal((1, 6)))
    steps = Steps.constant(np.array([0.3]), rows=90, batch_size=16)
    ended = []
    for kept in (slice(0, 6), slice(1, 4)):
        of = replace(rows, y=np.ascontiguousarray(rows.y[:, kept]))
        trainer = engine.begin(
            State(Weights(start.W[:, kept], start.b[:, kept])), Method.plain(np.array([0.01]))
        )
        trainer.epoch(of, steps)
        ended.append(trainer.weights())
    assert (ended[0].W[:, 1:4] == ended[1].W).all()
    assert (ended[0].b[:, 1:4] == ended[1].b).all()


def test_an_unknown_engine_is_refused_with_the_choices() -> None:
    with pytest.raises(SettingsError, match=r"engine must be one of .*reference.*'gpu' was given"):
        make_engine("gpu")


@st.composite
def full_passes(draw: st.DrawFn):  # type: ignore[no-untyped-def]
    """Rows, some of them chosen, and weights of a few runs."""
    stored = draw(st.sampled_from([np.uint8, np.float32, np.float64]))
    dataset = make_dataset(
        draw(st.integers(3, 500)), seed=draw(st.integers(0, 9)), dtype=stored,
        classes=draw(st.integers(2, 3)),
    )  # fmt: skip
    scaling = fit_scaling("standardize", dataset.X)
    rows = Rows(dataset.X, dataset.y, scaling.scale, scaling.offset)
    if draw(st.booleans()):
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        rows = rows.only(rng.integers(0, dataset.rows, draw(st.integers(1, 300))))
    dtype = draw(st.sampled_from(["float32", "float64"]))
    runs = [Run(0.1, seed=i, init_scale=0.3) for i in range(draw(st.integers(1, 4)))]
    weights = initial_weights(runs, dataset.classes, dataset.features, dtype)
    return (
        rows,
        weights,
        scaling.apply(dataset.X)[slice(None) if rows.index is None else rows.index],
    )


@engines
@given(given=full_passes())
def test_full_passes_are_the_oracles(engine_name, given) -> None:  # type: ignore[no-untyped-def]
    rows, weights, X = given
    engine = make_engine(engine_name)
    loss, G, g, _ = engine.gradient(rows, weights)
    scores = engine.scores(rows, weights)
    sums = engine.weighted_sums(rows, scores)
    tolerance = 64 * float(np.finfo(weights.W.dtype).eps) * (1 + np.abs(X).max() ** 2)
    for r in range(len(weights.W)):
        W, b = weights.W[r], weights.b[r]
        S = objective.scores(X, W, b)
        expected = objective.gradient(X, rows.labels, W, b)
        assert loss[r] == pytest.approx(objective.loss(S, rows.labels), abs=tolerance)
        np.testing.assert_allclose(G[r], expected.W, atol=tolerance)
        np.testing.assert_allclose(g[r], expected.b, atol=tolerance)
        np.testing.assert_allclose(scores[r], S, atol=tolerance)
        np.testing.assert_allclose(sums[r], S.T @ X, atol=tolerance * len(X))
        assert scores.dtype == weights.W.dtype


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["dense", "sparse", "streamed"])
def test_a_gradient_says_how_often_rows_were_rounded_by_how_wrong_they_are(
    monkeypatch: pytest.MonkeyPatch, kind: str, weighted: bool
) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(500, 7)).astype(np.float32), rng.integers(0, 3, 500)
    w = rng.integers(0, 4, 500).astype(float)
    rows, stored = (
        Rows(X, y, np.ones(7), np.zeros(7), weights=w if weighted else None),
        cast(Any, X),
    )
    weights = Weights(rng.normal(size=(2, 3, 7)).astype(np.float32), np.ones((2, 3), np.float32))
    sums: NDArray[Any] = 192 - np.arange(500) % 192  # that a row is part of
    sums[384:] -= 192 - 116
    if kind == "sparse":
        stored, sums = SparseRows.of(scipy.sparse.csr_array(X)), np.ones(500)
    if kind == "streamed":
        monkeypatch.setattr("onelayer.data.streaming.TILE_BYTES", 384 * X[0].nbytes)
        stored = CountedRows(X)
    found = streaming(None).gradient(replace(rows, X=stored), weights)
    assert found.rounded is not None
    for r in range(2):
        S = objective.scores(X, weights.W[r], weights.b[r])
        wrong = np.exp(S - S.max(axis=1, keepdims=True))
        wrong /= wrong.sum(axis=1, keepdims=True)
        wrong[np.arange(500), y] -= 1.0
        v = w / w.sum() if weighted else np.full(500, 1 / 500)
        expected = v @ (sums**2 * (wrong**2).sum(axis=1))
        assert found.rounded[r] == pytest.approx(expected, rel=1e-5)


@engines
@pytest.mark.parametrize("stored", [np.uint8, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("features", [3, 70, 1600])
def test_the_sums_of_classes_are_of_the_rows_as_stored(
    engine_name: str, stored: type, features: int
) -> None:
    rng = np.random.default_rng(features)
    X: NDArray[Any] = rng.integers(0, 256, (40, features)).astype(stored)
    weights, index = rng.integers(0, 3, 40).astype(float), rng.integers(0, 40, 90)
    for chosen, of_rows in ((None, None), (index, weights)):
        rows = Rows(X, rng.integers(0, 4, 40), np.full(features, 0.3), np.ones(features))
        rows = replace(rows, index=chosen, weights=of_rows)
        sums = make_engine(engine_name).class_sums(rows, 5)
        w = np.ones(rows.count) if rows.row_weights is None else rows.row_weights
        F = X[slice(None) if chosen is None else chosen].astype(float)
        of_class = np.where(np.arange(5)[:, None] == rows.labels, w, 0.0)
        np.testing.assert_allclose(sums.classes, of_class @ F, rtol=1e-12)
        np.testing.assert_allclose(sums.squares, w @ F**2, rtol=1e-12)


def test_sums_of_bytes_are_exact_however_many_rows_a_class_has() -> None:
    X = np.full((70_000, 530), 255, np.uint8)
    X[:, 1::2] = np.arange(70_000)[:, None] % 251
    y = (np.arange(70_000) % 300 == 7).astype(np.int64)  # of one class nearly all
    rows = Rows(X, y, np.ones(530), np.zeros(530))
    of_class = np.arange(2)[:, None] == y
    pair = X[:, :2].astype(np.float64)
    for threads in (1, 2):
        sums = make_engine(threads=threads).class_sums(rows, 2)
        np.testing.assert_array_equal(sums.classes, np.tile(of_class @ pair, 265))
        np.testing.assert_array_equal(sums.squares, np.tile((pair**2).sum(axis=0), 265))


@pytest.mark.parametrize("stored", ["float16", "float32", "float64", "uint8"])
@pytest.mark.parametrize("weighted", [False, True])
def test_sums_of_more_rows_than_are_sorted_at_a_time_are_exact(stored: str, weighted: bool) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 100, (9000, 203)).astype(stored), rng.integers(0, 3, 9000)
    y[y == 1] = rng.integers(3, 200, int((y == 1).sum()))  # two large classes and many small ones
    w = rng.integers(0, 4, 9000).astype(float) if weighted else None
    index = rng.permutation(9000)[:8500]
    rows = Rows(X, y, np.full(203, 0.1), np.ones(203), index=index, weights=w)
    F, of_rows = X[index].astype(float), np.ones(8500) if w is None else w[index]
    expected = np.zeros((200, 203))
    np.add.at(expected, y[index], F * of_rows[:, None])
    for threads in (1, 2, 3):
        sums = make_engine(threads=threads).class_sums(rows, 200)
        np.testing.assert_array_equal(sums.classes, expected)
        np.testing.assert_array_equal(sums.squares, of_rows @ F**2)


@engines
@pytest.mark.filterwarnings("ignore:X .int64. is copied once")
@pytest.mark.parametrize(
    ("far", "unit", "stored"),
    [
        (1e8, 1.0, "float64"), (1.6e9, 1.0, "float64"), (1.6e9, 1000.0, "int64"),
        (0.0, 1e30, "float32"), (0.0, 1e-30, "float32"), (3.0, 1e100, "float64"),
        (3.0, 1e-100, "float64"), (0.0, 1e300, "float64"),
    ],
)  # fmt: skip
def test_standardised_features_keep_their_digits_in_float32(
    engine_name: str, far: float, unit: float, stored: str
) -> None:
    rng = np.random.default_rng(1)
    z = rng.normal(size=(50, 20))
    X = ((z + far / unit if stored == "int64" else z + far) * unit).astype(stored)
    exact = X.astype(np.longdouble) / unit
    mean, deviation = exact.mean(axis=0), exact.std(axis=0)
    scale = np.asarray(1 / deviation, float) / unit
    rows = Rows(X, rng.integers(0, 3, 50), scale, np.asarray(-mean / deviation, float))
    F = np.asarray((exact - mean) / deviation, float)
    W = rng.normal(size=(1, 3, 20)).astype(np.float32)
    engine, b = make_engine(engine_name), np.zeros((1, 3), np.float32)
    S = engine.scores(rows, Weights(W, b))
    # A stored number near `far` has that many units of its last place to a deviation.
    atol = 64 * np.finfo(np.float32).eps + 8 * far * np.finfo(float).eps * np.abs(W).sum()
    np.testing.assert_allclose(S[0], F @ W[0].T.astype(float), rtol=1e-5, atol=atol)
    np.testing.assert_allclose(engine.weighted_sums(rows, S)[0], S[0].T @ F, rtol=1e-5, atol=1e-3)
    trainer = engine.begin(State(Weights(W, b)), Method.plain(np.zeros(1)))
    trainer.epoch(rows, Steps.constant(np.array([0.1]), 50, 50))
    wanted = objective.gradient(F, rows.y, W[0].astype(float), b[0])
    moved = (W[0] - trainer.weights().W[0]) / 0.1
    np.testing.assert_allclose(moved, wanted.W, rtol=0, atol=1e-4)


@engines
def test_a_part_of_chosen_rows_is_what_they_are(engine_name: str) -> None:
    dataset = make_dataset(30, seed=1)
    rows = Rows(dataset.X, dataset.y, np.ones(dataset.features), np.zeros(dataset.features))
    weights = initial_weights([Run(0.1)], dataset.classes, dataset.features, "float64")
    engine, index = make_engine(engine_name), np.array([7, 3, 3, 20])
    whole = engine.scores(rows, weights)
    np.testing.assert_array_equal(rows.only(index).labels, dataset.y[index])
    assert rows.only(index).part(1, 3).count == 2
    for part, chosen in (
        (rows.part(5, 9), slice(5, 9)),
        (rows.only(index).part(1, 4), index[1:4]),
        (rows.only(index).only(np.array([3, 0])), index[[3, 0]]),
    ):
        np.testing.assert_allclose(engine.scores(part, weights)[0], whole[0, chosen], rtol=1e-12)


@pytest.mark.parametrize("name", ENGINE_NAMES)
def test_an_engine_prints_what_it_is(name: str) -> None:
    assert f"'engine': '{name}'" in repr(make_engine(name))

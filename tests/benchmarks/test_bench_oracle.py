"""A contender is timed only if it trained the right thing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.harness.oracle import Expected, compare, descend, expect
from benchmarks.harness.problem import Answer, Data, Problem, Setting, make_data
from benchmarks.peers import numpy_loop, ours

SETTINGS = (Setting(0.05), Setting(0.05, l2=0.1), Setting(0.02, l2=0.01, seed=3))
PROBLEM = Problem("small", rows=230, features=40, classes=3, batch_size=50, epochs=4,
                  settings=SETTINGS)  # fmt: skip


@pytest.fixture(scope="module")
def data() -> Data:
    return make_data(PROBLEM)


@pytest.fixture(scope="module")
def expected(data: Data) -> Expected:
    return expect(PROBLEM, data)


def test_the_numpy_loop_agrees_last_smaller_batch_included(data: Data, expected: Expected) -> None:
    agreement = compare(numpy_loop.prepare(PROBLEM, data, 1).run(), expected)
    assert agreement.agrees
    assert agreement.runs == 3


def test_onelayer_agrees_from_bytes_and_from_floats(
    data: Data, expected: Expected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONELAYER_BENCHMARK_ENGINE", "reference")
    assert compare(ours.prepare(PROBLEM, data, 1).run(), expected).agrees
    half = replace(PROBLEM, dtype="float16", settings=SETTINGS[:1])
    rows = make_data(half)
    assert compare(ours.prepare(half, rows, 1).run(), expect(half, rows)).agrees


def test_training_twice_gives_the_same_answer(data: Data) -> None:
    ready = numpy_loop.prepare(PROBLEM, data, 1)
    np.testing.assert_array_equal(ready.run().W, ready.run().W)


def _changed(**changes: float) -> Callable[[Data], Answer]:
    """Train with one setting of every run changed a little."""
    settings = tuple(
        replace(s, **{name: getattr(s, name) * factor for name, factor in changes.items()})
        for s in SETTINGS
    )
    return lambda data: descend(replace(PROBLEM, settings=settings), data, np.float32)


def _shifted_batches(data: Data) -> Answer:
    return descend(replace(PROBLEM, batch_size=49), data, np.float32)


def _one_label_wrong(data: Data) -> Answer:
    y = data.y.copy()
    y[-1] = (y[-1] + 1) % PROBLEM.classes
    return descend(PROBLEM, Data(data.X, y), np.float32)


def _one_pixel_wrong(data: Data) -> Answer:
    X = data.X.copy()
    X[100, 7] ^= 8
    return descend(PROBLEM, Data(X, data.y), np.float32)


@pytest.mark.parametrize(
    "train",
    [
        _changed(l2=1.01),
        _changed(l2=0),
        _changed(learning_rate=1.0001),
        _shifted_batches,
        _one_label_wrong,
        _one_pixel_wrong,
    ],
)
def test_a_slightly_wrong_training_is_refused(
    data: Data, expected: Expected, train: Callable[[Data], Answer]
) -> None:
    assert not compare(train(data), expected).agrees


def test_nan_is_refused(data: Data, expected: Expected) -> None:
    answer = numpy_loop.prepare(PROBLEM, data, 1).run()
    answer.W[1, 0, 0] = np.nan
    assert not compare(answer, expected).agrees


def test_only_chosen_runs_are_compared_and_they_are_the_right_ones(data: Data) -> None:
    two = expect(PROBLEM, data, max_runs=2)
    assert two.positions.tolist() == [0, 2]
    answer = numpy_loop.prepare(PROBLEM, data, 1).run()
    assert compare(answer, two).runs == 2
    swapped = Answer(answer.W[::-1], answer.b[::-1])
    assert not compare(swapped, two).agrees


def test_a_run_that_jumps_over_its_minimum_is_chaotic(data: Data) -> None:
    wild = replace(PROBLEM, settings=(Setting(0.01), Setting(60.0)), epochs=20)
    expected = expect(wild, data)
    assert expected.chaotic.tolist() == [False, True]


def test_fewer_rows_are_the_first_of_more() -> None:
    for dtype in ("uint8", "float16", "float32"):
        few, many = (make_data(replace(PROBLEM, rows=n, dtype=dtype)) for n in (33, 230))
        np.testing.assert_array_equal(few.X, many.X[:33])
        np.testing.assert_array_equal(few.y, many.y[:33])


def test_rows_of_classes_have_every_class_and_a_mean_for_each() -> None:
    data = make_data(replace(PROBLEM, source="classes", rows=230, dtype="float32"))
    counts = np.bincount(data.y, minlength=PROBLEM.classes)
    assert counts.max() - counts.min() <= 1
    means = np.stack([data.X[data.y == k].mean(axis=0) for k in range(PROBLEM.classes)])
    assert np.linalg.norm(means[0] - means[1]) > 1.0

"""The gradient check: right gradients pass, wrong ones do not, and noise is told from error."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelayer.objective import gradcheck
from onelayer.objective import loss as objective
from onelayer.objective.gradcheck import (
    check_gradients,
    compare_gradients,
    numerical_gradients,
    relative_error,
)
from onelayer.objective.loss import Gradient, Of
from tests.examples import few
from tests.oracle import numerical_gradient


def problem(
    seed: int, rows: int, features: int, classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return (
        rng.random((rows, features)),
        rng.integers(0, classes, rows),
        rng.normal(0, 0.01, (classes, features)),
        rng.normal(0, 0.01, classes),
    )


losses = st.tuples(st.sampled_from(objective.LOSSES), st.sampled_from([0.0, 0.1]))


@pytest.mark.parametrize("l2", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("batch_size", few(1, [1, 20, 100]))
def test_every_entry_agrees_to_a_millionth_at_the_reports_sizes(batch_size: int, l2: float) -> None:
    X, y, W, b = problem(0, batch_size, 3072, 10)
    of_W, of_b = compare_gradients(X, y, W, b, l2)
    assert of_W.passed
    assert of_b.passed
    assert of_W.max_error <= 1e-6
    assert of_b.max_error <= 1e-6
    assert of_W.entries == 30_720
    assert of_W.too_small <= 0.01 * of_W.entries


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 12),
    st.integers(1, 9),
    st.integers(2, 6),
    st.sampled_from([0.0, 0.1]),
    st.sampled_from([1.0, 16.0]),
    losses,
)
def test_right_gradients_pass_at_random_small_sizes(
    seed: int, rows: int, features: int, classes: int, l2: float, largest: float, of: Of
) -> None:
    X, y, W, b = problem(seed, rows, features, classes)
    checks = compare_gradients(largest * X, y, W, b, l2, of)
    assert all(check.passed for check in checks)
    assert {(check.loss, check.label_smoothing) for check in checks} == {of}


@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.sampled_from([0.0, 0.3]), losses)
def test_the_quick_numerical_gradient_is_the_one_that_calls_the_cost(
    seed: int, rows: int, l2: float, of: Of
) -> None:
    X, y, W, b = problem(seed, rows, 5, 4)
    (quick,) = numerical_gradients(X, y, W, b, [l2], of)
    W_slow = numerical_gradient(lambda m: objective.cost(X, y, m, b, l2, of), W)
    b_slow = numerical_gradient(lambda m: objective.cost(X, y, W, m, l2, of), b)
    # Two roundings of the same difference: each is within the documented noise.
    noise = 2 * 1.5 * np.finfo(np.float64).eps * (objective.cost(X, y, W, b, l2, of) + 1) / 1e-3
    np.testing.assert_allclose(quick.W, W_slow, rtol=0, atol=noise)
    np.testing.assert_allclose(quick.b, b_slow, rtol=0, atol=noise)


@pytest.mark.parametrize(
    ("what", "wrong"),
    [
        ("λW instead of 2λW", lambda g, W: Gradient(g.W - 0.1 * W, g.b)),
        ("one entry off by a hundred-thousandth", lambda g, W: Gradient(_nudge(g.W), g.b)),
        ("b regularised", lambda g, W: Gradient(g.W, g.b + 1e-5)),
        ("a sum instead of a mean", lambda g, W: Gradient(20 * g.W, 20 * g.b)),
        ("not a number", lambda g, W: Gradient(g.W * np.nan, g.b)),
    ],
)
def test_a_wrong_gradient_fails(what: str, wrong: object, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y, W, b = problem(1, 20, 30, 5)
    right = objective.gradient(X, y, W, b, 0.1)
    monkeypatch.setattr(gradcheck, "gradient", lambda *_: wrong(right, W))  # type: ignore[operator]
    assert not all(check.passed for check in compare_gradients(X, y, W, b, 0.1)), what


@pytest.mark.parametrize(
    ("loss", "wrong"),
    [
        ("sigmoid", ("softmax", 0.1)),
        ("softmax", ("sigmoid", 0.1)),
        ("sigmoid", ("sigmoid", 0.0)),
        ("softmax", ("softmax", 0.0)),
    ],
)
def test_the_gradient_of_another_loss_fails(
    loss: objective.Loss, wrong: Of, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y, W, b = problem(1, 20, 30, 5)
    other = objective.gradient(X, y, W, b, 0.1, wrong)
    monkeypatch.setattr(gradcheck, "gradient", lambda *_: other)
    checks = compare_gradients(X, y, W, b, 0.1, (loss, 0.1))
    assert not any(check.passed for check in checks)


def _nudge(g: np.ndarray) -> np.ndarray:
    nudged = g.copy()
    nudged[2, 3] *= 1 + 1e-5
    return nudged


def test_an_error_hidden_among_the_too_small_entries_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    X, y, W, b = problem(2, 1, 4, 3)
    X[:, 1] = 0.0
    right = objective.gradient(X, y, W, b)
    assert (right.W[:, 1] == 0).all()
    check, _ = compare_gradients(X, y, W, b)
    assert check.too_small == 3
    assert check.passed
    wrong = right.W.copy()
    wrong[0, 1] = 5e-12  # over the noise, under noise / tolerance
    monkeypatch.setattr(gradcheck, "gradient", lambda *_: Gradient(wrong, right.b))
    check, _ = compare_gradients(X, y, W, b)
    assert check.too_small == 3
    assert not check.passed


def test_relative_error_is_the_reports() -> None:
    np.testing.assert_array_equal(relative_error([1.0, -1.0, 0.0], [1.0, 1.0, 0.0]), [0, 1, 0])
    assert relative_error([1e-9], [2e-9], epsilon=1e-6) == pytest.approx(1e-3)


def test_the_table_has_a_line_for_each_parameter_batch_size_and_l2() -> None:
    X, y, W, b = problem(3, 8, 6, 3)
    table = check_gradients(X, y, W, b, batch_sizes=(1, 8), l2s=(0.0, 0.5))
    assert [(c.parameter, c.batch_size, c.l2) for c in table.checks] == [
        (p, size, l2) for l2 in (0.0, 0.5) for size in (1, 8) for p in ("W", "b")
    ]
    assert table.passed
    assert table.max_error["W"] == max(c.max_error for c in table.checks if c.parameter == "W")
    assert "gradient check passed" in repr(table)


def test_losses_are_computed_once_for_all_l2_and_give_the_checks_of_each_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    X, y, W, b = problem(6, 8, 6, 3)
    alone = [compare_gradients(X, y, W, b, l2) for l2 in (0.0, 0.1, 0.5)]
    moved, moves = gradcheck._softmax_loss_after, list[int]()

    def counted(S: Any, T: Any, k: int, move: Any) -> Any:
        moves.append(k)
        return moved(S, T, k, move)

    monkeypatch.setattr(gradcheck, "_softmax_loss_after", counted)
    table = check_gradients(X, y, W, b, batch_sizes=(8,), l2s=(0.0, 0.1, 0.5))
    assert table.checks == tuple(check for pair in alone for check in pair)
    assert len(moves) == 3 * 4 * 2  # of each class at each point: W and b


def test_a_check_with_an_error_that_is_not_a_number_has_not_passed() -> None:
    X, y, W, b = problem(4, 5, 6, 3)
    good, _ = compare_gradients(X, y, W, b)
    assert not replace(good, max_error=float("nan")).passed


def test_a_table_with_a_failed_check_has_not_passed_and_names_it() -> None:
    X, y, W, b = problem(5, 8, 6, 3)
    table = check_gradients(X, y, W, b, batch_sizes=(8,), l2s=(0.1,))
    failed = replace(table, checks=(replace(table.checks[0], max_error=1.0), table.checks[1]))
    assert not failed.passed
    assert failed.max_error["W"] == 1.0
    assert repr(failed).startswith("gradient check FAILED")
    assert repr(failed).count("FAILED") == 2

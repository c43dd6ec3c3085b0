"""The oracle's equations, held against their definitions and against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from onelayer.objective import loss as objective
from tests.oracle import accuracy, numerical_gradient

EPS = np.finfo(np.float64).eps

score_rows = st.integers(2, 20).flatmap(
    lambda classes: arrays(
        np.float64,
        st.tuples(st.integers(1, 8), st.just(classes)),
        elements=st.floats(-1e4, 1e4, allow_subnormal=False),
    )
)


Problem = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Random X (N, D), y (N,), W (K, D), b (K,) of small sizes."""
    rows, features, classes = (draw(st.integers(low, 6)) for low in (1, 1, 2))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return (
        rng.normal(size=(rows, features)),
        rng.integers(0, classes, rows),
        rng.normal(size=(classes, features)),
        rng.normal(size=classes),
    )


@given(score_rows)
def test_probabilities_are_finite_and_sum_to_one(s: np.ndarray) -> None:
    p = objective.softmax(s)
    assert np.isfinite(p).all()
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=0, atol=s.shape[1] * EPS)


@given(score_rows, st.floats(-1e4, 1e4))
def test_shifting_all_scores_of_a_row_changes_nothing(s: np.ndarray, shift: float) -> None:
    # Adding the shift rounds each score by half a unit of the largest number involved, and the
    # two roundings of a score difference go straight into the exponent.
    size = np.abs(s).max() + abs(shift)
    np.testing.assert_allclose(
        objective.softmax(s + shift),
        objective.softmax(s),
        rtol=0,
        atol=4 * EPS * (size + 1),
    )


@given(score_rows)
def test_log_softmax_is_the_logarithm_of_softmax(s: np.ndarray) -> None:
    log_p = objective.log_softmax(s)
    assert np.isfinite(log_p).all()
    np.testing.assert_allclose(np.exp(log_p), objective.softmax(s), rtol=0, atol=1e4 * 4 * EPS)


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_loss_is_exact_where_a_naive_softmax_overflows(size: float) -> None:
    s = np.array([[size, 0.0, 0.0]])
    expected = 0.0 if size > 0 else np.log(2.0)
    assert objective.loss(s, [0]) == pytest.approx(0.0 if size > 0 else 1e4 + np.log(2.0))
    assert objective.loss(s, [1]) == pytest.approx(1e4 if size > 0 else expected)


def test_cost_is_the_loss_plus_l2_times_the_plain_sum_of_squares() -> None:
    X, y, W, b = [[1.0, 2.0]], [1], np.array([[1.0, -1.0], [0.5, 2.0]]), np.array([5.0, -5.0])
    bare = objective.cost(X, y, W, b)
    assert objective.cost(X, y, W, b, l2=0.3) == pytest.approx(bare + 0.3 * (1 + 1 + 0.25 + 4))


def test_loss_of_uniform_probabilities_is_log_of_the_number_of_classes() -> None:
    assert objective.loss(np.zeros((4, 10)), [0, 3, 5, 9]) == pytest.approx(np.log(10))


losses = st.tuples(st.sampled_from(objective.LOSSES), st.sampled_from([0.0, 0.1, 0.9]))


@given(problems(), st.sampled_from([0.0, 0.7]), losses)
def test_gradient_is_the_derivative_of_the_cost(
    problem: Problem, l2: float, of: objective.Of
) -> None:
    X, y, W, b = problem
    got = objective.gradient(X, y, W, b, l2, of)
    by_W = numerical_gradient(lambda moved: objective.cost(X, y, moved, b, l2, of), W)
    by_b = numerical_gradient(lambda moved: objective.cost(X, y, W, moved, l2, of), b)
    # Rounding of the difference is 3/2·u·J/h; the largest feature here is under 6 deviations.
    noise = 3 * EPS * (objective.cost(X, y, W, b, l2, of) + 1) / 1e-3 + 6**5 * 1e-3**4
    np.testing.assert_allclose(got.W, by_W, rtol=0, atol=noise)
    np.testing.assert_allclose(got.b, by_b, rtol=0, atol=noise)


@given(problems())
def test_the_sigmoid_loss_is_the_mean_of_softmax_losses_of_class_k_against_a_score_of_zero(
    problem: Problem,
) -> None:
    X, y, W, b = problem
    s = objective.scores(X, W, b)
    binary = [
        objective.loss(np.stack([s[:, k], np.zeros(len(s))], axis=1), np.where(y == k, 0, 1))
        for k in range(s.shape[1])
    ]
    assert objective.loss(s, y, ("sigmoid", 0.0)) == pytest.approx(np.mean(binary), rel=64 * EPS)


@given(problems(), st.sampled_from(objective.LOSSES), st.floats(0, 0.99))
def test_a_smoothed_loss_is_a_mixture_of_the_plain_losses_of_all_labels(
    problem: Problem, of: objective.Loss, epsilon: float
) -> None:
    X, y, W, b = problem
    s = objective.scores(X, W, b)
    every = np.mean([objective.loss(s, np.full(len(s), k), (of, 0.0)) for k in range(s.shape[1])])
    mixed = (1 - epsilon) * objective.loss(s, y, (of, 0.0)) + epsilon * every
    # Terms of either sign, of the size of the largest score, are summed.
    bound = 64 * EPS * (1 + np.abs(s).max())
    assert objective.loss(s, y, (of, epsilon)) == pytest.approx(mixed, abs=bound)


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_the_sigmoid_loss_is_exact_where_exp_overflows(size: float) -> None:
    assert objective.loss([[size, 0.0]], [0], ("sigmoid", 0.0)) == pytest.approx(
        (max(-size, 0.0) + np.log(2.0)) / 2
    )
    np.testing.assert_array_equal(objective.sigmoid([size]), [float(size > 0)])


@given(problems(), st.randoms(use_true_random=False))
def test_permuting_the_classes_permutes_the_gradient(problem: Problem, random: object) -> None:
    X, y, W, b = problem
    order = list(range(len(b)))
    random.shuffle(order)  # type: ignore[attr-defined]
    place = np.argsort(order)
    straight = objective.gradient(X, y, W, b, 0.1)
    permuted = objective.gradient(X, place[y], W[order], b[order], 0.1)
    np.testing.assert_allclose(permuted.W, straight.W[order], rtol=0, atol=64 * EPS)
    np.testing.assert_allclose(permuted.b, straight.b[order], rtol=0, atol=64 * EPS)


@given(problems())
def test_integer_repeats_of_every_row_change_neither_cost_nor_gradient(
    problem: Problem,
) -> None:
    X, y, W, b = problem
    once, twice = (objective.gradient(np.tile(X, (n, 1)), np.tile(y, n), W, b) for n in (1, 2))
    np.testing.assert_allclose(twice.W, once.W, rtol=0, atol=64 * EPS)
    assert objective.cost(np.tile(X, (2, 1)), np.tile(y, 2), W, b) == pytest.approx(
        objective.cost(X, y, W, b), rel=64 * EPS
    )


def test_of_equal_scores_the_first_class_is_predicted() -> None:
    assert accuracy([[1.0, 1.0]], [0]) == 1.0
    assert accuracy([[1.0, 1.0]], [1]) == 0.0

"""Schedules and averages at known steps, and as a function of the step alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelayer.training.schedule import PLANNED, averaging_factors, learning_rate_factors


def whole(spec: str, epochs: int, per_epoch: int, warmup: float = 0.0) -> np.ndarray:
    """Factors of every step of a training."""
    return np.concatenate(
        [
            learning_rate_factors(spec, warmup, epochs, per_epoch, epoch)
            for epoch in range(1, epochs + 1)
        ]
    )


def shares(spec: str, epochs: int, per_epoch: int) -> np.ndarray:
    return np.concatenate(
        [averaging_factors(spec, epochs, per_epoch, epoch) for epoch in range(1, epochs + 1)]
    )


@pytest.mark.parametrize(
    ("spec", "warmup", "expected"),
    [
        ("constant", 0, [1, 1, 1, 1, 1, 1, 1, 1]),
        ("constant", 1, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
        ("constant", 0.5, [0.5, 1, 1, 1, 1, 1, 1, 1]),
        ("step:1:0.5", 0, [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5]),
        ("step:0.5:0.1", 0, [1, 1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001]),
        ("step:0.5:0.1", 1, [0.25, 0.5, 0.75, 1, 1, 1, 0.1, 0.1]),
        ("cyclical:0.2:0.5", 0, [0.2, 0.6, 1, 0.6, 0.2, 0.6, 1, 0.6]),
        ("cyclical:0.2:1", 0, [0.2, 0.4, 0.6, 0.8, 1, 0.8, 0.6, 0.4]),
        ("cyclical:0.2:0.01", 0, [0.2, 1, 0.2, 1, 0.2, 1, 0.2, 1]),
    ],
)
def test_factors_are_what_the_schedule_says(
    spec: str, warmup: float, expected: list[float]
) -> None:
    np.testing.assert_allclose(whole(spec, 2, 4, warmup), expected, rtol=1e-14)


def test_cosine_is_whole_at_first_half_in_the_middle_and_nearly_nothing_at_last() -> None:
    factors = whole("cosine", epochs=4, per_epoch=25)
    assert factors[0] == 1.0
    assert factors[50] == pytest.approx(0.5)
    assert factors[-1] == pytest.approx((1 - np.cos(np.pi / 100)) / 2)
    assert (np.diff(factors) < 0).all()


specs = st.sampled_from(["constant", "cosine", "step:0.7:0.3", "cyclical:0.1:0.6"])
averages = st.sampled_from(["none", "tail:0.3", "tail:1", "ema:0.9", "ema:0.0001"])


@given(specs, st.sampled_from([0.0, 0.3, 1.0, 3.0]), st.integers(3, 5), st.integers(1, 9))
def test_factors_are_above_zero_and_at_most_one(
    spec: str, warmup: float, epochs: int, per_epoch: int
) -> None:
    factors = whole(spec, epochs, per_epoch, warmup)
    assert factors.shape == (epochs * per_epoch,)
    assert (factors > 0).all()
    assert (factors <= 1).all()


@given(averages, st.integers(1, 5), st.integers(1, 9), st.integers(0, 99))
def test_an_average_of_equal_weights_is_those_weights_and_of_others_between_them(
    spec: str, epochs: int, per_epoch: int, seed: int
) -> None:
    alpha = shares(spec, epochs, per_epoch)
    assert (alpha > 0).all()
    assert (alpha <= 1).all()
    assert alpha[0] == 1.0  # so the average forgets where it began
    steps = np.random.default_rng(seed).uniform(3, 4, len(alpha))
    average = 0.0
    for share, weight in zip(alpha, steps, strict=True):
        average += share * (weight - average)
    assert steps.min() * (1 - 1e-12) <= average <= steps.max() * (1 + 1e-12)


def test_a_tail_is_the_mean_of_its_steps() -> None:
    np.testing.assert_allclose(
        shares("tail:0.5", epochs=2, per_epoch=4), [1, 1, 1, 1, 1, 1 / 2, 1 / 3, 1 / 4]
    )
    np.testing.assert_allclose(shares("tail:1", 1, 3), [1, 1 / 2, 1 / 3])
    np.testing.assert_allclose(shares("tail:0.001", 1, 3), [1, 1, 1])


def test_an_exponential_average_weighs_each_step_by_the_decay_to_its_age() -> None:
    alpha = shares("ema:0.5", epochs=1, per_epoch=3)
    weights = [alpha[0] * (1 - alpha[1]) * (1 - alpha[2]), alpha[1] * (1 - alpha[2]), alpha[2]]
    np.testing.assert_allclose(weights, np.array([0.25, 0.5, 1]) / 1.75, rtol=1e-14)


@pytest.mark.parametrize("spec", ["constant", "cosine", "step:1:0.5", "cyclical:0.2:0.5"])
@pytest.mark.parametrize("average", ["none", "tail:0.5", "ema:0.9"])
def test_what_is_planned_over_all_epochs_is_what_depends_on_their_number(
    spec: str, average: str
) -> None:
    few, more = (whole(spec, epochs, 5, warmup=0.5)[:10] for epochs in (2, 4))
    assert (few != more).any() == (spec.partition(":")[0] in PLANNED)
    few, more = (shares(average, epochs, 5)[:10] for epochs in (2, 4))
    assert (few != more).any() == (average.partition(":")[0] in PLANNED)

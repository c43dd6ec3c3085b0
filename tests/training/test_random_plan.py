"""Settings drawn at random: in their ranges, all different, the same from the same seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelayer.errors import SettingsError
from onelayer.training.run import random_grid


@given(n=st.integers(1, 30), sweep_seed=st.integers(0, 99))
def test_draws_are_in_range_and_all_different(n: int, sweep_seed: int) -> None:
    runs = random_grid(
        n, draw_seed=sweep_seed, learning_rate=(1e-3, 0.3), l2=[0.0, 1e-4], batch_size=(10, 100)
    )
    assert len({(r.learning_rate, r.l2, r.batch_size) for r in runs}) == len(runs) == n
    assert all(1e-3 <= r.eta <= 0.3 and r.l2 in (0.0, 1e-4) for r in runs)
    assert all(10 <= r.batch_size <= 100 for r in runs)
    assert runs == random_grid(
        n, draw_seed=sweep_seed, learning_rate=(1e-3, 0.3), l2=[0.0, 1e-4], batch_size=(10, 100)
    )


def test_another_seed_draws_other_settings() -> None:
    first, second = (random_grid(5, draw_seed=seed, learning_rate=(1e-3, 0.3)) for seed in (0, 1))
    assert set(first).isdisjoint(second)


def test_ranges_are_drawn_evenly_in_their_logarithm() -> None:
    logs = np.log10([run.eta for run in random_grid(400, learning_rate=(1e-4, 1.0))])
    counts, _ = np.histogram(logs, bins=4, range=(-4, 0))
    # Each count is binomial(400, 1/4): deviation 8.7, so 4.5 of them are 39.
    assert all(abs(counts - 100) < 39)


def test_every_draw_is_trained_from_every_seed() -> None:
    runs = random_grid(3, learning_rate=(1e-3, 0.3), seeds=[4, 5])
    assert [run.seed for run in runs] == [4, 5] * 3
    assert len({run.name for run in runs}) == 3


@pytest.mark.parametrize(
    ("n", "settings", "said"),
    [
        (0, {"learning_rate": 0.1}, "n must be a whole number, 1 or above"),
        (5, {"learning_rate": [0.1, 0.2]}, "only 2 could be drawn"),
        (1, {"learning_rate": (0.3, 0.1)}, "from low to high"),
        (1, {"learning_rate": (0.0, 0.1)}, "a finite number above 0"),
        (1, {"learning_rate": (0.1, 0.2, 0.3)}, "a range (low, high)"),
        (1, {"learning_rate": []}, "an empty list"),
        (1, {"learning_rat": 0.1}, "did you mean 'learning_rate'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(n: int, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        random_grid(n, **settings)
    assert said in str(refusal.value)

"""Settings of runs: what is accepted, what is refused and how, and which runs share a pass."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelayer.errors import SettingsError
from onelayer.plan import Run, grid, group_passes, run_from_settings, seed_range


@pytest.mark.parametrize(
    ("setting", "values", "expected"),
    [
        ("learning_rate", [0, -0.1, math.nan, math.inf, "0.1", True, None], "above 0"),
        ("l2", [-1e-9, math.nan, math.inf, "0"], "0 or above"),
        ("batch_size", [0, -5, 1.5, True], "1 or above"),
        ("epochs", [0, -1, 2.0], "1 or above"),
        ("seed", [-1, 0.5], "0 or above"),
        ("shuffle_seed", [-1, "x"], "0 or above"),
        ("init_scale", [-0.01, math.nan], "0 or above"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_name_and_what_was_expected(
    setting: str, values: list[Any], expected: str
) -> None:
    for value in values:
        with pytest.raises(SettingsError) as refusal:
            run_from_settings({"learning_rate": 0.1, setting: value})
        assert setting in str(refusal.value)
        assert expected in str(refusal.value)
        assert repr(value) in str(refusal.value)


def test_an_unknown_setting_is_refused_and_the_nearest_name_is_offered() -> None:
    with pytest.raises(SettingsError, match="'learning_rte'; did you mean 'learning_rate'"):
        grid(learning_rte=0.1)
    with pytest.raises(SettingsError, match="'zzz'; the settings are learning_rate, l2"):
        grid(zzz=1)


def test_a_run_without_a_learning_rate_is_refused() -> None:
    with pytest.raises(SettingsError, match="needs the setting learning_rate"):
        run_from_settings({"l2": 0.1})


def test_a_grid_is_the_product_of_its_lists() -> None:
    runs = grid(learning_rate=[0.1, 0.01], l2=(0.0, 1.0), seed=range(2), epochs=3)
    assert len(runs) == 8
    assert len(set(runs)) == 8
    assert {run.epochs for run in runs} == {3}
    assert [run.seed for run in runs[:2]] == [0, 1]


def test_runs_that_differ_in_the_seed_only_share_their_name() -> None:
    assert len({run.name for run in grid(learning_rate=0.1, seed=range(5))}) == 1


def test_a_run_survives_the_way_through_a_dictionary() -> None:
    run = Run(0.1, l2=0.2, seed=3, shuffle_seed=9, name="mine")
    assert Run(**run.as_dict()) == run


def test_fewer_than_one_seed_is_refused() -> None:
    with pytest.raises(SettingsError, match="seeds must be a whole number, 1 or above"):
        seed_range(0)


run_settings = st.builds(
    Run,
    learning_rate=st.sampled_from([0.1, 0.01]),
    batch_size=st.sampled_from([10, 20]),
    epochs=st.sampled_from([1, 2]),
    shuffle_seed=st.sampled_from([None, 1]),
)


@given(st.lists(run_settings, max_size=12))
def test_passes_hold_every_run_once_and_only_runs_that_see_the_same_batches(
    runs: list[Run],
) -> None:
    passes = group_passes(runs)
    assert sorted(i for positions in passes for i in positions) == list(range(len(runs)))
    keys = [{(runs[i].batch_size, runs[i].epochs, runs[i].shuffle_seed) for i in p} for p in passes]
    assert all(len(key) == 1 for key in keys)
    assert len({next(iter(key)) for key in keys}) == len(passes)

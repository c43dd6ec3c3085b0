"""Settings of runs: what is accepted and refused, grids, random draws, names and shared passes."""

from __future__ import annotations

import math
from fractions import Fraction
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import onelayer
from onelayer.data import Splits
from onelayer.errors import SettingsError
from onelayer.experiments.best_linear import Recipe
from onelayer.solver.path import l2_values
from onelayer.training.loop import check_memory
from onelayer.training.result import History
from onelayer.training.run import Run, grid, group_passes, name_settings, random_grid
from onelayer.training.sweep import sweep
from tests.conftest import blank_page
from tests.made_data import make_splits


@pytest.mark.parametrize(
    ("setting", "values", "expected"),
    [
        ("learning_rate", [0, -0.1, math.nan, math.inf, "0.1", True, None], "above 0"),
        ("l2", [-1e-9, math.nan, math.inf, "0", 1e101], "0 to below 1e100"),
        ("batch_size", [0, -5, 1.5, True], "1 or above"),
        ("epochs", [0, -1, 2.0], "1 or above"),
        ("seed", [-1, 0.5], "0 or above"),
        ("shuffle", [1, "yes", None], "true or false"),
        ("shuffle_seed", [-1, "x"], "0 or above"),
        ("init_scale", [-0.01, math.nan], "0 or above"),
        ("momentum", [-0.1, 1.0, math.nan, "0.9", True], "from 0 to below 1"),
        ("nesterov", [1, "yes", None], "true or false"),
        ("loss", ["hinge", None, 1], "softmax or sigmoid"),
        ("label_smoothing", [-0.1, 1.0, math.nan], "from 0 to below 1"),
        ("flip_seed", [-1, 0.5, True], "0 or above"),
        ("warmup", [-1, math.nan, "2"], "0 or above"),
        ("warmup", [20.5], "at most the 20 epochs"),
        (
            "schedule",
            ["linear", "", "step", "step:2", "step:2:x", "step:1:2:3", "cosine:1", None, 3, []],
            "constant, cosine, step:EPOCHS:FACTOR or cyclical:FRACTION:EPOCHS, as in step:10:0.1",
        ),
        (
            "averaging",
            ["mean", "tail", "tail:x", "none:1", None],
            "none, tail:FRACTION or ema:DECAY",
        ),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_name_and_what_was_expected(
    setting: str, values: list[Any], expected: str
) -> None:
    for value in values:
        with pytest.raises(SettingsError) as refusal:
            Run(**{"learning_rate": 0.1, setting: value})
        assert setting in str(refusal.value)
        assert expected in str(refusal.value)
        assert repr(value) in str(refusal.value)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("step:0:0.1", "EPOCHS of schedule step:0:0.1 must be a number above 0"),
        ("step:2:1", "FACTOR of schedule step:2:1 must be between 0 and 1, but 1 was given"),
        ("cyclical:0:2", "FRACTION of schedule cyclical:0:2 must be between 0 and 1, but 0 was"),
        ("cyclical:0.1:-2", "EPOCHS of schedule cyclical:0.1:-2 must be a number above 0"),
        ("tail:0", "FRACTION of averaging tail:0 must be above 0 and at most 1, but 0 was given"),
        ("tail:1.1", "FRACTION of averaging tail:1.1 must be above 0 and at most 1, but 1.1 was"),
        ("ema:0", "DECAY of averaging ema:0 must be between 0 and 1, but 0 was given"),
        ("ema:1", "DECAY of averaging ema:1 must be between 0 and 1, but 1 was given"),
    ],
)
def test_a_number_out_of_range_is_named(spec: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Run(0.1, **{"averaging" if spec[0] in "te" else "schedule": spec})  # type: ignore[arg-type]


def test_a_name_says_what_is_not_the_default() -> None:
    run = Run(
        0.1, momentum=0.9, nesterov=True, schedule="step:10:0.1", warmup=0.5, averaging="tail:0.5",
        loss="sigmoid", label_smoothing=0.1, flip_seed=3,
    )  # fmt: skip
    words = "μ=0.9, Nesterov, step:10:0.1, warm-up 0.5, tail:0.5, sigmoid, ε=0.1, flip seed 3"
    assert run.name == f"λ=0, η=0.1, {words}"
    assert Run(0.1, nesterov=True).name == "λ=0, η=0.1"


def test_an_unknown_setting_is_refused_and_the_nearest_name_is_offered() -> None:
    with pytest.raises(SettingsError, match="'learning_rte'; did you mean 'learning_rate'"):
        grid(learning_rte=0.1)
    with pytest.raises(SettingsError, match="'zzz'; the settings are learning_rate, l2"):
        grid(zzz=1)


def test_a_run_without_a_learning_rate_is_refused() -> None:
    with pytest.raises(SettingsError, match="a grid needs learning_rate"):
        grid(l2=0.1)


def test_a_grid_is_the_product_of_its_lists() -> None:
    runs = grid(learning_rate=[0.1, 0.01], l2=(0.0, 1.0), seeds=2, epochs=3)
    assert len(runs) == 8
    assert len(set(runs)) == 8
    assert {run.epochs for run in runs} == {3}
    assert [run.seed for run in runs[:2]] == [0, 1]


def test_runs_that_differ_in_the_seed_only_share_their_name() -> None:
    assert len({run.name for run in grid(learning_rate=0.1, seeds=5)}) == 1


def test_a_run_survives_the_way_through_a_dictionary() -> None:
    run = Run(0.1, l2=0.2, seed=3, shuffle_seed=9, name="mine")
    assert Run(**run.as_dict()) == run


def test_seeds_are_a_count_or_a_list() -> None:
    assert [run.seed for run in grid(learning_rate=0.1, seeds=np.int64(2))] == [0, 1]
    assert [run.seed for run in grid(learning_rate=0.1, seeds=np.array([4, 9]))] == [4, 9]
    with pytest.raises(SettingsError, match="seeds must be a whole number, 1 or above"):
        grid(learning_rate=0.1, seeds=0)
    with pytest.raises(SettingsError, match="a list of seeds, but it is empty"):
        grid(learning_rate=0.1, seeds=[])
    with pytest.raises(SettingsError, match="pass seeds, a count or a list"):
        grid(learning_rate=0.1, seed=[0, 1])


def test_numpy_numbers_and_arrays_are_taken_where_numbers_and_lists_are() -> None:
    from_numpy = grid(
        learning_rate=np.array([0.5, 0.25]), l2=np.float32(0.5), batch_size=np.arange(1, 3)
    )
    assert from_numpy == grid(learning_rate=[0.5, 0.25], l2=0.5, batch_size=[1, 2])
    assert all(type(run.l2) is float and type(run.batch_size) is int for run in from_numpy)
    assert Run(np.float64(0.1)) == Run(0.1)


def test_two_settings_never_share_a_name() -> None:
    alike = [Run(0.1, name="mine"), Run(0.2, name="mine"), Run(0.1, seed=3, name="mine")]
    named = [f"mine, η={eta}" for eta in (0.1, 0.2, 0.1)]
    assert [run.name for run in name_settings(alike)] == named
    flips = [Run(0.1, flip_seed=seed) for seed in (1, 2)]
    runs = [Run(0.1, shuffle=False), Run(0.1, epochs=3), *flips]
    assert len({run.name for run in name_settings(runs)}) == 4
    assert name_settings(name_settings(runs)) == name_settings(runs)


def test_a_name_says_every_setting_that_differs_and_no_other() -> None:
    def names(**settings: Any) -> list[str]:
        return [run.name for run in name_settings(grid(**{"learning_rate": 0.1} | settings))]

    assert names(batch_size=[5, 400]) == ["λ=0, η=0.1, batch 5", "λ=0, η=0.1, batch 400"]
    assert names(epochs=[1, 2], seeds=2)[::2] == ["λ=0, η=0.1, 1 epoch", "λ=0, η=0.1, 2 epochs"]
    assert names(momentum=[0, 0.9]) == ["λ=0, η=0.1, μ=0", "λ=0, η=0.1, μ=0.9"]
    assert names(momentum=0.9, l2=[0, 1]) == ["λ=0, η=0.1", "λ=1, η=0.1"]
    assert names(momentum=0.9) == ["λ=0, η=0.1, μ=0.9"]
    assert names(learning_rate=[0.1, 0.1 + 1e-9]) == ["λ=0, η=0.1", "λ=0, η=0.100000001"]
    assert names(loss=["softmax", "sigmoid"], name="mine") == ["mine, softmax", "mine, sigmoid"]
    mine = [Run(0.1, name="sigmoid", loss="sigmoid"), Run(0.1, name="softmax")]
    assert [run.name for run in name_settings(mine)] == ["sigmoid", "softmax"]


run_settings = st.builds(
    Run,
    learning_rate=st.sampled_from([0.1, 0.01]),
    batch_size=st.sampled_from([10, 20]),
    epochs=st.sampled_from([1, 2]),
    shuffle=st.booleans(),
    shuffle_seed=st.sampled_from([0, 1]),
    flip_seed=st.sampled_from([None, 1]),
    momentum=st.sampled_from([0.0, 0.9]),
    schedule=st.sampled_from(["constant", "cosine"]),
    loss=st.sampled_from(["softmax", "sigmoid"]),
)


@given(st.lists(run_settings, max_size=12))
def test_a_name_is_a_setting_and_a_setting_has_one_name(runs: list[Run]) -> None:
    named = name_settings(runs)
    assert name_settings(named) == named
    pairs = {(run.setting, own.name) for run, own in zip(runs, named, strict=True)}
    assert len(pairs) == len({run.setting for run in runs}) == len({run.name for run in named})


@given(st.lists(run_settings, max_size=12))
def test_passes_hold_every_run_once_and_only_runs_that_see_the_same_batches(
    runs: list[Run],
) -> None:
    passes = group_passes(runs)
    assert sorted(i for positions in passes for i in positions) == list(range(len(runs)))
    shared = attrgetter("batch_size", "epochs", "order_seed", "flip_seed")
    keys = [{shared(runs[i]) for i in p} for p in passes]
    assert all(len(key) == 1 for key in keys)
    assert len({next(iter(key)) for key in keys}) == len(passes)


@given(n=st.integers(1, 30), draw_seed=st.integers(0, 99))
def test_draws_are_in_range_and_all_different(n: int, draw_seed: int) -> None:
    runs = random_grid(
        n, draw_seed=draw_seed, learning_rate=(1e-3, 0.3), l2=[0.0, 1e-4], batch_size=(10, 100)
    )
    assert len({(r.learning_rate, r.l2, r.batch_size) for r in runs}) == len(runs) == n
    assert all(1e-3 <= r.eta <= 0.3 and r.l2 in (0.0, 1e-4) for r in runs)
    assert all(10 <= r.batch <= 100 for r in runs)
    assert runs == random_grid(
        n, draw_seed=draw_seed, learning_rate=(1e-3, 0.3), l2=[0.0, 1e-4], batch_size=(10, 100)
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
        (5, {"learning_rate": [0.1, 0.2]}, "the values given make only 2"),
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


SEQUENCES: dict[str, Any] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "array": np.array,
    "float32": lambda values: np.array(values, np.float32),
    "series": pd.Series,
    "generator": iter,
    "numpy numbers": lambda values: [np.float64(value) for value in values],
}


@pytest.mark.parametrize("make", SEQUENCES.values(), ids=SEQUENCES)
def test_every_sequence_is_taken_for_a_list(make: Any) -> None:
    """Powers of two, which are the same in float32."""
    rates, l2s = [0.25, 0.5], [0.125, 0.0625]
    runs = grid(learning_rate=make(rates), l2=make(l2s))
    assert {(run.learning_rate, run.l2) for run in runs} == {(a, b) for a in rates for b in l2s}
    assert all(type(run.learning_rate) is type(run.l2) is float for run in runs)
    assert l2_values(make(l2s)) == tuple(l2s)
    drawn = random_grid(2, learning_rate=make(rates) if make is not tuple else rates)
    assert {run.learning_rate for run in drawn} == set(rates)


@pytest.mark.parametrize(
    ("seeds", "listed"),
    [
        (np.int64(2), [0, 1]),
        (np.array(2), [0, 1]),
        (range(3, 5), [3, 4]),
        (np.array([4, 7]), [4, 7]),
        ((seed for seed in (4, 7)), [4, 7]),
        (pd.Series([4, 7]), [4, 7]),
    ],
)
def test_seeds_may_be_any_count_or_sequence(seeds: Any, listed: list[int]) -> None:
    runs = grid(learning_rate=0.1, seeds=seeds)
    assert [run.seed for run in runs] == listed
    assert all(type(run.seed) is int for run in runs)


def test_numbers_of_numpy_are_taken_wherever_numbers_are_and_can_be_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onelayer.report.page.write_report", blank_page)
    ol: Any = onelayer  # whose hints name Python's types
    data, one = make_splits(), np.float32(0.125)
    checkpoint = ol.Checkpoint(tmp_path / "c", every=np.float32(0))
    result = ol.train(
        data, iter([ol.Run(np.array(0.25), l2=one, epochs=np.int8(1), batch_size=np.int16(9))]),
        snapshots=np.arange(1), curvature_of=np.arange(1), checkpoint=checkpoint,
    )  # fmt: skip
    result.save(tmp_path / "runs")
    assert ol.Result.load(tmp_path / "runs").runs == result.runs
    path = ol.solve_path(data, (value for value in (one, np.float64(0.5))), folds=np.int64(2),
                      tol=np.float32(0.0625))  # fmt: skip
    path.save(tmp_path / "path")
    assert ol.Path.load(tmp_path / "path").l2.tolist() == [0.5, 0.125]
    ol.solve(data, np.array(0.5), max_passes=np.int64(50)).save(tmp_path / "model.safetensors")
    make: Any = Recipe
    recipe = make(epochs=np.int64(1), l2=one, moves=np.int8(0), flips=False)
    ol.fit_best_linear(data, recipe, seed=np.int64(1)).save(tmp_path / "best.safetensors")
    assert ol.check_gradient(data, l2=iter([one]), batch_sizes=np.array([5])).passed
    with pytest.raises(SettingsError, match="snapshots must be positions of runs, 0 to 0, but 1"):
        ol.train(data, Run(0.1, epochs=1), snapshots=[1])


@pytest.mark.parametrize(
    ("n", "settings"),
    [
        (0, {"learning_rate": np.geomspace(1e-4, 1.0, 50_001), "l2": [0.0, 1.0]}),
        (0, {"learning_rate": 0.1, "seeds": 10**12}),
        (10**12, {"learning_rate": (1e-3, 1.0)}),
        (50_001, {"learning_rate": (1e-3, 1.0), "seeds": 2}),
    ],
)
def test_more_runs_than_anybody_waits_for_are_refused_before_they_are_made(
    n: int, settings: dict[str, Any]
) -> None:
    with pytest.raises(SettingsError, match=r"at most 100,000 runs .* give fewer values or"):
        random_grid(n, **settings) if n else grid(**settings)


def test_runs_that_do_not_fit_into_memory_are_refused_before_they_are_trained(
    splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The snapshots of the best run of a sweep count: it would be trained last."""
    data, runs = splits.train, [Run(0.1, epochs=1000)]
    shots = 2 * data.classes * (data.features + 1) * 1001
    history = 8 * len(History.measures()) * 1000 + 8 * data.classes * (data.features + 1)
    monkeypatch.setattr("onelayer.training.loop.available_memory", lambda: history + shots - 1)
    with pytest.raises(SettingsError, match=r"1 run over 1,000 epochs need .* of memory for"):
        sweep(splits, runs)
    check_memory(data, runs, "float32", snapshots=0)


def test_settings_that_are_no_settings_are_refused_in_one_sentence() -> None:
    for call, message in (
        (lambda: grid(learning_rate=np.ones((2, 2))), r"learning_rate \(η\) must be a finite"),
        (lambda: grid(learning_rate=[]), "learning_rate has no values; give one or more"),
        (lambda: grid(learning_rate=0.1, seeds=[1, 2, 1]), "seeds must differ .* 1 is given twice"),
        (lambda: Run(learning_rate="auto", l2=1e308), r"l2 \(λ\) must be .* 0 to below 1e100"),
        (lambda: onelayer.train(make_splits(), None), "runs must be a Run, or a sequence of them"),  # type: ignore[arg-type]
        (lambda: onelayer.train(make_splits(), {"l2": 1}), "runs must be a Run, or a sequence"),  # type: ignore[arg-type]
    ):
        with pytest.raises(SettingsError, match=message):
            call()


def test_fractions_and_long_doubles_are_stored_as_floats(tmp_path: Path) -> None:
    for rate in (Fraction(1, 10), np.longdouble(0.1)):
        run = Run(learning_rate=rate, l2=rate, epochs=1)  # type: ignore[arg-type]
        assert (type(run.learning_rate), run.l2) == (float, 0.1)

"""The numbers of the page against numbers worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from onelayer.data.dataset import DataCard
from onelayer.model.evaluation import pairs_of
from onelayer.report.conclusions import (
    PenaltyFinding,
    RateFinding,
    compare_penalties,
    compare_rates,
)
from onelayer.report.model_tables import mistakes_of
from onelayer.report.settings import curve_of
from onelayer.report.summary import (
    choose_settings,
    describe_rows,
    is_clear,
    listed,
    number,
    records_of,
    share_of_rows,
    spread,
    summarise,
    unbroken,
    without_paths,
)
from onelayer.training.result import History, Outcome, ReportedFigures, Result
from onelayer.training.run import Run, spell
from tests.report.made_results import make_result, make_runs


def small(
    runs: list[Run], train: list[float], right: list[int], diverged: tuple[int, ...] = ()
) -> Result:
    """Runs of two epochs with these training shares, and this many of 100 test rows right."""
    result = make_result(runs, classes=("a", "b"), image_shape=None, features=4, snapshots=())
    accuracy = np.repeat(np.array(train)[:, None], 3, axis=1)
    history = replace(result.history, train_accuracy=accuracy)
    confusion = np.array([[[50, 0], [100 - n, n - 50]] for n in right])
    outcomes = tuple(
        Outcome("diverged", 1, "η too large") if i in diverged else Outcome("finished", 2)
        for i in range(len(runs))
    )
    reported = (ReportedFigures(runs[0].name, 0.5, 0.6),)
    return replace(
        result, history=history, confusion=confusion, outcomes=outcomes, reported=reported
    )


def runs_of(rate: float, seeds: int, l2: float = 0.0) -> list[Run]:
    return [Run(rate, l2, seed=seed, epochs=2) for seed in range(seeds)]


def test_a_spread_has_the_sample_deviation() -> None:
    measured = spread([2.0, 4.0, 9.0])
    assert (measured.mean, measured.low, measured.high, measured.n) == (5.0, 2.0, 9.0, 3)
    assert measured.deviation == pytest.approx(math.sqrt((9 + 1 + 16) / 2))


def test_a_spread_of_nothing_is_not_a_number() -> None:
    assert spread([math.nan]).n == 0
    assert math.isnan(spread([]).mean)


def test_figures_of_a_setting() -> None:
    (setting,) = summarise(small(runs_of(0.1, 3), [0.4, 0.5, 0.6], [60, 62, 64]))
    assert setting.train.measured.mean == pytest.approx(50.0)
    assert setting.test.measured.mean == pytest.approx(62.0)
    assert setting.test.difference == pytest.approx(2.0)
    assert setting.test.inside
    assert setting.test.below == 0
    assert setting.train.below == 1
    assert setting.status == "finished"


def test_a_diverged_run_is_left_out_and_said() -> None:
    (setting,) = summarise(small(runs_of(0.1, 3), [0.4, 0.5, 0.9], [60, 62, 99], diverged=(2,)))
    assert setting.counted == (0, 1)
    assert setting.test.measured.high == pytest.approx(62.0)
    assert setting.status == "1 of 3 diverged"
    assert setting.troubles == ("η too large",)


def test_when_all_diverged_their_last_finite_weights_are_measured() -> None:
    (setting,) = summarise(small(runs_of(0.1, 2), [0.4, 0.5], [60, 62], diverged=(0, 1)))
    assert setting.test.measured.n == 2
    assert setting.status == "diverged"


def with_cost(result: Result, cost: list[float]) -> Result:
    rows = np.repeat(np.array(cost)[None], len(result.runs), axis=0)
    return replace(result, history=replace(result.history, train_cost=rows))


def test_chaotic_is_a_wide_spread_with_a_cost_that_jumps() -> None:
    wide = small(runs_of(0.1, 3), [0.4, 0.5, 0.6], [55, 61, 64])
    (jumping,) = summarise(with_cost(wide, [2.0, 3.0, 2.5]))
    (falling,) = summarise(with_cost(wide, [2.0, 1.5, 1.2]))
    narrow = small(runs_of(0.1, 3), [0.4, 0.5, 0.6], [60, 61, 62])
    (agreeing,) = summarise(with_cost(narrow, [2.0, 3.0, 2.5]))
    assert [jumping.chaotic, falling.chaotic, agreeing.chaotic] == [True, False, False]
    assert jumping.rises == pytest.approx(0.5)
    assert "60.00 % lies inside the measured 55.00 to 64.00 %, above 1 of 3" in jumping.chaos
    assert falling.chaos == ""


def test_a_reported_figure_outside_the_spread_is_said_to_be() -> None:
    wide = small(runs_of(0.1, 3), [0.4, 0.45, 0.48], [61, 66, 69])
    (setting,) = summarise(with_cost(wide, [2.0, 3.0, 2.5]))
    assert "training accuracy of 50.00 % lies outside" in setting.chaos
    assert "test accuracy of 60.00 % lies outside" in setting.chaos


def test_bands_are_over_the_runs_that_are_left() -> None:
    values = np.array([[1.0, 2.0, np.nan], [3.0, np.nan, np.nan]])
    curve = curve_of("loss", values, ["a", "b"])
    assert curve.x == [0, 1]
    assert (curve.mean, curve.low, curve.high) == ([2.0, 2.0], [1.0, 2.0], [3.0, 2.0])


def rate_result(slow: list[float], fast: list[float], seeds: int = 2) -> Result:
    """Two rates whose seeds agree."""
    runs = [Run(rate, epochs=4, seed=seed) for rate in (0.01, 0.1) for seed in range(seeds)]
    result = make_result(runs, classes=("a", "b"), image_shape=None, features=4, snapshots=())
    loss = np.repeat(np.array([slow, fast]), seeds, axis=0)
    history = replace(result.history, train_loss=loss, validation_loss=loss + 1.0)
    return replace(result, history=history)


FALLING, JUMPING = [4.0, 3.5, 3.0, 2.5, 2.0], [4.0, 2.5, 3.5, 2.0, 2.75]


def rates_of(result: Result) -> RateFinding:
    finding = compare_rates(result, summarise(result))
    assert finding is not None
    return finding


def test_learning_rates_are_timed_to_half_of_the_way() -> None:
    finding = rates_of(rate_result(FALLING, JUMPING))
    assert finding.level == 3.0
    slow, fast = finding.rates
    assert (slow.epochs_to_level, fast.epochs_to_level) == (2.0, 1.0)
    assert (slow.rises.mean, fast.rises.mean) == (0.0, 2.0)
    assert fast.largest_rise == 1.0
    assert fast.last_loss.mean == 3.75
    assert finding.heading == "A larger step is faster at first, and then jumps over the minimum"
    assert "η = 0.01 makes half of its loss reduction (to 3.000) after 2 epochs" in finding.sentence
    assert "η = 0.1 reaches that level after 1 epoch." in finding.sentence
    assert "rises in 2 of 4 epochs with η = 0.1" in finding.sentence


@pytest.mark.parametrize(
    ("fast", "heading"),
    [
        ([4.0, 9.0, 8.0, 9.0, 8.0], "Too large a step jumps over the minimum"),
        ([4.0, 2.5, 2.0, 1.5, 1.2], "A larger step converges faster"),
        ([4.0, 3.9, 3.8, 3.7, 3.6], "Here a larger step is not faster"),
        (FALLING, "No conclusion on the learning rate: the difference is within"),
    ],
)
def test_the_conclusion_is_what_was_measured(fast: list[float], heading: str) -> None:
    assert rates_of(rate_result(FALLING, fast)).heading.startswith(heading)


def test_one_seed_allows_no_conclusion_on_the_learning_rate() -> None:
    finding = rates_of(rate_result(FALLING, JUMPING, seeds=1))
    assert finding.heading == "No conclusion on the learning rate: one seed shows no spread"


def test_seeds_that_disagree_allow_no_conclusion() -> None:
    result = rate_result(FALLING, FALLING)
    loss = result.history.train_loss.copy()
    loss[2] = [4.0, 2.9, 2.8, 2.7, 2.6]  # one seed of the larger rate is quicker, one slower
    loss[3] = [4.0, 3.9, 3.8, 3.1, 2.5]
    finding = rates_of(replace(result, history=replace(result.history, train_loss=loss)))
    assert finding.heading.startswith("No conclusion")


def test_a_level_that_is_never_reached_is_said() -> None:
    finding = rates_of(rate_result(FALLING, [4.0, 9.0, 8.0, 9.0, 8.0]))
    assert math.isinf(finding.rates[1].epochs_to_level)
    assert "η = 0.1 reaches that level in no run" in finding.sentence


@pytest.mark.parametrize("varied", [
    {"batch_size": (5, 400)}, {"epochs": (4, 3)}, {"init_scale": (0.0, 1.0)},
    {"shuffle_seed": (0, 1)}, {"momentum": (0.0, 0.9)},
])  # fmt: skip
def test_what_differs_in_more_than_the_seed_is_never_averaged(
    varied: dict[str, tuple[Any, Any]],
) -> None:
    """Under one η and λ there are two settings, though all of the runs have one name."""
    [(name, values)] = varied.items()
    runs = [
        Run(eta, l2=l2, epochs=4, name="mine") for eta in (0.01, 0.1) for l2 in (0.0, 1.0)
    ]  # fmt: skip
    runs = [replace(run, **{name: value}) for run in runs for value in values]
    result = make_result(runs, classes=("a", "b"), image_shape=None, features=4, snapshots=())
    assert [len(one.positions) for one in result.ranking] == [1] * 8
    assert [len(one.positions) for one in summarise(result)] == [1] * 8
    rates = compare_rates(result, summarise(result))
    penalties = compare_penalties(result, summarise(result))
    assert rates is not None
    assert penalties is not None
    assert [len(one.positions) for one in rates.rates] == [1, 1]
    assert [one.norm.n for one in penalties.penalties] == [1, 1]
    kind = spell(runs, [name])[0]
    assert rates.at == f"λ = 0, {kind}"
    assert penalties.at == f"η = 0.01, {kind}"
    drawn = records_of(result).drawn
    assert len(drawn) == 8


def penalty_result(right: list[int], norms: list[float], seeds: int = 2) -> Result:
    """λ = 0 and λ = 1 at η = 0.01, and λ = 0 at η = 0.1, whose seeds agree."""
    runs = runs_of(0.01, seeds) + runs_of(0.01, seeds, l2=1.0) + runs_of(0.1, seeds)
    train = np.repeat([0.9, 0.7, 0.8], seeds).tolist()
    result = small(runs, train, np.repeat(right, seeds).tolist())
    norm = np.repeat(np.repeat(norms, seeds)[:, None], 3, axis=1)
    return replace(result, history=replace(result.history, weight_norm=norm))


def penalties_of(result: Result) -> PenaltyFinding:
    finding = compare_penalties(result, summarise(result))
    assert finding is not None
    return finding


def test_penalties_are_compared_at_one_learning_rate() -> None:
    finding = penalties_of(penalty_result([80, 65, 70], [8.0, 2.0, 9.0]))
    assert finding.at == "η = 0.01"
    assert [figures.l2 for figures in finding.penalties] == [0.0, 1.0]
    assert finding.penalties[0].gap.mean == pytest.approx(10.0)
    assert finding.penalties[1].gap.mean == pytest.approx(5.0)
    assert finding.heading == "λ shrinks W, more bias"
    assert "‖W‖ is 8 and 2" in finding.sentence
    assert "‖W‖ becomes 4 times smaller" in finding.sentence
    assert "training accuracy falls by 20.00 points, the bias that a large λ adds" in (
        finding.sentence
    )
    assert "best test accuracy, 80.00 %, is at λ = 0" in finding.sentence
    # Of 100 test rows a difference of 5 points is within twice its standard error.
    assert "overfitting" not in finding.heading + finding.sentence


def test_one_seed_allows_no_conclusion_on_the_penalty() -> None:
    finding = penalties_of(penalty_result([80, 65, 70], [8.0, 7.9, 9.0], seeds=1))
    assert finding.heading == "No conclusion on the penalty: one seed shows no spread"
    assert "times smaller" not in finding.sentence
    assert "best" not in finding.sentence


def test_few_test_rows_have_no_best_penalty() -> None:
    finding = penalties_of(penalty_result([72, 70, 70], [8.0, 2.0, 9.0]))
    assert "best test accuracy" not in finding.sentence


def test_a_difference_is_clear_beyond_twice_its_standard_error() -> None:
    a, b = spread([1.0, 3.0]), spread([4.0, 6.0])  # 3 apart, standard error √2 = 1.41
    assert is_clear(a, b)
    assert not is_clear(a, b, error=1.0)
    assert not is_clear(spread([1.0]), spread([100.0]))
    assert not is_clear(a, spread([]))


def test_huge_values_have_their_deviation_and_no_clear_difference() -> None:
    measured = spread([1e200, 3e200])
    assert measured.deviation == pytest.approx(math.sqrt(2.0) * 1e200)
    assert spread([1.7e308, 1.7e308]).mean == 1.7e308
    assert not is_clear(spread([1.0, 1.0]), measured)
    assert is_clear(spread([1.0, 1.0]), spread([1e200, 1.001e200]))


def test_conclusions_need_settings_to_compare() -> None:
    result = make_result(make_runs(((0.1, 0.0), (0.01, 1.0)), seeds=2), snapshots=())
    assert compare_rates(result, summarise(result)) is None
    assert compare_penalties(result, summarise(result)) is None


def test_confusion_is_in_percent_of_the_true_class() -> None:
    percent = share_of_rows(np.array([[3, 1, 0], [0, 2, 0], [5, 0, 5]]))
    assert percent[0].tolist() == [75.0, 25.0, 0.0]
    mistakes = mistakes_of(pairs_of(np.array([[3, 1, 0], [0, 2, 0], [5, 0, 5]])), ("a", "b", "c"))
    assert [[cell.text for cell in row] for row in mistakes.rows] == [
        ["c", "a", "50.0"],
        ["a", "b", "25.0"],
    ]


def test_of_many_settings_the_best_by_validation_are_drawn() -> None:
    runs = [Run(rate, epochs=1) for rate in (0.1, 0.2, 0.3)]
    result = make_result(runs, snapshots=())
    accuracy = np.array([[0.1, 0.2], [0.1, 0.4], [0.1, 0.3]])
    history: History = replace(result.history, validation_accuracy=accuracy)
    settings = summarise(replace(result, history=history))
    assert [s.learning_rate for s in choose_settings(settings, most=2)] == [0.2, 0.3]


def test_numbers_have_a_minus_sign_and_none_where_they_round_to_nothing() -> None:
    assert [number(x) for x in (-1.5, -0.001, None, math.nan)] == ["−1.50", "0.00", "–", "–"]
    assert number(-math.inf) == "−∞"


def test_words_are_joined_as_in_a_sentence() -> None:
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(["a"]) == "a"


def test_a_number_keeps_its_sign_and_its_unit_on_its_line() -> None:
    words = unbroken("λ = 1 gives 2 ± 1 % of 3")
    assert words.replace("\u00a0", "_") == "λ_=_1 gives 2_±_1_% of 3"


def test_folders_of_this_machine_are_left_out_and_addresses_are_not() -> None:
    words = without_paths("the cache /home/someone/.cache/onelayer/cifar10")
    assert words == "the cache …/cifar10"
    address = "https://www.cs.toronto.edu/~kriz/cifar.html"
    assert without_paths(address) == address


def test_rows_are_counted_by_part() -> None:
    card = DataCard("d", "", ("no", "yes"), None, 1000, 90, 90)
    words = "1,000 training, 90 validation and 90 test rows of 64 features in 2 classes"
    assert describe_rows(card, 64) == words

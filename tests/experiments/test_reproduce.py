"""The four experiments: their plan, and their figures on the real data."""

from __future__ import annotations

import pytest

from onelayer.data import Splits, load
from onelayer.errors import SettingsError, SourceError
from onelayer.experiments.reproduce import (
    EXPERIMENTS,
    choose_experiments,
    plan_experiments,
    reproduce,
)
from onelayer.training.run import group_passes


def test_the_plan_is_the_reports() -> None:
    runs = plan_experiments(seeds=2)
    assert {(r.l2, r.learning_rate) for r in runs} == {(0, 0.1), (0, 0.01), (0.1, 0.01), (1, 0.01)}
    assert {(r.batch_size, r.epochs, r.init_scale, r.shuffle) for r in runs} == {
        (100, 40, 0.01, False)
    }


def test_all_settings_and_seeds_share_one_pass() -> None:
    assert group_passes(plan_experiments(seeds=8)) == [list(range(32))]


def test_experiments_are_chosen_by_name_in_the_reports_order() -> None:
    assert choose_experiments(["l2-1", "eta-0.1"]) == (EXPERIMENTS[0], EXPERIMENTS[3])
    assert choose_experiments() == EXPERIMENTS


def test_an_unknown_setting_name_is_refused_with_the_choices() -> None:
    with pytest.raises(SettingsError, match=r"unknown experiment 'eta'; the experiments: eta-0\.1"):
        choose_experiments(["eta"])


def test_the_first_run_of_each_setting_is_kept_for_pictures_and_each_penalty_has_its_optimum() -> (
    None
):
    result = reproduce(load("digits"), only=["eta-0.1", "l2-0.1", "l2-1"], seeds=[4, 5])
    assert list(result.snapshots) == [0, 2, 4]
    assert list(result.curvatures) == [0]
    assert [best.l2 for best in result.optima] == [1.0, 0.1]


def test_figures_are_reported_for_cifar10_alone() -> None:
    result = reproduce(load("digits"), only=["l2-1"], seeds=1)
    assert result.reported == ()
    assert all(check.passed for check in result.gradient_checks)


@pytest.fixture(scope="module")
def cifar10() -> Splits:
    try:
        return load(progress=False)
    except SourceError as error:
        pytest.skip(f"THE REPORT'S FIGURES WERE NOT TESTED: {error}")


def test_settings_that_settle_give_the_reported_accuracies(cifar10: Splits) -> None:
    result = reproduce(cifar10, only=[e.key for e in EXPERIMENTS[1:]], seeds=4)
    for figures in result.reported:
        runs = [i for i, run in enumerate(result.runs) if run.name == figures.name]
        measured = result.train_accuracy[runs].mean(), result.test_accuracy[runs].mean()
        reported = figures.train_accuracy, figures.test_accuracy
        assert measured == pytest.approx(reported, rel=0, abs=0.003)


def test_the_chaotic_settings_reported_accuracies_lie_inside_the_spread_over_32_seeds(
    cifar10: Splits,
) -> None:
    result = reproduce(cifar10, only=["eta-0.1"], seeds=32)
    reported = EXPERIMENTS[0]
    assert result.train_accuracy.min() < reported.train_accuracy < result.train_accuracy.max()
    assert result.test_accuracy.min() < reported.test_accuracy < result.test_accuracy.max()
    # Seeds that differ in nothing but their weights end ten points apart: that is the chaos.
    assert result.test_accuracy.max() - result.test_accuracy.min() > 0.05

"""Which setting is best: by validation rows and never by the test."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from onelayer.training.result import Outcome, Result
from tests.report.made_results import make_result, make_runs

PAIRS = ((0.1, 0.0), (0.01, 0.0), (0.1, 1.0), (0.01, 1.0))


def with_validation(accuracies: list[float], losses: list[float] | None = None) -> Result:
    """Four settings of two seeds, each run with that accuracy and loss at its last epoch."""
    result = make_result(make_runs(PAIRS, seeds=2, epochs=3), features=8, image_shape=None)
    history = result.history
    accuracy, loss = history.validation_accuracy.copy(), history.validation_loss.copy()
    accuracy[:, -1], loss[:, -1] = accuracies, losses or [1.0] * 8
    changed = replace(history, validation_accuracy=accuracy, validation_loss=loss)
    return result.with_records(history=changed)


def order(result: Result) -> list[int]:
    return [one.positions[0] // 2 for one in result.ranking]


def test_the_mean_over_seeds_counts_and_not_the_luckiest() -> None:
    assert order(with_validation([0.9, 0.1, 0.6, 0.6, 0.2, 0.2, 0.3, 0.3])) == [1, 0, 3, 2]


def test_of_equal_accuracies_the_lower_loss_is_better() -> None:
    losses = [4.0, 4.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0]
    assert order(with_validation([0.5] * 8, losses)) == [1, 2, 3, 0]


def test_the_test_rows_have_no_say() -> None:
    result = with_validation([0.9, 0.1, 0.6, 0.6, 0.2, 0.2, 0.3, 0.3])
    turned = result.with_records(confusion=result.confusion[::-1].copy())
    assert turned.ranking == result.ranking


def test_a_setting_that_diverged_comes_after_all_that_did_not() -> None:
    result = with_validation([0.9, 0.9, 0.6, 0.6, 0.2, 0.2, 0.3, 0.3])
    outcomes = (*result.outcomes[:1], Outcome("diverged", 3, "lost"), *result.outcomes[2:])
    ranked = result.with_records(outcomes=outcomes).ranking
    assert [one.positions[0] // 2 for one in ranked] == [1, 3, 2, 0]
    assert ranked[-1].diverged == 1
    assert ranked[-1].mean == 0.9


def test_a_setting_that_was_never_measured_is_last() -> None:
    result = with_validation([np.nan, np.nan, 0.6, 0.6, 0.2, 0.2, 0.3, 0.3])
    assert order(result) == [1, 3, 2, 0]

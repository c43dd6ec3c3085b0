"""Results: ranked by validation rows and never by the test, printed, saved and loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onelayer import Model, Result, grid, train
from onelayer.errors import SaveError
from onelayer.training.result import Outcome
from tests.made_data import make_splits
from tests.report.made_results import make_result, make_runs

PAIRS = ((0.1, 0.0), (0.01, 0.0), (0.1, 1.0), (0.01, 1.0))


def with_validation(accuracies: list[float], losses: list[float] | None = None) -> Result:
    """Four settings of two seeds, each run with that accuracy and loss at its last epoch."""
    result = make_result(make_runs(PAIRS, seeds=2, epochs=3), features=8, image_shape=None)
    history = result.history
    accuracy, loss = history.validation_accuracy.copy(), history.validation_loss.copy()
    accuracy[:, -1], loss[:, -1] = accuracies, losses or [1.0] * 8
    changed = replace(history, validation_accuracy=accuracy, validation_loss=loss)
    return replace(result, history=changed)


def order(result: Result) -> list[int]:
    return [one.positions[0] // 2 for one in result.ranking]


def test_the_mean_over_seeds_counts_and_not_the_luckiest() -> None:
    assert order(with_validation([0.9, 0.1, 0.6, 0.6, 0.2, 0.2, 0.3, 0.3])) == [1, 0, 3, 2]


def test_of_equal_accuracies_the_lower_loss_is_better() -> None:
    losses = [4.0, 4.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0]
    assert order(with_validation([0.5] * 8, losses)) == [1, 2, 3, 0]


def test_the_test_rows_have_no_say() -> None:
    result = with_validation([0.9, 0.1, 0.6, 0.6, 0.2, 0.2, 0.3, 0.3])
    turned = replace(result, confusion=result.confusion[::-1].copy())
    assert turned.ranking == result.ranking


def test_a_setting_that_diverged_comes_after_all_that_did_not() -> None:
    result = with_validation([0.9, 0.9, 0.6, 0.6, 0.2, 0.2, 0.3, 0.3])
    outcomes = (*result.outcomes[:1], Outcome("diverged", 3, "lost"), *result.outcomes[2:])
    ranked = replace(result, outcomes=outcomes).ranking
    assert [one.positions[0] // 2 for one in ranked] == [1, 3, 2, 0]
    assert ranked[-1].diverged == 1
    assert ranked[-1].mean == 0.9


def test_a_setting_that_was_never_measured_is_last() -> None:
    result = with_validation([np.nan, np.nan, 0.6, 0.6, 0.2, 0.2, 0.3, 0.3])
    assert order(result) == [1, 3, 2, 0]


def test_the_best_model_is_the_best_seed_of_the_best_setting() -> None:
    result = with_validation([0.9, 0.1, 0.6, 0.7, 0.2, 0.2, 0.3, 0.3])
    np.testing.assert_array_equal(result.best.W, result.W[3])
    assert result.best.settings["seed"] == result.runs[3].seed


def test_a_diverged_seed_is_never_the_best() -> None:
    result = with_validation([0.1, 0.2, 0.6, 0.7, 0.2, 0.2, 0.3, 0.3])
    lost = [
        Outcome("diverged", 3) if i != 2 else outcome for i, outcome in enumerate(result.outcomes)
    ]
    np.testing.assert_array_equal(replace(result, outcomes=tuple(lost)).best.W, result.W[2])


def test_a_result_prints_its_settings_best_first_with_mean_and_deviation() -> None:
    result = with_validation([0.9, 0.1, 0.6, 0.7, 0.2, 0.2, 0.3, 0.3])
    lines = repr(replace(result, reported=(), gradient_checks=())).splitlines()
    assert "Settings by mean validation accuracy" in lines[0]
    assert lines[3].split() == ["1", "0.01", "0", "100", "65.00", "±", "7.07", "1.0000", "2"]
    assert "± standard deviation over seeds" in lines[7]
    assert "test accuracy (not used for selection)" in lines[8]
    assert "<table" in result._repr_html_()


@pytest.mark.slow
def test_a_result_is_saved_with_its_page_and_loaded_again(tmp_path: Path) -> None:
    result = train(make_splits(), grid(learning_rate=0.1, epochs=2, batch_size=9))
    result.save(tmp_path / "run")
    assert "<html" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    again = Result.load(tmp_path / "run")
    assert again.W.tobytes() == result.W.tobytes()
    assert again.runs == result.runs
    page = again.report(tmp_path / "pages" / "one.html")
    assert page == tmp_path / "pages" / "one.html"
    assert [path.name for path in page.parent.iterdir()] == ["one.html"]
    with pytest.raises(SaveError, match="is not a run folder"):
        Result.load(tmp_path / "absent")


def test_a_model_of_a_result_is_the_runs_own() -> None:
    result = train(make_splits(), grid(learning_rate=[0.1, 0.2], epochs=2, batch_size=9))
    model = result.model(1)
    assert isinstance(model, Model)
    np.testing.assert_array_equal(model.W, result.W[1])

"""Sweeps: settings and scalings in few passes, and the arguments that they take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onelayer import Result, Run, estimate, load, sweep, train
from onelayer.errors import SettingsError
from tests.examples import few
from tests.made_data import make_splits

PARTS = ("train", "validation", "test")

SHORT: dict[str, Any] = {"epochs": 2, "batch_size": 9}


def test_settings_are_swept_like_a_grid_and_the_best_is_measured_closely() -> None:
    result = sweep(make_splits(), learning_rate=np.array([0.1, 1e-6]), seeds=2, **SHORT)
    assert [(run.learning_rate, run.seed) for run in result.runs] == [
        (0.1, 0), (0.1, 1), (1e-6, 0), (1e-6, 1),
    ]  # fmt: skip
    best = result.ranking[0].positions[0]
    assert list(result.snapshots) == [best]
    assert list(result.curvatures) == [best]


def test_without_runs_and_learning_rates_a_stable_rate_is_taken() -> None:
    result = sweep(make_splits(), l2=[0.0, 0.1], **SHORT)
    assert all(run.eta > 0 for run in result.runs)
    assert all("η=auto" in run.name for run in result.runs)


def test_several_scalings_are_one_result() -> None:
    result = sweep(make_splits(), [Run(0.01, **SHORT)], scaling=["unit", "standardize"])
    assert [result.scaling_of(i).name for i in (0, 1)] == ["unit", "standardize"]
    assert [run.name for run in result.runs] == ["λ=0, η=0.01, unit", "λ=0, η=0.01, standardize"]
    for position, mistakes in result.mistakes.items():
        alone = result.model(position).evaluate(make_splits()).mistakes
        np.testing.assert_array_equal(mistakes.rows, alone and alone.rows)
    assert list(result.mistakes) == [0, 1]


def test_runs_and_settings_together_are_refused() -> None:
    with pytest.raises(SettingsError, match="runs or settings, but both were given: l2"):
        sweep(make_splits(), [Run(0.1)], l2=0.1)


def test_an_engine_is_given_by_name_and_a_run_alone() -> None:
    result = train(make_splits(), Run(0.1, **SHORT), engine="reference", certify=False)
    assert result.environment["engine"] == "reference"
    with pytest.raises(SettingsError, match="engine must be one of"):
        train(make_splits(), Run(0.1, **SHORT), engine="abacus")


def test_bytes_are_scaled_to_one_and_numbers_of_unknown_range_standardized() -> None:
    bytes_, numbers = make_splits(), make_splits(dtype=np.float32)
    parts = {name: replace(getattr(numbers, name), max_value=1.0) for name in PARTS}
    found = [
        train(data, Run(0.01, **SHORT), certify=False).scaling.name
        for data in (bytes_, replace(numbers, **parts))
    ]
    assert found == ["unit", "standardize"]


def test_training_needs_all_three_parts_and_estimates_need_files() -> None:
    with pytest.raises(SettingsError, match="train needs splits"):
        train(make_splits().train, Run(0.1, **SHORT))  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="in memory"):
        estimate(make_splits(), [Run(0.1, **SHORT)])


@pytest.mark.usefixtures("blank_pages")
@pytest.mark.parametrize("scoring", few(1, ["f1_macro", "neg_log_loss", "roc_auc_ovr"]))
def test_settings_are_ranked_by_any_metric_of_the_validation_rows(
    scoring: str, tmp_path: Path
) -> None:
    data = load("digits")
    rates, scalings = [0.05, 0.01], ["none", "unit"]
    result = sweep(data, learning_rate=rates, epochs=1, scaling=scalings, scoring=scoring)
    for i, found in enumerate(result.scores):
        (measured,) = result.model(i).evaluate(data.validation, scoring=scoring).metrics
        assert found == pytest.approx(measured.value, rel=1e-6)
    order = [one.positions[0] for one in result.ranking]
    sign = 1.0 if result.metric.greater else -1.0
    assert order == sorted(range(4), key=lambda i: -sign * result.scores[i])
    assert result.best_position == order[0]
    result.save(tmp_path / "run")
    again = Result.load(tmp_path / "run")
    assert (again.scoring, again.scores.tolist()) == (result.scoring, result.scores.tolist())
    assert f"by mean validation {result.metric.title}" in repr(result)

"""Reliability on the page: what was recorded, and of which settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onelayer.data import load
from onelayer.model.calibration import Calibration
from onelayer.report.page import result_page
from onelayer.report.path_page import path_page
from onelayer.training.loop import train
from onelayer.training.result import Result
from onelayer.training.run import Run
from onelayer.training.run_folder import save_records
from tests.report.made_paths import make_path
from tests.report.made_results import make_reliability, make_result


def test_runs_with_snapshots_record_the_reliability_of_their_model(tmp_path: Path) -> None:
    data = load("digits")
    runs = [Run(0.1, epochs=2), Run(0.2, epochs=2), Run(0.1, epochs=2, loss="sigmoid")]
    result = train(data, runs, snapshots=[0, 2])
    assert list(result.reliability) == [0]  # sigmoid scores are no probabilities of one class
    expected = result.model(0).evaluate(data.test).reliability
    save_records(result, tmp_path / "run")
    for curve in (result.reliability[0], Result.load(tmp_path / "run").reliability[0]):
        assert curve.rows.dtype == np.int64
        for name in ("rows", "confidence", "accuracy"):
            np.testing.assert_array_equal(getattr(curve, name), getattr(expected, name))


def test_the_chart_has_a_diagonal_and_the_bins_with_rows(four_settings: Result) -> None:
    section = result_page(four_settings).section("reliability")
    assert section is not None
    [chart] = section.charts
    assert [key.label for key in chart.legend] == list(four_settings.settings)
    tables = chart.page["datasets"]
    assert tables["diagonal"] == [{"x": 0.0, "m": 0.0}, {"x": 1.0, "m": 1.0}]
    points = [row for row in tables["means"] if row["c"] == "c0"]
    assert len(points) == 14
    assert all(row["x"] - row["m"] == pytest.approx(0.1, abs=1e-4) for row in points)
    assert "10.00 % for λ=0, η=0.1" in section.text[0]


def test_a_sweep_shows_the_best_setting_alone_and_nothing_recorded_shows_none() -> None:
    result = replace(make_result([Run(0.01, epochs=1), Run(0.1, epochs=1)]), reported=())
    assert result_page(result).section("reliability") is None
    both = replace(result, reliability={i: make_reliability() for i in range(2)})
    section = result_page(both).section("reliability")
    assert section is not None
    assert section.charts[0].legend == ()
    assert section.text[0].count(" % for ") == 1


def test_pages_show_the_temperature_and_what_it_changed(four_settings: Result) -> None:
    assert result_page(four_settings).section("calibration") is None
    of = Calibration("λ=0.1", "c.safetensors", 0.5, "digits", 1397, 0.75, 0.5, 0.25, 0.03125)
    for page in (
        result_page(replace(four_settings, calibrations=(of,))),
        path_page(replace(make_path(), calibrations=(of,))),
    ):
        section = page.section("calibration")
        assert section is not None
        assert section.text[0].startswith("The scores of λ=0.1 are divided by T = 0.5, ")
        assert section.table is not None
        [row] = section.table.rows
        shown = ["λ=0.1", "1,397", "0.5", "0.7500", "0.5000", "25.00", "3.12", "c.safetensors"]
        assert [cell.text for cell in row] == shown

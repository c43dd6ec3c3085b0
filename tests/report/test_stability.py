"""Conclusion 1's reason: which side of 2/η the curvature was on, in words and as a chart."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import vl_convert

from onelayer.report.chart import Chart
from onelayer.report.conclusions import Bend, find_curvatures, stability_section
from onelayer.report.page import result_page
from onelayer.report.render import Section
from onelayer.report.summary import records_of, summarise
from onelayer.training.result import Curvature, Result
from onelayer.training.run import Run
from tests.report.made_results import make_result, make_runs
from tests.report.test_page import read


def found(result: Result) -> tuple[Bend, ...]:
    return find_curvatures(result, summarise(result))


def section_of(result: Result) -> Section:
    section = stability_section(records_of(result))
    assert section is not None
    return section


def chart_of(result: Result) -> Chart:
    return section_of(result).charts[0]


def said(result: Result) -> str:
    return section_of(result).text[-1]


def one_run(rate: float, values: tuple[float, ...]) -> Result:
    result = make_result([Run(rate, epochs=9)], snapshots=())
    return replace(result, curvatures={0: Curvature(tuple(range(len(values))), values)})


def test_a_curve_above_its_own_line_overshoots() -> None:
    assert said(one_run(0.1, (88.0, 33.2, 63.1))) == (
        "With η = 0.1 the curvature, 33.2 to 88, is above 2/η = 20 whenever it was measured: "
        "that step overshoots and is unstable."
    )


def test_a_curve_under_its_own_line_is_stable() -> None:
    assert said(one_run(0.01, (88.0, 104.0))) == (
        "With η = 0.01 the curvature, 88 to 104, stays under 2/η = 200: that step is stable."
    )


@pytest.mark.parametrize("values", [(2.0, 1e300), (1.7e308,), (5e-324, 1e300), (0.0, 3.0)])
def test_a_curvature_of_any_size_has_an_axis(values: tuple[float, ...]) -> None:
    chart = chart_of(one_run(0.1, values))
    for spec in (chart.paper, chart.page):
        drawn = vl_convert.vegalite_to_svg(spec)
        assert not any(word in drawn for word in ("Infinity", "NaN"))
        assert len(re.findall(r">[0-9e+−-]+</text>", drawn)) > len(values) + 2


def test_a_curve_that_crosses_its_line_is_counted() -> None:
    result = one_run(0.1, (19.0, 21.0, 22.0, 20.0))
    assert found(result)[0].above == 2
    assert "above 2/η = 20 at 2 of the 4 epochs measured" in said(result)


def test_each_run_is_held_against_its_own_line(four_settings: Result) -> None:
    assert [bend.limit for bend in found(four_settings)] == [200.0, 20.0]
    chart = chart_of(four_settings)
    limits = chart.page["datasets"]["levels"]
    assert [(row["c"], row["v"]) for row in limits] == [("c0", 200.0), ("c1", 20.0)]
    assert [row["w"] for row in limits] == ["2/η = 200 for η = 0.01", "2/η = 20 for η = 0.1"]
    tips = chart.page["datasets"]["tips"]
    assert all(tip["t"][1].endswith("stable") for tip in tips)
    assert all(tip["t"][2].endswith("overshoots") for tip in tips)
    assert '"type": "log"' in json.dumps(chart.page)


def test_epochs_are_those_that_were_measured(four_settings: Result) -> None:
    means = chart_of(four_settings).page["datasets"]["means"]
    epochs = [row["x"] for row in means if row["c"] == "c0"]
    assert epochs == [0, 1, 2, 5, 10, 35]


def test_the_sentence_stands_in_the_section_of_conclusion_1(four_settings: Result) -> None:
    words = read(four_settings).words.replace("\u2060", "")
    section = words.partition("Learning rate A larger")[2].partition("λ shrinks W")[0]
    assert "that step overshoots and is unstable" in section
    assert "Curvature of the cost" in section


def test_without_curvatures_there_is_no_such_chart() -> None:
    result = make_result(snapshots=())
    assert found(result) == ()
    assert result_page(result).section("stability") is None
    assert "curvature" not in read(result).words.lower()


def test_one_learning_rate_alone_shows_its_curvature() -> None:
    words = read(one_run(0.1, (88.0,))).words.replace("\u2060", "")
    assert "Curvature and the stable step" in words
    assert "the curvature, 88, is above 2/η = 20" in words


def test_runs_of_one_setting_and_of_several_l2_are_told_apart() -> None:
    runs = make_runs(((0.1, 0.0), (0.1, 0.5)), seeds=2, epochs=2)
    met = Curvature((0, 1), (1.0, 2.0))
    result = replace(make_result(runs, snapshots=()), curvatures=dict.fromkeys(range(4), met))
    assert [bend.label for bend in found(result)] == [
        "η = 0.1, λ = 0, seed 0",
        "η = 0.1, λ = 0, seed 1",
        "η = 0.1, λ = 0.5, seed 0",
        "η = 0.1, λ = 0.5, seed 1",
    ]
    words = [row["w"] for row in chart_of(result).page["datasets"]["levels"]]
    assert words == ["2/η = 20 for η = 0.1", "", "", ""]


@pytest.mark.parametrize("values", [(), (5.0,)])
def test_runs_with_few_measurements_do_not_break_the_page(values: tuple[float, ...]) -> None:
    assert " nan" not in read(one_run(0.1, values)).words.lower()

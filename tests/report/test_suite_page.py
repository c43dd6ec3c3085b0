"""The page of a suite: what it says and shows, and that no odd name breaks it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onelayer as ol
from onelayer.report.chart import Chart
from onelayer.report.page import write_report
from onelayer.report.render import render_page
from onelayer.report.suite_page import SuiteFigures, suite_page
from onelayer.training.suite import Suite
from tests.report.test_page import HOSTILE, Reader


@pytest.fixture(scope="module")
def suite() -> Suite:
    """Three layers of two poolings, one of them lacking."""
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 150)
    centres = rng.normal(size=(3, 5))
    sets = {
        f"layer{i}/{pooling}": i * centres[y] + rng.normal(size=(150, 5))
        for i in (10, 0, 1)
        for pooling in ("mean", "cls")
    }
    del sets["layer1/cls"]
    return ol.probe(sets, y, l2=[1.0, 0.1], log=lambda line: None)


def read(record: Suite) -> Reader:
    reader = Reader(render_page(suite_page(record), "/* scripts */"))
    assert reader.open == []
    return reader


def chart_of(record: Suite, name: str) -> Chart:
    return next(chart for chart in suite_page(record).charts if chart.name == f"suite-{name}")


def named(record: Suite, *names: str) -> Suite:
    heads = [replace(head, name=name) for head, name in zip(record.heads, names, strict=False)]
    return replace(record, heads=tuple(heads))


def test_the_headline_names_the_best_set_and_its_test_accuracy(suite: Suite) -> None:
    best, words = suite.best, read(suite).words
    assert f"Of 5 feature sets {best.name} is the best by accuracy on the validation rows." in words
    assert f"on 30 rows is {100 * best.test.accuracy:.2f} % (95 % Wilson interval" in words
    assert "10 of 10 solutions are optimal to the gap that was asked for" in words


def test_curves_go_over_the_numbers_of_the_layers_with_intervals(suite: Suite) -> None:
    means = chart_of(suite, "accuracy").page["datasets"]["means"]
    assert [(row["c"], row["x"]) for row in means] == [
        ("c0", 0), ("c0", 1), ("c0", 10), ("c1", 0), ("c1", 10),
    ]  # fmt: skip
    head = suite["layer10/mean"]
    low, high = head.test_interval
    row = means[2]
    found = (row["l"], row["m"], row["h"])
    assert found == pytest.approx((100 * low, 100 * head.test.accuracy, 100 * high), rel=1e-4)
    loss = chart_of(suite, "loss").page["datasets"]["means"][2]
    half = 1.96 * head.test.loss_error
    assert loss["h"] - loss["m"] == pytest.approx(half, rel=1e-2)


def test_the_map_has_a_cell_for_each_layer_and_pooling_and_frames_the_best(suite: Suite) -> None:
    page: Any = chart_of(suite, "map").page
    assert [p["value"] for p in page["params"] if p["name"] == "ynames"] == [["0", "1", "10"]]
    cells = {(c["x"], c["y"]): c for c in page["datasets"]["cells"]}
    assert len(cells) == 6
    assert cells[1, 1]["v"] is None
    [framed] = page["datasets"]["best"]
    tip = cells[framed["x"], framed["y"]]["t"]
    assert f"{tip[0]}/{tip[1]}" == suite.best.name
    assert tip[-1] == "1"


def test_names_without_numbers_are_on_the_axis_themselves(suite: Suite) -> None:
    record = named(suite, "small", "base", "large", "huge", "giant")
    axis, places = SuiteFigures.of(record).axis()
    assert axis.names == record.names
    assert [axis.word(places[name]) for name in record.names] == [*record.names]
    page: Any = chart_of(record, "accuracy").page
    assert [p["value"] for p in page["params"] if p["name"] == "xnames"] == [[*record.names]]
    tips = page["datasets"]["tips"]
    assert [tip["t"][0] for tip in tips] == [*record.names]
    assert all(chart.name != "suite-map" for chart in suite_page(record).charts)


@pytest.mark.parametrize("names", [("a1", "b1", "c1", "d1", "e1"), ("l1", "l01", "l2", "l3", "l4")])
def test_numbers_that_do_not_tell_layers_apart_are_no_axis(
    names: tuple[str, ...], suite: Suite
) -> None:
    assert SuiteFigures.of(named(suite, *names)).axis()[0].names == names


def test_one_set_has_a_page_without_curves(suite: Suite) -> None:
    record = replace(suite, heads=suite.heads[:1], sets=1)
    page = suite_page(record)
    assert page.sections[0].heading == "Summary"
    assert [chart.name for chart in page.charts] == ["suite-paths", "weights"]


def test_an_interrupted_suite_says_so(suite: Suite) -> None:
    assert "Interrupted: 5 of 9 heads are finished." in read(replace(suite, sets=9)).words


def test_hostile_names_stay_text(suite: Suite, tmp_path: Path) -> None:
    record = named(suite, *(f"{HOSTILE}{i}" for i in range(5)))
    assert all(attributes.get("src") != "x" for _, attributes in read(record).tags)
    assert write_report(record, tmp_path).is_file()


def test_the_table_ranks_all_sets(suite: Suite) -> None:
    table = next(s.table for s in suite_page(suite).sections if s.anchor == "table")
    assert table is not None
    assert [row[0].text for row in table.rows] == [head.name for head in suite.ranking]

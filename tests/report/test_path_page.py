"""The page of a λ path: what it says and shows, and that no odd path breaks it."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onelayer.data import load
from onelayer.model.intervals import wilson_interval
from onelayer.report.chart import Chart, l2_axis
from onelayer.report.page import write_report
from onelayer.report.path_page import path_page
from onelayer.report.render import render_page
from onelayer.report.summary import summarise_path
from onelayer.report.theme import SMALLEST
from onelayer.solver import Choice, solve_path
from onelayer.solver import Path as LambdaPath
from tests.report.made_paths import make_path
from tests.report.test_page import HOSTILE, Reader, explained

ONE_ERROR = Choice("log_loss", "one-standard-error")


def read(record: LambdaPath) -> Reader:
    reader = Reader(render_page(path_page(record), "/* scripts */"))
    assert reader.open == []
    return reader


def tables(record: LambdaPath, name: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = chart_of(record, name).page["datasets"]
    return found


def chart_of(record: LambdaPath, name: str) -> Chart:
    return next(c for c in path_page(record).charts if c.name == f"path-{name}")


def test_the_headline_says_what_was_chosen_scored_and_proven() -> None:
    record = make_path()
    path, test = record, record.test
    assert test is not None
    words = read(record).words
    assert f"λ = {path.best.l2:.3g} is chosen of 9 from 1 to 0.0001." in words
    low, high = wilson_interval(round(test.accuracy * test.rows), test.rows)
    interval = f"95 % Wilson interval {100 * low:.2f} to {100 * high:.2f} %"
    accuracy = f"{100 * test.accuracy:.2f} % ({interval})"
    assert f"Its test accuracy on 10,000 rows is {accuracy}" in words
    assert "proven to be at most 0.003 % above the best" in words


def test_the_page_of_an_l1_path_names_it_and_counts_the_features() -> None:
    record = solve_path(load("digits"), l1=[0.05, 0.01], tol=1e-3)
    count = int(record.best.W.any(axis=0).sum())
    words = read(record).words
    assert "λ₁ = 0.01 is chosen of 2 from 0.05 to 0.01." in words
    assert f"It keeps {count} of 64 features." in words
    assert "+ λ Σ W ² + λ₁ Σ | W |" in words
    assert "All 2 λ₁ > 0 have a cost proven to be within 0.1 %" in words
    assert [point["m"] for point in tables(record, "features")["means"]][1] == count
    assert "λ = " not in words


def test_the_page_follows_the_record_and_computes_nothing_anew() -> None:
    record = make_path()
    assert record.test is not None
    other = replace(record, chosen=0, test=replace(record.test, accuracy=0.125))
    words = read(other).words
    assert "λ = 1 is chosen" in words
    assert "test accuracy on 10,000 rows is 12.50 % (95 % Wilson" in words


def test_every_l2_has_its_line_with_its_figures() -> None:
    record = make_path()
    words = read(record).words
    for line in summarise_path(record):
        proof = f"{line.cost:.4f} {line.gap:.1e} {line.relative_gap:.1e} {line.norm:.3g}"
        assert f"{line.strength:.3g} {line.passes} {proof} {line.train.accuracy.mean:.2f}" in words
    assert words.count("float64's limit") == 1


def test_the_chosen_l2_is_marked_in_every_chart() -> None:
    record = make_path()
    charts = path_page(record).charts
    assert len(charts) == 5
    for chart in charts:
        assert chart.page["datasets"]["chosen"] == [{"x": record.best.l2}]
        assert f"Chosen: λ = {record.best.l2:.3g}" in chart.description


@pytest.mark.parametrize("by", ["accuracy", "loss"])
@pytest.mark.parametrize("folds", [0, 4])
def test_the_stripe_holds_the_l2s_that_are_hardly_worse_and_the_chosen_is_the_largest(
    by: Any, folds: int
) -> None:
    record = make_path(
        choice=Choice(by.replace("loss", "log_loss"), "one-standard-error"),
        folds=folds,
        test_rows=300,
    )
    (stripe,) = tables(record, by)["stripes"]
    (best,) = tables(record, by)["rings"]
    means = [row for row in tables(record, by)["means"] if row["c"] == "c1"]
    inside = [row["x"] for row in means if stripe["l"] <= row["m"] <= stripe["h"]]
    assert max(inside) == record.best.l2
    assert best["m"] == (max if by == "accuracy" else min)(row["m"] for row in means)
    other = "loss" if by == "accuracy" else "accuracy"
    assert tables(record, other)["stripes"] == tables(record, "norm")["stripes"] == []


@pytest.mark.parametrize(("folds", "kind"), [(0, "over rows"), (4, "over 4 folds")])
def test_every_error_on_the_page_says_what_it_is(folds: int, kind: str) -> None:
    page = path_page(make_path(folds=folds))
    assert explained(page) == {"path", "table"}
    along, table = page.section("path"), page.section("table")
    assert along is not None
    assert table is not None
    assert table.table is not None
    assert table.table.note == f"± standard error {kind}"
    assert f"± standard error {kind} for those held out" in along.note


def test_the_best_rule_shows_no_stripe() -> None:
    record = make_path()
    assert not any(chart.page["datasets"]["stripes"] for chart in path_page(record).charts)
    assert "stripe" not in read(record).words


def test_bands_are_one_standard_error() -> None:
    record = make_path(test_rows=400)
    rows = [row for row in tables(record, "accuracy")["means"] if row["c"] == "c1"]
    for row, (score,) in zip(rows, record.held_out, strict=True):
        assert row["h"] - row["m"] == pytest.approx(100 * score.accuracy_error, rel=1e-3)
        assert row["m"] - row["l"] == pytest.approx(100 * score.accuracy_error, rel=1e-3)


def test_the_gap_is_shown_against_what_was_asked_for() -> None:
    record = make_path()
    assert tables(record, "gap")["levels"] == [{"v": 1e-4, "w": "asked for: 1e-4"}]
    gaps = [row["m"] for row in tables(record, "gap")["means"]]
    assert gaps == pytest.approx([3e-5] * 9)
    assert "All 9 λ > 0 have a cost proven to be within 0.01 %" in read(record).words


def test_gaps_above_what_was_asked_for_are_counted() -> None:
    record = make_path()
    first, *others = record.models
    wide = replace(
        first,
        certificate=replace(first.require_certificate(), gap=0.5),
        settings=dict(first.settings) | {"status": "passes"},
    )
    words = read(replace(record, models=(wide, *others))).words
    assert "8 of 9 λ > 0 have a cost proven to be within 0.01 %" in words
    assert "passes ran out" in words


def test_l2_of_zero_is_drawn_apart_and_has_no_bound() -> None:
    record = make_path((1.0, 0.1, 0.01, 0.0))
    rows = [row for row in tables(record, "loss")["means"] if row["c"] == "c0"]
    assert ["apart" in row for row in rows] == [False, False, False, True]
    assert 0.0 < rows[-1]["x"] < 0.005
    assert len(tables(record, "gap")["means"]) == 3
    words = read(record).words
    assert "no bound" in words
    assert "For λ = 0 no bound exists" in words
    assert " inf" not in words
    assert "'0'" in json.dumps(chart_of(record, "loss").page)


def test_rows_that_are_separated_to_a_cost_of_0_have_a_page() -> None:
    record = make_path((1.0, 0.0))
    *others, last = record.models
    proof = replace(last.require_certificate(), cost=0.0)
    record = replace(record, models=(*others, replace(last, certificate=proof)))
    assert "no bound" in read(record).words
    assert "no bound" in repr(record)


def test_the_axis_is_logarithmic_and_says_which_way_shrinks() -> None:
    spec = chart_of(make_path(), "accuracy").page
    axes = [
        layer["encoding"]["x"]
        for layer in spec["layer"]
        if "scale" in layer["encoding"].get("x", {})
    ]
    assert axes
    assert all(axis["scale"]["type"] == "log" for axis in axes)
    assert all("larger shrinks W more →" in axis["title"] for axis in axes)
    assert l2_axis([1.0, 0.1, 0.01]).ticks == (0.01, 0.1, 1.0)
    assert l2_axis([0.5]).ticks == (0.5,)
    assert l2_axis([0.5, 0.0]).place(0.0) < 0.5
    assert l2_axis([0.3, 0.2]).ticks == (0.2, 0.3)


@pytest.mark.parametrize("l2s", [(0.0, 1e-320, 1e308), (0.0, 5e-324), (1e308,)])
def test_the_axis_holds_every_penalty_that_a_float_can_be(l2s: tuple[float, ...]) -> None:
    axis = l2_axis(l2s)
    assert all(0.0 < x < math.inf for x in (*(axis.domain or ()), *axis.ticks))


def test_a_choice_at_the_end_of_the_path_is_said_to_be() -> None:
    record = make_path()
    assert "that was tried" not in read(record).words
    for end, word in ((0, "largest"), (8, "smallest")):
        at_end = replace(record, chosen=end)
        assert f"The chosen λ is the {word} that was tried" in read(at_end).words


def test_the_choice_is_explained() -> None:
    by_loss = read(make_path(choice=ONE_ERROR, folds=5)).words
    assert "The lowest log loss on the rows held out in 5 folds of the training rows is" in by_loss
    assert "within one standard error" in by_loss
    assert "highest accuracy on the 10,000 validation rows" in read(make_path()).words


def test_templates_go_along_the_path_and_start_at_the_chosen_one() -> None:
    record = make_path()
    sheet = path_page(record).grids["templates"]
    assert len(sheet.labels) == 9
    assert (sheet.labels[0], sheet.labels[-1]) == ("λ = 0.0001", "λ = 1")
    assert sheet.labels[sheet.start] == f"λ = {record.best.l2:.3g}"
    assert sheet.rows[0].readings[sheet.start].startswith("chosen")


def test_long_paths_keep_their_sheets_small_and_the_chosen_one_in() -> None:
    l2s = [2.0**-i for i in range(150)]
    record = make_path(l2s, classes=("a", "b"), image_shape=(1, 2, 2), features=4)
    record = replace(record, chosen=77)
    sheet = path_page(record).grids["templates"]
    assert len(sheet.labels) <= 61
    assert sheet.labels[sheet.start] == f"λ = {2.0**-77:.3g}"


def without_cost(path: LambdaPath) -> LambdaPath:
    """The same with a last cost of 0, as separated classes reach it."""
    *models, last = path.models
    free = replace(last, certificate=replace(last.require_certificate(), cost=0.0))
    return replace(path, models=(*models, free))


@pytest.mark.parametrize(
    "record",
    [
        make_path((0.1,)),
        make_path((0.0,), image_shape=None, features=5),
        make_path((0.2, 0.0), folds=2),
        make_path(classes=("no", "yes"), image_shape=(1, 8, 8), features=64),
        make_path(classes=tuple(f"class {k}" for k in range(120)), image_shape=None),
        make_path((0.5, 0.4), folds=3, choice=ONE_ERROR),
        make_path((1e308, 5e-324, 0.0), image_shape=None, features=5),
        without_cost(make_path((0.1, 0.0), image_shape=None, features=5)),
    ],
    ids=["one", "zero", "one and zero", "grey", "many classes", "near", "wide", "no cost"],
)
def test_odd_paths_have_a_page(record: LambdaPath, tmp_path: Path) -> None:
    write_report(record, tmp_path)
    words = read(record).words.lower()
    assert " nan" not in words
    assert " inf" not in words


def test_accuracy_is_on_a_linear_axis() -> None:
    layers = chart_of(make_path(), "accuracy").page["layer"]
    scales = [layer["encoding"].get("y", {}).get("scale", {}) for layer in layers]
    assert any(scales)
    assert all(scale.get("type") != "log" for scale in scales)


def test_profiles_are_of_classes_for_images_and_of_the_strongest_features_else() -> None:
    path = make_path()
    rows = tables(path, "profiles")["means"]
    norms = [float(np.linalg.norm(model.W[3])) for model in path.models]
    assert [row["m"] for row in rows if row["c"] == "c3"] == pytest.approx(norms, rel=1e-4)
    plain = make_path(image_shape=None, features=30)
    labels = [key.label for key in chart_of(plain, "profiles").legend]
    strength = np.linalg.norm(plain.best.W, axis=0)
    assert labels == [f"feature {j}" for j in np.argsort(-strength, kind="stable")[:10]]
    assert "The 10 of 30 features with the largest weights" in read(plain).words


def test_a_path_without_test_rows_says_so() -> None:
    record = make_path()
    words = read(replace(record, test=None)).words
    assert "There are no test rows to score it on" in words


def test_names_with_markup_are_text() -> None:
    record = make_path(classes=(HOSTILE, "b"), image_shape=(1, 2, 2), features=4)
    card = replace(record.data, name=HOSTILE, source=HOSTILE)
    reader = read(replace(record, data=card, environment={HOSTILE: HOSTILE}))
    assert [tag for tag, _ in reader.tags if tag == "img"] == []
    assert len([tag for tag, _ in reader.tags if tag == "script"]) == 3
    assert HOSTILE in reader.words


def test_paths_of_this_machine_are_left_out() -> None:
    words = read(make_path()).words
    assert "/home/me" not in words
    assert "the cache …/cifar10" in words
    assert "2.50 s" in words


def test_charts_are_valid_vega_lite() -> None:
    import altair as alt

    record = make_path((1.0, 0.1, 0.0), choice=ONE_ERROR)
    for chart in path_page(record).charts:
        for spec in (chart.page, chart.paper):
            alt.LayerChart.validate(spec | {"$schema": alt.SCHEMA_URL})


def test_the_files_are_the_page_and_every_chart(path_folder: Path, path_record: LambdaPath) -> None:
    names = {f"path-{n}" for n in ("accuracy", "loss", "norm", "gap", "profiles")}
    names |= {"templates-path"}
    assert {path.name for path in path_folder.iterdir()} == {"report.html", "charts"}
    files = {path.name for path in (path_folder / "charts").iterdir()}
    assert files == {f"{name}.{form}" for name in names for form in ("png", "svg")}
    for name in names:
        with Image.open(path_folder / "charts" / f"{name}.png") as picture:
            assert min(picture.size) >= 480
        svg = (path_folder / "charts" / f"{name}.svg").read_text(encoding="utf-8")
        sizes = [float(size) for size in re.findall(r'font-size[=:]"?([\d.]+)', svg)]
        assert min(sizes) >= SMALLEST, name
    tags = read(path_record).tags
    places = {attributes["id"] for _, attributes in tags if "id" in attributes}
    for link in [a["href"] or "" for tag, a in tags if tag == "a"]:
        assert link[1:] in places if link.startswith("#") else (path_folder / link).is_file()

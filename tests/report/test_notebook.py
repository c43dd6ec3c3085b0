"""HTML in a notebook: balanced, escaped, and with the figures of the tables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onelayer.report.notebook import evaluation_html, model_html, record_html
from onelayer.training.result import Result
from onelayer.training.run import Run
from tests.model.datasets import make_model
from tests.report.made_paths import make_path
from tests.report.made_results import make_result
from tests.report.test_model_terminal import made
from tests.report.test_page import HOSTILE, Reader
from tests.report.test_selection import make_sweep


def read(html: str) -> Reader:
    reader = Reader(html)
    assert reader.open == []
    return reader


def test_a_sweep_is_ranked_with_a_dot_for_each_setting() -> None:
    reader = read(record_html(make_sweep()))
    assert "Settings by mean validation accuracy" in reader.words
    assert "80.50 ± 0.71" in reader.words
    assert "test accuracy (not used for selection)" in reader.words
    assert sum(tag == "circle" for tag, _ in reader.tags) == 9


def test_reported_figures_stand_beside_measured_ones(four_settings: Result) -> None:
    words = read(record_html(four_settings)).words
    assert "28.81" in words
    assert "reported" in words


@pytest.mark.parametrize("l2s", [(0.1,), (0.0,), (1.0, 0.1, 0.0)])
def test_a_path_shows_its_table_and_rings_the_chosen(l2s: tuple[float, ...]) -> None:
    reader = read(record_html(make_path(l2s)))
    assert "◄ chosen" in reader.words
    assert "test accuracy of λ" in reader.words
    assert sum(tag == "polyline" for tag, _ in reader.tags) == (len(l2s) > 1)


def test_a_model_shows_pictures_or_its_strongest_features() -> None:
    model = make_model()
    pictures = [tag for tag, _ in read(model_html(model)).tags if tag == "img"]
    assert len(pictures) == model.classes
    words = read(model_html(replace(model, image_shape=None))).words
    assert "strongest first" in words


def test_an_evaluation_shows_its_reliability_diagram() -> None:
    reader = read(evaluation_html(made(("no", "yes"))))
    assert "accuracy over confidence" in [a.get("aria-label") for t, a in reader.tags if t == "svg"]
    assert "ECE" in reader.words


def test_names_are_text() -> None:
    evaluation = made((HOSTILE, "b"))
    model = make_model(class_names=(HOSTILE, "b", "c"), feature_names=(HOSTILE,) * 12)
    runs = [Run(0.1, epochs=1, name=HOSTILE), Run(0.2, epochs=1, name="other")]
    result = make_result(runs, snapshots=())
    for html in (evaluation_html(evaluation), model_html(model), record_html(result)):
        assert all(tag not in ("script", "b") for tag, _ in read(html).tags)
        assert HOSTILE in read(html).words or HOSTILE[:20] in html.replace("&lt;", "<")


def test_nothing_measured_has_a_table_without_a_chart() -> None:
    result = make_result([Run(0.1, epochs=1)], snapshots=())
    nothing = replace(result.history, validation_accuracy=np.full((1, 2), np.nan))
    html = record_html(replace(result, history=nothing))
    assert "<svg" not in html
    assert "nan" not in html.lower()


def test_names_cannot_command_the_terminal() -> None:
    runs = [Run(0.1, epochs=1, name="\x1b[2Ja"), Run(0.2, epochs=1, name="b\x9b2J")]
    result = make_result(runs, snapshots=())
    for record in (result, replace(result, reported=())):
        assert not set(repr(record)) & {"\x1b", "\x9b"}

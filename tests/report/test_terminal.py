"""The terminal's tables: what they say, within 80 columns."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest

from onelayer import train
from onelayer.data.progress import terminal
from onelayer.report.summary import early_end
from onelayer.report.tables import accuracy_table, gradient_table
from onelayer.training.result import Outcome, Result
from onelayer.training.run import Run, grid, name_settings
from tests.made_data import make_splits
from tests.report.made_results import make_result, make_runs


def printed(table: object) -> str:
    stream = io.StringIO()
    terminal(file=stream, width=80, no_color=True).print(table)
    return stream.getvalue()


def test_table_of_the_four_settings_fits_80_columns(four_settings: Result) -> None:
    text = printed(accuracy_table(four_settings))
    assert max(map(len, text.splitlines())) <= 80
    [first] = [line for line in text.splitlines() if "28.81" in line]
    assert "24.78" in first
    assert "1 of 8" in first
    first_words = [line.split(",")[0] for line in text.splitlines()]
    assert first_words.count("λ=0") == 2


def test_one_seed_has_no_spread() -> None:
    text = printed(accuracy_table(make_result(make_runs(seeds=1, epochs=1), snapshots=())))
    assert "±" not in text


def test_what_stands_behind_the_spread_is_said(four_settings: Result) -> None:
    assert "± standard deviation over seeds" in printed(accuracy_table(four_settings))


def test_without_reported_figures_there_is_no_column_for_them() -> None:
    result = replace(make_result([Run(0.1, epochs=1)], snapshots=()), reported=())
    assert "report" not in printed(accuracy_table(result))


def test_settings_without_reported_figures_or_measurements_have_dashes() -> None:
    result = make_result([Run(0.3, epochs=1, name="[red]odd[/red]")], snapshots=())
    nothing = np.full((1, 2), np.nan)
    result = replace(
        result,
        history=replace(result.history, train_accuracy=nothing),
        outcomes=(Outcome("interrupted", 0, "stopped"),),
    )
    text = printed(accuracy_table(result))
    assert "[red]odd[/red]" in text
    [line] = [line for line in text.splitlines() if "odd" in line]
    assert line.count("–") == 3  # two reported figures and the training accuracy
    assert "interrupted" in line


def test_gradient_table_says_what_failed(four_settings: Result) -> None:
    good, other = four_settings.gradient_checks
    text = printed(gradient_table([good, replace(other, max_error=0.5)]))
    assert "2.5e-08" in text
    assert "passed" in text
    assert "FAILED" in text
    assert max(map(len, text.splitlines())) <= 80


def test_no_word_of_a_table_is_cut_however_many_settings_differ() -> None:
    runs = name_settings(grid(
        learning_rate=[0.0123456, 1e6], l2=[0, 1.23456e-5], momentum=[0, 0.9], seeds=3, epochs=3,
        batch_size=[5, 10000], schedule=["constant", "cyclical:0.125:3"],
    ))  # fmt: skip
    half = range(0, len(runs), 2)
    result = make_result(runs, features=4, image_shape=None, diverged=half, snapshots=())
    words = repr(replace(result, reported=(), gradient_checks=())).split()
    assert words.count("diverged") == 10
    assert {"cyclical:0.125:3", "constant", "1.23456e-05", "10000"} <= {w.strip(",") for w in words}
    one = replace(make_result(runs[:3], features=4, diverged=[0], snapshots=()), reported=())
    assert "diverged" in printed(accuracy_table(one)).split()


@pytest.mark.filterwarnings("ignore::onelayer.LearningRateWarning")
def test_a_training_that_ended_far_from_the_optimum_says_so_with_the_remedy() -> None:
    """The certificate knows it; without a penalty the cost does, where it goes on falling."""
    data = make_splits()

    def said(rate: float, l2: float, batch_size: int, epochs: int) -> str:
        run = Run(rate, l2=l2, batch_size=batch_size, epochs=epochs)
        return early_end(train(data, [run, replace(run, seed=1)]), (0, 1))

    rows = data.train.rows
    few = said(1e-3, 0.01, rows, 5)
    assert few.startswith("ended far from the optimum: up to 100 % of the cost may still be saved;")
    assert "more epochs, with smaller batches or a larger learning rate" in few
    assert "the cost still falls by 0." in said(1e-3, 0.0, rows, 5)
    assert said(0.1, 0.5, 10, 100) == ""

"""The terminal's table of a λ path: what it says, within 80 columns."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onelayer.report.tables import path_table
from onelayer.solver import Choice
from tests.report.made_paths import make_path
from tests.report.test_terminal import printed


@pytest.mark.parametrize("folds", [0, 5])
@pytest.mark.parametrize("choice", [Choice(), Choice("log_loss", "one-standard-error")])
def test_a_path_fits_80_columns_with_a_line_for_each_l2(choice: Choice, folds: int) -> None:
    record = make_path((1.0, 0.000123456, 0.0), choice=choice, folds=folds)
    lines = printed(path_table(record)).splitlines()
    assert max(map(len, lines)) <= 80
    starts = [line.split()[0] for line in lines if line.strip()]
    assert {"1", "0.000123", "0"} <= set(starts)
    assert [line.split()[0] for line in lines if "◄" in line and "by" not in line] == [
        f"{record.best.l2:.3g}"
    ]


def test_the_table_says_how_the_l2_was_chosen() -> None:
    record = make_path(folds=5, choice=Choice("log_loss", "one-standard-error"))
    text = printed(path_table(record))
    assert "loss on 5 folds, rule one-standard-error" in text
    assert "held-out loss" in text
    assert "held-out %" in printed(path_table(make_path()))


def test_what_was_not_proven_is_said() -> None:
    text = printed(path_table(make_path((1.0, 0.1, 0.0))))
    assert "no bound" in text
    assert "float64's" in text
    assert "inf" not in text


def test_the_chosen_row_says_how_its_search_ended() -> None:
    rows = path_table(make_path()).rows
    assert [row[-1].text for row in rows].count("proven ◄") == 1


def test_lambda_0_has_converged_and_is_not_called_proven() -> None:
    rows = path_table(make_path((1.0, 0.0, 0.1), choice=Choice("log_loss"))).rows
    ends = {row[0].text: row[-1].text.removesuffix(" ◄") for row in rows}
    assert (ends["1"], ends["0"]) == ("proven", "converged")


def test_lambda_0_of_classes_that_can_be_separated_has_no_optimum() -> None:
    path = make_path((1.0, 0.0, 0.1), choice=Choice("log_loss"))
    separated = replace(path.models[1], settings={**path.models[1].settings, "status": "separated"})
    rows = path_table(replace(path, models=(path.models[0], separated, path.models[2]))).rows
    assert "no optimum" in [row[-1].text.removesuffix(" ◄") for row in rows]

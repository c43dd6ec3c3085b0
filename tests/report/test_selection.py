"""The best setting on the page: the heat map over η and λ, and what is said of the grid."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from onelayer.files.provenance import Command
from onelayer.report.chart import Chart
from onelayer.report.page import result_page, write_report
from onelayer.report.selection import select_setting
from onelayer.training.result import Outcome, Result
from tests.report.made_results import make_result, make_runs
from tests.report.test_browser import Watched
from tests.report.test_page import read

if TYPE_CHECKING:
    from playwright.sync_api import Browser

RATES, L2S = (0.001, 0.01, 0.1), (0.0, 0.1, 1.0)
BEST = (0.01, 0.1)


def make_sweep(
    rates: tuple[float, ...] = RATES, l2s: tuple[float, ...] = L2S, best: tuple[float, float] = BEST
) -> Result:
    """Every η with every λ from two seeds; accuracy falls with the distance from the best."""
    runs = make_runs([(rate, l2) for rate in rates for l2 in l2s], seeds=2, epochs=3)
    result = replace(
        make_result(runs, features=8, image_shape=None, snapshots=()),
        reported=(),
        gradient_checks=(),
    )
    for i, run in enumerate(runs):
        far = abs(np.log10(run.eta / best[0])) + abs(run.l2 - best[1])
        result.history.validation_accuracy[i] = 0.8 - 0.1 * far + 0.01 * run.seed
    return result


def lose(result: Result, *positions: int) -> Result:
    """The same with runs that diverged at once."""
    lost = Outcome("diverged", 3, "lost")
    outcomes = tuple(lost if i in positions else o for i, o in enumerate(result.outcomes))
    return replace(result, outcomes=outcomes)


def maps_of(result: Result) -> tuple[Chart, ...]:
    section = result_page(result).section("best")
    return section.charts if section else ()


def cells_of(chart: Chart) -> dict[tuple[str, str], dict[str, Any]]:
    return {tuple(cell["t"][:2]): cell for cell in chart.page["datasets"]["cells"]}


def ramp_of(chart: Chart) -> list[str]:
    [ramp] = [one["value"] for one in chart.page["params"] if one["name"] == "ramp"]
    return list(ramp)


def test_every_cell_has_the_mean_over_its_seeds_and_the_best_is_framed() -> None:
    [chart] = maps_of(make_sweep())
    cells = cells_of(chart)
    assert len(cells) == 9
    assert cells["0.01", "0.1"]["v"] == pytest.approx(80.5)
    assert cells["0.1", "0.1"]["v"] == pytest.approx(70.5)
    [framed] = chart.page["datasets"]["best"]
    assert (framed["x"], framed["y"]) == (1, 1)
    assert (cells["0.01", "0.1"]["x"], cells["0.01", "0.1"]["y"]) == (1, 1)
    assert "Best: 80.50 % at η = 0.01 and λ = 0.1. 9 settings, 0 with" in chart.description


def test_a_setting_of_which_one_run_diverged_is_crossed_out_and_not_chosen() -> None:
    result = make_sweep()
    position = next(i for i, run in enumerate(result.runs) if (run.eta, run.l2) == BEST)
    lost = lose(result, position)
    cell = cells_of(maps_of(lost)[0])["0.01", "0.1"]
    assert (cell["n"], cell["v"], cell["t"][2]) == ("×", None, "1 of 2 runs diverged")
    selection = select_setting(lost)
    assert selection is not None
    assert selection.best.l2 == 0.0
    assert "× marks a setting of which a run diverged" in read(lose(result, position)).words


def test_each_batch_size_has_its_map_in_the_same_colours() -> None:
    runs = make_runs([(rate, l2) for rate in RATES for l2 in L2S], seeds=2, epochs=3)
    small = [replace(run, batch_size=50, name=f"{run.name}, batch 50") for run in runs]
    result = make_result([*runs, *small], features=8, image_shape=None, snapshots=())
    result.history.validation_accuracy[:] = np.linspace(0.3, 0.7, 36)[:, None]
    maps = maps_of(replace(result, reported=()))
    assert [chart.name for chart in maps] == ["sweep-batch-50", "sweep-batch-100"]
    assert ramp_of(maps[0]) == ramp_of(maps[1]) != []
    dashes = ['"strokeDash": [5, 3]' in json.dumps(chart.page) for chart in maps]
    assert dashes == [False, True]


def test_a_batch_size_of_which_every_run_diverged_has_no_frame() -> None:
    runs = make_runs([(rate, l2) for rate in RATES for l2 in L2S], seeds=2, epochs=3)
    small = [replace(run, batch_size=50, name=f"{run.name}, batch 50") for run in runs]
    result = make_result([*runs, *small], features=8, image_shape=None, snapshots=())
    small_map, large_map = maps_of(lose(result, *range(18, 36)))
    assert small_map.page["datasets"]["best"] == []
    assert "Every setting diverged" in small_map.description
    assert len(large_map.page["datasets"]["best"]) == 1


@pytest.mark.parametrize(
    ("rates", "l2s"), [(RATES, (0.1,)), ((0.01,), L2S)], ids=["one λ", "one η"]
)
def test_less_than_two_by_two_has_no_map(rates: tuple[float, ...], l2s: tuple[float, ...]) -> None:
    result = make_sweep(rates, l2s)
    assert select_setting(result) is None
    assert result_page(result).section("best") is None


def test_an_incomplete_grid_has_no_map(four_settings: Result) -> None:
    assert select_setting(four_settings) is None


def test_many_settings_that_are_no_grid_are_ranked_without_a_map() -> None:
    result = make_sweep()
    ragged = make_result(result.runs[:-2], features=8, image_shape=None, snapshots=())
    assert select_setting(ragged) is None
    runs = [*result.runs, *make_runs([(0.5, 0.7)], seeds=2, epochs=3)]
    many = make_result(runs, features=8, image_shape=None, snapshots=())
    assert select_setting(many) is not None
    assert maps_of(many) == ()


def test_the_page_says_which_command_made_it_without_paths() -> None:
    command = Command("sweep", {"data": "/home/me/rows.npz", "seeds": 2}, "0.1.0")
    words = read(replace(make_sweep(), command=command)).words
    assert "onelayer sweep --data …/rows.npz --seeds 2" in words


def test_settings_within_a_standard_error_of_the_best_are_counted() -> None:
    result = make_sweep()
    # p = 80.5 %, the next has 79.5 %, five have 69.5 to 71.5 %, two 61.5 %.
    for rows, said in (
        (10_000, ""),
        (1_000, "Another setting lies within 1.25 points"),
        (10, "6 other settings lie"),
    ):
        card = replace(result.data, validation_rows=rows)
        selection = select_setting(replace(result, data=card))
        assert selection is not None
        assert said.replace(" ", "") in "".join(selection.ties.split())
        assert bool(said) == bool(selection.ties)
    assert "Another setting" in read(replace(result,
        data=replace(result.data, validation_rows=1_000))).words  # fmt: skip


def test_nothing_is_chosen_when_every_run_diverged() -> None:
    result = make_sweep()
    assert select_setting(lose(result, *range(len(result.runs)))) is None


@pytest.mark.parametrize(
    ("best", "said"),
    [
        ((0.01, 0.1), ""),
        ((0.1, 0.1), "a larger η than 0.1 was not tried"),
        ((0.001, 1.0), "a smaller η than 0.001 and a larger λ than 1 were not tried"),
        ((0.01, 0.0), ""),
    ],
)
def test_a_best_setting_at_the_edge_of_the_grid_is_said_to_be(
    best: tuple[float, float], said: str
) -> None:
    selection = select_setting(make_sweep(best=best))
    assert selection is not None
    assert (selection.best.learning_rate, selection.best.l2) == best
    assert said in selection.edges
    assert bool(said) == bool(selection.edges)


def test_settings_that_learn_nothing_do_not_take_the_ramp() -> None:
    result = make_sweep()
    worst = len(result.runs) - 1
    result.history.validation_accuracy[worst - 1 :] = 0.01
    [chart] = maps_of(result)
    assert ramp_of(chart) == ["≤ 55", "68", "81"]
    assert min(cell["s"] for cell in chart.page["datasets"]["cells"]) == 0.0


def test_the_map_shows_what_settings_are_ranked_by_and_its_ramp_ends_at_the_best() -> None:
    result = make_sweep()
    losses = 3.0 - 2.0 * result.validation_accuracy
    ranked = replace(result, scoring="log_loss", validation_scores=losses)
    [chart] = maps_of(ranked)
    cells = cells_of(chart)
    assert cells["0.01", "0.1"]["v"] == pytest.approx(3.0 - 2.0 * 0.805)
    assert cells["0.01", "0.1"]["n"] == "1.390"
    assert "Best: 1.3900 nats at η = 0.01 and λ = 0.1." in chart.description
    assert ramp_of(chart)[0].startswith("≥ ")
    assert max(cells.values(), key=lambda cell: cell["s"]) == cells["0.01", "0.1"]
    assert chart.title == "Validation log loss / nats over η and λ"


def test_the_map_is_drawn_on_a_desk_and_on_a_phone(browser: Browser, tmp_path: Path) -> None:
    write_report(lose(make_sweep(), 0), tmp_path)
    for width, scheme in ((1280, "light"), (360, "dark")):
        watched = Watched(
            browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
        )
        page = watched.open(tmp_path)
        box = page.locator('[data-chart="sweep"] svg')
        assert box.locator(".role-mark.mark-rect path").count() == 10
        words = box.text_content() or ""
        assert "80.5" in words
        assert "×" in words
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        assert watched.complaints == []
        page.close()

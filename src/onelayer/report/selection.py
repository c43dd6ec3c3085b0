"""Which setting of a grid is best, and the grid around it: a heat map over η and λ.

Needs two learning rates and two λ, each with each, or many settings of any kind.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onelayer.report.chart import MOST_WITH_NUMBERS, Chart, HeatCell, heat_map
from onelayer.report.render import Section
from onelayer.report.summary import Records, Spread, listed, percent_on_test, spread, unbroken
from onelayer.training.result import RankedSetting, Result

# More settings than this are ranked though they are no grid, as those that were drawn at random.
MOST_UNRANKED = 8


@dataclass(frozen=True)
class Grid:
    """Every η with every λ of one kind.

    Attributes:
        kind: what else sets these settings apart from others, such as "batch 50"; or empty.
        rates: η, ascending.
        l2s: λ, ascending.
        standings: by (η, λ).
    """

    kind: str
    rates: tuple[float, ...]
    l2s: tuple[float, ...]
    standings: dict[tuple[float, float], RankedSetting]


@dataclass(frozen=True)
class Selection:
    """The best setting by the validation rows, among grids of η and λ.

    Attributes:
        sentence: which setting is best, and what it scores.
        edges: what lies beyond the grid, in a sentence; empty when the best is inside it.
        ties: how many settings so few validation rows cannot tell from it; empty for none.
        best: the best setting.
        grids: one of each kind, smaller batches first; none when the settings are no complete
            grid.
        settings: how many there are.
        lost: how many of them had a run that diverged.
    """

    sentence: str
    edges: str
    ties: str
    best: RankedSetting
    grids: tuple[Grid, ...]
    settings: int
    lost: int


def select_setting(result: Result) -> Selection | None:
    """Find the best setting and the grids that it was found in."""
    ranked = result.ranking
    grids = _grids(ranked)
    best = ranked[0]
    if best.diverged or math.isnan(best.mean) or not (grids or len(ranked) > MOST_UNRANKED):
        return None
    home = next((grid for grid in grids if grid.kind == best.kind), None)
    return Selection(
        sentence=_sentence(best, len(ranked), _test(result, best)),
        edges=_edges(best, home) if home else "",
        ties=_ties(ranked, result.data.validation_rows),
        best=best,
        grids=grids,
        settings=len(ranked),
        lost=sum(one.diverged > 0 for one in ranked),
    )


def _grids(ranked: Sequence[RankedSetting]) -> tuple[Grid, ...]:
    """One grid of each kind; none when a cell is missing or has two settings."""
    grids = []
    for _, kind in sorted({(one.batch_size, one.kind) for one in ranked}):
        of_one = [one for one in ranked if one.kind == kind]
        cells = {(one.learning_rate, one.l2): one for one in of_one}
        rates, l2s = (tuple(sorted(values)) for values in map(set, zip(*cells, strict=True)))
        whole = len(rates) > 1 and len(l2s) > 1
        if not whole or len(cells) != len(of_one) or len(cells) != len(rates) * len(l2s):
            return ()
        grids.append(Grid(kind, rates, l2s, cells))
    return tuple(grids)


def _test(result: Result, best: RankedSetting) -> Spread:
    return spread(percent_on_test(result)[list(best.positions)])


def _sentence(best: RankedSetting, settings: int, test: Spread) -> str:
    seeds = len(best.positions)
    mean = f" on average over {seeds} seeds" if seeds > 1 else ""
    words = (
        f"Of {settings} settings, {best.name} has the best validation accuracy, "
        f"{100 * best.mean:.2f} %{mean}, at a validation loss of {best.loss:.4f} nats."
    )
    if test.n:
        words += (
            f" Its test accuracy (not used for selection) is {test.mean:.2f}"
            + (f" ± {test.deviation:.2f}" if test.n > 1 else "")
            + " %."
        )
    return unbroken(words)


def _ties(ranked: Sequence[RankedSetting], rows: int) -> str:
    """How many settings are within the standard error of a share p of N rows, √(p (1 − p) / N)."""
    best = 100 * ranked[0].mean
    error = math.sqrt(best * (100.0 - best) / max(rows, 1))
    near = sum(not one.diverged and 100 * one.mean >= best - error for one in ranked[1:])
    if not near:
        return ""
    others = "another setting lies" if near == 1 else f"{near} other settings lie"
    return unbroken(
        f"Within {error:.2f} points of that on validation, the standard error of an accuracy on "
        f"{rows:,} rows, {others}: the validation rows cannot tell them apart."
    )


def _edges(best: RankedSetting, grid: Grid) -> str:
    beyond = [
        f"a {word} {letter} than {value:g}"
        for letter, value, values in (
            ("η", best.learning_rate, grid.rates),
            ("λ", best.l2, grid.l2s),
        )
        for word, end in (("smaller", values[0]), ("larger", values[-1]))
        if value == end and not (word == "smaller" and value == 0.0)
    ]
    if not beyond:
        return ""
    return (
        f"The best setting lies at the edge of the grid: {listed(beyond)} was not tried and may "
        "be better still."
    )


CROSS = "×"

# The ramp ends this many times as far under the best as the median is: settings that learn nothing
# would else take most of it, and those worth telling apart would look alike.
REACH = 2.5


def best_section(records: Records) -> Section | None:
    """The best setting and maps of the grids around it; None without a grid or many settings."""
    selection = select_setting(records.result)
    if selection is None:
        return None
    charts = heat_maps(selection)
    note = ""
    if charts:
        other = "; a dashed one around the best of another map" if len(charts) > 1 else ""
        lost = f" {CROSS} marks a setting of which a run diverged." if selection.lost else ""
        note = (
            "Means over seeds on the validation rows, with the weights of the last epoch. The "
            f"frame is around the best setting{other}.{lost} The axes are not to scale."
        )
    return Section(
        anchor="best",
        heading="Best setting",
        text=tuple(filter(None, (selection.sentence, selection.ties))),
        asides=(selection.edges,) if selection.edges else (),
        charts=charts,
        note=note,
    )


@dataclass(frozen=True)
class Shades:
    """Accuracies at the ends of the ramp, percent, the same for every map; `step` rounds them."""

    low: float
    high: float
    step: float


def heat_maps(selection: Selection) -> tuple[Chart, ...]:
    """One map of validation accuracy over η and λ for each kind of settings.

    The best setting of all has a full frame, the best of another map a dashed one, and a setting
    of which a run diverged is crossed out.
    """
    if not selection.grids:
        return ()
    shades = _shades(selection.grids)
    return tuple(_heat_map(grid, selection.best, shades) for grid in selection.grids)


def _shades(grids: Sequence[Grid]) -> Shades:
    shown = [
        100 * one.mean
        for grid in grids
        for one in grid.standings.values()
        if not one.diverged and math.isfinite(one.mean)
    ]
    high = max(shown)
    low = max(min(shown), high - REACH * (high - float(np.median(shown))))
    step = 1.0 if high - low > 4.0 else 0.1
    low, high = step * math.floor(low / step), step * math.ceil(high / step)
    return Shades(low, high if high > low else low + step, step)


def _heat_map(grid: Grid, best: RankedSetting, shades: Shades) -> Chart:
    standings = grid.standings.values()
    framed = min(standings, key=lambda one: one.rank)
    lost = sum(one.diverged > 0 for one in standings)
    at = f", {grid.kind}" if grid.kind else ""
    found = (
        "Every setting diverged"
        if framed.diverged
        else f"Best: {100 * framed.mean:.2f} % at η = {framed.learning_rate:g} "
        f"and λ = {framed.l2:g}"
    )
    middle = shades.step * round((shades.low + shades.high) / 2 / shades.step)
    # Text is wider than a cell where there are many columns.
    wide = 62 if len(grid.rates) <= MOST_WITH_NUMBERS else 30
    return heat_map(
        "-".join(["sweep", *re.findall(r"\w+(?:\.\w+)?", grid.kind)]),
        f"Validation accuracy / % over η and λ{at}",
        f"Validation accuracy / %{at}",
        f"{found}. {len(standings)} settings, {lost} with runs that diverged.",
        ("learning rate η", [f"{rate:g}" for rate in grid.rates]),
        ("penalty λ", [f"{l2:g}" for l2 in reversed(grid.l2s)]),
        [_cell(one) for one in standings],
        domain=(shades.low, shades.high),
        tips=("η", "λ", "validation accuracy", "validation loss / nats", "rank"),
        cell_size=(wide, 40),
        legend=(shades.low, middle, shades.high),
        framed=None if framed.diverged else _place(framed),
        dashed_frame=framed is not best,
    )


def _place(one: RankedSetting) -> tuple[str, str]:
    return f"{one.learning_rate:g}", f"{one.l2:g}"


def _cell(one: RankedSetting) -> HeatCell:
    finite = not one.diverged and math.isfinite(one.mean)
    runs = len(one.positions)
    words = f"{100 * one.mean:.2f} %" + (f" ± {100 * one.sd:.2f}" if runs > 1 else "")
    if one.diverged:
        words = f"{one.diverged} of {runs} runs diverged"
    elif not finite:
        words = "not trained"
    loss = f"{one.loss:.4f}" if math.isfinite(one.loss) else "–"
    return HeatCell(
        *_place(one),
        value=100 * one.mean if finite else None,
        text=f"{100 * one.mean:.1f}" if finite else CROSS if one.diverged else "–",
        tip=(*_place(one), words, loss, str(one.rank)),
    )

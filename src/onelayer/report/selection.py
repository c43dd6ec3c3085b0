"""Which setting of a grid is best, and the grid around it: a heat map over η and λ.

Needs two learning rates and two λ, each with each, or many settings of any kind.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onelayer.model.metrics import Metric
from onelayer.report.chart import MOST_WITH_NUMBERS, Chart, HeatCell, heat_map, unique_slugs
from onelayer.report.render import Section
from onelayer.report.summary import OVER_SEEDS, Records, listed, number, row_error
from onelayer.training.result import RankedSetting, Result

# Every η with every λ of one kind, such as "batch 50".
Grid = tuple[RankedSetting, ...]


@dataclass(frozen=True)
class Selection:
    """The best setting by the validation rows, among grids of η and λ."""

    edges: str  # what lies beyond the grid; empty when the best is inside it
    ties: str  # how many settings so few validation rows cannot tell from it; empty for none
    best: RankedSetting
    grids: tuple[Grid, ...]  # smaller batches first; none when the settings are no complete grid


def select_setting(result: Result) -> Selection | None:
    """Find the best setting and the grids that it was found in."""
    ranked = result.ranking
    grids = _grids(ranked)
    best = ranked[0]
    # Many settings are ranked though they are no grid, as those that were drawn at random.
    if best.diverged or best.untrained or math.isnan(best.mean) or not (grids or len(ranked) > 8):
        return None
    home = [grid for grid in grids if best in grid]
    return Selection(
        edges=_edges(best, home[0]) if home else "",
        ties=_ties(ranked, result.data.validation_rows),
        best=best,
        grids=grids,
    )


def _grids(ranked: Sequence[RankedSetting]) -> tuple[Grid, ...]:
    """One grid of each kind; none when a cell is missing or has two settings."""
    grids = []
    for _, kind in sorted({(one.batch_size, one.kind) for one in ranked}):
        grid = tuple(one for one in ranked if one.kind == kind)
        cells = {(one.learning_rate, one.l2) for one in grid}
        rates, l2s = map(set, zip(*cells, strict=True))
        whole = len(grid) == len(cells) == len(rates) * len(l2s)
        if not whole or min(len(rates), len(l2s)) < 2:
            return ()
        grids.append(grid)
    return tuple(grids)


def _ties(ranked: Sequence[RankedSetting], rows: int) -> str:
    if ranked[0].score != ranked[0].mean:  # by another metric than accuracy
        return ""
    best = 100 * ranked[0].mean
    error = row_error(best, rows)
    near = sum(not one.diverged and 100 * one.mean >= best - error for one in ranked[1:])
    if not near:
        return ""
    others = "Another setting lies" if near == 1 else f"{near} other settings lie"
    return (
        f"{others} within {error:.2f} points of the best validation accuracy, its standard error "
        f"over {rows:,} rows: the validation rows cannot tell them apart."
    )


def _edges(best: RankedSetting, grid: Grid) -> str:
    beyond = []
    for letter, quantity in (("η", "learning_rate"), ("λ", "l2")):
        value, values = getattr(best, quantity), [getattr(one, quantity) for one in grid]
        beyond += [f"a smaller {letter} than {value:g}"] if min(values) == value != 0.0 else []
        beyond += [f"a larger {letter} than {value:g}"] if max(values) == value else []
    if not beyond:
        return ""
    return (
        f"The best setting lies at the edge of the grid: {listed(beyond)} "
        f"{'was' if len(beyond) == 1 else 'were'} not tried and may be better still."
    )


CROSS = "×"


def best_section(records: Records) -> Section | None:
    """The best setting and maps of the grids around it; None without a grid or many settings."""
    selection = select_setting(records.result)
    if selection is None:
        return None
    charts = _heat_maps(selection, records.result.metric)
    if not charts and not selection.ties:
        return None
    other = "; a dashed one around the best of another map" if len(charts) > 1 else ""
    lost = any(one.diverged for one in records.result.ranking)
    crosses = f" {CROSS} marks a setting of which a run diverged." if lost else ""
    note = (
        "Means over seeds on the validation rows, with the weights of the last epoch. The "
        f"frame is around the best setting{other}.{crosses} The axes are not to scale."
    )
    return Section(
        anchor="best",
        heading="Best setting",
        text=(selection.ties,) if selection.ties else (),
        asides=(selection.edges,) if selection.edges else (),
        charts=charts,
        note=note if charts else "",
    )


def _heat_maps(selection: Selection, metric: Metric) -> tuple[Chart, ...]:
    """One map of the validation score over η and λ for each kind, with the same ramp."""
    shown = [
        metric.factor * one.score
        for grid in selection.grids
        for one in grid
        if not one.diverged and math.isfinite(one.score)
    ]
    if not shown:
        return ()
    ramp = ramp_of(shown, greater=metric.greater)
    places = unique_slugs(grid[0].kind for grid in selection.grids)
    return tuple(
        _heat_map(f"sweep-{place}" if grid[0].kind else "sweep", grid, selection.best, ramp, metric)
        for grid, place in zip(selection.grids, places, strict=True)
    )


def ramp_of(values: Sequence[float], *, greater: bool = True) -> tuple[float, float, float]:
    """The worst value, a middle one and the best of a ramp, in steps that are short to write."""
    sign = 1.0 if greater else -1.0
    upward = [sign * value for value in values]
    high = max(upward)
    # The ramp ends 2.5 times as far under the best as the median is: settings that learn nothing
    # would else take most of it, and those worth telling apart would look alike.
    low = max(min(upward), high - 2.5 * (high - float(np.median(upward))))
    step = min(1.0, 10.0 ** math.floor(math.log10((high - low) / 4.0))) if high > low else 0.1
    low, high = step * math.floor(low / step), step * math.ceil(high / step)
    high = high if high > low else low + step
    return sign * low, sign * step * round((low + high) / 2 / step), sign * high


def _heat_map(
    name: str,
    grid: Grid,
    best: RankedSetting,
    ramp: tuple[float, float, float],
    metric: Metric,
) -> Chart:
    """A full frame is around the best setting of all, a dashed one around that of another map."""
    framed, kind = min(grid, key=lambda one: one.rank), grid[0].kind
    rates = sorted({one.learning_rate for one in grid})
    l2s = sorted({one.l2 for one in grid}, reverse=True)
    lost = sum(one.diverged > 0 for one in grid)
    at = f", {kind}" if kind else ""
    found = (
        "Every setting diverged"
        if framed.diverged
        else f"Best: {metric.words(framed.score)} at η = {framed.learning_rate:g} "
        f"and λ = {framed.l2:g}"
    )
    # Text is wider than a cell where there are many columns.
    wide = 62 if len(rates) <= MOST_WITH_NUMBERS else 30
    columns = ("learning rate η", [f"{rate:g}" for rate in rates])
    rows = ("penalty λ", [f"{l2:g}" for l2 in l2s])
    cells = [_cell(one, rates.index(one.learning_rate), l2s.index(one.l2), metric) for one in grid]
    look: dict[str, Any] = {"ramp": ramp, "cell_size": (wide, 40)}
    look |= {"tips": ("η", "λ", f"validation {metric.title}", "validation loss / nats", "rank")}
    if not framed.diverged:
        look |= {"framed": (rates.index(framed.learning_rate), l2s.index(framed.l2))}
    title = f"Validation {metric.axis} over η and λ{at}"
    heading = f"Validation {metric.axis}{at}"
    said = f"{found}. {len(grid)} settings, {lost} with runs that diverged."
    dashed = framed is not best
    return heat_map(name, title, heading, said, columns, rows, cells, dashed_frame=dashed, **look)


def _cell(one: RankedSetting, x: int, y: int, metric: Metric) -> HeatCell:
    runs, unit = len(one.positions), metric.factor
    shown = math.isfinite(one.score) and not one.diverged
    text = f"{unit * one.score:.{1 if metric.unit == '%' else 3}f}"
    words = metric.words(one.score)
    if runs > 1:
        spread = f"{metric.number(one.score)} ± {metric.words(one.score_sd)}"
        words = f"{spread} ({OVER_SEEDS.removeprefix('± ')})"
    if one.diverged:
        text, words = CROSS, f"{one.diverged} of {runs} runs diverged"
    elif not shown:
        text, words = "–", "not trained"
    place = f"{one.learning_rate:g}", f"{one.l2:g}"
    tip = (*place, words, number(one.loss, ".4f"), str(one.rank))
    return HeatCell(x, y, unit * one.score if shown else None, text, tip)

"""Which setting of a grid is best, and what the grid around it looks like.

Needs two learning rates and two λ, each with each, or many settings of any kind.

The heat map of a sweep: validation accuracy over η and λ, the best cell marked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from onelayer.report.chart import LIGHT, Chart, finished_specs, short
from onelayer.report.summary import Spread, listed, percent_on_test, spread, unbroken
from onelayer.training.result import RankedSetting, Result

if TYPE_CHECKING:
    import altair as alt

MOST_LINES = 10

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
        heading: of the section.
        sentence: which setting is best, and what it scores.
        edges: what lies beyond the grid, in a sentence; empty when the best is inside it.
        ties: how many settings so few validation rows cannot tell from it; empty for none.
        best: the best setting.
        grids: one of each kind, smaller batches first; none when the settings are no complete
            grid.
        leaders: the first MOST_LINES of the ranking.
        settings: how many there are.
        lost: how many of them had a run that diverged.
    """

    heading: str
    sentence: str
    edges: str
    ties: str
    best: RankedSetting
    grids: tuple[Grid, ...]
    leaders: tuple[RankedSetting, ...]
    settings: int
    lost: int


def select_setting(result: Result) -> Selection | None:
    """Find the best setting and the grids that it was found in.

    Args:
        result: the records.

    Returns:
        The selection; None when the settings are neither a complete grid of at least 2 × 2 η and λ
        nor many, or nothing was measured on validation rows.
    """
    ranked = result.ranking
    grids = _grids(ranked)
    best = ranked[0]
    if best.diverged or math.isnan(best.mean) or not (grids or len(ranked) > MOST_UNRANKED):
        return None
    home = next((grid for grid in grids if grid.kind == best.kind), None)
    return Selection(
        heading="Which setting is best",
        sentence=_sentence(best, len(ranked), _test(result, best)),
        edges=_edges(best, home) if home else "",
        ties=_ties(ranked, result.data.validation_rows),
        best=best,
        grids=grids,
        leaders=ranked[:MOST_LINES],
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
            f" On the test rows, which had no say in the choice, it scores {test.mean:.2f}"
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
        f"{rows:,} rows, {others}: the validation rows hardly tell them apart."
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


# With more columns the cells have no room for numbers, and the legend of colours says enough.
MOST_WITH_NUMBERS = 12

ROW, COLUMN = 40, 62

CROSS = "×"

# The ramp ends this many times as far under the best as the median is: settings that learn nothing
# would else take most of it, and those worth telling apart would look alike.
REACH = 2.5


@dataclass(frozen=True)
class Shades:
    """Accuracies that the ends of the ramp stand for, percent; the same for every map of a page.

    Attributes:
        low: this and anything under it is palest.
        high: of the best setting, rounded up.
        step: what they are rounded to.
    """

    low: float
    high: float
    step: float

    def share(self, accuracy: float) -> float:
        """Where on the ramp an accuracy lies, percent."""
        return max(0.0, 100.0 * (accuracy - self.low) / (self.high - self.low))


def heat_maps(selection: Selection) -> tuple[Chart, ...]:
    """Draw validation accuracy over η and λ, one map for each batch size, scaling and method.

    Args:
        selection: the grids and the best setting.

    Returns:
        The maps; the best cell of all has a full frame, the best of another map a dashed one, and
        a setting of which a run diverged is crossed out.
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
    cells = [_cell(one, shades) for one in grid.standings.values()]
    framed = min(grid.standings.values(), key=lambda one: one.rank)
    tables = {"cells": cells, "best": [] if framed.diverged else [_place(framed)]}
    drawing = _Drawing(grid, shades, framed is best)
    size = (COLUMN * len(grid.rates) + 20, ROW * len(grid.l2s))
    specs = finished_specs(drawing.layers(), drawing.layers(), height=size[1], paper_size=size)
    at = f", {grid.kind}" if grid.kind else ""
    title = f"Validation accuracy / % over η and λ{at}"
    lost = sum(one.diverged > 0 for one in grid.standings.values())
    found = (
        "Every setting diverged"
        if framed.diverged
        else f"Best: {100 * framed.mean:.2f} % at η = {framed.learning_rate:g}, λ = {framed.l2:g}"
    )
    return Chart(
        name="-".join(["sweep", *re.findall(r"\w+(?:\.\w+)?", grid.kind)]),
        title=title,
        heading=f"Validation accuracy / %{at}",
        description=(f"{title}. {found}. {len(cells)} settings, {lost} with runs that diverged."),
        page=specs.page_with(tables),
        paper=specs.paper_with(tables, title),
    )


def _place(one: RankedSetting) -> dict[str, Any]:
    return {"x": f"{one.learning_rate:g}", "y": f"{one.l2:g}", "k": "best"}


def _cell(one: RankedSetting, shades: Shades) -> dict[str, Any]:
    finite = not one.diverged and math.isfinite(one.mean)
    runs = len(one.positions)
    accuracy = f"{100 * one.mean:.2f} %"
    if runs - one.diverged > 1:
        accuracy += f" ± {100 * one.sd:.2f}"
    words = f"{one.diverged} of {runs} runs diverged" if one.diverged else accuracy
    label = f"{100 * one.mean:.1f}" if finite else CROSS if one.diverged else "–"
    return _place(one) | {
        "v": short(100 * one.mean) if finite else None,
        "s": short(shades.share(100 * one.mean)) if finite else 0.0,
        "n": label,
        "w": words if finite or one.diverged else "not trained",
        "l": f"{one.loss:.4f}" if math.isfinite(one.loss) else "–",
        "r": one.rank,
    }


@dataclass(frozen=True, eq=False)
class _Drawing:
    """The marks of a heat map."""

    grid: Grid
    shades: Shades
    holds_best: bool

    def layers(self) -> alt.LayerChart | alt.FacetChart:
        """Crossed cells, coloured cells, a frame around the best, numbers."""
        import altair as alt

        # Which ink is readable on a cell depends on the theme, so both are parameters.
        inks = [
            alt.param(name="inkOnLow", value=LIGHT.ink_on_low),
            alt.param(name="inkOnHigh", value=LIGHT.ink_on_high),
            alt.param(name="inkSwitch", value=LIGHT.ink_switch),
        ]
        return alt.layer(
            self._base("cells")
            .transform_filter("datum.v === null")
            .mark_rect(color="#808080", opacity=0.16, cornerRadius=3)
            .encode(tooltip=self._words()),
            self._colours(),
            self._frame(),
            self._numbers(),
        ).add_params(*inks)

    def _base(self, table: str) -> alt.Chart:
        import altair as alt

        rates = [f"{rate:g}" for rate in self.grid.rates]
        l2s = [f"{l2:g}" for l2 in reversed(self.grid.l2s)]
        axis = alt.Axis(labelAngle=0, ticks=False, domain=False, grid=False)
        gap = alt.Scale(paddingInner=0.07, paddingOuter=0.05)
        return alt.Chart(alt.NamedData(table)).encode(
            x=alt.X("x:O", sort=rates, scale=gap, title="learning rate η", axis=axis),
            y=alt.Y("y:O", sort=l2s, scale=gap, title="penalty λ", axis=axis),
        )

    def _words(self) -> list[alt.Tooltip]:
        import altair as alt

        return [
            alt.Tooltip("x:N", title="η"),
            alt.Tooltip("y:N", title="λ"),
            alt.Tooltip("w:N", title="validation accuracy"),
            alt.Tooltip("l:N", title="validation loss / nats"),
            alt.Tooltip("r:Q", title="rank"),
        ]

    def _colours(self) -> Any:
        import altair as alt

        low, high, step = self.shades.low, self.shades.high, self.shades.step
        scale = alt.Scale(domain=[low, high], clamp=True)
        legend = alt.Legend(
            orient="bottom",
            direction="horizontal",
            gradientLength=220,
            values=[low, step * round((low + high) / 2 / step), high],
            format=".0f" if step == 1.0 else ".1f",
            labelExpr="datum.index ? datum.label : '≤ ' + datum.label",
        )
        return (
            self._base("cells")
            .transform_filter("datum.v !== null")
            .mark_rect(cornerRadius=3)
            .encode(color=alt.Color("v:Q", scale=scale, legend=legend), tooltip=self._words())
        )

    def _frame(self) -> Any:
        import altair as alt

        # The second colour of the series, whatever the theme makes of it.
        scale = alt.Scale(domain=["first", "best"])
        return (
            self._base("best")
            .mark_rect(
                fillOpacity=0,
                strokeWidth=3,
                cornerRadius=3,
                strokeDash=[1, 0] if self.holds_best else [5, 3],
            )
            .encode(stroke=alt.Stroke("k:N", scale=scale, legend=None))
        )

    def _numbers(self) -> Any:
        import altair as alt

        roomy = len(self.grid.rates) <= MOST_WITH_NUMBERS
        shown = "true" if roomy else "datum.v === null"
        return (
            self._base("cells")
            .transform_filter(shown)
            .mark_text(fontSize=12)
            .encode(
                text="n:N",
                color=alt.condition(
                    "datum.s > inkSwitch",
                    alt.value(alt.ExprRef("inkOnHigh")),
                    alt.value(alt.ExprRef("inkOnLow")),
                ),
                tooltip=self._words(),
            )
        )

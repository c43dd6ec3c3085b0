"""Curves over epochs: for each series the mean over runs, the band they fill, and each run.

On the page a curve, the band or a single run is hidden through the chart's `hidden` parameter, a
list of keys; what is hidden leaves the data, so the axes close up around what is left.

What several runs measured over the epochs, one by one and together.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onelayer.report.chart import (
    DASHES,
    Chart,
    Key,
    Specs,
    Tables,
    finished_specs,
    short,
    words_near_pointer,
)

if TYPE_CHECKING:
    import altair as alt


@dataclass(frozen=True, eq=False)
class Series:
    """One curve, measured by several runs.

    Attributes:
        label: what the legend calls it.
        values: one row a run, one column an epoch from 0, shape (n, epochs + 1); NaN where a run
            had stopped.
        runs: what each row is called, n names.
    """

    label: str
    values: NDArray[np.float64]
    runs: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Band:
    """Mean, smallest and largest value of a series at each epoch, and over how many runs."""

    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    n: NDArray[np.int64]


def band_of(values: NDArray[np.float64]) -> Band:
    """Summarise runs epoch by epoch, over those that were still finite.

    Args:
        values: shape (n, epochs + 1), NaN where a run had stopped.

    Returns:
        Arrays of shape (epochs + 1,); NaN at epochs that no run reached.

    Example:
        >>> band_of(np.array([[1.0, 2.0], [3.0, np.nan]])).mean
        array([2., 2.])
    """
    there = np.isfinite(values)
    n = there.sum(axis=0)
    with np.errstate(over="ignore"):
        total = np.where(there, values, 0.0).sum(axis=0)
    mean = np.where(n > 0, total / np.maximum(n, 1), np.nan)
    low = np.where(there, values, np.inf).min(axis=0)
    high = np.where(there, values, -np.inf).max(axis=0)
    return Band(mean, np.where(n > 0, low, np.nan), np.where(n > 0, high, np.nan), n)


BAND, RUNS = "band", "runs"

# Beyond this many runs a curve shows its mean and band only: single lines would blur into a band.
MOST_RUNS = 16

# Values that span more than this factor are drawn on a logarithmic axis: runs that jump about or
# are on their way to divergence would squash every other curve into the bottom line.
WIDE = 8.0


def curve_chart(
    name: str,
    title: str,
    heading: str,
    unit: str,
    series: Sequence[Series],
    *,
    show_runs: bool = False,
    first_epoch: int = 0,
) -> Chart:
    """Draw series over epochs.

    Args:
        name: of the files.
        title: on paper.
        heading: on the page.
        unit: title of the vertical axis, with its unit.
        series: the curves, in the order of their colours.
        show_runs: whether single runs are shown at first.
        first_epoch: epochs before it are left out.

    Returns:
        The chart, for the page and for paper.
    """
    several = max(len(one.runs) for one in series) > 1
    single_runs = several and max(len(one.runs) for one in series) <= MOST_RUNS
    tables = _tables(series, first_epoch, single_runs)
    keys = tuple(Key(f"c{i}", one.label, i) for i, one in enumerate(series))
    extra: tuple[Key, ...] = (Key(BAND, "range over seeds"),) if several else ()
    names = tuple(dict.fromkeys(run for one in series for run in one.runs)) if single_runs else ()
    extra += (Key(RUNS, "each run"),) if names else ()
    labels, wide = tuple(one.label for one in series), _is_wide(series)
    hidden = () if show_runs or not names else (RUNS,)
    drawing = _Drawing(labels, unit, wide, hidden, one_epoch=len(tables["tips"]) < 3)
    specs = _specs(drawing)
    return Chart(
        name=name,
        title=title,
        heading=heading,
        description=_describe(title, series),
        page=specs.page_with(tables),
        paper=specs.paper_with(tables, title),
        legend=keys + extra,
        runs=tuple(Key(f"run {run}", run) for run in names),
        hidden=hidden,
        interactive=True,
    )


def _describe(title: str, series: Sequence[Series]) -> str:
    ends = []
    for one in series:
        mean = band_of(one.values).mean
        reached = np.flatnonzero(np.isfinite(mean))
        if reached.size:
            first, last = int(reached[0]), int(reached[-1])
            ends.append(
                f"{one.label} goes from {mean[first]:.4g} at epoch {first} "
                f"to {mean[last]:.4g} at epoch {last}"
            )
    return f"{title}. Mean over the runs: {'; '.join(ends) or 'nothing was measured'}."


def _is_wide(series: Sequence[Series]) -> bool:
    values = np.concatenate([one.values.ravel() for one in series])
    values = values[np.isfinite(values)]
    return bool(values.size and values.min() > 0 and values.max() / values.min() > WIDE)


def _tables(series: Sequence[Series], first_epoch: int, single_runs: bool) -> Tables:
    """The chart's data: means with bands, single runs, and one line of words an epoch."""
    means, runs = [], []
    tips: dict[int, dict[str, Any]] = {}
    for i, one in enumerate(series):
        band = band_of(one.values)
        for epoch in range(first_epoch, one.values.shape[1]):
            if not band.n[epoch]:
                continue
            low, mean, high = (short(float(v[epoch])) for v in (band.low, band.mean, band.high))
            means.append({"c": f"c{i}", "e": epoch, "m": mean, "l": low, "h": high})
            words = f"{mean:.4g}" if mean is not None else "too large"
            if band.n[epoch] > 1:
                words += f" ({low:.4g} to {high:.4g})"
            tips.setdefault(epoch, {"e": epoch, "w": str(epoch)})[f"t{i}"] = words
        for name, row in zip(one.runs, one.values, strict=True) if single_runs else ():
            runs += [
                {"c": f"c{i}", "s": name, "e": epoch, "v": short(float(row[epoch]))}
                for epoch in range(first_epoch, len(row))
                if np.isfinite(row[epoch])
            ]
    return {"means": means, "runs": runs, "tips": list(tips.values())}


@lru_cache(maxsize=32)
def _specs(drawing: _Drawing) -> Specs:
    return finished_specs(drawing.on_page(), replace(drawing, paper=True).on_paper())


@dataclass(frozen=True)
class _Drawing:
    """The marks of a chart of curves."""

    labels: tuple[str, ...]
    unit: str
    wide: bool
    hidden: tuple[str, ...]
    one_epoch: bool
    paper: bool = False

    def on_paper(self) -> alt.LayerChart | alt.FacetChart:
        """What is shown at first, with a legend."""
        import altair as alt

        runs = [] if RUNS in self.hidden else [self._runs()]
        return alt.layer(self._band(), *runs, self._means())

    def on_page(self) -> alt.LayerChart | alt.FacetChart:
        """Every mark, the rule that follows the pointer, and the parameters that hide and zoom."""
        import altair as alt

        zoom = alt.selection_interval(
            bind="scales",
            name="zoom",
            # A page must scroll under a finger or a wheel: only a mouse drags, and a wheel zooms
            # with a key held down (which is what pinching a touchpad sends).
            translate="[pointerdown[event.pointerType !== 'touch'], window:pointerup]"
            " > window:pointermove!",
            zoom="wheel![event.ctrlKey || event.shiftKey]",
        )
        means = self._means().add_params(zoom)
        hidden = alt.param(name="hidden", value=list(self.hidden))
        layers = alt.layer(self._band(), self._runs(), means, self._pointer())
        return layers.add_params(hidden)

    def _chart(self, table: str) -> alt.Chart:
        import altair as alt

        return alt.Chart(alt.NamedData(table)).encode(
            x=alt.X("e:Q", title="epoch", axis=self._epochs())
        )

    def _epochs(self) -> alt.Axis:
        import altair as alt

        return alt.Axis(tickMinStep=1, format="d", grid=False)

    def _y(self, field: str) -> alt.Y:
        import altair as alt

        scale = alt.Scale(type="log", nice=False, padding=6) if self.wide else alt.Scale(zero=False)
        title = f"{self.unit}, log scale" if self.wide else self.unit
        return alt.Y(f"{field}:Q", title=title, scale=scale, axis=alt.Axis(tickCount=6))

    def _keys(self) -> list[str]:
        return [f"c{i}" for i in range(len(self.labels))]

    def _color(self) -> alt.Color:
        import altair as alt

        # Layers share one legend, and one layer without it would take it from all.
        return alt.Color("c:N", scale=alt.Scale(domain=self._keys()), legend=self._legend())

    def _legend(self) -> alt.Legend | None:
        import altair as alt

        if not self.paper:
            return None

        names = dict(zip(self._keys(), self.labels, strict=True))
        expression = f"({json.dumps(names, ensure_ascii=False)})[datum.value]"
        return alt.Legend(labelExpr=expression, symbolType="stroke")

    def _band(self) -> alt.Chart:
        shown = f"indexof(hidden, datum.c) < 0 && indexof(hidden, '{BAND}') < 0"
        mark = self._chart("means").mark_area(fillOpacity=0.2, clip=not self.paper)
        return self._filtered(mark, shown).encode(y=self._y("l"), y2="h:Q", color=self._color())

    def _runs(self) -> alt.Chart:
        shown = (
            f"indexof(hidden, datum.c) < 0 && indexof(hidden, '{RUNS}') < 0 "
            "&& indexof(hidden, 'run ' + datum.s) < 0"
        )
        mark = self._chart("runs").mark_line(
            strokeOpacity=0.55, strokeWidth=0.8, clip=not self.paper
        )
        return self._filtered(mark, shown).encode(y=self._y("v"), color=self._color(), detail="s:N")

    def _means(self) -> alt.Chart:
        import altair as alt

        dashes = alt.Scale(
            domain=self._keys(),
            range=[list(DASHES[i % len(DASHES)]) for i in range(len(self.labels))],
        )
        mark = self._chart("means").mark_line(
            strokeWidth=2.4, clip=not self.paper, point=self.one_epoch
        )
        return self._filtered(mark, "indexof(hidden, datum.c) < 0").encode(
            y=self._y("m"),
            color=self._color(),
            strokeDash=alt.StrokeDash("c:N", scale=dashes, legend=self._legend()),
        )

    def _filtered(self, chart: alt.Chart, shown: str) -> alt.Chart:
        """On paper nothing is hidden, so nothing is asked."""
        return chart if self.paper else chart.transform_filter(shown)

    def _pointer(self) -> alt.Chart:
        import altair as alt

        near = alt.selection_point(
            name="near", nearest=True, on="pointerover", fields=["e"], empty=False, clear=False
        )
        tips = {"epoch": "w"} | {label: f"t{i}" for i, label in enumerate(self.labels)}
        rule: alt.Chart = (
            self._chart("tips")
            .mark_rule(strokeWidth=1.2)
            .encode(
                opacity=alt.condition(near, alt.value(0.8), alt.value(0)),
                tooltip=words_near_pointer(tips),
            )
            .add_params(near)
        )
        return rule

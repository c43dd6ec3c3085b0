"""Charts: Vega-Lite for the page and for paper from one description, and the words around them.

Three builders draw every chart: `line_chart` (curves over epochs, λ or confidence), `dot_chart`
(values side by side, one row a setting) and `heat_map`. On the page a chart takes the width of its
box, and one legend of buttons serves all charts of a section; on paper a chart has a fixed size and
its own legend.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from onelayer.report.theme import DASHES, LIGHT, SHAPES, SMALLEST, inks_of

Spec = dict[str, Any]
Rows = list[dict[str, Any]]

PAPER_WIDTH, PAPER_HEIGHT = 460, 280

GREEK = {"λ": "lambda", "η": "eta"}

# Keys of the legend that are not one curve.
BAND, RUNS = "band", "runs"

# Beyond this many runs a curve shows its mean and band only: single lines would blur into a band.
MOST_RUNS = 16

# Losses that span more than this factor are drawn on a logarithmic axis.
WIDE = 8.0


@dataclass(frozen=True)
class Key:
    """One entry of a legend: its key in the chart's `hidden` parameter, and what the reader sees.

    `series` is the number of its colour and dash, None for entries that are not one curve; a solid
    entry is drawn without its dash.
    """

    key: str
    label: str
    series: int | None = None
    solid: bool = False


@dataclass(frozen=True)
class Chart:
    """A chart of the page.

    Attributes:
        name: name of its files and of its box on the page, without an ending.
        title: what it shows, with the setting; stands above it on paper.
        heading: the title within its section of the page.
        description: alternative text: what a reader who cannot see it should know.
        page: Vega-Lite for the page.
        paper: Vega-Lite for PNG and SVG.
        legend: entries that can be hidden.
        runs: entries of single runs, which can be hidden as well.
        hidden: keys hidden at first.
        interactive: whether it can be zoomed and moved.
    """

    name: str
    title: str
    heading: str
    description: str
    page: Spec
    paper: Spec
    legend: tuple[Key, ...] = ()
    runs: tuple[Key, ...] = ()
    hidden: tuple[str, ...] = ()
    interactive: bool = False


@dataclass(frozen=True)
class Axis:
    """An axis; `say` puts one of its values into words, as in "epoch 3".

    On a logarithmic axis of λ, λ = 0 has no place; it is drawn at `zero`, apart from the others.
    """

    title: str
    say: str = "{:.4g}"
    log: bool = False
    whole: bool = False
    domain: tuple[float, float] | None = None
    ticks: tuple[float, ...] = ()
    zero: float = 0.0
    format: str = ""

    def place(self, value: float) -> float:
        """Where a value is drawn."""
        return value or self.zero

    def spec(self, field: str, padding: int = 0) -> Spec:
        """The axis as a Vega-Lite channel."""
        scale: Spec = {"type": "log", "nice": False} if self.log else {"zero": False}
        if self.domain:
            scale |= {"domain": list(self.domain), "nice": False}
        elif padding:
            scale["padding"] = padding
        axis: Spec = {"format": self.format} if self.format else {}
        if self.whole:
            axis |= {"tickMinStep": 1, "format": "d", "grid": False}
            scale = {}
        if self.ticks:
            axis |= {"values": list(self.ticks), "grid": False}
            axis |= {"labelFlush": False, "labelSeparation": 8}
            word = "format(datum.value, '~g')"
            if self.zero:
                between = math.sqrt(
                    self.zero * min(t for t in (*self.ticks, 1e300) if t > self.zero)
                )
                word = f"datum.value < {between!r} ? '0' : {word}"
            axis["labelExpr"] = word
        elif not self.whole:
            axis |= {"tickCount": 5}
        return {
            "field": field,
            "type": "quantitative",
            "title": f"{self.title}, log scale" if self.log and not self.ticks else self.title,
            "scale": scale,
            "axis": axis,
        }


EPOCHS = Axis("epoch", "epoch {:g}", whole=True)

# λ = 0 is drawn this share of the axis, but at least this factor, left of the smallest λ.
APART, LEAST_APART = 0.1, 3.0

MARGIN, LEAST_MARGIN = 0.03, 1.15


def l2_axis(l2s: Iterable[float], title: str = "λ, log scale: larger shrinks W more →") -> Axis:
    """Lay out a logarithmic axis for some values of λ, at least one, each ≥ 0.

    Example:
        >>> l2_axis([1.0, 0.1, 0.01]).ticks
        (0.01, 0.1, 1.0)
        >>> l2_axis([0.5, 0.0]).place(0.0) < 0.5
        True
    """
    values = set(l2s)
    positive = sorted(l2 for l2 in values if l2 > 0.0) or [1.0]
    smallest, largest = positive[0], positive[-1]
    ratio = largest / smallest
    zero = smallest / max(LEAST_APART, ratio**APART) if 0.0 in values else 0.0
    margin = max(LEAST_MARGIN, ratio**MARGIN)
    first, last = math.ceil(math.log10(smallest) - 1e-9), math.floor(math.log10(largest) + 1e-9)
    ticks = [float(f"1e{power}") for power in range(first, last + 1)]
    if len(ticks) < 2:
        ticks = [smallest, largest] if largest > smallest else [smallest]
    if not any(values):
        ticks = []
    return Axis(
        title,
        "λ = {:.3g}",
        log=True,
        domain=((zero or smallest) / margin, largest * margin),
        ticks=(*([zero] if zero else []), *ticks),
        zero=zero,
    )


@dataclass(frozen=True)
class Curve:
    """One curve: a mean at each x, with the range or error around it, and single runs by name.

    `low` and `high` are as long as `x` or empty; `words` replace the figures near the pointer.
    Each run is a name and a value at each x. A mean that is not finite has no point.
    """

    label: str
    x: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    words: Sequence[str] = ()
    runs: Sequence[tuple[str, Sequence[float]]] = ()


# Room for words in a chart, as shares of its height and width.
WORDS_HEIGHT, WORDS_WIDTH = 0.08, 0.5


@dataclass(frozen=True)
class Level:
    """A horizontal dashed line with words above it; `series` gives it a curve's colour."""

    value: float
    words: str
    series: int | None = None


@dataclass(frozen=True)
class Stripe:
    """A grey stripe between two values, with words beside it."""

    low: float
    high: float
    words: str
    right: bool = True
    above: bool = True

    def away_from(self, curves: Sequence[Curve]) -> Stripe:
        """The same with its words where they are farthest from all curves."""
        means = [list(curve.mean) for curve in curves]
        height = WORDS_HEIGHT * (max(map(max, means)) - min(map(min, means)))
        count = max(1, round(WORDS_WIDTH * len(means[0])))

        def room(side: tuple[bool, bool]) -> float:
            right, above = side
            bottom = self.high if above else self.low - height
            near = [m for mean in means for m in (mean[:count] if right else mean[-count:])]
            return min(max(bottom - m, m - bottom - height) for m in near)

        sides = [(right, above) for right in (False, True) for above in (False, True)]
        right, above = max(sides, key=room)
        return replace(self, right=right, above=above)


@dataclass(frozen=True)
class Marks:
    """What a chart shows besides its curves.

    Attributes:
        chosen: an upright line, marked "chosen"; None for none.
        ring: the point (curve, x, y) that a ring is around; None for none.
        stripe: a grey stripe; None for none.
        levels: horizontal lines.
        diagonal: whether a dashed line joins (0, 0) and (1, 1).
    """

    chosen: float | None = None
    ring: tuple[int, float, float] | None = None
    stripe: Stripe | None = None
    levels: tuple[Level, ...] = ()
    diagonal: bool = False


def is_wide(curves: Iterable[Curve]) -> bool:
    """Whether all means are positive and span more than a factor WIDE, so that a log axis helps."""
    values = [m for curve in curves for m in (*curve.mean, *curve.high) if math.isfinite(m)]
    return bool(values) and min(values) > 0 and max(values) / min(values) > WIDE


def line_chart(
    name: str,
    title: str,
    heading: str,
    x: Axis,
    y: Axis,
    curves: Sequence[Curve],
    *,
    around: str = "range over seeds",
    bars: bool = False,
    points: bool = False,
    joined: bool = True,
    show_runs: bool = False,
    zoom: bool = False,
    marks: Marks = Marks(),  # frozen
) -> Chart:
    """Draw curves over a common axis."""
    banded = any(curve.low for curve in curves)
    most = max(len(curve.runs) for curve in curves)
    with_runs = most > 1 and (bars or most <= MOST_RUNS)
    keys = tuple(
        Key(f"c{i}", c.label, i, solid=points and not joined) for i, c in enumerate(curves)
    )
    extra: tuple[Key, ...] = (Key(BAND, around),) if banded and not bars else ()
    extra += (Key(RUNS, "each run"),) if with_runs and not bars else ()
    hidden = () if show_runs or bars or not with_runs else (RUNS,)
    few = len({value for curve in curves for value in curve.x}) < 3
    drawing = _Lines(
        x,
        y,
        [c.label for c in curves],
        marks,
        hidden,
        bars,
        points or few,
        joined,
        banded,
        with_runs,
    )
    data = _line_data(x, curves, marks, with_runs)
    names = tuple(dict.fromkeys(run for c in curves for run, _ in c.runs))
    several = len(curves) > 1
    return Chart(
        name=name,
        title=title,
        heading=heading,
        description=_describe(title, x, curves, marks),
        page=drawing.spec(paper=False, zoom=zoom) | {"datasets": data},
        paper=drawing.spec(paper=True) | {"datasets": data, "title": title},
        legend=keys + extra if several or extra else (),
        runs=tuple(Key(f"run {run}", run) for run in names) if with_runs and not bars else (),
        hidden=hidden,
        interactive=zoom,
    )


def _describe(title: str, x: Axis, curves: Sequence[Curve], marks: Marks) -> str:
    parts = []
    for curve in curves:
        there = [i for i, m in enumerate(curve.mean) if math.isfinite(m)]
        if there:
            ends = [
                f"{curve.mean[i]:.4g} at {x.say.format(curve.x[i])}" for i in (there[0], there[-1])
            ]
            parts.append(f"{curve.label} goes from {ends[0]} to {ends[1]}")
    parts += [level.words for level in marks.levels if level.words]
    chosen = "" if marks.chosen is None else f" Chosen: {x.say.format(marks.chosen)}."
    return f"{title}. {'; '.join(parts) or 'Nothing was measured'}.{chosen}"


def _line_data(x: Axis, curves: Sequence[Curve], marks: Marks, with_runs: bool) -> dict[str, Rows]:
    """The chart's tables: means with ranges, single runs, words near the pointer, and marks."""
    means: Rows = []
    runs: Rows = []
    tips: dict[float, dict[str, Any]] = {}
    for i, curve in enumerate(curves):
        for j, (value, mean) in enumerate(zip(curve.x, curve.mean, strict=True)):
            place = x.place(value)
            if math.isfinite(mean):
                row: Spec = {"c": f"c{i}", "x": place, "m": short(mean)}
                if curve.low:
                    row |= {"l": short(curve.low[j]), "h": short(curve.high[j])}
                if x.log:
                    row["apart"] = value == 0.0
                means.append(row)
            tip = tips.setdefault(
                place, {"x": place, "w": x.say.format(value).removeprefix("λ = ")}
            )
            tip[f"t{i}"] = curve.words[j] if curve.words else _figures(curve, j)
        for run, values in curve.runs if with_runs else ():
            runs += [
                {"c": f"c{i}", "s": run, "x": x.place(at), "v": short(float(value))}
                for at, value in zip(curve.x, values, strict=True)
                if math.isfinite(value)
            ]
    ring: Rows = []
    if marks.ring is not None:
        number, at, height = marks.ring
        ring.append({"c": f"c{number}", "x": x.place(at), "m": short(height)})
    return {
        "means": means,
        "runs": runs,
        "tips": list(tips.values()),
        "chosen": [] if marks.chosen is None else [{"x": x.place(marks.chosen)}],
        "best": ring,
        "deciding": [
            {"l": short(s.low), "h": short(s.high), "w": s.words} for s in [marks.stripe] if s
        ],
        "levels": [{"v": short(a.value), "w": a.words} for a in marks.levels if a.series is None],
        "limits": [
            {"v": short(a.value), "w": a.words, "c": f"c{a.series}"}
            for a in marks.levels
            if a.series is not None
        ],
        "diagonal": [{"x": end, "m": end} for end in (0.0, 1.0)] if marks.diagonal else [],
    }


def _figures(curve: Curve, j: int) -> str:
    mean = short(curve.mean[j])
    if mean is None:
        return "–"
    around = curve.low and curve.low[j] < curve.high[j]
    return f"{mean:.4g}" + (f" ({curve.low[j]:.4g} to {curve.high[j]:.4g})" if around else "")


HIDES = "indexof(hidden, datum.c) < 0"


@dataclass(frozen=True)
class _Lines:
    """The marks of a line chart; their tables are named and not held."""

    x: Axis
    y: Axis
    labels: list[str]
    marks: Marks
    hidden: tuple[str, ...]
    bars: bool
    points: bool
    joined: bool
    banded: bool
    with_runs: bool

    def spec(self, *, paper: bool, zoom: bool = False) -> Spec:
        layers = [
            *self._levels(paper),
            *(self._around(paper) if self.banded else []),
            *self._chosen(),
            *(self._runs(paper) if self.with_runs and not (paper and RUNS in self.hidden) else []),
            *([self._line(paper)] if self.joined else []),
            *([self._points(paper)] if self.points else []),
            *self._ring(paper),
        ]
        if zoom and not paper:
            layers[-1]["params"] = [ZOOM]
        size: Spec = {"width": PAPER_WIDTH, "height": PAPER_HEIGHT}
        if not paper:
            layers.append(self._pointer())
            size["width"] = "container"
            size["params"] = [{"name": "hidden", "value": list(self.hidden)}]
        return {"layer": layers} | size

    def _color(self, paper: bool, *, symbol: str = "stroke") -> Spec:
        legend = _legend(self.labels, symbol) if paper and len(self.labels) > 1 else None
        return _nominal("c", {"domain": _keys(self.labels)}, legend)

    def _symbol(self) -> str:
        return "" if self.points else "stroke"

    def _curve(self, table: str, paper: bool, mark: Spec, y: Spec, *shown: str) -> Spec:
        """Marks of curves: on paper nothing is hidden."""
        filters = [*shown, *([] if paper else [HIDES])]
        encoding = {"x": self.x.spec("x"), "color": self._color(paper, symbol=self._symbol())} | y
        return _layer(table, mark | {"clip": not paper}, encoding, *filters)

    def _y(self, field: str) -> Spec:
        return self.y.spec(field, padding=10 if self.points or self.y.log else 0)

    def _around(self, paper: bool) -> list[Spec]:
        """Ranges: a band along the curve; a bar at each x, or at λ = 0, which no line reaches."""
        y = {"y": self._y("l"), "y2": {"field": "h"}}
        if self.bars:
            return [self._curve("means", paper, {"type": "rule", "strokeWidth": 2}, y)]
        shown = [] if paper else [f"indexof(hidden, '{BAND}') < 0"]
        apart = ["!datum.apart"] if self.x.log else []
        band = self._curve("means", paper, {"type": "area", "fillOpacity": 0.2}, y, *shown, *apart)
        if not self.x.log:
            return [band]
        rule = {"type": "rule", "strokeWidth": 6, "opacity": 0.3}
        return [band, self._curve("means", paper, rule, y, *shown, "datum.apart")]

    def _runs(self, paper: bool) -> list[Spec]:
        y: Spec = {"y": self._y("v"), "detail": {"field": "s", "type": "nominal"}}
        if self.bars:
            return [
                self._curve(
                    "runs", paper, {"type": "point", "filled": True, "size": 16, "opacity": 0.5}, y
                )
            ]
        shown = f"indexof(hidden, '{RUNS}') < 0 && indexof(hidden, 'run ' + datum.s) < 0"
        mark = {"type": "line", "strokeOpacity": 0.55, "strokeWidth": 0.8}
        return [self._curve("runs", paper, mark, y, *([] if paper else [shown]))]

    def _line(self, paper: bool) -> Spec:
        dashes = {
            "domain": _keys(self.labels),
            "range": [dash_of(i) for i in range(len(self.labels))],
        }
        legend = _legend(self.labels, "stroke") if paper and len(self.labels) > 1 else None
        dash = _nominal("c", dashes, None if self.points else legend)
        shown = ["!datum.apart"] if self.x.log else []
        y = {"y": self._y("m"), "strokeDash": dash}
        return self._curve("means", paper, {"type": "line", "strokeWidth": 2.4}, y, *shown)

    def _points(self, paper: bool) -> Spec:
        keys = _keys(self.labels)
        shapes = [SHAPES[i % len(SHAPES)] for i in range(len(keys))]
        legend = _legend(self.labels) if paper and len(keys) > 1 else None
        shape = _nominal("c", {"domain": keys, "range": shapes}, legend)
        size = 30 if self.joined and not self.bars else 60
        mark = {"type": "point", "filled": True, "size": size, "opacity": 1}
        return self._curve("means", paper, mark, {"y": self._y("m"), "shape": shape})

    def _ring(self, paper: bool) -> list[Spec]:
        if self.marks.ring is None:
            return []
        mark = {"type": "point", "size": 190, "strokeWidth": 2, "filled": False}
        return [self._curve("best", paper, mark, {"y": self._y("m")})]

    def _chosen(self) -> list[Spec]:
        if self.marks.chosen is None:
            return []
        x = {"x": self.x.spec("x")}
        words = {"type": "text", "dy": -6, "baseline": "bottom", "fontWeight": "bold"}
        top = {"y": {"value": 0}, "text": {"value": "chosen"}}
        return [
            _layer("chosen", {"type": "rule", "strokeWidth": 1.6}, x),
            _layer("chosen", words | {"fontSize": SMALLEST}, x | top),
        ]

    def _levels(self, paper: bool) -> list[Spec]:
        """The stripe, horizontal lines and the diagonal, with their words at the right end."""
        layers = []
        words: Spec = {"type": "text", "align": "right", "baseline": "bottom", "dx": -4, "dy": -4}
        words["fontSize"] = SMALLEST
        text = {"text": {"field": "w"}, "x": {"value": "width"}}
        rule = {"type": "rule", "strokeDash": [6, 4], "strokeWidth": 1.6}
        if self.marks.stripe is not None:
            sides = {"y": self._y("l"), "y2": {"field": "h"}}
            layers += [
                _layer("deciding", {"type": "rect", "opacity": 0.22, "fill": "gray"}, sides),
                self._stripe_words(self.marks.stripe, words, text),
            ]
        for table in ("levels", "limits"):
            if not any(
                (level.series is None) == (table == "levels") for level in self.marks.levels
            ):
                continue
            encoding: Spec = {"y": self._y("v")}
            shown = []
            if table == "limits":
                encoding["color"] = self._color(paper)
                shown = [] if paper else [HIDES]
            layers += [
                _layer(table, rule, encoding, *shown),
                _layer(table, words, encoding | text, *shown),
            ]
        if self.marks.diagonal:
            ends = {"x": self.x.spec("x"), "y": self._y("m")}
            layers.append(
                _layer(
                    "diagonal",
                    {"type": "line", "strokeDash": [6, 4], "strokeWidth": 1.2, "color": "gray"},
                    ends,
                )
            )
        return layers

    def _stripe_words(self, stripe: Stripe, words: Spec, text: Spec) -> Spec:
        sides = {"align": "right", "dx": -4} if stripe.right else {"align": "left", "dx": 4}
        sides |= {} if stripe.above else {"baseline": "top", "dy": 4}
        end = {"value": "width" if stripe.right else 0}
        y = self._y("h" if stripe.above else "l")
        return _layer("deciding", words | sides, text | {"y": y, "x": end})

    def _pointer(self) -> Spec:
        """A rule that follows the pointer, with the values of all curves at its x."""
        tips = {self.x.title.partition(",")[0]: "w"} | {
            s: f"t{i}" for i, s in enumerate(self.labels)
        }
        near = {"type": "point", "nearest": True, "on": "pointerover", "fields": ["x"]}
        encoding = {
            "x": self.x.spec("x"),
            "opacity": {"condition": {"param": "near", "empty": False, "value": 0.8}, "value": 0},
            "tooltip": {"value": {"expr": words_near_pointer(tips)}},
        }
        pointer = _layer("tips", {"type": "rule", "strokeWidth": 1.2}, encoding)
        return pointer | {"params": [{"name": "near", "select": near | {"clear": False}}]}


# A page must scroll under a finger or a wheel: only a mouse drags, and a wheel zooms with a key
# held down (which is what pinching a touchpad sends).
ZOOM: Spec = {
    "name": "zoom",
    "bind": "scales",
    "select": {
        "type": "interval",
        "translate": "[pointerdown[event.pointerType !== 'touch'], window:pointerup]"
        " > window:pointermove!",
        "zoom": "wheel![event.ctrlKey || event.shiftKey]",
    },
}


def _layer(table: str, mark: Spec, encoding: Spec, *shown: str) -> Spec:
    layer: Spec = {"data": {"name": table}, "mark": mark, "encoding": encoding}
    return layer | ({"transform": [{"filter": " && ".join(shown)}]} if shown else {})


def _nominal(field: str, scale: Spec, legend: Spec | None) -> Spec:
    return {"field": field, "type": "nominal", "scale": scale, "legend": legend}


def _keys(labels: Sequence[str]) -> list[str]:
    return [f"c{i}" for i in range(len(labels))]


def _legend(labels: Sequence[str], symbol: str = "") -> Spec:
    """A legend on paper that shows labels in place of keys."""
    names = json.dumps(dict(zip(_keys(labels), labels, strict=True)), ensure_ascii=False)
    legend: Spec = {"labelExpr": f"({names})[datum.value]", "symbolOpacity": 1}
    if symbol:
        return legend | {"symbolType": symbol}
    return legend | {"symbolSize": 90, "symbolDash": [1, 0], "symbolStrokeWidth": 0}


def dash_of(series: int) -> list[int]:
    """The dash of a series: after six series colours repeat with other dashes."""
    return list(DASHES[(series + series // len(DASHES)) % len(DASHES)])


@dataclass(frozen=True)
class Dot:
    """One value in a row of a dot chart: its series, and a bar from `low` to `high` around it."""

    series: int
    value: float
    low: float = math.nan
    high: float = math.nan


# Height of a row and the smallest height of a dot chart, px.
ROW, LEAST_HEIGHT = 34, 120


def dot_chart(
    name: str,
    title: str,
    heading: str,
    axis: Axis,
    labels: Sequence[str],
    rows: Sequence[tuple[str, Sequence[Dot]]],
    *,
    joined: bool = False,
) -> Chart:
    """Draw values side by side, one row a setting."""
    dots, bars, ways = [], [], []
    for row, of_row in rows:
        shown = [dot for dot in of_row if math.isfinite(dot.value)]
        for dot in shown:
            around = f" ({dot.low:.4g} to {dot.high:.4g})" if dot.low < dot.high else ""
            place: Spec = {"s": row, "c": f"c{dot.series}"}
            words = {"t": labels[dot.series], "w": f"{dot.value:.4g}{around}"}
            dots.append(place | {"v": short(dot.value)} | words)
            if around:
                bars.append(place | {"l": short(dot.low), "h": short(dot.high)})
        if joined and len(shown) > 1:
            ways.append({"s": row, "l": short(shown[0].value), "h": short(shown[-1].value)})
    data: dict[str, Rows] = {"ends": dots, "bars": bars, "ways": ways}
    height = max(LEAST_HEIGHT, ROW * len(rows))
    several = len(labels) > 1
    said = "; ".join(f"{d['s']}: {d['t']} {d['w']}" for d in dots)
    specs = [
        _dots_spec(axis, labels, [row for row, _ in rows], height, paper=paper) | {"datasets": data}
        for paper in (False, True)
    ]
    keys = tuple(Key(f"c{i}", label, i, solid=True) for i, label in enumerate(labels))
    return Chart(
        name=name,
        title=title,
        heading=heading,
        description=f"{title}. {said or 'Nothing was measured'}.",
        page=specs[0],
        paper=specs[1] | {"title": title},
        legend=keys if several else (),
    )


def _dots_spec(
    axis: Axis, labels: Sequence[str], names: list[str], height: int, *, paper: bool
) -> Spec:
    keys = _keys(labels)
    legend = _legend(labels) if paper and len(keys) > 1 else None
    shown = [] if paper else [HIDES]
    y: Spec = {"field": "s", "type": "nominal", "sort": names, "title": None}
    y["axis"] = {"labelLimit": 150, "ticks": False, "domain": False, "grid": True}
    color = _nominal("c", {"domain": keys}, legend)
    shape = _nominal("c", {"domain": keys, "range": list(SHAPES[: len(keys)])}, legend)
    across = {"x": axis.spec("l", padding=24), "x2": {"field": "h"}, "y": y}
    words = [("s", "setting"), ("t", "value"), ("w", axis.title)]
    tooltip = [{"field": field, "type": "nominal", "title": title} for field, title in words]
    point: Spec = {"x": axis.spec("v", padding=24), "y": y, "color": color, "shape": shape}
    point |= {"tooltip": tooltip}
    dot = {"type": "point", "filled": True, "size": 80, "opacity": 1}
    bar = {"type": "rule", "strokeWidth": 3, "opacity": 0.45}
    layers = [
        _layer("ways", {"type": "rule", "strokeWidth": 1.5}, across),
        _layer("bars", bar, across | {"color": color}, *shown),
        _layer("ends", dot, point, *shown, *(["datum.c !== 'c0'"] if len(keys) > 1 else [])),
    ]
    if len(keys) > 1:  # a ring, so that values that agree are both seen
        ring = dot | {"filled": False, "size": 240, "strokeWidth": 2.5}
        layers.append(_layer("ends", ring, point, *shown, "datum.c === 'c0'"))
    if paper:
        return {"layer": layers, "width": PAPER_WIDTH, "height": height}
    hidden = [{"name": "hidden", "value": []}]
    return {"layer": layers, "width": "container", "height": height, "params": hidden}


# With more columns the cells have no room for numbers.
MOST_WITH_NUMBERS = 12


@dataclass(frozen=True)
class HeatCell:
    """A cell: its column and row, its value (None crosses it out), its number and its tooltip.

    `share` is where on the ramp the value lies, percent: the ink of the number depends on it.
    """

    x: str
    y: str
    value: float | None
    share: float = 0.0
    text: str = ""
    tip: tuple[str, ...] = ()


def heat_map(
    name: str,
    title: str,
    heading: str,
    description: str,
    columns: tuple[str, Sequence[str]],
    rows: tuple[str, Sequence[str]],
    cells: Sequence[HeatCell],
    *,
    domain: tuple[float, float],
    tips: Sequence[str],
    cell_size: tuple[int, int] = (62, 40),
    legend: Sequence[float] = (),
    diverging: bool = False,
    framed: tuple[str, str] | None = None,
    dashed_frame: bool = False,
) -> Chart:
    """Draw a value for each column and row."""
    data: dict[str, Rows] = {
        "cells": [
            {"x": c.x, "y": c.y, "v": None if c.value is None else short(c.value)}
            | {"s": short(c.share), "n": c.text}
            | {f"t{i}": words for i, words in enumerate(c.tip)}
            for c in cells
        ],
        "best": [] if framed is None else [{"x": framed[0], "y": framed[1], "k": "best"}],
    }
    base = {
        axis: {
            "field": axis,
            "type": "ordinal",
            "sort": list(names),
            "title": axis_title or None,
            "scale": {"paddingInner": 0.04, "paddingOuter": 0.02},
            "axis": {"ticks": False, "domain": False, "grid": False, "labelLimit": 110}
            | ({"labelAngle": 0} if max(map(len, names)) < 7 else {}),
        }
        for axis, (axis_title, names) in (("x", columns), ("y", rows))
    }
    tooltip = [{"field": f"t{i}", "type": "nominal", "title": t} for i, t in enumerate(tips)]
    ramp: Spec = {"domain": list(domain), "clamp": True}
    ramp |= (
        {"range": "diverging", "domainMid": 0, "interpolate": "rgb"}
        if diverging
        else {"range": "heatmap"}
    )
    ramp_legend: Spec | None = None
    if legend:
        ramp_legend = {"orient": "bottom", "direction": "horizontal", "gradientLength": 220}
        ramp_legend |= {"values": list(legend), "format": ".4~g", "title": None}
        if not diverging:
            ramp_legend["labelExpr"] = "datum.index ? datum.label : '≤ ' + datum.label"
    color = {"field": "v", "type": "quantitative", "scale": ramp, "legend": ramp_legend}
    switch = {"test": "datum.s > inkSwitch", "value": {"expr": "inkOnHigh"}}
    ink = {"condition": switch, "value": {"expr": "inkOnLow"}}
    rect = {"type": "rect", "cornerRadius": 3}
    frame = rect | {"fillOpacity": 0, "strokeWidth": 3}
    frame["strokeDash"] = [5, 3] if dashed_frame else [1, 0]
    stroke = {
        "field": "k",
        "type": "nominal",
        "scale": {"domain": ["first", "best"]},
        "legend": None,
    }
    numbers = "true" if len(columns[1]) <= MOST_WITH_NUMBERS else "datum.v === null"
    layers = [
        _layer(
            "cells",
            rect | {"color": "#808080", "opacity": 0.16},
            base | {"tooltip": tooltip},
            "datum.v === null",
        ),
        _layer("cells", rect, base | {"tooltip": tooltip, "color": color}, "datum.v !== null"),
        _layer("best", frame, base | {"stroke": stroke}),
        _layer(
            "cells",
            {"type": "text", "fontSize": SMALLEST},
            base | {"text": {"field": "n"}, "color": ink, "tooltip": tooltip},
            numbers,
        ),
    ]
    width, height = (
        size * len(names) for size, (_, names) in zip(cell_size, (columns, rows), strict=True)
    )
    width, height = max(width, 240), max(height, 60)
    inks = [{"name": key, "value": value} for key, value in inks_of(LIGHT).items()]
    spec: Spec = {"layer": layers, "params": inks, "datasets": data}
    return Chart(
        name=name,
        title=title,
        heading=heading,
        description=f"{title}. {description}",
        page=spec | {"width": "container", "height": min(height, 720)},
        paper=spec | {"width": width, "height": height, "title": title},
    )


def short(value: float, digits: int = 5) -> float | None:
    """Round to significant digits, so that a page of curves stays small; None for no number.

    Example:
        >>> short(0.123456789), short(float("nan"))
        (0.12346, None)
    """
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def words_near_pointer(fields: Mapping[str, str]) -> str:
    """A Vega expression for the tooltip of the mark nearest to the pointer.

    Vega-Lite 6 hands a tooltip of text fields not the row but the cell around its mark, which
    holds the row as `datum`, so that every text would read "undefined"; this asks both.

    Example:
        >>> words_near_pointer({"λ": "w"})
        '{"λ": (datum.datum || datum)["w"] || "–"}'
    """
    items = (
        f"{json.dumps(label, ensure_ascii=False)}: (datum.datum || datum)[{json.dumps(field)}]"
        ' || "–"'
        for label, field in fields.items()
    )
    return f"{{{', '.join(items)}}}"


def slug(text: str) -> str:
    """A file name for a setting: plain letters, digits, dots and dashes.

    Example:
        >>> slug("λ=0.1, η=0.01")
        'lambda-0.1-eta-0.01'
    """
    for letter, word in GREEK.items():
        text = text.replace(letter, word)
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9.]+", "-", ascii_text).strip("-.")
    return words[:60].rstrip("-.") or "setting"


def unique_labels(names: Sequence[str]) -> list[str]:
    """Names that agree, as long ones do when they are cut, are told apart by their position.

    Example:
        >>> unique_labels(["a", "b", "a"])
        ['a (0)', 'b', 'a (2)']
    """
    return [f"{n} ({i})" if names.count(n) > 1 else n for i, n in enumerate(names)]


def unique_slugs(names: Iterable[str]) -> dict[str, str]:
    """A file name for each setting, no two alike.

    Example:
        >>> unique_slugs(["a b", "a-b"])
        {'a b': 'a-b', 'a-b': 'a-b-2'}
    """
    taken: set[str] = set()
    chosen: dict[str, str] = {}
    for name in names:
        stem = slug(name)
        candidate, number = stem, 1
        while candidate in taken:
            number += 1
            candidate = f"{stem}-{number}"
        taken.add(candidate)
        chosen[name] = candidate
    return chosen

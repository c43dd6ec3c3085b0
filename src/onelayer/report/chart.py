"""Charts in Vega-Lite, described once: `Chart.page` is for the page, `Chart.paper` for PNG and SVG.

Three builders draw every chart: `line_chart` (curves over epochs, λ or confidence), `dot_chart`
(values side by side, one row a setting) and `heat_map`. Names come from anywhere: they are data or
parameters that are shown, and neither keys nor parts of an expression.
"""

from __future__ import annotations

import math
import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from onelayer.errors import printable
from onelayer.report.theme import DASHES, LIGHT, SHAPES, SMALLEST, inks_of

Spec = dict[str, Any]
Rows = list[dict[str, Any]]
PAPER_WIDTH, PAPER_HEIGHT = 460, 280

# Keys of the legend that are not one curve.
BAND, RUNS = "band", "runs"

# Losses that span more than this factor are drawn on a logarithmic axis.
WIDE = 8.0

# Up to it an axis may leave space around the values.
MAX_SPACED = 1e250


@dataclass(frozen=True)
class Key:
    """One entry of a legend."""

    key: str  # in the chart's `hidden` parameter
    label: str
    series: int | None = None  # number of its colour and dash; None where it is not one curve
    solid: bool = False  # whether it is drawn without its dash


@dataclass(frozen=True)
class Chart:
    """A chart: on the page as wide as its box, on paper of a fixed size with title and legend."""

    name: str  # of its files and of its box on the page, without an ending
    title: str  # what it shows, with the setting; stands above it on paper
    heading: str  # the title within its section of the page
    description: str  # alternative text
    spec: Spec  # Vega-Lite, with the size on paper and without legends of series
    legend: tuple[Key, ...] = ()  # entries that can be hidden
    runs: tuple[Key, ...] = ()  # those of single runs
    hidden: tuple[str, ...] = ()  # keys hidden at first
    interactive: bool = False  # whether it can be zoomed and moved
    note: str = ""  # stands under the title on paper

    @property
    def page(self) -> Spec:
        """Vega-Lite for the page, whose legend is made of buttons."""
        return _printable(self.spec | {"width": "container"})

    @property
    def paper(self) -> Spec:
        """Vega-Lite for PNG and SVG: with a legend, and without what only a pointer needs."""
        labels = {key.key: key.label for key in self.legend if key.series is not None}
        layers = [layer for layer in self.spec["layer"] if layer["data"]["name"] != "tips"]
        legend: Spec | None = None
        if len(labels) > 1:
            legend = {"labelExpr": "labels[datum.value]", "symbolOpacity": 1}
            if any("shape" in layer["encoding"] for layer in layers):
                legend |= {"symbolSize": 90, "symbolDash": [1, 0], "symbolStrokeWidth": 0}
            else:
                legend |= {"symbolType": "stroke"}
        for i, layer in enumerate(layers):
            encoding = _with_legend(layer["encoding"], legend)
            mark = layer["mark"] | {"clip": False}
            layers[i] = layer | {"encoding": encoding, "mark": mark, "params": []}
        params = [*self.spec["params"], {"name": "labels", "value": labels}]
        title = {"text": self.title} | ({"subtitle": self.note} if self.note else {})
        return _printable(self.spec | {"title": title, "layer": layers, "params": params})


def _printable(spec: Spec) -> Spec:
    """The same with words that can all be printed: others end the process that draws them."""

    def clean(part: Any) -> Any:
        if isinstance(part, dict):
            return {name: clean(inner) for name, inner in part.items()}
        if isinstance(part, list | tuple):
            return [clean(inner) for inner in part]
        return printable(part) if isinstance(part, str) else part

    return {name: clean(part) for name, part in spec.items()}


def _with_legend(part: Any, legend: Spec | None) -> Any:
    """A part of a chart in which the channels of series have a legend."""
    if not isinstance(part, dict):
        return part
    part = {name: _with_legend(inner, legend) for name, inner in part.items()}
    return part | {"legend": legend} if part.get("field") == "c" else part


@dataclass(frozen=True)
class Axis:
    """An axis."""

    title: str
    say: str = "{:.4g}"  # puts one of its values into words, as in "epoch 3"
    log: bool = False
    whole: bool = False
    domain: tuple[float, float] | None = None
    ticks: tuple[float, ...] = ()
    zero: float = 0.0  # where λ = 0 is drawn, which has no place on a logarithmic axis
    format: str = ""
    names: tuple[str, ...] = ()  # shown for values, which are their positions

    def word(self, value: float) -> str:
        """One of its values in words."""
        return self.names[int(value)] if self.names else self.say.format(value)

    def place(self, value: float) -> float:
        """Where a value is drawn."""
        return value or self.zero

    def holding(self, values: Iterable[float]) -> Axis:
        """The axis, without the usual space around the values where that leaves the numbers."""
        finite = [value for value in values if math.isfinite(value)]
        largest = max(finite, default=0.0)
        if largest < MAX_SPACED and not (self.log and min(finite, default=1.0) < 1.0 / MAX_SPACED):
            return self
        return replace(self, domain=(min(finite if self.log else [0.0, *finite]), largest))

    def channel(self, field: str, padding: int = 0) -> Spec:
        """The axis as a Vega-Lite channel."""
        scale: Spec = {"type": "log", "nice": False} if self.log else {"zero": False}
        if self.domain:
            scale |= {"domain": list(self.domain), "nice": False}
        elif padding:
            scale["padding"] = padding
        axis: Spec = {"format": self.format} if self.format else {}
        if self.whole:
            axis |= {"tickMinStep": 1, "format": "d", "grid": False}
            scale = scale if self.domain else {}
        elif self.names:
            axis |= {"values": list(range(len(self.names))), "labelExpr": "xnames[datum.value]"}
            axis |= {"grid": False, "labelLimit": 130}
            axis |= {"labelAngle": -40} if max(map(len, self.names)) > 3 else {}
            scale["padding"] = 8
        elif self.ticks:
            axis |= {"values": list(self.ticks), "grid": False}
            axis |= {"labelFlush": False, "labelSeparation": 8}
            axis["labelExpr"] = "format(datum.value, '~g')"
            if self.zero:
                smallest = min((tick for tick in self.ticks if tick > self.zero), default=math.inf)
                between = min(math.sqrt(self.zero * smallest), 1e300)
                axis["labelExpr"] = f"datum.value < {between!r} ? '0' : {axis['labelExpr']}"
        else:
            axis["tickCount"] = 5
        title = f"{self.title}, log scale" if self.log and not self.ticks else self.title
        channel: Spec = {"field": field, "type": "quantitative", "title": title}
        return channel | {"scale": scale, "axis": axis}


# λ = 0 is drawn this share of the axis, but at least this factor, left of the smallest λ.
APART, LEAST_APART = 0.1, 3.0

MARGIN, LEAST_MARGIN = 0.03, 1.15


# What a logarithmic axis can hold.
LEAST, MOST = math.ulp(0.0), sys.float_info.max


def l2_axis(l2s: Iterable[float], title: str = "", symbol: str = "λ") -> Axis:
    """Lay out a logarithmic axis for some values of λ, at least one, each ≥ 0."""
    title = title or f"{symbol}, log scale: larger shrinks W more →"
    values = set(l2s)
    positive = sorted(l2 for l2 in values if l2 > 0.0) or [1.0]
    smallest, largest = positive[0], positive[-1]
    ratio = min(largest / smallest, MOST)
    apart = max(smallest / max(LEAST_APART, ratio**APART), LEAST)
    zero = apart if 0.0 in values else 0.0
    margin = max(LEAST_MARGIN, ratio**MARGIN)
    first, last = math.ceil(math.log10(smallest) - 1e-9), math.floor(math.log10(largest) + 1e-9)
    step = max(1, (last - first) // 16 + 1)
    ticks = [float(f"1e{power}") for power in range(first, last + 1, step)]
    if len(ticks) < 2:
        ticks = sorted({smallest, largest})
    if not any(values):
        ticks = []
    return Axis(
        title,
        symbol + " = {:.3g}",
        log=True,
        domain=(max((zero or smallest) / margin, LEAST), min(largest * margin, MOST)),
        ticks=(*([zero] if zero else []), *ticks),
        zero=zero,
    )


@dataclass(frozen=True)
class Curve:
    """One curve: a mean at each x, with the range or error around it, and single runs by name."""

    label: str
    x: Sequence[float]
    mean: Sequence[float]  # one that is not finite has no point
    low: Sequence[float] = ()  # as long as x, or empty
    high: Sequence[float] = ()
    words: Sequence[str] = ()  # replace the figures near the pointer
    runs: Sequence[tuple[str, Sequence[float]]] = ()  # each a name, and a value at each x


@dataclass(frozen=True)
class Level:
    """A horizontal dashed line with words above it; `series` gives it a curve's colour."""

    value: float
    words: str
    series: int | None = None


@dataclass(frozen=True)
class Marks:
    """What a chart shows besides its curves."""

    chosen: float | None = None  # an upright line, marked "chosen"
    rings: tuple[tuple[int, float, float], ...] = ()  # around points (curve, x, y)
    stripes: tuple[tuple[float, float], ...] = ()  # (from, to)
    levels: tuple[Level, ...] = ()
    diagonal: bool = False  # whether a dashed line joins (0, 0) and (1, 1)


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
    note: str = "",
) -> Chart:
    """Draw curves over a common axis."""
    drawn = [(c.mean, c.low, c.high, *(values for _, values in c.runs)) for c in curves]
    levels = [level.value for level in marks.levels]
    y = y.holding([*levels, *(value for parts in drawn for part in parts for value in part)])
    most = max(len(curve.runs) for curve in curves)
    # Of more runs the single lines would blur into a band.
    with_runs = most > 1 and (bars or most <= 16)
    runs = dict.fromkeys(run for curve in curves for run, _ in curve.runs if with_runs)
    keys = [Key(f"c{i}", curve.label, i) for i, curve in enumerate(curves)]
    extra = [Key(BAND, around)] if any(curve.low for curve in curves) else []
    extra += [Key(RUNS, "each run")] if with_runs else []
    hidden = () if show_runs or bars or not with_runs else (RUNS,)
    params: dict[str, Any] = {
        "hidden": hidden,
        "tips": [x.title.partition(",")[0], *(c.label for c in curves)],
    }
    params |= {"xnames": x.names} if x.names else {}
    points = points or len({value for curve in curves for value in curve.x}) < 3
    if bars:
        runs, extra = {}, []
    layers = _line_layers(x, y, curves, bars=bars, points=points, joined=joined, zoom=zoom)
    tables = _line_tables(x, curves, marks, with_runs)
    spec = _spec(layers, tables, params, (PAPER_WIDTH, PAPER_HEIGHT))
    legend = (*keys, *extra) if len(curves) > 1 or extra else ()
    of_runs = tuple(Key(f"run {run}", run) for run in runs)
    description = _describe(title, x, curves, marks)
    return Chart(name, title, heading, description, spec, legend, of_runs, hidden, zoom, note)


def _describe(title: str, x: Axis, curves: Sequence[Curve], marks: Marks) -> str:
    parts = []
    for curve in curves:
        there = [i for i, m in enumerate(curve.mean) if math.isfinite(m)]
        if there:
            ends = [f"{curve.mean[i]:.4g} at {x.word(curve.x[i])}" for i in (there[0], there[-1])]
            parts.append(f"{curve.label} goes from {ends[0]} to {ends[1]}")
    parts += [level.words for level in marks.levels if level.words]
    chosen = "" if marks.chosen is None else f" Chosen: {x.word(marks.chosen)}."
    return f"{title}. {'; '.join(parts) or 'Nothing was measured'}.{chosen}"


def _line_tables(
    x: Axis, curves: Sequence[Curve], marks: Marks, with_runs: bool
) -> dict[str, Rows]:
    """Means with ranges, single runs, words near the pointer, and marks."""
    means: Rows = []
    runs: Rows = []
    tips: dict[float, dict[str, Any]] = {}
    for i, curve in enumerate(curves):
        around = [curve.low, curve.high] if curve.low else []
        for j, (value, mean) in enumerate(zip(curve.x, curve.mean, strict=True)):
            place, ends = x.place(value), [end[j] for end in around]
            if math.isfinite(mean):
                row = {"c": f"c{i}", "x": place, "m": short(mean)}
                row |= dict(zip("lh", map(short, ends), strict=False))
                means.append(row | ({"apart": True} if place != value else {}))
            at = [x.word(value).removeprefix("λ = "), *("–" for _ in curves)]
            tip = tips.setdefault(place, {"x": place, "t": at})
            tip["t"][i + 1] = curve.words[j] if curve.words else _figures(mean, *ends)
        for run, values in curve.runs if with_runs else ():
            runs += [
                {"c": f"c{i}", "s": run, "x": x.place(at), "v": short(float(value))}
                for at, value in zip(curve.x, values, strict=True)
                if math.isfinite(value)
            ]
    return {
        "means": means,
        "runs": runs,
        "tips": list(tips.values()),
        "chosen": [] if marks.chosen is None else [{"x": x.place(marks.chosen)}],
        "rings": [{"c": f"c{i}", "x": x.place(at), "m": short(m)} for i, at, m in marks.rings],
        "stripes": [{"l": short(low), "h": short(high)} for low, high in marks.stripes],
        "levels": [
            {"v": short(level.value), "w": level.words}
            | ({} if level.series is None else {"c": f"c{level.series}"})
            for level in marks.levels
        ],
        "diagonal": [{"x": end, "m": end} for end in (0.0, 1.0)] if marks.diagonal else [],
    }


def _figures(mean: float, low: float = math.nan, high: float = math.nan) -> str:
    if not math.isfinite(mean):
        return "–" if math.isnan(mean) else "too large"
    return f"{mean:.4g}" + (f" ({low:.4g} to {high:.4g})" if low < high else "")


HIDES = "indexof(hidden, datum.c) < 0"

# The pointer finds a cell around its mark, which holds the row as `datum`.
TOOLTIP: Spec = {"value": {"expr": "[tips, (datum.datum || datum).t]"}}

DASHED: Spec = {"aria": False, "strokeDash": [6, 4], "strokeWidth": 1.6}
WORDS: Spec = {"type": "text", "aria": False, "fontSize": SMALLEST, "baseline": "bottom"}
WORDS |= {"dx": -4, "dy": -5}

DOT: Spec = {"type": "point", "filled": True, "opacity": 1}

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


def _line_layers(
    x: Axis, y: Axis, curves: Sequence[Curve], *, bars: bool, points: bool, joined: bool, zoom: bool
) -> list[Spec]:
    """How the tables are drawn, in this order; the pointer's layer comes last."""

    def height(field: str) -> Spec:
        return {"y": y.channel(field, padding=10 if points or y.log else 0)}

    def curve(table: str, mark: Spec, encoding: Spec, *shown: str) -> Spec:
        """Marks of curves, which can be hidden, and zoomed within the axes."""
        return _layer(table, mark | {"clip": zoom}, across | color | encoding, HIDES, *shown)

    count = len(curves)
    across, color = {"x": x.channel("x")}, {"color": _series(count, {})}
    mean, level = height("m"), height("v")
    around = height("l") | {"y2": {"field": "h"}}
    # A level of no series has its mark's own colour.
    level_color = {"color": {"condition": {"test": "isValid(datum.c)"} | color["color"]}}
    at_end = {"text": {"field": "w"}, "x": {"value": "width"}}
    top = {"text": {"value": "chosen"}, "y": {"value": 0}}
    band: Spec = {"type": "area", "fillOpacity": 0.2}
    apart: Spec = {"type": "rule", "strokeWidth": 6, "opacity": 0.3}  # no line reaches λ = 0
    run: Spec = {"type": "line", "strokeOpacity": 0.55, "strokeWidth": 0.8}
    if bars:
        band = apart = {"type": "rule", "strokeWidth": 2}
        run = {"type": "point", "filled": True, "size": 16, "opacity": 0.5}
    shown = f"indexof(hidden, '{BAND}') < 0"
    alone = f"indexof(hidden, '{RUNS}') < 0 && indexof(hidden, 'run ' + datum.s) < 0"
    layers = [
        _layer("stripes", {"type": "rect", "opacity": 0.22, "fill": "gray"}, around),
        _layer("levels", {"type": "rule"} | DASHED, level | level_color, HIDES),
        _layer("levels", WORDS | {"align": "right"}, level | level_color | at_end, HIDES),
        _layer("diagonal", {"type": "line", "color": "gray"} | DASHED, across | mean),
    ]
    if any(one.low for one in curves):
        layers.append(curve("means", band, around, shown, "!datum.apart"))
        layers += [curve("means", apart, around, shown, "datum.apart")] if x.zero else []
    layers += [
        _layer("chosen", {"type": "rule", "strokeWidth": 1.6}, across),
        _layer("chosen", WORDS | {"dx": 0, "fontWeight": "bold"}, across | top),
        curve("runs", run, level | {"detail": {"field": "s", "type": "nominal"}}, alone),
    ]
    if joined:
        dash = {"strokeDash": _series(count, {"range": [dash_of(i) for i in range(count)]})}
        line = {"type": "line", "strokeWidth": 2.4}
        layers.append(curve("means", line, mean | dash, "!datum.apart"))
    if points:
        point = DOT | {"size": 30 if joined and not bars else 60}
        layers.append(curve("means", point, mean | _shapes(count)))
    if zoom:
        layers[-1]["params"] = [ZOOM]
    ring = {"type": "point", "size": 190, "strokeWidth": 2, "filled": False}
    return [*layers, curve("rings", ring, mean), _pointer(across)]


def _pointer(across: Spec) -> Spec:
    """A rule that follows the pointer, with the values of all curves at its x."""
    near = {"type": "point", "nearest": True, "on": "pointerover", "fields": ["x"], "clear": False}
    opacity = {"condition": {"param": "near", "empty": False, "value": 0.8}, "value": 0}
    encoding = across | {"opacity": opacity, "tooltip": TOOLTIP}
    layer = _layer("tips", {"type": "rule", "strokeWidth": 1.2}, encoding)
    return layer | {"params": [{"name": "near", "select": near}]}


def _spec(
    layers: Iterable[Spec], tables: dict[str, Rows], params: Mapping[str, Any], size: Sequence[int]
) -> Spec:
    """A chart of those layers that have anything to draw; means, even of nothing, have axes."""
    width, height = size
    names = {"means"} | {name for name, rows in tables.items() if rows}
    return {
        "layer": [layer for layer in layers if layer["data"]["name"] in names],
        "datasets": tables,
        "params": [{"name": name, "value": value} for name, value in params.items()],
        "width": width,
        "height": height,
    }


def _layer(table: str, mark: Spec, encoding: Spec, *shown: str) -> Spec:
    layer: Spec = {"data": {"name": table}, "mark": mark, "encoding": encoding}
    return layer | ({"transform": [{"filter": " && ".join(shown)}]} if shown else {})


def _series(count: int, scale: Spec) -> Spec:
    """A channel that tells series apart; `Chart.paper` gives it its legend."""
    domain = [f"c{i}" for i in range(count)]
    return {"field": "c", "type": "nominal", "scale": {"domain": domain} | scale, "legend": None}


def _named(field: str, kind: str, names: str, count: int, look: Spec) -> Spec:
    """A channel of positions, which an axis shows by the names in a parameter."""
    axis = look | {"ticks": False, "domain": False, "labelExpr": f"{names}[datum.value]"}
    title = axis.pop("title", None)
    scale = {"domain": list(range(count))}
    return {"field": field, "type": kind, "title": title, "scale": scale, "axis": axis}


def _shapes(count: int) -> Spec:
    return {"shape": _series(count, {"range": [SHAPES[i % len(SHAPES)] for i in range(count)]})}


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
    axis: Axis,
    labels: Sequence[str],
    rows: Sequence[tuple[str, Sequence[Dot]]],
) -> Chart:
    """Draw values side by side, one row a setting."""
    tables: dict[str, Rows] = {"ways": [], "bars": [], "ends": []}
    dots = [dot for _, of_row in rows for dot in of_row]
    axis = axis.holding(value for dot in dots for value in (dot.value, dot.low, dot.high))
    for s, (row, of_row) in enumerate(rows):
        shown = [dot for dot in of_row if math.isfinite(dot.value)]
        for dot in shown:
            place = {"s": s, "c": f"c{dot.series}"}
            words = [row, labels[dot.series], _figures(dot.value, dot.low, dot.high)]
            tables["ends"].append(place | {"v": short(dot.value), "t": words})
            if dot.low < dot.high:
                tables["bars"].append(place | {"l": short(dot.low), "h": short(dot.high)})
        if len(shown) > 1:
            low, *_, high = (short(dot.value) for dot in shown)
            tables["ways"].append({"s": s, "l": low, "h": high})
    several = len(labels) > 1
    y = _named("s", "nominal", "rows", len(rows), {"labelLimit": 150, "grid": True})
    color = _series(len(labels), {})
    across = {"x": axis.channel("l", padding=24), "x2": {"field": "h"}, "y": y}
    at = {"x": axis.channel("v", padding=24), "y": y, "color": color, "tooltip": TOOLTIP}
    at |= _shapes(len(labels))
    ring = DOT | {"filled": False, "size": 240, "strokeWidth": 2.5}
    bar = {"type": "rule", "strokeWidth": 3, "opacity": 0.45}
    layers = [
        _layer("ways", {"type": "rule", "strokeWidth": 1.5}, across),
        _layer("bars", bar, across | {"color": color}, HIDES),
        _layer("ends", DOT | {"size": 80}, at, HIDES, *(["datum.c !== 'c0'"] if several else [])),
    ]
    if several:  # a ring, so that values that agree are both seen
        layers.append(_layer("ends", ring, at, HIDES, "datum.c === 'c0'"))
    params = {"hidden": [], "tips": ["setting", "value", axis.title]}
    params["rows"] = [row for row, _ in rows]
    spec = _spec(layers, tables, params, (PAPER_WIDTH, max(LEAST_HEIGHT, ROW * len(rows))))
    said = "; ".join("{}: {} {}".format(*dot["t"]) for dot in tables["ends"])
    keys = tuple(Key(f"c{i}", label, i, solid=True) for i, label in enumerate(labels))
    description = f"{title}. {said or 'Nothing was measured'}."
    return Chart(name, title, title, description, spec, keys if several else ())


# With more columns the cells have no room for numbers.
MOST_WITH_NUMBERS = 12

# The smallest and largest size of a heat map, px.
LEAST_SIZE, MOST_HEIGHT = (240, 60), 720


@dataclass(frozen=True)
class HeatCell:
    """A cell: its column and row, its value (None crosses it out), its number and its tooltip."""

    x: int
    y: int
    value: float | None
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
    ramp: Sequence[float],
    tips: Sequence[str],
    cell_size: tuple[int, int] = (62, 40),
    legend: bool = True,
    framed: tuple[int, int] | None = None,
    dashed_frame: bool = False,
) -> Chart:
    """Draw a value for each column and row, shaded by `ramp`, worst value first.

    Below 0 each sign has a colour.
    """
    # The ends may be the largest numbers that there are.
    scale = 1.0 if math.isfinite(ramp[-1] - ramp[0]) else 0.5
    low, span = scale * ramp[0], scale * ramp[-1] - scale * ramp[0]

    def share(value: float) -> float:
        return min(max((scale * value - low) / span, 0.0), 1.0)

    base: Spec = {}
    for axis, (axis_title, names) in (("x", columns), ("y", rows)):
        upright = {"labelAngle": 0} if max(map(len, names)) < 7 else {}
        look = {"labelLimit": 110, "grid": False, "title": axis_title or None}
        base[axis] = _named(axis, "ordinal", f"{axis}names", len(names), look | upright)
        base[axis]["scale"] |= {"paddingInner": 0.04, "paddingOuter": 0.02}
    pointed = base | {"tooltip": TOOLTIP}
    colors: Spec = {"domain": [0, 1], "range": "heatmap"}
    if ramp[0] < 0.0:
        colors |= {"range": "diverging", "interpolate": "rgb"}
    key: Spec | None = None
    if legend:
        key = {"orient": "bottom", "direction": "horizontal", "gradientLength": 220}
        key |= {"values": [share(value) for value in ramp], "title": None}
        key["labelExpr"] = "ramp[datum.index]"
    color = {"field": "s", "type": "quantitative", "scale": colors, "legend": key}
    switch = {"test": "100 * datum.s > inkSwitch", "value": {"expr": "inkOnHigh"}}
    ink = {"condition": switch, "value": {"expr": "inkOnLow"}}
    rect = {"type": "rect", "cornerRadius": 3}
    frame = rect | {"fillOpacity": 0, "strokeWidth": 3}
    frame["strokeDash"] = [5, 3] if dashed_frame else [1, 0]
    second = {"field": "k", "type": "nominal", "scale": {"domain": ["first", "best"]}}
    number = {"type": "text", "fontSize": SMALLEST}
    numbered = "true" if len(columns[1]) <= MOST_WITH_NUMBERS else "datum.v === null"
    layers = [
        _layer("cells", rect | {"color": "#808080", "opacity": 0.16}, pointed, "datum.v === null"),
        _layer("cells", rect, pointed | {"color": color}, "datum.v !== null"),
        _layer("best", frame, base | {"stroke": second | {"legend": None}}),
        _layer("cells", number, pointed | {"text": {"field": "n"}, "color": ink}, numbered),
    ]
    width, height = (
        max(least, size * len(names))
        for least, size, (_, names) in zip(LEAST_SIZE, cell_size, (columns, rows), strict=True)
    )
    tables: dict[str, Rows] = {
        "cells": [
            {"x": c.x, "y": c.y, "n": c.text, "t": c.tip, "v": None}
            | ({} if c.value is None else {"v": short(c.value), "s": short(share(c.value))})
            for c in cells
        ],
        "best": [{"x": framed[0], "y": framed[1], "k": "best"}] if framed else [],
    }
    params = inks_of(LIGHT) | {"tips": tips, "xnames": columns[1], "ynames": rows[1]}
    first, *others = (f"{value:.4g}".replace("-", "−") for value in ramp)
    params["ramp"] = [first if ramp[0] < 0.0 else f"{'≤' if span > 0.0 else '≥'} {first}", *others]
    spec = _spec(layers, tables, params, (width, min(height, MOST_HEIGHT)))
    return Chart(name, title, heading, f"{title}. {description}", spec)


def short(value: float) -> float | None:
    """Round to five digits, so that a page of curves stays small; None for no number."""
    return float(f"{value:.5g}") if math.isfinite(value) else None


def unique_slugs(names: Iterable[str]) -> list[str]:
    """A file name for each setting, plain letters, digits, dots and dashes, no two alike."""
    slugs: list[str] = []
    for name in names:
        spelled = name.replace("λ", "lambda").replace("η", "eta")
        letters = unicodedata.normalize("NFKD", spelled).encode("ascii", "ignore").decode().lower()
        words = re.sub(r"[^a-z0-9.]+", "-", letters).strip("-.")[:60].rstrip("-.") or "setting"
        number = 1
        slug = words
        while slug in slugs:
            number += 1
            slug = f"{words}-{number}"
        slugs.append(slug)
    return slugs

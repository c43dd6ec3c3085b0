"""Charts of a λ path: accuracy, loss, ‖W‖ and the certified gap, each over λ.

λ is on a logarithmic axis. λ = 0 has no place there; it is drawn apart, left of the smallest.

The axis of a λ path's charts: logarithmic, with a place apart for λ = 0.

The marks of a chart over λ: curves with bands, the chosen λ, and what it was held against.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onelayer.report.chart import (
    DASHES,
    SHAPES,
    SMALLEST,
    Chart,
    Key,
    Tables,
    finished_specs,
    short,
    words_near_pointer,
)
from onelayer.report.curves import BAND
from onelayer.report.path_summary import Estimate, PathLine, best_line
from onelayer.solver import Choice

if TYPE_CHECKING:
    import altair as alt

    from onelayer.report.chart import AltairChart

    Layer = alt.Chart

# The title says which way is which, so that nobody has to think of the formula.
TITLE = "λ, log scale: larger shrinks W more →"

# λ = 0 is drawn this share of the axis, but at least this factor, left of the smallest λ.
APART, LEAST_APART = 0.1, 3.0

MARGIN, LEAST_MARGIN = 0.03, 1.15


@dataclass(frozen=True)
class L2Axis:
    """Where each λ is drawn.

    Attributes:
        low: left end, > 0.
        high: right end.
        zero: where λ = 0 is drawn; 0 when it is not among them.
        ticks: places with a label.
    """

    low: float
    high: float
    zero: float
    ticks: tuple[float, ...]

    def place(self, l2: float) -> float:
        """Where a λ is drawn."""
        return l2 or self.zero

    def encoding(self, field: str = "x") -> alt.X:
        """The axis for Altair."""
        import altair as alt

        word = "format(datum.value, '~g')"
        if self.zero:
            word = f"datum.value < {math.sqrt(self.zero * self._smallest)!r} ? '0' : {word}"
        return alt.X(
            f"{field}:Q",
            title=TITLE,
            scale=alt.Scale(type="log", domain=[self.low, self.high], nice=False),
            axis=alt.Axis(
                values=list(self.ticks),
                labelExpr=word,
                grid=False,
                labelFlush=False,
                labelSeparation=8,
            ),
        )

    @property
    def _smallest(self) -> float:
        return min(tick for tick in (*self.ticks, self.high) if tick > self.zero)


def axis_of(l2s: Sequence[float]) -> L2Axis:
    """Lay out the axis for some values of λ.

    Args:
        l2s: at least one, ≥ 0.

    Returns:
        The axis; ticks are powers of ten, or the λ's themselves where those are fewer than two.

    Example:
        >>> axis_of([1.0, 0.1, 0.01]).ticks
        (0.01, 0.1, 1.0)
        >>> axis_of([0.5, 0.0]).place(0.0) < 0.5
        True
    """
    positive = sorted(l2 for l2 in l2s if l2 > 0.0) or [1.0]
    smallest, largest = positive[0], positive[-1]
    ratio = largest / smallest
    zero = smallest / max(LEAST_APART, ratio**APART) if 0.0 in l2s else 0.0
    margin = max(LEAST_MARGIN, ratio**MARGIN)
    first, last = math.ceil(math.log10(smallest) - 1e-9), math.floor(math.log10(largest) + 1e-9)
    ticks = [float(f"1e{power}") for power in range(first, last + 1)]
    if len(ticks) < 2:
        ticks = [smallest, largest] if largest > smallest else [smallest]
    if not any(l2s):
        ticks = []
    left = zero or smallest
    return L2Axis(left / margin, largest * margin, zero, (*([zero] if zero else []), *ticks))


@dataclass(frozen=True)
class Side:
    """A place beside a horizontal stripe: at its right end or left, above it or below."""

    right: bool = False
    above: bool = False


@dataclass(frozen=True)
class PathDrawing:
    """What is drawn; the tables are named and not held.

    Tables: means (c, x, m, l, h, apart), tips (x, w, t0 …), chosen (x), best (x, m, c), deciding
    (l, h, w) and asked (v, w); x is a place on the axis, and empty tables draw nothing.

    Attributes:
        labels: of the curves.
        unit: title of the vertical axis.
        log: whether that is logarithmic.
        axis: the axis of λ.
        with_band: whether the curves have standard errors.
        joined: whether a line joins the points.
        side: where the words beside a stripe or a horizontal line stand.
        log_format: how numbers on a logarithmic axis are written.
    """

    labels: tuple[str, ...]
    unit: str
    log: bool
    axis: L2Axis
    with_band: bool
    joined: bool = True
    side: Side = Side()  # frozen
    log_format: str = "~g"

    def on_page(self) -> AltairChart:
        """Every mark, the rule that follows the pointer, and the parameter that hides."""
        import altair as alt

        layers = [*self._layers(paper=False), self._pointer()]
        return alt.layer(*layers).add_params(alt.param(name="hidden", value=[]))

    def on_paper(self) -> AltairChart:
        """Every mark, with a legend."""
        import altair as alt

        return alt.layer(*self._layers(paper=True))

    def _layers(self, *, paper: bool) -> list[Layer]:
        return [
            *self._deciding(),
            *self._asked(),
            *(self._bands(paper) if self.with_band else []),
            *self._chosen(),
            *([self._line(paper)] if self.joined else []),
            self._points(paper),
            self._best(paper),
        ]

    def _chart(self, table: str) -> Layer:
        import altair as alt

        return alt.Chart(alt.NamedData(table))

    def _curve(self, table: str, paper: bool, also: str = "") -> Layer:
        """Marks of curves: on paper nothing is hidden, so nothing is asked."""
        chart = self._chart(table).encode(x=self.axis.encoding())
        shown = [also] if also else []
        shown += [] if paper else ["indexof(hidden, datum.c) < 0"]
        layer: Layer = chart.transform_filter(" && ".join(shown)) if shown else chart
        return layer

    def _y(self, field: str) -> alt.Y:
        import altair as alt

        log = alt.Scale(type="log", nice=False, padding=10)
        plain = alt.Scale(zero=False, padding=10)
        axis = alt.Axis(tickCount=5, format=self.log_format) if self.log else alt.Axis(tickCount=6)
        return alt.Y(f"{field}:Q", title=self.unit, scale=log if self.log else plain, axis=axis)

    def _color(self, paper: bool) -> alt.Color:
        import altair as alt

        scale = alt.Scale(domain=self._keys())
        return alt.Color("c:N", scale=scale, legend=self._legend(paper))

    def _legend(self, paper: bool) -> alt.Legend | None:
        import altair as alt

        if not paper or len(self.labels) < 2:
            return None
        names = dict(zip(self._keys(), self.labels, strict=True))
        expression = f"({json.dumps(names, ensure_ascii=False)})[datum.value]"
        return alt.Legend(
            labelExpr=expression,
            symbolSize=90,
            symbolOpacity=1,
            symbolDash=[1, 0],
            symbolStrokeWidth=0,
        )

    def _keys(self) -> list[str]:
        return [f"c{i}" for i in range(len(self.labels))]

    def _bands(self, paper: bool) -> list[Layer]:
        """Standard errors: a band along the curve, and a bar at λ = 0, which no line reaches."""
        shown = "" if paper else f" && indexof(hidden, '{BAND}') < 0"
        band = self._curve("means", paper, f"!datum.apart{shown}").mark_area(fillOpacity=0.2)
        bar = self._curve("means", paper, f"datum.apart{shown}").mark_rule(
            strokeWidth=6, opacity=0.3
        )
        return [
            mark.encode(y=self._y("l"), y2="h:Q", color=self._color(paper)) for mark in (band, bar)
        ]

    def _line(self, paper: bool) -> Layer:
        import altair as alt

        dashes = alt.Scale(
            domain=self._keys(), range=[list(DASHES[i]) for i in range(len(self.labels))]
        )
        line = self._curve("means", paper, "!datum.apart").mark_line(strokeWidth=2.4)
        layer: Layer = line.encode(
            y=self._y("m"),
            color=self._color(paper),
            strokeDash=alt.StrokeDash("c:N", scale=dashes, legend=None),
        )
        return layer

    def _points(self, paper: bool) -> Layer:
        import altair as alt

        shapes = alt.Scale(domain=self._keys(), range=list(SHAPES[: len(self.labels)]))
        points = self._curve("means", paper).mark_point(
            filled=True, size=26 if self.joined else 60, opacity=1
        )
        layer: Layer = points.encode(
            y=self._y("m"),
            color=self._color(paper),
            shape=alt.Shape("c:N", scale=shapes, legend=self._legend(paper)),
        )
        return layer

    def _best(self, paper: bool) -> Layer:
        ring = self._curve("best", paper).mark_point(size=190, strokeWidth=2, filled=False)
        layer: Layer = ring.encode(y=self._y("m"), color=self._color(paper))
        return layer

    def _chosen(self) -> list[Layer]:
        import altair as alt

        base = self._chart("chosen").encode(x=self.axis.encoding())
        words = base.mark_text(dy=-6, baseline="bottom", fontWeight="bold", fontSize=SMALLEST)
        return [
            base.mark_rule(strokeWidth=1.6),
            words.encode(y=alt.value(0), text=alt.value("chosen")),
        ]

    def _deciding(self) -> list[Layer]:
        import altair as alt

        base = self._chart("deciding")
        right, above = self.side.right, self.side.above
        words = base.mark_text(
            align="right" if right else "left",
            baseline="bottom" if above else "top",
            dx=-4 if right else 4,
            dy=-3 if above else 3,
            fontSize=SMALLEST,
        )
        end = alt.value("width") if right else alt.value(0)
        return [
            base.mark_rect(opacity=0.22, fill="gray").encode(y=self._y("l"), y2="h:Q"),
            words.encode(y=self._y("h" if above else "l"), x=end, text="w:N"),
        ]

    def _asked(self) -> list[Layer]:
        import altair as alt

        base, right = self._chart("asked").encode(y=self._y("v")), self.side.right
        words = base.mark_text(
            align="right" if right else "left",
            baseline="bottom",
            dx=-4 if right else 4,
            dy=-3,
            fontSize=SMALLEST,
        )
        end = alt.value("width") if right else alt.value(0)
        return [
            base.mark_rule(strokeDash=[6, 4], strokeWidth=1.6),
            words.encode(x=end, text="w:N"),
        ]

    def _pointer(self) -> Layer:
        import altair as alt

        near = alt.selection_point(
            name="near", nearest=True, on="pointerover", fields=["x"], empty=False, clear=False
        )
        tips = {"λ": "w"} | {label: f"t{i}" for i, label in enumerate(self.labels)}
        rule: Layer = (
            self._chart("tips")
            .mark_rule(strokeWidth=1.2)
            .encode(
                x=self.axis.encoding(),
                opacity=alt.condition(near, alt.value(0.8), alt.value(0)),
                tooltip=words_near_pointer(tips),
            )
            .add_params(near)
        )
        return rule


# Drawn in place of a gap of exactly 0, which a logarithmic axis does not know.
SMALLEST_GAP = 1e-17

# Values that span more than this factor are drawn on a logarithmic axis.
WIDE = 8.0

# Room for words in a chart, as shares of its height and width.
WORDS_HEIGHT, WORDS_WIDTH = 0.08, 0.5


@dataclass(frozen=True)
class Curve:
    """One curve over λ: what the legend calls it, and its value for each λ."""

    label: str
    values: tuple[Estimate, ...]


@dataclass(frozen=True)
class Asked:
    """A horizontal line: what was asked for, and the words beside it."""

    value: float
    words: str


def path_charts(lines: Sequence[PathLine], choice: Choice, held_out: str) -> tuple[Chart, ...]:
    """Draw a path.

    Args:
        lines: its figures.
        choice: how λ was chosen; the chart of that score shows the band that decided.
        held_out: what the held-out rows are called.

    Returns:
        Four charts.
    """
    draw = _Drawer(tuple(lines), axis_of([line.l2 for line in lines]), choice)
    train_a, held_a = (
        tuple(getattr(line, rows).accuracy for line in lines) for rows in ("train", "held_out")
    )
    train_l, held_l = (
        tuple(getattr(line, rows).loss for line in lines) for rows in ("train", "held_out")
    )
    norms = tuple(Estimate(line.norm, 0.0) for line in lines)
    gaps = tuple(Estimate(max(line.relative_gap, SMALLEST_GAP), 0.0) for line in lines)
    asked = Asked(lines[0].tol, f"asked for: {lines[0].tol:.0e}".replace("e-0", "e-"))
    both = ("training", held_out)
    return (
        draw.chart("accuracy", "Accuracy", "share of rows / %", both, (train_a, held_a)),
        draw.chart("loss", "Loss", "mean cross-entropy / nats", both, (train_l, held_l)),
        draw.chart("norm", "Norm of W", "‖W‖ (Frobenius norm)", ("‖W‖",), (norms,)),
        draw.chart(
            "gap", "Certified gap", "bound on (J − J*) / J", ("gap / J",), (gaps,), asked=asked
        ),
    )


@dataclass(frozen=True)
class _Drawer:
    """What all charts of a path have in common."""

    lines: tuple[PathLine, ...]
    axis: L2Axis
    choice: Choice

    def chart(
        self,
        name: str,
        heading: str,
        unit: str,
        labels: tuple[str, ...],
        values: tuple[tuple[Estimate, ...], ...],
        asked: Asked | None = None,
    ) -> Chart:
        curves = tuple(map(Curve, labels, values))
        tables = self._tables(name, curves, asked)
        drawing = self._drawing(unit, curves, tables["deciding"], asked)
        specs = finished_specs(drawing.on_page(), drawing.on_paper())
        title = f"{heading} against λ"
        keys = tuple(Key(f"c{i}", label, i) for i, label in enumerate(labels))
        band = (Key(BAND, "± 1 standard error"),) if drawing.with_band else ()
        return Chart(
            name=f"path-{name}",
            title=title,
            heading=heading,
            description=self._describe(title, curves, asked),
            page=specs.page_with(tables),
            paper=specs.paper_with(tables, title),
            legend=keys + band if len(keys) > 1 else (),
        )

    def _drawing(
        self,
        unit: str,
        curves: Sequence[Curve],
        deciding: list[dict[str, Any]],
        asked: Asked | None,
    ) -> PathDrawing:
        log = asked is not None or _is_wide(curves)
        return PathDrawing(
            labels=tuple(curve.label for curve in curves),
            unit=f"{unit}, log scale" if log else unit,
            log=log,
            axis=self.axis,
            with_band=any(value.error for curve in curves for value in curve.values),
            # Where the solver stopped under what was asked has no trend that a line could show.
            joined=asked is None,
            side=_side_with_room(curves, deciding) if deciding else self._far_from_chosen(),
            # A gap has many zeros before its digits.
            log_format="~g" if asked is None else "~e",
        )

    def _tables(self, name: str, curves: Sequence[Curve], asked: Asked | None) -> Tables:
        return {
            "means": self._means(curves),
            "tips": self._tips(curves),
            "chosen": [{"x": self.axis.place(line.l2)} for line in self.lines if line.chosen],
            "best": self._best(name),
            "deciding": self._deciding(name),
            "asked": [{"v": asked.value, "w": asked.words}] if asked else [],
        }

    def _means(self, curves: Sequence[Curve]) -> list[dict[str, Any]]:
        return [
            {"c": f"c{i}", "x": self.axis.place(line.l2), "apart": line.l2 == 0.0}
            | {"m": short(v.mean), "l": short(v.low), "h": short(v.high)}
            for i, curve in enumerate(curves)
            for line, v in zip(self.lines, curve.values, strict=True)
            if math.isfinite(v.mean)
        ]

    def _tips(self, curves: Sequence[Curve]) -> list[dict[str, Any]]:
        tips = []
        for position, line in enumerate(self.lines):
            tip: dict[str, Any] = {"x": self.axis.place(line.l2), "w": f"{line.l2:.3g}"}
            for i, curve in enumerate(curves):
                tip[f"t{i}"] = _words(curve.values[position])
            tips.append(tip)
        return tips

    def _decides(self, name: str) -> bool:
        return name == self.choice.by and self.choice.rule == "one-standard-error"

    def _deciding(self, name: str) -> list[dict[str, Any]]:
        """From the best held-out score to one standard error worse: who is in there is as good."""
        if not self._decides(name):
            return []
        best = best_line(self.lines, self.choice.by).held_out.of(self.choice.by)
        worst = best.low if self.choice.by == "accuracy" else best.high
        low, high = sorted((best.mean, worst))
        return [{"l": short(low), "h": short(high), "w": "within 1 standard error"}]

    def _far_from_chosen(self) -> Side:
        """The end of a line that the word over the chosen λ does not reach."""
        chosen = next(i for i, line in enumerate(self.lines) if line.chosen)
        return Side(right=2 * chosen >= len(self.lines))

    def _best(self, name: str) -> list[dict[str, Any]]:
        if not self._decides(name):
            return []
        best = best_line(self.lines, self.choice.by)
        m = short(best.held_out.of(self.choice.by).mean)
        return [{"x": self.axis.place(best.l2), "m": m, "c": "c1"}]

    def _describe(self, title: str, curves: Sequence[Curve], asked: Asked | None) -> str:
        parts = []
        for curve in curves:
            shown = [
                (line, value)
                for line, value in zip(self.lines, curve.values, strict=True)
                if math.isfinite(value.mean)
            ]
            if shown:
                (first, start), (last, end) = shown[0], shown[-1]
                parts.append(
                    f"{curve.label} goes from {start.mean:.4g} at λ = {first.l2:.3g} "
                    f"to {end.mean:.4g} at λ = {last.l2:.3g}"
                )
        chosen = next(line for line in self.lines if line.chosen)
        parts += [asked.words] if asked else []
        return f"{title}. {'; '.join(parts)}. Chosen: λ = {chosen.l2:.3g}."


def _words(value: Estimate) -> str:
    if not math.isfinite(value.mean):
        return "no bound"
    return f"{value.mean:.4g}" + (f" ± {value.error:.2g}" if value.error else "")


def _is_wide(curves: Sequence[Curve]) -> bool:
    values = [v.mean for curve in curves for v in curve.values if math.isfinite(v.mean)]
    return bool(values) and min(values) > 0 and max(values) / min(values) > WIDE


def _side_with_room(curves: Sequence[Curve], deciding: list[dict[str, Any]]) -> Side:
    """Where words of some height and width beside the stripe are farthest from all curves."""
    low, high = deciding[0]["l"], deciding[0]["h"]
    means = [[value.mean for value in curve.values] for curve in curves]
    height = WORDS_HEIGHT * (max(map(max, means)) - min(map(min, means)))
    count = max(1, round(WORDS_WIDTH * len(means[0])))

    def room(side: Side) -> float:
        bottom, top = (high, high + height) if side.above else (low - height, low)
        near = (
            mean for of_one in means for mean in (of_one[:count], of_one[-count:])[not side.right]
        )
        return float(min(max(bottom - mean, mean - top) for mean in near))

    return max((Side(right, above) for right in (False, True) for above in (False, True)), key=room)

"""The marks of a chart over λ: curves with bands, the chosen λ, and what it was held against."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onelayer.report.charts import words_near_pointer
from onelayer.report.curves import BAND
from onelayer.report.path_axis import L2Axis
from onelayer.report.theme import DASHES, SHAPES, SMALLEST

if TYPE_CHECKING:
    import altair as alt

    from onelayer.report.charts import AltairChart

    Layer = alt.Chart


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

"""The chart of conclusion 1's reason: curvature met over epochs, and 2/η as a line for each run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from onelayer.report.charts import Chart, Key, finished_specs, short
from onelayer.report.stability import Bend
from onelayer.report.theme import SHAPES, SMALLEST

if TYPE_CHECKING:
    import altair as alt

    from onelayer.report.charts import AltairChart

NAME = "rates-curvature"
TITLE = "Curvature of the cost against what each step allows"
UNIT = "largest curvature λmax(H), log scale"
LIMIT_DASH = (6, 4)
# Words under the line of a limit this share of another's or nearer to it would meet its words.
NEAR = 1.3


def stability_chart(bends: Sequence[Bend]) -> Chart:
    """Draw the curvature that runs met.

    Args:
        bends: runs, at least one.

    Returns:
        The chart: solid with marks λmax(H), dashed 2/η, in the run's colour.
    """
    drawing = _Drawing(tuple(bend.label for bend in bends))
    specs = finished_specs(drawing.layers(paper=False), drawing.layers(paper=True))
    tables = {"met": _met(bends), "limits": _limits(bends)}
    ends = "; ".join(
        f"{bend.label}: {bend.values[0]:.3g} at epoch {bend.epochs[0]} to {bend.values[-1]:.3g} at "
        f"epoch {bend.epochs[-1]}, 2/η = {bend.limit:.3g}"
        for bend in bends
    )
    return Chart(
        name=NAME,
        title=TITLE,
        heading=TITLE,
        description=f"{TITLE}. λmax of the Hessian, {ends}.",
        page=specs.page_with(tables),
        paper=specs.paper_with(tables, TITLE),
        legend=tuple(Key(f"c{i}", bend.label, i, solid=True) for i, bend in enumerate(bends)),
    )


def _met(bends: Sequence[Bend]) -> list[dict[str, Any]]:
    return [
        {"c": f"c{i}", "e": epoch, "v": short(value), "t": bend.label, "n": f"{bend.limit:.4g}"}
        | {"w": "overshoots" if value > bend.limit else "stable"}
        for i, bend in enumerate(bends)
        for epoch, value in zip(bend.epochs, bend.values, strict=True)
    ]


def _limits(bends: Sequence[Bend]) -> list[dict[str, Any]]:
    """A line for each run; runs of one η share their words."""
    rows: list[dict[str, Any]] = []
    written: list[float] = []
    for i, bend in enumerate(bends):
        near = any(1 / NEAR < bend.limit / other < NEAR for other in written)
        words = "" if near else f"2/η = {bend.limit:.3g} for {bend.label.split(',')[0]}"
        rows.append({"c": f"c{i}", "v": short(bend.limit), "w": words})
        written += [] if near else [bend.limit]
    return rows


class _Drawing:
    """The marks; what is hidden leaves the data, so the axis closes up around what is left."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self._labels = labels

    def layers(self, *, paper: bool) -> AltairChart:
        import altair as alt

        layers = [
            self._limit(paper).mark_rule(strokeDash=list(LIMIT_DASH), strokeWidth=2),
            self._words(paper),
            self._met(paper).mark_line(strokeWidth=2.4),
            self._points(paper),
        ]
        chart = alt.layer(*layers)
        return chart if paper else chart.add_params(alt.param(name="hidden", value=[]))

    def _base(self, table: str, paper: bool) -> alt.Chart:
        import altair as alt

        scale = alt.Scale(type="log", nice=False, padding=14)
        axis = alt.Axis(tickCount=5, format="~g")
        keys = [f"c{i}" for i in range(len(self._labels))]
        chart = alt.Chart(alt.NamedData(table)).encode(
            y=alt.Y("v:Q", title=UNIT, scale=scale, axis=axis),
            color=alt.Color("c:N", scale=alt.Scale(domain=keys), legend=self._legend(paper)),
        )
        return chart if paper else chart.transform_filter("indexof(hidden, datum.c) < 0")

    def _legend(self, paper: bool) -> alt.Legend | None:
        import json

        import altair as alt

        names = {f"c{i}": label for i, label in enumerate(self._labels)}
        expression = f"({json.dumps(names, ensure_ascii=False)})[datum.value]"
        return alt.Legend(labelExpr=expression, symbolSize=90, symbolOpacity=1) if paper else None

    def _limit(self, paper: bool) -> alt.Chart:
        return self._base("limits", paper)

    def _words(self, paper: bool) -> alt.Chart:
        import altair as alt

        words = self._limit(paper).mark_text(
            align="right", baseline="bottom", dx=-4, dy=-4, fontSize=SMALLEST
        )
        ended: alt.Chart = words.encode(x=alt.value("width"), text="w:N")
        return ended

    def _met(self, paper: bool) -> alt.Chart:
        import altair as alt

        axis = alt.Axis(tickMinStep=1, format="d", grid=False)
        met: alt.Chart = self._base("met", paper).encode(x=alt.X("e:Q", title="epoch", axis=axis))
        return met

    def _points(self, paper: bool) -> alt.Chart:
        import altair as alt

        keys = [f"c{i}" for i in range(len(self._labels))]
        shapes = alt.Scale(domain=keys, range=list(SHAPES[: len(keys)]))
        points: alt.Chart = (
            self._met(paper)
            .mark_point(filled=True, size=45, opacity=1)
            .encode(
                shape=alt.Shape("c:N", scale=shapes, legend=self._legend(paper)),
                tooltip=[
                    alt.Tooltip("t:N", title="run"),
                    alt.Tooltip("e:Q", title="epoch"),
                    alt.Tooltip("v:Q", title="λmax", format=".4~g"),
                    alt.Tooltip("n:N", title="2/η"),
                    alt.Tooltip("w:N", title="so the step"),
                ],
            )
        )
        return points

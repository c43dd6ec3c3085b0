"""A chart of what training left: how far each setting ended from its best cost, and the bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from onelayer.report.charts import Chart, Key, finished_specs, short
from onelayer.report.distances import Distance
from onelayer.report.summary import Spread
from onelayer.report.theme import SHAPES

if TYPE_CHECKING:
    from onelayer.report.charts import AltairChart

NAME = "distance-to-best"
TITLE = "Above the best cost: true and certified"
LABELS = ("true distance, J − J*", "certified bound")
KEYS = ("c0", "c1")
ROW, LEAST_HEIGHT = 42, 120


def distance_chart(distances: Sequence[Distance]) -> Chart | None:
    """Draw true distances beside their bounds.

    Args:
        distances: of the settings; those without a bound or a known optimum are left out.

    Returns:
        The chart; None when none is left.
    """
    shown = [d for d in distances if d.bound.n and d.above.n and d.above.mean > 0.0]
    if not shown:
        return None
    names = [d.setting for d in shown]
    height = max(LEAST_HEIGHT, ROW * len(shown))
    specs = finished_specs(
        _layers(names, paper=False),
        _layers(names, paper=True),
        height=height,
        paper_size=(460, height),
    )
    tables = {
        "ends": [row for d in shown for row in _ends(d)],
        "ways": [
            {"s": d.setting, "l": short(d.above.mean), "h": short(d.bound.mean)} for d in shown
        ],
    }
    words = "; ".join(
        f"{d.setting}: {d.above.mean:.3g} nats, certified at most {d.bound.mean:.3g}" for d in shown
    )
    return Chart(
        name=NAME,
        title=TITLE,
        heading=TITLE,
        description=f"{TITLE}. Means over the runs: {words}.",
        page=specs.page_with(tables),
        paper=specs.paper_with(tables, TITLE),
        legend=tuple(
            Key(k, label, i) for i, (k, label) in enumerate(zip(KEYS, LABELS, strict=True))
        ),
    )


def _ends(distance: Distance) -> list[dict[str, Any]]:
    return [
        {"s": distance.setting, "c": key, "v": short(spread.mean), "t": label, "w": _words(spread)}
        for key, label, spread in zip(KEYS, LABELS, (distance.above, distance.bound), strict=True)
    ]


def _words(spread: Spread) -> str:
    over = f" ({spread.low:.4g} to {spread.high:.4g}, {spread.n} runs)" if spread.n > 1 else ""
    return f"{spread.mean:.4g}{over}"


def _layers(names: list[str], *, paper: bool) -> AltairChart:
    import json

    import altair as alt

    scale = alt.Scale(type="log", nice=False, padding=30)
    title = "J − J* / nats, log scale"
    axis = alt.Axis(tickCount=4, format="~g", labelSeparation=8)
    y = alt.Y("s:N", sort=names, title=None, axis=alt.Axis(labelLimit=150, ticks=False))
    ways = alt.Chart(alt.NamedData("ways")).mark_rule(strokeWidth=1.5)
    words = f"({json.dumps(dict(zip(KEYS, LABELS, strict=True)), ensure_ascii=False)})[datum.value]"
    legend = alt.Legend(labelExpr=words, symbolSize=90, symbolOpacity=1) if paper else None
    ends = alt.Chart(alt.NamedData("ends")).mark_point(filled=True, size=120, opacity=1)
    if not paper:
        ends = ends.transform_filter("indexof(hidden, datum.c) < 0")
    points = ends.encode(
        x=alt.X("v:Q", title=title, scale=scale, axis=axis),
        y=y,
        color=alt.Color("c:N", scale=alt.Scale(domain=list(KEYS)), legend=legend),
        shape=alt.Shape(
            "c:N", scale=alt.Scale(domain=list(KEYS), range=list(SHAPES[:2])), legend=legend
        ),
        tooltip=[
            alt.Tooltip("s:N", title="setting"),
            alt.Tooltip("t:N", title="of"),
            alt.Tooltip("w:N", title="nats"),
        ],
    )
    between = ways.encode(x=alt.X("l:Q", title=title, scale=scale, axis=axis), x2="h:Q", y=y)
    chart = alt.layer(between, points)
    return chart if paper else chart.add_params(alt.param(name="hidden", value=[]))

"""How time grows with R, D, K and N: four pictures, from the record alone.

The dashed line is what strict proportionality would give: for R, that many runs one after another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contenders import ONELAYER
from benchmarks.record import Point, Record
from benchmarks.sweeps import fixed_text

WIDTH, HEIGHT = 460, 290
FONT = "Helvetica, Arial, DejaVu Sans, sans-serif"
INK, FAINT = "#222222", "#8a8a8a"
TIME = "time of one epoch (ms)"
# Thousands are set apart by a thin space: 16 384.
GROUPED = "replace(format(datum.value, ',~r'), /,/g, '\u2009')"
COLOURS = {"onelayer": "#0072B2", "NumPy float32": "#D55E00"}

NAMES = {
    "R": "R, runs trained side by side",
    "D": "D, features",
    "K": "K, classes",
    "N": "N, rows",
}
TITLES = {
    "R": "Time of one epoch against the number of runs",
    "D": "Time of one epoch against the number of features",
    "K": "Time of one epoch against the number of classes",
    "N": "Time of one epoch against the number of rows",
}


@dataclass(frozen=True)
class Picture:
    """A chart's file beside the page, without its ending, and its words for who cannot see it."""

    axis: str
    name: str
    alternative: str


def draw_charts(record: Record, folder: Path) -> tuple[Picture, ...]:
    """Write one PNG and one SVG for each axis of the sweeps.

    Args:
        record: with points.
        folder: where the pictures go.

    Returns:
        The pictures, for the page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = []
    for axis in TITLES:
        points = [p for p in record.points if p.axis == axis and p.measured.seconds]
        if not points:
            continue
        name = f"time-against-{axis}"
        chart = _chart(axis, points, record)
        chart.save(folder / f"{name}.svg")
        chart.save(folder / f"{name}.png", scale_factor=2)
        pictures.append(Picture(axis, name, _alternative(axis, points)))
    return tuple(pictures)


def _chart(axis: str, points: Sequence[Point], record: Record) -> Any:
    import altair as alt

    rows = [_row(point) for point in points]
    reference = f"{axis} runs one after another" if axis == "R" else f"proportional to {axis}"
    lines = _proportional(axis, points, reference)
    labels = list(dict.fromkeys(row["who"] for row in rows))
    low, high = _domain(rows)
    legend = alt.Legend(symbolType="stroke", symbolFillColor="transparent", symbolOpacity=1)
    colour = alt.Color("who:N", title=None, legend=legend).scale(
        domain=[*labels, reference], range=[*(COLOURS[label] for label in labels), FAINT]
    )
    dash = alt.StrokeDash("who:N", title=None, legend=legend).scale(
        domain=[*labels, reference], range=[*([1, 0] for _ in labels), [5, 4]]
    )
    x = alt.X("value:Q", title=NAMES[axis]).scale(type="log", nice=False, padding=12)
    x = x.axis(values=sorted({p.value for p in points}), labelExpr=GROUPED, grid=False)
    y = alt.Y("ms:Q", title=TIME).scale(type="log", domain=[low, high], nice=False)
    y = y.axis(values=log_ticks(low, high), labelExpr=GROUPED)
    measured = alt.Chart(alt.InlineData(values=rows)).encode(x=x, color=colour)
    layers = alt.layer(
        alt.Chart(alt.InlineData(values=lines))
        .mark_line(strokeWidth=1.6, clip=True)
        .encode(x=x, y=y, color=colour, strokeDash=dash),
        measured.mark_rule(strokeWidth=1.4).encode(y=alt.Y("least:Q", title=TIME), y2="most:Q"),
        measured.mark_line(strokeWidth=2.2).encode(y=y, strokeDash=dash),
        measured.mark_point(filled=True, size=46, opacity=1).encode(
            y=y, shape=alt.Shape("who:N", legend=None).scale(domain=labels)
        ),
    )
    reps = len(points[0].measured.seconds)
    subtitle = f"{fixed_text(axis)}; median and range of {reps}; {record.threads} threads"
    title = alt.TitleParams(TITLES[axis], subtitle=subtitle, anchor="start", offset=12)
    sized = layers.properties(
        width=WIDTH, height=HEIGHT, padding=14, background="white", title=title
    )
    return styled(sized)


def styled(chart: Any) -> Any:
    """One look for all pictures."""
    return (
        chart.configure(font=FONT)
        .configure_title(fontSize=15, subtitleFontSize=12, color=INK, subtitleColor="#555555")
        .configure_axis(
            labelFontSize=12,
            titleFontSize=12.5,
            titleFontWeight="normal",
            labelColor=INK,
            titleColor=INK,
            gridColor="#e6e6e6",
            domainColor=FAINT,
            tickColor=FAINT,
            titlePadding=8,
        )
        .configure_legend(
            orient="top-left",
            labelFontSize=12,
            labelColor=INK,
            symbolSize=500,
            symbolStrokeWidth=2.2,
            labelLimit=300,
            fillColor="white",
            padding=6,
            offset=4,
        )
        .configure_view(stroke=None)
    )


def log_ticks(low: float, high: float) -> list[float]:
    """Ticks of a logarithmic axis: 1, 2, 5 of every decade on a short one, powers of ten else.

    Example:
        >>> log_ticks(3.0, 120.0)
        [5.0, 10.0, 20.0, 50.0, 100.0]
    """
    steps = (1, 2, 5) if math.log10(high / low) < 3.3 else (1,)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
    return [tick for tick in ticks if low <= tick <= high]


def _domain(rows: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """What the measured times need, with room for the legend above them."""
    low, high = min(row["least"] for row in rows), max(row["most"] for row in rows)
    return low / 1.5, high * max(1.5, (high / low) ** 0.22)


def _row(point: Point) -> dict[str, Any]:
    seconds = point.measured.seconds
    return {
        "value": point.value,
        "who": point.measured.label,
        "ms": 1e3 * median(seconds),
        "least": 1e3 * min(seconds),
        "most": 1e3 * max(seconds),
    }


def _proportional(axis: str, points: Sequence[Point], name: str) -> list[dict[str, Any]]:
    """Through onelayer's first point for R (that many single runs), through its last otherwise."""
    ours = sorted((p.value, 1e3 * median(p.measured.seconds)) for p in points
                  if p.measured.contender == ONELAYER)  # fmt: skip
    if not ours:
        return []
    at, ms = ours[0] if axis == "R" else ours[-1]
    return [{"value": value, "who": name, "ms": ms * value / at} for value, _ in ours]


def _alternative(axis: str, points: Sequence[Point]) -> str:
    """First and last point of each contender, in words."""
    said = []
    for label in dict.fromkeys(p.measured.label for p in points):
        own = sorted((p.value, median(p.measured.seconds)) for p in points
                     if p.measured.label == label)  # fmt: skip
        (low, first), (high, last) = own[0], own[-1]
        said.append(f"{label}: {1e3 * first:.3g} ms at {low}, {1e3 * last:.3g} ms at {high}")
    return f"{TITLES[axis]}, both axes logarithmic. {'; '.join(said)}."

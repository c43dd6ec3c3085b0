"""Excess over J* against time: one panel a λ, one line a contender; from the record alone."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.charts import FAINT, INK, styled
from benchmarks.contenders import ONELAYER
from benchmarks.optimum.contenders import SOLVERS
from benchmarks.optimum.problem import GOAL
from benchmarks.optimum.record import OptimumRecord, Solved

NAME = "time-to-optimum"
WIDTH, HEIGHT = 330, 230
LEAST, MOST = 1e-8, 1.0
COLOURS = {
    ONELAYER: "#0072B2",
    "sklearn-lbfgs": "#D55E00",
    "sklearn-lbfgs-float32": "#E69F00",
    "sklearn-lbfgs-centred": "#8C510A",
    "sklearn-newton": "#CC79A7",
    "sklearn-intelex": "#009E73",
    "torch-lbfgs": "#7A5195",
}
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def draw_optimum(record: OptimumRecord | None, folder: Path) -> tuple[tuple[str, str], ...]:
    """Write the picture as PNG and SVG.

    Args:
        record: what was measured, if it was.
        folder: where the picture goes.

    Returns:
        Its name without its ending and its words, for the page; nothing without a record.
    """
    if record is None or not any(s.steps for s in record.solved):
        return ()
    folder.mkdir(parents=True, exist_ok=True)
    chart = _chart(record)
    chart.save(folder / f"{NAME}.svg")
    chart.save(folder / f"{NAME}.png", scale_factor=2)
    return ((NAME, _words(record)),)


def _chart(record: OptimumRecord) -> Any:
    import altair as alt

    panels = list(dict.fromkeys((s.task, s.l2) for s in record.solved if s.steps))
    drawn = [_panel(record, *panel, left=i % 2 == 0, low=i + 2 >= len(panels))
             for i, panel in enumerate(panels)]  # fmt: skip
    rows = [alt.hconcat(*drawn[i : i + 2], spacing=30) for i in range(0, len(drawn), 2)]
    title = alt.TitleParams(
        "How far above the optimum, against time",
        subtitle=[
            "Relative excess of the cost over J*, judged in float64. One watched solution each, "
            "the clock stopped while it is looked at.",
            "◆ onelayer's plain call has ended, a gap of 1e-6 proven. Peers prove nothing.",
        ],
        anchor="start",
        offset=14,
    )
    whole = alt.vconcat(*rows, spacing=20).resolve_scale(color="shared", strokeWidth="shared")
    return styled(whole.properties(padding=16, background="white", title=title))


def _panel(record: OptimumRecord, task: str, l2: float, *, left: bool, low: bool) -> Any:
    import altair as alt

    found = [s for s in record.solved if (s.task, s.l2) == (task, l2) and s.steps]
    # Panels of the same rows have the same axis: what a smaller λ costs is seen.
    domain = _seconds([row for s in record.solved if s.task == task for row in _rows(s)])
    y = alt.Y("excess:Q", title="excess / J*" if left else None)
    y = y.scale(type="log", domain=[LEAST, MOST], nice=False)
    x = alt.X("s:Q", title="seconds" if low else None)
    x = x.scale(type="log", domain=domain, nice=False)
    x, y = _with_ticks(x, _ticks(*domain)), _with_ticks(y, _ticks(LEAST, MOST)[::2])
    data = alt.Chart(alt.InlineData(values=[row for one in found for row in _rows(one)]))
    proofs = [{"s": median(s.seconds), "excess": max(s.excess or LEAST, 1.5 * LEAST),
               "who": s.label} for s in found if s.gap is not None and s.seconds]  # fmt: skip
    goal = alt.Chart(alt.InlineData(values=[{"excess": GOAL}]))
    layers = alt.layer(
        goal.mark_rule(color=FAINT, strokeDash=[4, 4], strokeWidth=1.2).encode(y=y),
        data.mark_line(clip=True).encode(
            x=x,
            y=y,
            color=_colour(record),
            strokeWidth=alt.condition(f"datum.key == '{ONELAYER}'", alt.value(3.4), alt.value(2.0)),
            order="s:Q",
            detail="who:N",
        ),
        alt.Chart(alt.InlineData(values=proofs))
        .mark_point(shape="diamond", filled=True, size=190, opacity=1, stroke="white")
        .encode(x=x, y=y, color=_colour(record)),
    )
    heading = alt.TitleParams(f"{record.titles[task]}, λ = {l2:g}", fontSize=13, color=INK,
                              fontWeight="normal", anchor="start", offset=8)  # fmt: skip
    return layers.properties(width=WIDTH, height=HEIGHT, title=heading)


def _colour(record: OptimumRecord) -> Any:
    import altair as alt

    present = {s.contender for s in record.solved if s.steps}
    shown = [s for s in SOLVERS if s.key in present]
    colour = alt.Color("who:N", title=None).scale(
        domain=[s.label for s in shown], range=[COLOURS[s.key] for s in shown]
    )
    return colour.legend(orient="top", columns=4, symbolType="stroke", symbolStrokeWidth=3,
                         symbolSize=420, padding=0, offset=12)  # fmt: skip


def _with_ticks(channel: Any, ticks: list[float]) -> Any:
    """Ticks whose labels read 10⁻⁶ where they are small."""
    chosen = [f"datum.value < {1.01 * tick} ? '{_label(tick)}'" for tick in ticks]
    return channel.axis(values=ticks, labelExpr=" : ".join([*chosen, "''"]))


def _label(tick: float) -> str:
    """A number, or a power of ten where it is small.

    Example:
        >>> _label(0.5), _label(1e-06)
        ('0.5', '10⁻⁶')
    """
    exponent = round(math.log10(tick))
    small = tick < 0.005 and math.isclose(tick, 10.0**exponent)
    return f"10{str(exponent).translate(RAISED)}" if small else f"{tick:g}"


def _rows(found: Solved) -> list[dict[str, Any]]:
    """The best so far, down to just below the picture's floor."""
    rows: list[dict[str, Any]] = []
    best = math.inf
    for _, seconds, excess in found.steps:
        best = min(best, max(excess, LEAST / 2))
        if seconds > 0.0:
            rows.append({"key": found.contender, "who": found.label, "s": seconds, "excess": best})
    return rows


def _seconds(rows: list[dict[str, Any]]) -> tuple[float, float]:
    low, high = min(row["s"] for row in rows), max(row["s"] for row in rows)
    return low / 1.3, high * 1.3


def _ticks(low: float, high: float) -> list[float]:
    """Powers of ten within the bounds; on a short axis 2 and 5 times them too.

    Example:
        >>> _ticks(0.3, 20.0)
        [0.5, 1.0, 2.0, 5.0, 10.0, 20.0]
    """
    steps = (1, 2, 5) if high / low < 200 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [float(f"{step}e{power}") for power in powers for step in steps]
    return [tick for tick in ticks if low <= tick <= high]


def _words(record: OptimumRecord) -> str:
    """Time to the goal of each contender, in words."""
    said = []
    for task, l2 in dict.fromkeys((s.task, s.l2) for s in record.solved):
        times = [f"{s.label} {median(s.seconds):.3g} s" for s in record.solved
                 if (s.task, s.l2) == (task, l2) and s.seconds]  # fmt: skip
        said.append(f"{record.titles[task]}, λ = {l2:g}: {', '.join(times)}")
    return f"Excess over J* against time, both axes logarithmic. Time to 1e-6: {'; '.join(said)}."

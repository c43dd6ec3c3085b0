"""How the time of one epoch grows with R, D, K and N, for onelayer and the NumPy loop."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.harness import chart
from benchmarks.harness.page import MEGABYTE, Target, picture
from benchmarks.harness.problem import Problem, Setting, data_folder
from benchmarks.harness.record import ONELAYER, Measure, Part, Record
from benchmarks.harness.rounds import Session, Suite
from benchmarks.peers import contender
from benchmarks.suites.training import Entry, measure_entries

# Noise has no large η to give: at 0.001 no problem of the sweeps jumps over its minimum.
LEARNING_RATE = 0.001
AXES = {
    "R": (1, 2, 4, 8, 16, 32, 64, 128, 256),
    "D": (64, 256, 1024, 3072, 8192, 16384),
    "K": (2, 10, 32, 100, 316, 1000, 2048),
    "N": (1000, 2000, 5000, 10_000, 20_000, 50_000),
}
QUICK_AXES = {"R": (1, 4, 16), "D": (256, 1024, 3072), "K": (2, 10, 100), "N": (1000, 5000)}
NAMES = {"R": "runs trained side by side", "D": "features", "K": "classes", "N": "rows"}
TIME = "time of one epoch (ms)"
# Growth is asked to be none; two trainings alike differ by this much (arenas, thread stacks).
GROWTH_NOISE_MB = 8


def sweep_problems(*, quick: bool) -> Iterator[tuple[str, int, Problem]]:
    """Axis, value and problem of every point; what does not vary is the report's setting."""
    for axis, values in (QUICK_AXES if quick else AXES).items():
        for value in values:
            yield axis, value, _problem(axis, value)


def _problem(axis: str, value: int) -> Problem:
    base = Problem(f"{axis}={value}", epochs=1, settings=(Setting(LEARNING_RATE),))
    if axis == "R":
        return replace(base, settings=tuple(Setting(LEARNING_RATE, seed=i) for i in range(value)))
    if axis == "N":
        return replace(base, rows=value)
    fewer = replace(base, rows=4000)
    return replace(fewer, features=value) if axis == "D" else replace(fewer, classes=value)


def measure(session: Session) -> Part:
    part, parent = session.part(), session.conditions.folder
    for axis, _, problem in sweep_problems(quick=session.quick):
        entries = [Entry(contender(key), problem) for key in (ONELAYER, "numpy")]
        rounds = 2 if session.quick else 3
        part = measure_entries(session, part, entries, rounds, max_runs=2)
        session.keep(part)
        if axis != "R":  # so that the disk is not filled
            shutil.rmtree(data_folder(problem, parent))
    return part


def points(part: Part, axis: str) -> list[tuple[int, Measure]]:
    named = [(m.work.partition("=")[2], m) for m in part.measures if m.work[0] == axis]
    return [(int(value), m) for value, m in named if m.seconds]


def render(part: Part, folder: Path) -> list[str]:
    shown = []
    for axis in NAMES:
        if found := points(part, axis):
            name = f"time-against-{axis}"
            chart.save(_chart(axis, found, part.threads), folder, name)
            shown.append(picture(_words(axis, found), name))
    return ["## How time grows", *shown] if shown else []


def _title(axis: str) -> str:
    number = NAMES[axis].partition(" ")[0]
    return f"Time of one epoch against the number of {number}"


def _chart(axis: str, found: Sequence[tuple[int, Measure]], threads: int) -> Any:
    """The dashed line is strict proportionality: for R, that many runs one after another."""
    import altair as alt

    rows: list[dict[str, Any]] = [{"value": value, "who": m.label, "ms": 1e3 * (m.median or 0),
             "min": 1e3 * min(m.seconds), "max": 1e3 * max(m.seconds)}
            for value, m in found]  # fmt: skip
    reference = f"{axis} runs one after another" if axis == "R" else f"proportional to {axis}"
    ours = sorted((value, 1e3 * (m.median or 0)) for value, m in found if m.who == ONELAYER)
    at, ms = ours[0] if axis == "R" else ours[-1]
    lines = [{"value": value, "who": reference, "ms": ms * value / at} for value, _ in ours]
    labels = list(dict.fromkeys(row["who"] for row in rows))
    low, high = min(row["min"] for row in rows), max(row["max"] for row in rows)
    low, high = low / 1.5, high * max(1.5, (high / low) ** 0.22)  # room for the legend above
    legend = alt.Legend(symbolType="stroke", symbolFillColor="transparent", symbolOpacity=1)
    colour = alt.Color("who:N", title=None, legend=legend).scale(
        domain=[*labels, reference],
        range=[*(chart.COLOURS[label] for label in labels), chart.FAINT],
    )
    dash = alt.StrokeDash("who:N", title=None, legend=legend).scale(
        domain=[*labels, reference], range=[*([1, 0] for _ in labels), [5, 4]]
    )
    x = alt.X("value:Q", title=f"{axis}, {NAMES[axis]}")
    x = x.scale(type="log", nice=False, padding=12)
    x = x.axis(values=sorted({v for v, _ in found}), labelExpr=chart.GROUPED, grid=False)
    y = chart.log_axis(alt.Y("ms:Q", title=TIME), low, high)
    measured = alt.Chart(alt.InlineData(values=rows)).encode(x=x, color=colour)
    shape = alt.Shape("who:N", legend=None).scale(domain=labels)
    layers = alt.layer(
        alt.Chart(alt.InlineData(values=lines)).mark_line(strokeWidth=1.6, clip=True)
        .encode(x=x, y=y, color=colour, strokeDash=dash),
        measured.mark_rule(strokeWidth=1.4).encode(y=alt.Y("min:Q", title=TIME), y2="max:Q"),
        measured.mark_line(strokeWidth=2.2).encode(y=y, strokeDash=dash),
        measured.mark_point(filled=True, size=46, opacity=1).encode(y=y, shape=shape),
    )  # fmt: skip
    base = _problem(axis, 1)
    letters = {"R": base.runs, "N": base.rows, "D": base.features, "K": base.classes,
               "B": base.batch_size}  # fmt: skip
    fixed = ", ".join(
        f"{k} = {v:,}".replace(",", "\u2009") for k, v in letters.items() if k != axis
    )
    n = len(found[0][1].seconds)
    subtitle = f"{fixed}; median and range of {n}; {threads} threads"
    title = alt.TitleParams(_title(axis), subtitle=subtitle, anchor="start", offset=12)
    return layers.properties(width=460, height=290, title=title)


def _words(axis: str, found: Sequence[tuple[int, Measure]]) -> str:
    """First and last point of each contender, in words."""
    said = []
    for label in dict.fromkeys(m.label for _, m in found):
        own = sorted((value, m.median or 0.0) for value, m in found if m.label == label)
        (low, first), (high, last) = own[0], own[-1]
        said.append(f"{label}: {1e3 * first:.3g} ms at {low}, {1e3 * last:.3g} ms at {high}")
    return f"{_title(axis)}, both axes logarithmic. {'; '.join(said)}."


def max_memory(record: Record) -> float | None:
    """The largest peak above X that onelayer had on any problem or point, in MB."""
    names = ("peers", "penalty", "grids", "wide", "sweeps")
    peaks = [m.facts["peak_bytes"] for name in names if name in record
             for m in record[name].measures
             if m.who == ONELAYER and "peak_bytes" in m.facts]  # fmt: skip
    return max(peaks) / MEGABYTE if peaks else None


def memory_growth(record: Record) -> float | None:
    """Peak above X at the largest N less that at the smallest, in MB."""
    if "sweeps" not in record:
        return None
    by_rows = {value: m.facts["peak_bytes"] for value, m in points(record["sweeps"], "N")
               if m.who == ONELAYER}  # fmt: skip
    if len(by_rows) < 2:
        return None
    return float(by_rows[max(by_rows)] - by_rows[min(by_rows)]) / MEGABYTE


SUITE = Suite(
    "sweeps",
    "the time of an epoch against R, D, K and N",
    measure,
    render,
    (
        Target("memory above X, the most of any", 150, "MB", False, max_memory),
        Target("memory above X at the largest N less at the smallest", GROWTH_NOISE_MB, "MB", False,
               memory_growth),
    ),
)  # fmt: skip

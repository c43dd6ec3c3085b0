"""How the time of one epoch grows with R, D, K and N, for onelayer and the NumPy loop."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.harness.page import MEGABYTE, Target, max_peak, picture
from benchmarks.harness.problem import Problem, Setting, data_folder
from benchmarks.harness.record import ONELAYER, Measure, Part, Record
from benchmarks.harness.rounds import Session, Suite
from benchmarks.peers import contender
from benchmarks.suites.training import WORK, Entry, measure_entries
from onelayer.report.chart import Axis, Curve, line_chart

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
# Growth is asked to be none; two trainings alike differ by this much (arenas, thread stacks).
GROWTH_NOISE_MB = 8


def sweep_problems(*, quick: bool) -> list[Problem]:
    """The problem of every point; what does not vary is the report's setting."""
    axes = (QUICK_AXES if quick else AXES).items()
    return [_problem(axis, value) for axis, values in axes for value in values]


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
    for problem in sweep_problems(quick=session.quick):
        entries = [Entry(contender(key), problem) for key in (ONELAYER, "numpy")]
        rounds = 2 if session.quick else 3
        part = measure_entries(session, part, entries, rounds)
        session.keep(part)
        if problem.runs == 1:  # so that the disk is not filled
            shutil.rmtree(data_folder(problem, parent))
    return part


def points(part: Part, axis: str) -> list[tuple[int, Measure]]:
    named = [(m.work.partition("=")[2], m) for m in part.measures if m.work[0] == axis]
    return [(int(value), m) for value, m in named if m.seconds]


def render(part: Part, folder: Path) -> list[str]:
    shown = []
    for axis in NAMES:
        if found := points(part, axis):
            shown.append(_picture(axis, found, part.threads, folder))
    return ["## How time grows", *shown] if shown else []


def _picture(axis: str, found: Sequence[tuple[int, Measure]], threads: int, folder: Path) -> str:
    """Medians with their ranges, and strict proportionality: for R, runs one after another."""
    curves = []
    for label in dict.fromkeys(m.label for _, m in found):
        own = sorted((value, m.seconds) for value, m in found if m.label == label)
        mean, low, high = (
            [1e3 * pick(seconds) for _, seconds in own] for pick in (median, min, max)
        )
        curves.append(Curve(label, [value for value, _ in own], mean, low, high))
    ours, at = curves[0], 0 if axis == "R" else -1
    line = [ours.mean[at] * value / ours.x[at] for value in ours.x]
    reference = f"{axis} runs one after another" if axis == "R" else f"proportional to {axis}"
    title = f"Time of one epoch against the number of {NAMES[axis].partition(' ')[0]}"
    x = Axis(f"{axis}, {NAMES[axis]}", log=True, ticks=tuple(map(float, ours.x)))
    chart = line_chart(
        f"time-against-{axis}", title, "", x, Axis("ms of an epoch", log=True),
        [*curves, Curve(reference, ours.x, line)], around="range of the rounds", points=True,
    )  # fmt: skip
    base = _problem(axis, 1)
    letters = {"R": base.runs, "N": base.rows, "D": base.features, "K": base.classes}
    fixed = ", ".join(f"{letter} = {v:,}" for letter, v in letters.items() if letter != axis)
    ends = "; ".join(f"{c.label}: {c.mean[0]:.3g} ms at {c.x[0]}, {c.mean[-1]:.3g} ms at {c.x[-1]}"
                     for c in curves)  # fmt: skip
    words = (f"{title}, both axes logarithmic ({fixed}, B = {base.batch_size}, {threads} threads, "
             f"median and range of {len(found[0][1].seconds)}). {ends}.")  # fmt: skip
    return picture(chart, words, folder)


def memory_growth(record: Record) -> float | None:
    """Peak above X at the largest N less that at the smallest, in MB."""
    found = points(record["sweeps"], "N") if "sweeps" in record else []
    peaks = {rows: m.facts["peak_bytes"] for rows, m in found if m.who == ONELAYER}
    if len(peaks) < 2:
        return None
    return float(peaks[max(peaks)] - peaks[min(peaks)]) / MEGABYTE


SUITE = Suite(
    "sweeps", "the time of an epoch against R, D, K and N", measure, render,
    (Target("memory above X, the most of any", 150, "MB", False,
            partial(max_peak, (*WORK, "sweeps"), [ONELAYER])),
     Target("memory above X at the largest N less at the smallest", GROWTH_NOISE_MB, "MB", False,
            memory_growth)),
)  # fmt: skip

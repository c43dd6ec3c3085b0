"""How the time of one epoch grows with R, D, K and N, for onelayer and the NumPy loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.contenders import ONELAYER, contender
from benchmarks.crew import Conditions, forget_data
from benchmarks.problem import Problem, Setting
from benchmarks.record import Point
from benchmarks.rounds import Entry, Oracle, Say, measure

CONTENDERS = (ONELAYER, "numpy")
# Noise has no large η to give: at 0.001 no problem of the sweeps jumps over its minimum.
LEARNING_RATE = 0.001

AXES = {
    "R": (1, 2, 4, 8, 16, 32, 64, 128, 256),
    "D": (64, 256, 1024, 3072, 8192, 16384),
    "K": (2, 10, 32, 100, 316, 1000, 2048),
    "N": (1000, 2000, 5000, 10_000, 20_000, 50_000),
}
QUICK_AXES = {"R": (1, 4, 16), "D": (256, 1024, 3072), "K": (2, 10, 100), "N": (1000, 5000)}


def sweep_problems(*, quick: bool) -> Iterator[tuple[str, int, Problem]]:
    """Axis, value and problem of every point; what does not vary is the report's setting."""
    for axis, values in (QUICK_AXES if quick else AXES).items():
        for value in values:
            yield axis, value, _problem(axis, value)


def fixed_text(axis: str) -> str:
    """What the points of an axis have in common, for a chart's subtitle."""
    problem = _problem(axis, 1)
    letters = {
        "R": problem.runs,
        "N": problem.rows,
        "D": problem.features,
        "K": problem.classes,
        "B": problem.batch_size,
    }
    return ", ".join(f"{k} = {v:,}".replace(",", "\u2009") for k, v in letters.items() if k != axis)


def run_sweeps(conditions: Conditions, say: Say, *, quick: bool) -> tuple[Point, ...]:
    """Check and time every point."""
    points = []
    for axis, value, problem in sweep_problems(quick=quick):
        say(f"{axis} = {value}")
        entries = [Entry(contender(key), problem) for key in CONTENDERS]
        found, _ = measure(entries, 2 if quick else 3, conditions, Oracle(conditions, 2), say)
        points += [Point(axis, value, m) for m in found]
        if axis != "R":
            forget_data(problem, conditions)
    return tuple(points)


def _problem(axis: str, value: int) -> Problem:
    base = Problem(f"{axis}={value}", epochs=1, settings=(Setting(LEARNING_RATE),))
    if axis == "R":
        return base.with_settings(
            base.name, tuple(Setting(LEARNING_RATE, seed=i) for i in range(value))
        )
    if axis == "N":
        return replace(base, rows=value)
    fewer = replace(base, rows=4000)
    return replace(fewer, features=value) if axis == "D" else replace(fewer, classes=value)

"""The command `onelayer reproduce` as a user meets it: a whole process, by the wall clock."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.harness.page import MEGABYTE, SECONDS, Columns, Target, measure_table, spread_text
from benchmarks.harness.processes import Process, rusage_bytes, timed
from benchmarks.harness.record import ONELAYER, Measure, Part, Record, find
from benchmarks.harness.rounds import Entrant, Sample, Session, Suite, time_in_turn
from onelayer import Result

SEEDS = 8


class Desk:
    """Runs a command as a child of a small process, whose own memory does not hide the child's."""

    def run(self, arguments: list[str]) -> Sample:
        """One run, with the peak of the largest child in MB; results are thrown away."""
        with tempfile.TemporaryDirectory() as folder:
            words = [sys.executable, "-m", "onelayer", *arguments, "--out", f"{folder}/run"]
            _, figures = timed(lambda: subprocess.run(words, stdout=subprocess.DEVNULL, check=True))
            beyond = figures["seconds"] - Result.load(f"{folder}/run").seconds["train"]
        peak = float(rusage_bytes(resource.RUSAGE_CHILDREN))
        return Sample(figures["seconds"], series={"peak": (peak,), "beyond": (beyond,)})


def measure(session: Session) -> Part:
    """Run the command with the data cached; a first run fills caches and is not counted."""
    arguments = ["reproduce", "--seeds", str(SEEDS), "--engine", session.conditions.engine]
    part = session.part(command=f"onelayer {' '.join(arguments)}")
    if session.source != "cifar10":
        return part
    with Process("onelayer reproduce", Desk, conditions=session.conditions) as worker:
        once = partial(worker.ask, "run", arguments=arguments)
        once()
        entrant = Entrant(Measure("reproduce", ONELAYER, "onelayer"), once)
        return part.with_(time_in_turn([entrant], 1 if session.quick else 2, session.log))


COLUMNS: Columns = {
    "whole process, interpreter and libraries included, data cached": lambda m: m.label,
    **SECONDS,
    "beyond training": lambda m: spread_text(m.series.get("beyond", ())),
    "peak of the process, MB": lambda m: spread_text([p / MEGABYTE for p in m.series["peak"]]),
}


def render(part: Part, _: Path) -> list[str]:
    return [f"## `{part.facts['command']}`", measure_table(COLUMNS, part.measures)]


def _seconds(series: str, record: Record) -> float | None:
    """Of the whole process, or of a series."""
    found = find(record, "reproduce", ONELAYER, "reproduce")
    values = found and (found.series.get(series) if series else found.seconds)
    return median(values) if values else None


SUITE = Suite(
    "reproduce", "the command `onelayer reproduce`", measure, render,
    (Target(f"`onelayer reproduce`, 4 settings × {SEEDS} seeds, wall", 20, "s", False,
            partial(_seconds, "")),
     Target("`onelayer reproduce` beyond its training passes", 6, "s", False,
            partial(_seconds, "beyond"))),
    in_quick=False,
)  # fmt: skip

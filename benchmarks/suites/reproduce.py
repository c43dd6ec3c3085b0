"""The command `onelayer reproduce` as a user meets it: a whole process, by the wall clock."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.harness.page import MEGABYTE, Target, spread_text
from benchmarks.harness.processes import Process
from benchmarks.harness.record import ONELAYER, Measure, Part, Record, find
from benchmarks.harness.rounds import Entrant, Sample, Session, Suite, time_in_turn
from benchmarks.harness.worker import rusage_bytes

SEEDS = 8


class Desk:
    """Runs a command as a child of a small process, whose own memory does not hide the child's."""

    def run(self, arguments: list[str]) -> dict[str, Any]:
        """Wall seconds and peak resident bytes of the largest child; results are thrown away."""
        with tempfile.TemporaryDirectory() as folder:
            words = [sys.executable, "-m", "onelayer", *arguments, "--out", f"{folder}/run"]
            started = time.perf_counter()
            subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
            seconds = time.perf_counter() - started
        return {"seconds": seconds, "peak": rusage_bytes(resource.RUSAGE_CHILDREN)}


def measure(session: Session) -> Part:
    """Run the command with the data cached; a first run fills caches and is not counted."""
    arguments = ["reproduce", "--seeds", str(SEEDS), "--engine", session.conditions.engine]
    part = session.part(command=f"onelayer {' '.join(arguments)}")
    if session.source != "cifar10":
        return part
    with Process("onelayer reproduce", Desk, conditions=session.conditions) as worker:

        def once() -> Sample:
            told = worker.ask("run", arguments=arguments)
            return Sample(told["seconds"], series={"peak": (float(told["peak"]),)})

        once()
        entrant = Entrant(Measure("reproduce", ONELAYER, "onelayer"), once)
        return part.with_(time_in_turn([entrant], 1 if session.quick else 2, session.log))


def render(part: Part, _: Path) -> list[str]:
    shown = []
    for m in part.measures:
        seconds, peaks = spread_text(m.seconds), [p / MEGABYTE for p in m.series["peak"]]
        shown += [
            f"## `{part.facts['command']}`",
            f"Whole process, data cached: {seconds} s, n = {len(m.seconds)}; peak memory of the "
            f"process, interpreter, libraries and data included, {spread_text(peaks)} MB.",
        ]
    return shown


def _seconds(record: Record) -> float | None:
    found = find(record, "reproduce", ONELAYER, "reproduce")
    return found.median if found else None


SUITE = Suite(
    "reproduce", "the command `onelayer reproduce`", measure, render,
    (Target(f"`onelayer reproduce`, 4 settings × {SEEDS} seeds, wall", 20, "s", False, _seconds),),
    in_quick=False,
)  # fmt: skip

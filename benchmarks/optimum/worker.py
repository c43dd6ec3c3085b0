"""The process that one solver lives in: reads commands, answers in JSON, one line each.

Run as `python -m benchmarks.optimum.worker JOB`, by `measure` alone.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.memory import forget_peak, peak_bytes
from benchmarks.optimum.contenders import solver
from benchmarks.optimum.oracle import Judge, reference
from benchmarks.optimum.problem import GOAL, Task
from benchmarks.optimum.watch import Watch
from benchmarks.problem import read_data
from benchmarks.worker import serve

REFERENCE = "reference"
ENOUGH = 3e-9


class Desk:
    """Answers the parent's commands."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._task = Task.from_dict(job["task"])
        data = read_data(job["folder"])
        self._judge = Judge(self._task, data)
        self._prepared: Any = None
        if job["contender"] != REFERENCE:
            chosen = solver(job["contender"])
            self._prepared = chosen.prepare(self._task, data, int(job["threads"]))
        forget_peak()
        self._resident = peak_bytes()

    @property
    def greeting(self) -> dict[str, Any]:
        """What the parent should know once this is ready."""
        if self._prepared is None:
            return {}
        return {"about": self._prepared.about, "x_bytes": self._prepared.x_bytes}

    def find(self, l2: float) -> dict[str, Any]:
        """J* and the bound on its relative error."""
        least, gap = reference(self._judge, l2)
        return {"least": least, "gap": gap}

    def trace(self, l2: float, least: float, patience: float) -> dict[str, Any]:
        """Excess against time, and the fewest iterations that reach the goal."""
        watch = Watch(
            lambda W, b: self._judge.excess(W, b, l2, least),
            goal=GOAL,
            enough=ENOUGH,
            patience=patience,
        )
        self._prepared.trace(l2, watch)
        watch.finish()
        return {"steps": watch.steps, "budget": watch.budget, "cut": watch.cut}

    def solve(self, l2: float, iterations: int | None, least: float) -> dict[str, Any]:
        """A plain call: its time and memory, and how good its answer is."""
        forget_peak()
        started = time.perf_counter()
        found = self._prepared.solve(l2, iterations)
        seconds = time.perf_counter() - started
        risen = max(peak_bytes() - self._resident, 0)
        return {
            "seconds": seconds,
            "peak_bytes": float(risen),
            "excess": self._judge.excess(found.W, found.b, l2, least),
            "finite": bool(np.isfinite(found.W).all()),
            "marks": found.marks,
            "gap": found.gap,
        }

    def warm(self) -> dict[str, Any]:
        """Something short, so that threads are started and pages are touched."""
        self._prepared.warm()
        return {}

    def run(self) -> dict[str, Any]:
        """The whole path, or the one fit."""
        forget_peak()
        started = time.perf_counter()
        told = self._prepared.run()
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "peak_bytes": float(max(peak_bytes() - self._resident, 0)),
                **told}  # fmt: skip


if __name__ == "__main__":
    serve(Desk)

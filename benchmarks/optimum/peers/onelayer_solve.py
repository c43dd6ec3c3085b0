"""onelayer: `onelayer.solve` on the rows as stored; the call proves what it returns."""

from __future__ import annotations

import os
import time

from benchmarks.optimum.oracle import dataset_of
from benchmarks.optimum.peers import Prepared, Solution
from benchmarks.optimum.problem import GOAL, Task
from benchmarks.optimum.watch import Seen, Watch, climb
from benchmarks.peers import ENGINE_VARIABLE
from benchmarks.problem import Data
from onelayer.engines import make_engine
from onelayer.solver import Progress, solve

FAR = 1e-9
PLENTY = 1000


def prepare(task: Task, data: Data, threads: int) -> Prepared:
    """The engine that the parent named; threads come by affinity and environment."""
    engine, dataset = make_engine(os.environ[ENGINE_VARIABLE]), dataset_of(task, data)

    def find(l2: float, passes: int | None) -> Solution:
        marks: list[tuple[int, float]] = []
        started = time.perf_counter()

        def note(progress: Progress) -> None:
            marks.append((progress.passes, time.perf_counter() - started))

        optimum = solve(
            dataset,
            l2,
            tol=FAR if passes else GOAL,
            max_passes=passes or PLENTY,
            scaling="unit",
            engine=engine,
            on_progress=note,
        )
        certificate = optimum.require_certificate()
        return Solution(optimum.W, optimum.b, tuple(marks), certificate.gap / certificate.cost)

    def trace(l2: float, watch: Watch) -> None:
        # The times are those of one call; how good its iterates were, others tell that end early.
        clock = dict(find(l2, PLENTY).marks)

        def within(allowed: int) -> Seen:
            found = find(l2, allowed)
            passes, seconds = found.marks[-1]
            return Seen(passes, clock.get(passes, seconds), found.W, found.b)

        climb(within, watch)

    return Prepared(find, trace, data.X.nbytes, engine.describe())
